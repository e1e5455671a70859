pgpu_fuzz(request SOURCES fuzz_request.c LINK pgpu_daemon pgpu_base SYSTEM PkgConfig::JSON_C)
pgpu_fuzz(audit SOURCES fuzz_audit.c LINK pgpu_ctl pgpu_chain pgpu_base SYSTEM PkgConfig::JSON_C)
