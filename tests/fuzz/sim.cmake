# The emulated GPU: whatever is written to it, it does not crash.
pgpu_fuzz(sim_gpu SOURCES fuzz_sim_gpu.c LINK pgpu_sim pgpu_base)
# A vfio-user client: framing, commands, descriptors.
pgpu_fuzz(vfio_user SOURCES fuzz_vfio_user.c LINK pgpu_simvfu pgpu_sim pgpu_base)
if(PGPU_FUZZ)
    target_compile_options(pgpu_simvfu PRIVATE -fsanitize=fuzzer-no-link)
endif()
