pgpu_fuzz(conf SOURCES fuzz_conf.c LINK pgpu_base)
pgpu_fuzz(base SOURCES fuzz_base.c LINK pgpu_base)
pgpu_fuzz(yamldoc SOURCES fuzz_yamldoc.c LINK pgpu_base)
