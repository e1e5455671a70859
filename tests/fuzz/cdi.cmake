pgpu_fuzz(cdi_lint SOURCES fuzz_cdi_lint.c LINK pgpu_cdi pgpu_base)
