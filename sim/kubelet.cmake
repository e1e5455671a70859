# Kubelet and Kata stand-ins.
set(kubelet_sources kubelet.c kubelet_reg.c kubelet_alloc.c kubelet_pods.c kubelet_table.c kubelet_cmd.c
    kubelet_control.c kubelet_main.c kata.c kata_cdi.c)
list(TRANSFORM kubelet_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
pgpu_library(pgpu_simkubelet
    SOURCES ${kubelet_sources}
    LINK pgpu_simctl pgpu_base pgpu_proto pgpu_deviceplugin
    SYSTEM PkgConfig::JSON_C PkgConfig::SYSTEMD)
