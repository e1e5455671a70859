pgpu_fuzz(kata_annotations SOURCES fuzz_kata_annotations.c LINK pgpu_kata pgpu_base)
