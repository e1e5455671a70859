/* SPDX-License-Identifier: Apache-2.0
 *
 * See vfio_model.h. Rules after Linux 6.12: drivers/vfio/{group,container,device_cdev,vfio_main}.c,
 * vfio_iommu_type1.c and pci/vfio_pci_core.c.
 */
#include "vfio_model.h"

#include "base/hw.h"
#include "vfio/abi.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FD_BASE 1000
#define REGION_SHIFT 40 /* VFIO_PCI_OFFSET_SHIFT */

static struct model_file *
file_of(struct model *m, int fd)
{
    assert_in_range(fd, FD_BASE, FD_BASE + MODEL_FILES - 1);
    assert_true(m->file[fd - FD_BASE].open);
    return &m->file[fd - FD_BASE];
}

static int
new_file(struct model *m, enum model_kind kind)
{
    for (int i = 0; i < MODEL_FILES; i++)
        if (m->file[i].refs == 0) {
            m->file[i] = (struct model_file){
                .kind = kind, .open = true, .refs = 1, .fn = -1, .group = -1, .context = -1};
            return i;
        }
    fail_msg("too many files");
    return -1;
}

/* ---- devices ---- */

static void
flr(struct model *m, struct model_fn *f)
{
    uint64_t block = 0;

    (void)sim_gpu_flr(f->gpu, &block);
    m->now += block == UINT64_MAX ? 0 : block;
}

static void
first_open(struct model *m, struct model_fn *f)
{
    if (f->opens++ > 0)
        return;
    sim_gpu_set_power(f->gpu, 0);
    sim_gpu_cfg_write(f->gpu, 4, 2, sim_gpu_cfg_read(f->gpu, 4, 2) | 2u); /* pci_enable_device */
    m->now += HW_MS(20);
    if (!f->no_reset)
        flr(m, f);
}

static void
last_close(struct model *m, struct model_fn *f)
{
    if (--f->opens > 0)
        return;
    if (!f->no_reset)
        flr(m, f);
    sim_gpu_set_power(f->gpu, 3);
    f->request = -1;
}

static void put_file(struct model *m, int i);

static void
release(struct model *m, struct model_file *f)
{
    switch (f->kind) {
    case M_GROUP:
        if (f->context >= 0)
            put_file(m, f->context);
        break;
    case M_DEVICE:
        last_close(m, &m->fn[f->fn]);
        /* the container path holds the group's file; the iommufd path does not */
        if (m->file[f->group].kind == M_GROUP && f->context >= 0)
            put_file(m, f->group);
        break;
    case M_CDEV:
        if (f->bound) {
            last_close(m, &m->fn[f->fn]);
            put_file(m, m->fn[f->fn].owner);
            m->fn[f->fn].owner = -1;
        }
        break;
    case M_CONTAINER:
    case M_IOMMUFD:
    case M_EVENTFD:
    case M_NONE:
        break;
    }
}

static void
put_file(struct model *m, int i)
{
    assert_true(m->file[i].refs > 0);
    if (--m->file[i].refs == 0)
        release(m, &m->file[i]);
}

static void
m_close(void *ctx, int fd)
{
    struct model *m = ctx;

    file_of(m, fd)->open = false;
    put_file(m, fd - FD_BASE);
}

/* ---- nodes ---- */

static int
open_group(struct model *m, int group)
{
    int i;

    for (i = 0; i < MODEL_FILES; i++)
        if (m->file[i].refs > 0 && m->file[i].kind == M_GROUP && m->file[i].group == group)
            return -EBUSY;
    for (unsigned k = 0; k < m->n_fn; k++)
        if (m->fn[k].group == group && m->fn[k].owner >= 0)
            return -EBUSY; /* bound through its cdev */
    i = new_file(m, M_GROUP);
    m->file[i].group = group;
    return FD_BASE + i;
}

static int
m_open(void *ctx, const struct fs_root *root, const char *path)
{
    struct model *m = ctx;
    int n, i;

    if (strcmp(path, "/dev/vfio/vfio") == 0)
        return m->no_container ? -ENOENT : FD_BASE + new_file(m, M_CONTAINER);
    if (strcmp(path, "/dev/iommu") == 0)
        return m->iommufd ? FD_BASE + new_file(m, M_IOMMUFD) : -ENOENT;
    if (!fs_exists(root, path))
        return -ENOENT;
    if (sscanf(path, "/dev/vfio/devices/vfio%d", &n) == 1) {
        for (unsigned k = 0; k < m->n_fn; k++) {
            if (m->fn[k].cdev != n)
                continue;
            i = new_file(m, M_CDEV);
            m->file[i].fn = (int)k;
            return FD_BASE + i;
        }
        return -ENODEV;
    }
    return sscanf(path, "/dev/vfio/%d", &n) == 1 ? open_group(m, n) : -ENOENT;
}

static int
m_eventfd(void *ctx)
{
    return FD_BASE + new_file(ctx, M_EVENTFD);
}

/* ---- ioctls ---- */

static int
set_context(struct model *m, struct model_file *g, int fd)
{
    struct model_file *c = file_of(m, fd);

    if (g->context >= 0)
        return -EINVAL;
    if (c->kind != M_CONTAINER && c->kind != M_IOMMUFD)
        return -EINVAL;
    if (m->not_viable && c->kind == M_CONTAINER)
        return -EPERM;
    g->context = fd - FD_BASE;
    c->refs++;
    return 0;
}

static int
get_device(struct model *m, struct model_file *g, const char *name)
{
    const struct model_file *c = g->context >= 0 ? &m->file[g->context] : NULL;
    struct pci_addr a;
    int i;

    if (!c || (c->kind == M_CONTAINER && c->type == 0))
        return -EINVAL;
    if (m->not_viable)
        return -EPERM;
    if (!pci_addr_parse(name, &a))
        return -ENODEV;
    for (unsigned k = 0; k < m->n_fn; k++) {
        if (m->fn[k].group != g->group || pci_addr_cmp(m->fn[k].addr, a) != 0)
            continue;
        first_open(m, &m->fn[k]);
        i = new_file(m, M_DEVICE);
        m->file[i].fn = (int)k;
        m->file[i].group = (int)(g - m->file);
        if (c->kind == M_CONTAINER) {
            m->file[i].context = g->context;
            g->refs++;
        }
        return FD_BASE + i;
    }
    return -ENODEV;
}

static int
group_ioctl(struct model *m, struct model_file *g, unsigned long cmd, uintptr_t arg)
{
    /* An ioctl's argument is an address. NOLINTBEGIN(performance-no-int-to-ptr) */
    struct vfio_group_status *st = (struct vfio_group_status *)arg;

    if (cmd == VFIO_GROUP_GET_STATUS) {
        st->flags = m->not_viable ? 0 : VFIO_GROUP_FLAGS_VIABLE;
        if (g->context >= 0)
            st->flags = VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET;
        return 0;
    }
    if (cmd == VFIO_GROUP_SET_CONTAINER)
        return set_context(m, g, *(const int32_t *)arg);
    if (cmd == VFIO_GROUP_UNSET_CONTAINER) {
        if (g->context < 0)
            return -EINVAL;
        put_file(m, g->context);
        g->context = -1;
        return 0;
    }
    return cmd == VFIO_GROUP_GET_DEVICE_FD ? get_device(m, g, (const char *)arg) : -ENOTTY;
    /* NOLINTEND(performance-no-int-to-ptr) */
}

static int
container_ioctl(const struct model *m, struct model_file *c, unsigned long cmd, uintptr_t arg)
{
    bool known = arg == VFIO_TYPE1_IOMMU || (arg == VFIO_TYPE1v2_IOMMU && !m->type1_v1_only);

    if (cmd == VFIO_GET_API_VERSION)
        return VFIO_API_VERSION;
    if (cmd == VFIO_CHECK_EXTENSION)
        return !m->no_type1 && known;
    if (cmd != VFIO_SET_IOMMU)
        return -ENOTTY;
    if (c->refs < 2)
        return -EINVAL; /* no group in it */
    if (m->no_type1 || !known)
        return -ENODEV;
    if (m->no_irq_remapping)
        return -EPERM;
    c->type = (int)arg;
    return 0;
}

static int
region_info(const struct model *m, const struct model_fn *f, struct vfio_region_info *r)
{
    uint64_t size = 0;

    (void)m;
    if (r->argsz < sizeof(*r))
        return -EINVAL;
    if (r->index > VFIO_PCI_VGA_REGION_INDEX)
        return -EINVAL;
    if (r->index == VFIO_PCI_BAR0_REGION_INDEX)
        size = sim_gpu_model(f->gpu)->bar0_size;
    if (r->index == VFIO_PCI_CONFIG_REGION_INDEX)
        size = 4096;
    r->size = size;
    r->offset = (uint64_t)r->index << REGION_SHIFT;
    r->flags = size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;
    return 0;
}

struct hot_info {
    uint32_t argsz, flags, count;
    struct vfio_pci_dependent_device fn[];
};

static int
hot_reset_info(const struct model *m, const struct model_file *df, struct hot_info *h)
{
    const struct model_fn *self = &m->fn[df->fn];
    bool owned = true;

    h->count = 0;
    for (unsigned k = 0; k < m->n_fn; k++) {
        const struct model_fn *f = &m->fn[k];

        if (f->addr.bus != self->addr.bus)
            continue;
        if (df->kind == M_CDEV && f->owner != self->owner && f->group != self->group)
            owned = false;
        h->fn[h->count++] = (struct vfio_pci_dependent_device){
            .group_id = df->kind == M_CDEV ? (f->owner == self->owner ? 1u : UINT32_MAX)
                                           : (uint32_t)f->group,
            .segment = (uint16_t)f->addr.domain,
            .bus = f->addr.bus,
            .devfn = (uint8_t)(f->addr.dev << 3 | f->addr.fn)};
    }
    h->flags =
        df->kind == M_CDEV ? VFIO_HOT_RESET_BY_DEVID | (owned ? VFIO_HOT_RESET_DEVID_OWNED : 0) : 0;
    return 0;
}

static int
hot_reset(struct model *m, const struct model_file *df, const uint32_t *req)
{
    const struct model_fn *self = &m->fn[df->fn];
    const struct model_file *g;

    if ((req[2] == 0) != (df->kind == M_CDEV))
        return -EINVAL;
    g = req[2] ? file_of(m, (int)req[3]) : NULL;
    if (g && g->kind != M_GROUP)
        return -EINVAL;
    for (unsigned k = 0; k < m->n_fn; k++)
        if (m->fn[k].addr.bus == self->addr.bus && m->fn[k].group != self->group)
            return -EINVAL;
    for (unsigned k = 0; k < m->n_fn; k++) {
        uint64_t block = 0;

        if (m->fn[k].addr.bus == self->addr.bus) {
            int num = sim_gpu_bus_reset(m->fn[k].gpu, &block);

            m->now += block;
            if (num)
                return -num;
        }
    }
    return 0;
}

static int
bind_iommufd(struct model *m, struct model_file *df, const struct vfio_bind_iommufd *b)
{
    struct model_fn *f = &m->fn[df->fn];

    if (df->bound || f->owner >= 0)
        return -EINVAL;
    for (int i = 0; i < MODEL_FILES; i++)
        if (m->file[i].refs > 0 && m->file[i].kind == M_GROUP && m->file[i].group == f->group)
            return -EBUSY;
    if (file_of(m, b->iommufd)->kind != M_IOMMUFD)
        return -EBADFD;
    f->owner = b->iommufd - FD_BASE;
    m->file[f->owner].refs++;
    df->bound = true;
    first_open(m, f);
    return 0;
}

static int
device_ioctl(struct model *m, struct model_file *df, unsigned long cmd, uintptr_t arg)
{
    struct model_fn *f = &m->fn[df->fn];
    /* An ioctl's argument is an address. NOLINTBEGIN(performance-no-int-to-ptr) */
    struct vfio_device_info *info = (struct vfio_device_info *)arg;

    if (df->kind == M_CDEV && cmd == VFIO_BIND_IOMMUFD)
        return bind_iommufd(m, df, (const struct vfio_bind_iommufd *)arg);
    if (df->kind == M_CDEV && !df->bound)
        return -EINVAL;
    switch (cmd) {
    case VFIO_DEVICE_GET_INFO:
        if (info->argsz < 16)
            return -EINVAL;
        info->flags = VFIO_DEVICE_FLAGS_PCI | (f->no_reset ? 0 : VFIO_DEVICE_FLAGS_RESET);
        info->num_regions = VFIO_PCI_NUM_REGIONS;
        info->num_irqs = VFIO_PCI_NUM_IRQS;
        return 0;
    case VFIO_DEVICE_GET_REGION_INFO:
        return region_info(m, f, (struct vfio_region_info *)arg);
    case VFIO_DEVICE_SET_IRQS:
        assert_int_equal(((const uint32_t *)arg)[2], VFIO_PCI_REQ_IRQ_INDEX);
        f->request = ((const int32_t *)arg)[5];
        assert_int_equal(file_of(m, f->request)->kind, M_EVENTFD);
        return 0;
    case VFIO_DEVICE_RESET:
        if (f->no_reset)
            return -EINVAL;
        flr(m, f);
        return 0;
    case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
        return hot_reset_info(m, df, (struct hot_info *)arg);
    case VFIO_DEVICE_PCI_HOT_RESET:
        return hot_reset(m, df, (const uint32_t *)arg);
    default:
        return -ENOTTY;
    }
    /* NOLINTEND(performance-no-int-to-ptr) */
}

static int
m_ioctl(void *ctx, int fd, unsigned long cmd, uintptr_t arg)
{
    struct model *m = ctx;
    struct model_file *f = file_of(m, fd);
    int r = -ENOTTY;

    if (cmd == m->fail_cmd)
        return -m->fail_num;
    if (f->kind == M_GROUP)
        r = group_ioctl(m, f, cmd, arg);
    else if (f->kind == M_CONTAINER)
        r = container_ioctl(m, f, cmd, arg);
    else if (f->kind == M_DEVICE || f->kind == M_CDEV)
        r = device_ioctl(m, f, cmd, arg);
    if (r >= 0 && m->tamper)
        m->tamper(cmd, arg);
    return r;
}

/* ---- regions ---- */

/* NULL with *ret_err: refused. */
static struct model_fn *
region_of(struct model *m, int fd, uint64_t off, size_t n, int *ret_err)
{
    const struct model_file *df = file_of(m, fd);
    struct model_fn *f = &m->fn[df->fn];
    uint64_t index = off >> REGION_SHIFT, at = off & (((uint64_t)1 << REGION_SHIFT) - 1);

    *ret_err = -EINVAL;
    if (index != 0 && index != VFIO_PCI_CONFIG_REGION_INDEX)
        return NULL;
    assert_true(n <= 4 && at + n <= (index ? 4096 : sim_gpu_model(f->gpu)->bar0_size));
    *ret_err = -EIO;
    if (index == 0 && (!(sim_gpu_cfg_read(f->gpu, 4, 2) & 2) || sim_gpu_power(f->gpu) != 0))
        return NULL;
    return f;
}

static ssize_t
m_pread(void *ctx, int fd, void *buf, size_t n, uint64_t off)
{
    struct model *m = ctx;
    uint32_t v, at = (uint32_t)off;
    int r;
    struct model_fn *f = region_of(m, fd, off, n, &r);

    if (!f)
        return r;
    m->now += 1000;
    v = off >> REGION_SHIFT ? sim_gpu_cfg_read(f->gpu, at, (unsigned)n)
                            : sim_gpu_bar_read(f->gpu, at);
    memcpy(buf, &v, n); /* little-endian hosts, as the kernel's side is */
    return (ssize_t)n;
}

static ssize_t
m_pwrite(void *ctx, int fd, const void *buf, size_t n, uint64_t off)
{
    struct model *m = ctx;
    uint32_t v = 0, at = (uint32_t)off;
    int r;
    struct model_fn *f = region_of(m, fd, off, n, &r);

    if (!f)
        return r;
    m->now += 1000;
    memcpy(&v, buf, n);
    if (off >> REGION_SHIFT)
        sim_gpu_cfg_write(f->gpu, at, (unsigned)n, v);
    else
        sim_gpu_bar_write(f->gpu, at, v);
    return (ssize_t)n;
}

static uint64_t
m_now(void *ctx)
{
    const struct model *m = ctx;

    return m->now;
}

static void
m_sleep(void *ctx, uint64_t ns)
{
    struct model *m = ctx;

    m->now += ns;
}

/* ---- the node ---- */

void
model_init(struct model *m)
{
    memset(m, 0, sizeof(*m));
    fixture_init(&m->fx);
    m->now = HW_SEC(1000);
    m->fail_cmd = ~0ul;
    m->sys = (struct vfio_sys){.ctx = m,
                               .open = m_open,
                               .ioctl = m_ioctl,
                               .pread = m_pread,
                               .pwrite = m_pwrite,
                               .eventfd = m_eventfd,
                               .close = m_close,
                               .now_ns = m_now,
                               .sleep_ns = m_sleep};
}

void
model_fini(struct model *m)
{
    for (int i = 0; i < MODEL_FILES; i++)
        if (m->file[i].refs > 0)
            fail_msg("file %d of kind %d has %u references left", i, (int)m->file[i].kind,
                     m->file[i].refs);
    for (unsigned i = 0; i < m->n_fn; i++) {
        assert_int_equal(m->fn[i].opens, 0);
        sim_gpu_free(m->fn[i].gpu);
    }
    fixture_fini(&m->fx);
}

struct vfio_fn
model_add(struct model *m, const char *addr, const char *model, int group, int cdev)
{
    const struct sim_gpu_params p = {.model = sim_model_find(model),
                                     .now_ns = m_now,
                                     .clock_ctx = m,
                                     .time_scale = 1.0,
                                     .booted = true};
    struct model_fn *f = &m->fn[m->n_fn++];
    struct vfio_fn fn = {.addr = fixture_addr(addr), .iommu_group = group, .cdev = cdev};
    struct err e = ERR_INIT;
    char path[64];

    assert_non_null(p.model);
    assert_int_equal(sim_gpu_new(&p, &f->gpu, &e), 0);
    f->addr = fn.addr;
    f->group = group;
    f->cdev = cdev;
    f->owner = f->request = -1;
    if (group >= 0) {
        (void)snprintf(path, sizeof(path), "/dev/vfio/%d", group);
        fixture_file(&m->fx, path, "");
    }
    if (cdev >= 0) {
        (void)snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%d", cdev);
        fixture_file(&m->fx, path, "");
    }
    fn.vendor = p.model->vendor;
    fn.device = p.model->device;
    fn.subsys_vendor = p.model->subsys_vendor;
    fn.subsys_device = p.model->subsys_device;
    fn.class_code = p.model->class_code;
    (void)str_copy(fn.driver, sizeof(fn.driver), "vfio-pci");
    return fn;
}

struct sim_gpu *
model_gpu(struct model *m, unsigned i)
{
    return m->fn[i].gpu;
}

uint64_t
model_resets(struct model *m, unsigned i)
{
    return sim_gpu_counts(m->fn[i].gpu).resets;
}

unsigned
model_open(const struct model *m, enum model_kind kind)
{
    unsigned n = 0;

    for (int i = 0; i < MODEL_FILES; i++)
        n += m->file[i].open && m->file[i].refs > 0 && (kind == M_NONE || m->file[i].kind == kind);
    return n;
}
