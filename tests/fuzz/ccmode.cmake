# The security processor and the configuration space as an adversary.
pgpu_fuzz(fsp_reply SOURCES fuzz_fsp_reply.c LINK pgpu_ccmode pgpu_base)
