# The kernel model with its fronts: in memory, FUSE, control and uevent sockets.
pgpu_library(pgpu_simnode
    SOURCES kernel.c kernel_tree.c kernel_core.c kernel_fn.c kernel_topo.c kernel_power.c
            kernel_rules.c vfionode.c sysfs_attr.c sysfs_bin.c sysfs_bus.c uevent.c control.c
            control_show.c ctl.c ctl_client.c ctlsock.c shape.c fuse.c nodecmd.c
    LINK pgpu_sim pgpu_base
    SYSTEM PkgConfig::FUSE3 Threads::Threads)
