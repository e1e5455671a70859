/* SPDX-License-Identifier: Apache-2.0
 *
 * Model of the kernel's PCI and VFIO behaviour for a node of emulated functions: the driver core
 * (driver_override, bind, unbind, probe), sysfs attributes, IOMMU groups, VFIO nodes with their
 * exclusion rules, runtime power, resets, remove/rescan, as measured on Linux 6.12 with the real
 * vfio-pci; tests/sim/node/conformance.c performs every row.
 *
 * Fronts: sim/fuse.c shows it as /sys and /dev; tests call it directly. All paths are absolute in
 * the simulated root ("/sys/bus/pci/devices/0000:41:00.0/driver_override"). Thread-safe: one lock
 * inside; calls that block on the real kernel (unbind while a VFIO device is open, reset of a dead
 * device) block here, without the lock, and take effect later even if the caller has gone.
 * Results are 0 or a count, or -errno exactly as the kernel's.
 */
#ifndef PGPU_SIM_KERNEL_H
#define PGPU_SIM_KERNEL_H

#include "base/err.h"
#include "base/pci_addr.h"
#include "sim/gpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sim_kernel;

/* What hangs on the bus at start. Functions of one slot share it; `group` -1 gives an own group. */
struct sim_fn_spec {
    struct pci_addr addr;
    const char *model;
    int group; /* IOMMU group number, -1: a fresh one, -2: none (IOMMU off) */
    int numa_node;
    const char *driver;  /* driver bound at start: NULL, "nvidia", "vfio-pci", "snd_hda_intel"… */
    unsigned num_vfs;    /* virtual functions enabled at start */
    const char *missing; /* comma-separated attributes that are absent, e.g. "numa_node,reset" */
    const char *garbage; /* comma-separated attributes that read as garbage */
    bool on_root_bus;    /* no bridge above it */
};

struct sim_kernel_params {
    const struct sim_fn_spec *fn;
    size_t n_fn;
    bool iommufd;     /* /dev/iommu and cdevs */
    bool vfio_loaded; /* vfio-pci module present */
    bool strict_devmem;
    bool lockdown; /* resource0 and config writes: EPERM */
    double time_scale;
    const char *state_dir; /* NVRAM files; NULL: memory only */
    const char *variant;   /* "DRIVER=VVVV:DDDD": a variant VFIO driver for that device ID, loaded
                              and listed in modules.alias; NULL: none */
    const char *host;      /* confidential host: NULL or "snp", "tdx", "none" */
};

int sim_kernel_new(const struct sim_kernel_params *p, struct sim_kernel **ret, struct err *e);
void sim_kernel_free(struct sim_kernel *k);

/* ---- file system view ---- */

struct sim_stat {
    mode_t mode; /* S_IFDIR, S_IFREG, S_IFLNK with permissions */
    off_t size;
    uint64_t ino;
    dev_t rdev;
};
int sim_k_stat(struct sim_kernel *k, const char *path, struct sim_stat *ret);
int sim_k_readlink(struct sim_kernel *k, const char *path, char *buf, size_t size);
int sim_k_list(struct sim_kernel *k, const char *path, int (*each)(void *ctx, const char *name),
               void *ctx);

/* Open files: attributes, `config`, `resource0`, VFIO nodes. The handle is freed by sim_k_close. */
struct sim_file;
int sim_k_open(struct sim_kernel *k, const char *path, int flags, struct sim_file **ret);
ssize_t sim_k_pread(struct sim_file *f, void *buf, size_t n, off_t off);
ssize_t sim_k_pwrite(struct sim_file *f, const void *buf, size_t n, off_t off);
/* VFIO ioctls by number without argument data (the numbers carry no size): on a group node
 * VFIO_GROUP_GET_DEVICE_FD opens the device (reset, EBUSY rules), on a cdev
 * VFIO_DEVICE_BIND_IOMMUFD does. Closing the file closes the device (reset again, D3hot). */
int sim_k_ioctl(struct sim_file *f, unsigned long cmd);
void sim_k_close(struct sim_file *f);

/* ---- control (pgpu-sim ctl, tests) ---- */

/* One command line, one answer text: "fault ADDR SPEC", "plug …", "unplug ADDR", "vmm-open ADDR",
 * "vmm-close ADDR", "knob ADDR N [V]", "fail-op N ERRNO", "hang-op N", "show", "help", … */
int sim_k_control(struct sim_kernel *k, const char *line, char *reply, size_t size, struct err *e);

/* Kernel uevents, in order; `payload` is NUL-separated as on netlink. Called without the lock. */
void sim_k_on_uevent(struct sim_kernel *k, void (*cb)(void *ctx, const char *payload, size_t len),
                     void *ctx);

/* Register traffic of one function, or of all with NULL; see sim_gpu_trace. */
void sim_k_on_access(struct sim_kernel *k,
                     void (*cb)(void *ctx, struct pci_addr a, const struct sim_access *acc),
                     void *ctx);

struct sim_gpu *sim_k_gpu(struct sim_kernel *k, struct pci_addr a); /* tests; unlocked */

#endif
