# vfio-user servers over the device model, for a virtual machine's PCI bus. The parts without
# sockets are a library of their own.
pgpu_library(pgpu_simvfu SOURCES vfiouser_proto.c vfiouser_irq.c vfiouser_map.c vfiouser_dev.c
    LINK pgpu_sim pgpu_base)
pgpu_library(pgpu_simvfusrv
    SOURCES vfiouser_srv.c vfiouser_conn.c vfiouser_ctl.c vfiousercmd.c
    LINK pgpu_simvfu pgpu_simnode pgpu_sim pgpu_base
    SYSTEM Threads::Threads)
