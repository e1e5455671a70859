# Bytes of container runtimes: frames, ttRPC of both ends, and whole sessions.
pgpu_fuzz(nri_mux SOURCES fuzz_nri_mux.c LINK pgpu_nri pgpu_base)
pgpu_fuzz(nri_ttrpc SOURCES fuzz_nri_ttrpc.c LINK pgpu_nri pgpu_base)
pgpu_fuzz(nri_dispatch SOURCES fuzz_nri_dispatch.c LINK pgpu_nri pgpu_proto_nri pgpu_base
    SYSTEM PkgConfig::SYSTEMD)
