pgpu_fuzz(toml SOURCES fuzz_toml.c LINK pgpu_kata)
pgpu_fuzz(initdata SOURCES fuzz_initdata.c LINK pgpu_kata)
