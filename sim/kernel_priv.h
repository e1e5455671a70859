/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the simulated kernel; see kernel.h. Everything here is protected by `sim_kernel.lock`,
 * which every function named below expects to be held (the few exceptions say so). Functions that
 * block drop the lock while they wait, so callers re-read what they need afterwards; functions
 * (struct fn) are never freed before the kernel is, tree nodes are counted.
 */
#ifndef PGPU_SIM_KERNEL_PRIV_H
#define PGPU_SIM_KERNEL_PRIV_H

#include "sim/kernel.h"

#include <pthread.h>
#include <stdarg.h>

#define SIM_PAGE 4096u

struct kn;
struct fn;
struct grp;
struct drv;
struct vmm;
struct rule;
struct uev;

/* ---- tree (kernel_tree.c): what sysfs and devtmpfs hold, like kernfs ---- */

/* All optional. `show` and `store` make a text attribute: show fills at most `size` bytes and
 * returns the length, store returns the bytes taken; both or -errno. `store`, `open`, `ioctl`,
 * `close` may drop the lock to block. */
struct kn_ops {
    ssize_t (*show)(struct sim_kernel *k, struct kn *n, char *buf, size_t size);
    ssize_t (*store)(struct sim_kernel *k, struct kn *n, const char *buf, size_t len);
    ssize_t (*read)(struct sim_file *f, void *buf, size_t n, off_t off);
    ssize_t (*write)(struct sim_file *f, const void *buf, size_t n, off_t off);
    int (*open)(struct sim_file *f);
    int (*ioctl)(struct sim_file *f, unsigned long cmd);
    void (*close)(struct sim_file *f);
};

#define KN_STATIC 1u /* never removed: a front may cache the name */
#define KN_DEV 2u    /* a device node: one identity for all opens (inotify, holders) */

struct kn {
    struct kn *parent, *child, *next;
    char *name, *target; /* target: symlinks */
    mode_t mode;
    unsigned flags;
    off_t size;
    uint64_t ino;
    unsigned refs; /* tree, open files, fronts */
    bool gone;     /* no longer in the tree */
    const struct kn_ops *ops;
    struct fn *fn;
    void *priv;
    void *front; /* owned by the front */
};

struct kn *kn_root_new(void);
struct kn *kn_dir(struct sim_kernel *k, struct kn *parent, const char *name, unsigned flags);
struct kn *kn_file(struct sim_kernel *k, struct kn *parent, const char *name, mode_t perm,
                   off_t size, const struct kn_ops *ops, struct fn *fn, void *priv);
struct kn *kn_link(struct sim_kernel *k, struct kn *parent, const char *name, const char *target);
/* Directory below the root, made on the way with KN_STATIC. */
struct kn *kn_mkdirs(struct sim_kernel *k, const char *path);
/* Read-only file with constant text (copied); the directory is made on the way. */
struct kn *kn_text(struct sim_kernel *k, const char *path, mode_t perm, const char *text);
struct kn *kn_child(const struct kn *dir, const char *name);
void kn_remove(struct kn *n);                           /* with what is below; NULL is fine */
void kn_remove_child(struct kn *dir, const char *name); /* if it is there */
void kn_ref(struct kn *n);
void kn_unref(struct kn *n);
/* Absolute path; returns buf. */
const char *kn_path(const struct kn *n, char *buf, size_t size);
/* Relative target from a link in `dir` to `to`, as the kernel writes them; returns buf. */
const char *kn_relative(const struct kn *dir, const struct kn *to, char *buf, size_t size);
struct kn *kn_link_to(struct sim_kernel *k, struct kn *dir, const char *name, const struct kn *to);
/* Path to node; follows links on the way, the last one if asked. -errno. */
int kn_walk(struct sim_kernel *k, const char *path, bool follow, struct kn **ret);
void kn_stat(const struct kn *n, struct sim_stat *ret);
bool name_in_list(const char *list, const char *name); /* comma or plus separated */

/* ---- functions ---- */

enum pstate { PS_UNKNOWN, PS_D0, PS_D3HOT, PS_D3COLD };
enum rmethod { RM_FLR = 1, RM_BUS = 2 };
#define RM_MAX 2

struct fn {
    struct sim_kernel *k;
    struct fn *next; /* all ever made, by address */
    struct pci_addr addr;
    char name[PCI_ADDR_STR];
    const struct sim_model *model;
    struct sim_model vf_model;
    char model_name[24];
    struct sim_gpu *gpu;
    struct fn *bridge; /* NULL: directly on a root bus */
    char root_bus[24]; /* "pci0000:17" */
    uint64_t bar[6];   /* addresses assigned */
    struct kn *dir;    /* NULL while not enumerated */
    struct grp *group; /* NULL: no IOMMU */
    int group_id;      /* stays when removed */
    int numa;
    bool plugged; /* answers on the bus */
    bool leaving; /* pulled, and the kernel has not removed it yet */
    bool is_bridge;
    struct fn *pf; /* VF: its physical function */
    unsigned num_vfs, total_vfs;
    char *missing, *garbage;
    /* driver core */
    struct drv *drv;
    char *override;
    bool locked; /* device lock */
    unsigned enable_cnt;
    /* power */
    enum pstate pstate;
    bool pm_auto;
    bool idle_d3; /* bound to a VFIO driver that puts it to sleep when idle */
    bool d3cold;
    /* reset */
    unsigned methods_supported; /* bits RM_* */
    uint8_t methods[RM_MAX];
    unsigned n_methods;
    /* VFIO */
    bool registered; /* can be opened */
    int cdev_id;     /* -1: none */
    struct kn *cdev_node;
    unsigned cdev_files;
    struct sim_file *holder; /* file that has the device open */
    bool closing;
    bool touched;    /* the user has claimed BAR0 */
    uint64_t opened; /* device opens so far */
};

struct drv {
    struct drv *next;
    char name[40];
    bool vfio;                       /* vfio-pci or a variant driver */
    bool harmless;                   /* does no DMA: pcieport, pci-stub */
    uint32_t class_want, class_mask; /* static match on class, mask 0: none */
    uint16_t vendor_want;            /* 0: any */
    struct {
        uint32_t vendor, device, class_code, class_mask;
    } id[16];
    unsigned n_id;
    struct kn *dir; /* NULL: not loaded */
};

struct grp {
    struct grp *next;
    int id;
    char type[16];
    struct kn *dir, *devices; /* NULL while it has no member */
    unsigned n_vfio;          /* registered members */
    struct kn *node, *class_dir;
    struct sim_file *file; /* the one that has the group open */
    bool container;        /* and has put it into a container */
    unsigned cdev_bound;
};

/* ---- the kernel ---- */

struct sim_kernel {
    pthread_mutex_t lock;
    pthread_cond_t cond; /* broadcast on every change that somebody may wait for */
    bool stopping;
    unsigned inside; /* threads in a blocking wait */
    uint64_t wake_gen;
    double scale;
    bool iommufd, vfio_loaded, strict_devmem, lockdown, autoprobe, no_iommu;
    bool disable_idle_d3; /* as the parameter reads */
    bool stay_d0;         /* what vfio-pci took of it when it was loaded: later writes do nothing */
    char *state_dir;
    struct kn *root;
    uint64_t next_ino;
    unsigned long seqnum;
    struct fn *fns;
    struct drv *drvs;
    struct grp *grps;
    struct vmm *vmms;
    struct rule *rules;
    struct uev *uev_head, *uev_tail;
    bool uev_busy, rescan_locked;
    void (*on_uevent)(void *ctx, const char *payload, size_t len);
    void *uevent_ctx;
    void (*on_access)(void *ctx, struct pci_addr a, const struct sim_access *acc);
    void *access_ctx;
};

struct sim_file {
    struct sim_kernel *k;
    struct kn *kn;
    int flags;
    char *text; /* what show() gave */
    size_t text_len;
    struct grp *grp; /* group node */
    bool cdev;
    long pid;            /* of the opener, where a front knows it */
    uint64_t flushed_ns; /* a front saw a close(2); the release is about to come */
};

void k_lock(struct sim_kernel *k);
void k_unlock(struct sim_kernel *k); /* delivers queued uevents */
/* Waits for any change, at most until `until_ns` (UINT64_MAX: no limit). False once the kernel is
 * being stopped. */
bool k_wait(struct sim_kernel *k, uint64_t until_ns);
/* Blocks for `ns` of simulated time that is already scaled; UINT64_MAX: until `wake_gen` moves. */
void k_block(struct sim_kernel *k, uint64_t ns);
void k_delay_ms(struct sim_kernel *k, unsigned ms); /* unscaled milliseconds */
void k_changed(struct sim_kernel *k);
uint64_t k_now(void);
/* Ends all blocking calls with ENODEV; for shutting down. Takes the lock itself. */
void sim_k_stop(struct sim_kernel *k);

int k_open_kn(struct sim_kernel *k, struct kn *n, int flags, struct sim_file **ret);
void k_flush(struct sim_file *f); /* takes the lock itself */

/* kernel_fn.c */
struct fn *fn_find(struct sim_kernel *k, const char *name); /* enumerated ones */
struct fn *fn_at(struct sim_kernel *k, struct pci_addr a);  /* all */
int fn_new(struct sim_kernel *k, const struct sim_fn_spec *s, struct fn *pf, struct fn **ret,
           struct err *e);
void fn_free(struct fn *f);
void fn_enumerate(struct sim_kernel *k, struct fn *f, bool announce);
void fn_withdraw(struct sim_kernel *k, struct fn *f);
int fn_set_vfs(struct sim_kernel *k, struct fn *f, unsigned n, struct err *e);
int fn_lock(struct sim_kernel *k, struct fn *f); /* device lock; -ENODEV when stopping */
void fn_unlock(struct sim_kernel *k, struct fn *f);
bool fn_attr_missing(const struct fn *f, const char *attr);

/* kernel_topo.c: bridges, groups, BARs */
int topo_bridge_for(struct sim_kernel *k, struct fn *f, struct err *e);
void topo_assign_bars(struct sim_kernel *k, struct fn *f);
struct grp *grp_get(struct sim_kernel *k, int id);
int grp_fresh(struct sim_kernel *k);
void grp_add(struct sim_kernel *k, struct fn *f);
void grp_del(struct sim_kernel *k, struct fn *f);
/* The kernel's rule; *ret_bad is the offending function. */
bool grp_viable(struct sim_kernel *k, const struct grp *g, const struct fn **ret_bad);
bool grp_user_owned(struct sim_kernel *k, const struct grp *g);

/* kernel_core.c: the driver core */
struct drv *drv_find(struct sim_kernel *k, const char *name); /* loaded ones */
struct drv *drv_load(struct sim_kernel *k, const char *name); /* binds what matches by override */
int drv_unload(struct sim_kernel *k, const char *name);
bool drv_match(const struct drv *d, const struct fn *f);
int core_attach(struct sim_kernel *k, struct drv *d, struct fn *f); /* device lock held */
int core_probe_any(struct sim_kernel *k, struct fn *f);             /* takes the device lock */
int core_detach(struct sim_kernel *k, struct fn *f);                /* takes the device lock */
int core_remove(struct sim_kernel *k, struct fn *f);                /* rescan lock held */
int core_rescan(struct sim_kernel *k);
int core_rescan_lock(struct sim_kernel *k);
void core_rescan_unlock(struct sim_kernel *k);
void core_boot_bind(struct sim_kernel *k, struct fn *f, const char *driver);

/* kernel_power.c */
void pm_idle(struct sim_kernel *k, struct fn *f); /* to D3hot if nothing keeps it awake */
void pm_wake(struct sim_kernel *k, struct fn *f);
int fn_reset(struct sim_kernel *k, struct fn *f);             /* device lock held */
int fn_reset_by(struct sim_kernel *k, struct fn *f, int how); /* one method, an enum rmethod */
const char *pstate_name(enum pstate s);
void methods_default(struct sim_kernel *k, struct fn *f);
bool method_possible(struct sim_kernel *k, const struct fn *f, int how, bool probe);

/* vfionode.c */
int vfio_register(struct sim_kernel *k, struct fn *f);
void vfio_unregister(struct sim_kernel *k, struct fn *f); /* blocks while a user has it open */
void vfio_module_loaded(struct sim_kernel *k);
void vfio_settle(struct sim_kernel *k, const struct fn *f, const struct grp *g);
int vmm_open(struct sim_kernel *k, struct fn *f, bool group, bool touch);
int vmm_close(struct sim_kernel *k, struct fn *f);
void vmm_free_all(struct sim_kernel *k);
const char *vfio_holder(const struct sim_kernel *k, const struct fn *f);

/* sysfs_attr.c, sysfs_bin.c, sysfs_bus.c */
void sysfs_fn_files(struct sim_kernel *k, struct fn *f);
void sysfs_fn_bin_files(struct sim_kernel *k, struct fn *f);
void sysfs_driver_files(struct sim_kernel *k, struct drv *d);
void sysfs_group_files(struct sim_kernel *k, struct grp *g);
int sysfs_static_files(struct sim_kernel *k, const struct sim_kernel_params *p);
uint32_t fn_bar_read(struct fn *f, uint32_t off);
uint32_t fn_cfg_read(struct fn *f, uint32_t off, unsigned width);
bool parse_ulong(const char *s, size_t n, unsigned long *ret);
ssize_t showf(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Copies attribute text without the trailing newline; false if it does not fit. */
bool take_word(char *dst, size_t size, const char *s, size_t n);

/* uevent.c */
void uevent_fn(struct sim_kernel *k, const struct fn *f, const char *action);
void uevent_put(struct sim_kernel *k, const char *action, const char *devpath, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* kernel_rules.c: operations that fail, hang or are ignored on demand */
enum op_class { OP_WRITE = 1, OP_OPEN = 2, OP_READ = 4, OP_IOCTL = 8 };
/* 0: go on; -errno: fail with it; 1: pretend success and do nothing. May block. `text` is what is
 * written, or NULL. */
int rules_check(struct sim_kernel *k, const struct kn *n, enum op_class op, const char *text,
                size_t len);
int rules_command(struct sim_kernel *k, int argc, char **argv, char *reply, size_t size,
                  struct err *e);
void rules_free(struct sim_kernel *k);
void rules_show(struct sim_kernel *k, char *buf, size_t size);

#endif
