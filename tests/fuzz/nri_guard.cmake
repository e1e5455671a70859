pgpu_fuzz(nri_guard SOURCES fuzz_nri_guard.c LINK pgpu_guard pgpu_kata pgpu_base)
