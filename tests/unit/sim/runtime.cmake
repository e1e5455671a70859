# The container runtime stand-in against a scripted plugin.
pgpu_library(pgpu_test_nri_end SOURCES ${CMAKE_CURRENT_LIST_DIR}/nri_end.c
    LINK pgpu_simruntime pgpu_nri pgpu_proto_nri pgpu_base
    SYSTEM PkgConfig::JSON_C PkgConfig::SYSTEMD PkgConfig::CMOCKA)
pgpu_test(test_sim_runtime LABEL unit SOURCES test_sim_runtime.c LINK pgpu_test_nri_end)
pgpu_test(test_sim_runtime_ops LABEL unit SOURCES test_sim_runtime_ops.c LINK pgpu_test_nri_end)
pgpu_test(test_sim_runtime_children LABEL unit SOURCES test_sim_runtime_children.c
    LINK pgpu_test_nri_end)
pgpu_test(test_sim_runtime_nri LABEL unit SOURCES test_sim_runtime_nri.c LINK pgpu_test_nri_end)
