pgpu_fuzz(dp_codec SOURCES fuzz_dp_codec.c LINK pgpu_deviceplugin pgpu_base)
