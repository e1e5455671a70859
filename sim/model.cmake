# The device model: one PCI function with its registers, firmware, resets and faults.
pgpu_library(pgpu_sim
    SOURCES model.c gpu.c gpu_bar.c gpu_cfg.c gpu_reset.c cfgspace.c fsp.c fsp_prc.c fault.c nvram.c
            inproc.c
    LINK pgpu_base)
