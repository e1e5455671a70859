pgpu_fuzz(hwd_proto SOURCES fuzz_hwd_proto.c LINK pgpu_hwdproto pgpu_base)
