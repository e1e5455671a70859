# The container runtime stand-in. Its wire code is its own, see sim/runtime_wire.h.
set(runtime_sources runtime.c runtime_launch.c runtime_spawn.c runtime_plugin.c runtime_sync.c
    runtime_op.c runtime_act.c runtime_create.c runtime_pods.c runtime_msg.c runtime_edits.c
    runtime_cdi.c runtime_vmm.c runtime_release.c runtime_wire.c runtime_cmd.c runtime_show.c
    runtime_main.c spb.c)
list(TRANSFORM runtime_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
pgpu_library(pgpu_simruntime
    SOURCES ${runtime_sources}
    LINK pgpu_simctl pgpu_base
    SYSTEM PkgConfig::JSON_C PkgConfig::SYSTEMD)
