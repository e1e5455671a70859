# The emulated GPU: whatever is written to it, it does not crash.
pgpu_fuzz(sim_gpu SOURCES fuzz_sim_gpu.c LINK pgpu_sim pgpu_base)
