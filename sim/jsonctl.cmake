# The stand-ins' control socket.
pgpu_library(pgpu_simctl SOURCES ${CMAKE_CURRENT_LIST_DIR}/jsonctl.c LINK pgpu_base
    SYSTEM PkgConfig::JSON_C PkgConfig::SYSTEMD)
