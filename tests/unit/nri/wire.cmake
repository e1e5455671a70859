# The wire and the sessions. wire_runtime.c is a runtime in the same process, on the same loop.
pgpu_test(test_nri_mux LABEL unit SOURCES test_mux.c LINK pgpu_nri pgpu_base)
pgpu_test(test_nri_ttrpc LABEL unit SOURCES test_ttrpc.c LINK pgpu_nri pgpu_proto_nri pgpu_base)
pgpu_test(test_nri_pb LABEL unit SOURCES test_pb.c LINK pgpu_nri pgpu_proto_nri pgpu_base)
foreach(name session session_end session_call)
    pgpu_test(test_nri_${name} LABEL unit SOURCES test_${name}.c wire_runtime.c
        LINK pgpu_nri pgpu_proto_nri pgpu_base)
endforeach()
pgpu_test(test_nri_launch LABEL unit SOURCES test_launch.c wire_runtime.c
    LINK pgpu_nri pgpu_proto_nri pgpu_base)
add_dependencies(test_nri_launch pgpu-nri-launch)
