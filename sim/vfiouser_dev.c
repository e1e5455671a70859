/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands of vfio-user: one table, one function each. See sim/vfiouser_dev.h.
 */
#include "sim/vfiouser_dev.h"

#include "base/cleanup.h"
#include "sim/cfgspace.h"
#include "sim/vfiouser_irq.h"
#include "sim/vfiouser_map.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION_TEXT_MAX 4096u

/* Neither write_multiple nor twin_socket: not offered. */
static const char capabilities[] = "{\"capabilities\":{\"max_msg_fds\":16,"
                                   "\"max_data_xfer_size\":1048576,\"max_dma_maps\":65535,"
                                   "\"pgsizes\":4096}}";

struct vfu_dev {
    struct sim_gpu *gpu;
    const struct sim_model *model;
    bool versioned; /* the client has said VERSION */
    struct vfu_irqs irqs;
    struct vfu_maps maps;
    struct vfu_counts counts;
};

/* One command's run: reads the body, fills the reply's. */
struct run {
    struct vfu_dev *d;
    struct vfu_msg *m;
    struct buf *out; /* the whole reply, for those that make it themselves */
    bool replied;
    uint64_t hold_ns;
};

static void
reply(struct run *r, const void *body, size_t n)
{
    vfu_reply(r->out, &r->m->hdr, body, n);
    r->replied = true;
}

/* ---- version, device ---- */

static int
run_version(struct run *r)
{
    struct vfu_version v;
    struct buf body;
    size_t n;

    if (r->d->versioned)
        return -EINVAL;
    if (!buf_get(&r->m->body, &v, sizeof(v)))
        return -EINVAL;
    /* what the client can do is of no interest to us: it is never asked for anything */
    n = buf_left(&r->m->body);
    if (n > VERSION_TEXT_MAX || (n > 0 && buf_peek(&r->m->body)[n - 1] != '\0'))
        return -EINVAL;
    if (v.major != 0)
        return -ENOTSUP;
    v.minor = 0;
    buf_init(&body, sizeof(v) + sizeof(capabilities));
    if (buf_put(&body, &v, sizeof(v)) && buf_put(&body, capabilities, sizeof(capabilities))) {
        reply(r, body.data, body.len);
        r->d->versioned = true;
    }
    buf_fini(&body);
    return r->replied ? 0 : -ENOMEM;
}

static int
run_info(struct run *r)
{
    struct vfu_info i;

    if (!buf_get(&r->m->body, &i, sizeof(i)) || i.argsz < sizeof(i))
        return -EINVAL;
    i = (struct vfu_info){.argsz = sizeof(i),
                          .flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
                          .regions = VFU_REGIONS,
                          .irqs = VFU_IRQS};
    reply(r, &i, sizeof(i));
    return 0;
}

/* Off the bus: accesses fail, and a guest reads all-ones. Without power they succeed and give the
 * model's all-ones, which a guest cannot tell from that, but its VMM can. */
static bool
unreachable(const struct sim_gpu *g)
{
    return sim_gpu_gone(g) && sim_gpu_power(g) != 4;
}

/* As a bus reset does it: configuration is lost. The reply is held back until the device answers
 * again, since a client takes the reset for done then, and a guest's firmware looks for devices
 * without patience. One that does not come back is nothing to wait for. */
static int
run_reset(struct run *r)
{
    uint64_t ns;

    r->d->counts.bus_resets++;
    if (unreachable(r->d->gpu))
        return -EIO;
    sim_gpu_hot_reset(r->d->gpu);
    ns = sim_gpu_retry_ns(r->d->gpu);
    r->hold_ns = ns == UINT64_MAX ? 0 : ns;
    reply(r, NULL, 0);
    return 0;
}

/* ---- DMA windows ---- */

static int
run_dma_map(struct run *r)
{
    struct vfu_dma_map q;
    int res;

    if (!buf_get(&r->m->body, &q, sizeof(q)) || r->m->n_fd > 1 ||
        (q.flags & ~(uint32_t)(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)))
        return -EINVAL;
    res = vfu_maps_add(&r->d->maps, q.addr, q.size);
    if (res == 0)
        reply(r, NULL, 0);
    return res;
}

static int
run_dma_unmap(struct run *r)
{
    struct vfu_dma_unmap q;
    int res = 0;

    if (!buf_get(&r->m->body, &q, sizeof(q)) || (q.flags & ~(uint32_t)VFIO_DMA_UNMAP_FLAG_ALL))
        return -EINVAL;
    q.argsz = sizeof(q);
    if (q.flags & VFIO_DMA_UNMAP_FLAG_ALL) {
        if (q.addr != 0 || q.size != 0)
            return -EINVAL;
        vfu_maps_clear(&r->d->maps);
    } else {
        res = vfu_maps_remove(&r->d->maps, q.addr, q.size, &q.size);
    }
    if (res == 0)
        reply(r, &q, sizeof(q));
    return res;
}

/* ---- interrupts ---- */

static int
run_irq_info(struct run *r)
{
    struct vfu_irq_info i;
    int res;

    if (!buf_get(&r->m->body, &i, sizeof(i)) || i.argsz < sizeof(i))
        return -EINVAL;
    res = vfu_irqs_info(&r->d->irqs, &i);
    if (res == 0)
        reply(r, &i, sizeof(i));
    return res;
}

static int
run_set_irqs(struct run *r)
{
    struct vfu_irq_set s;
    int res;

    if (!buf_get(&r->m->body, &s, sizeof(s)))
        return -EINVAL;
    res = vfu_irqs_set(&r->d->irqs, &s, r->m);
    if (res == 0)
        reply(r, NULL, 0);
    return res;
}

/* ---- regions ---- */

static uint64_t
region_size(const struct sim_model *m, uint32_t region)
{
    switch (region) {
    case 0:
        return m->bar0_size;
    case 2:
        return m->bar2_size;
    case 4:
        return m->bar4_size;
    case VFU_REGION_CONFIG:
        return SIM_CFG_SIZE;
    default:
        return 0;
    }
}

/* No region can be mapped: every access has to come by here. */
static int
run_region_info(struct run *r)
{
    struct vfu_region_info i;

    if (!buf_get(&r->m->body, &i, sizeof(i)) || i.argsz < sizeof(i) || i.index >= VFU_REGIONS)
        return -EINVAL;
    i = (struct vfu_region_info){
        .argsz = sizeof(i), .index = i.index, .size = region_size(r->d->model, i.index)};
    if (i.size > 0)
        i.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    reply(r, &i, sizeof(i));
    return 0;
}

/* The largest naturally aligned access that does not go beyond the end. */
static unsigned
cfg_width(uint64_t off, uint32_t left)
{
    if (off % 4 == 0 && left >= 4)
        return 4;
    return off % 2 == 0 && left >= 2 ? 2 : 1;
}

static void
cfg_rw(struct vfu_dev *d, bool write, uint32_t off, uint8_t *p, uint32_t n)
{
    while (n > 0) {
        unsigned width = cfg_width(off, n);
        uint32_t v = 0;

        if (write) {
            memcpy(&v, p, width);
            sim_gpu_cfg_write(d->gpu, off, width, v);
        } else {
            v = sim_gpu_cfg_read(d->gpu, off, width);
            memcpy(p, &v, width);
        }
        off += width;
        p += width;
        n -= width;
    }
}

/* BAR0 knows 32-bit accesses only: of a part of a word, a read gives that part, and a write is
 * lost. */
static void
bar0_rw(struct vfu_dev *d, bool write, uint32_t off, uint8_t *p, uint32_t n)
{
    while (n > 0) {
        uint32_t at = off % 4, step = 4 - at < n ? 4 - at : n, v;

        if (!write) {
            v = sim_gpu_bar_read(d->gpu, off - at);
            memcpy(p, (const uint8_t *)&v + at, step);
        } else if (step == 4) {
            memcpy(&v, p, 4);
            sim_gpu_bar_write(d->gpu, off, v);
        }
        off += step;
        p += step;
        n -= step;
    }
}

/* What may be accessed, else -errno: the size has been said by GET_REGION_INFO. */
static int
check_rw(const struct vfu_dev *d, const struct vfu_rw *q)
{
    uint64_t size = q->region < VFU_REGIONS ? region_size(d->model, q->region) : 0;

    if (size == 0 || q->count > VFU_XFER_MAX || q->offset > size || q->count > size - q->offset)
        return -EINVAL;
    return unreachable(d->gpu) ? -EIO : 0;
}

static void
region_rw(struct vfu_dev *d, bool write, const struct vfu_rw *q, uint8_t *p)
{
    uint64_t *n;

    if (q->region == VFU_REGION_CONFIG) {
        n = write ? &d->counts.cfg_writes : &d->counts.cfg_reads;
        cfg_rw(d, write, (uint32_t)q->offset, p, q->count);
    } else {
        n = write ? &d->counts.bar_writes : &d->counts.bar_reads;
        if (q->region == 0)
            bar0_rw(d, write, (uint32_t)q->offset, p, q->count);
        else if (!write) /* memory of the GPU that the model does not have */
            memset(p, sim_gpu_gone(d->gpu) ? 0xff : 0, q->count);
    }
    (*n)++;
}

static int
run_read(struct run *r)
{
    struct vfu_rw q;
    uint8_t *p;
    int res;

    if (!buf_get(&r->m->body, &q, sizeof(q)))
        return -EINVAL;
    res = check_rw(r->d, &q);
    if (res < 0)
        return res;
    p = malloc(sizeof(q) + q.count);
    if (!p)
        return -ENOMEM;
    memcpy(p, &q, sizeof(q));
    region_rw(r->d, false, &q, p + sizeof(q));
    reply(r, p, sizeof(q) + q.count);
    free(p);
    return 0;
}

static int
run_write(struct run *r)
{
    struct vfu_rw q;
    int res;

    if (!buf_get(&r->m->body, &q, sizeof(q)) || buf_left(&r->m->body) != q.count)
        return -EINVAL;
    res = check_rw(r->d, &q);
    if (res < 0)
        return res;
    region_rw(r->d, true, &q, r->m->body.data + r->m->body.off);
    reply(r, &q, sizeof(q));
    return 0;
}

/* ---- the table ---- */

static const struct {
    enum vfu_cmd cmd;
    size_t size; /* of the body's structure */
    bool tail;   /* data may follow it; the function checks them */
    bool fds;    /* takes descriptors */
    int (*run)(struct run *r);
} commands[] = {
    {VFU_VERSION, sizeof(struct vfu_version), true, false, run_version},
    {VFU_DMA_MAP, sizeof(struct vfu_dma_map), false, true, run_dma_map},
    {VFU_DMA_UNMAP, sizeof(struct vfu_dma_unmap), false, false, run_dma_unmap},
    {VFU_GET_INFO, sizeof(struct vfu_info), false, false, run_info},
    {VFU_GET_REGION_INFO, sizeof(struct vfu_region_info), false, false, run_region_info},
    {VFU_GET_IRQ_INFO, sizeof(struct vfu_irq_info), false, false, run_irq_info},
    {VFU_SET_IRQS, sizeof(struct vfu_irq_set), true, true, run_set_irqs},
    {VFU_REGION_READ, sizeof(struct vfu_rw), false, false, run_read},
    {VFU_REGION_WRITE, sizeof(struct vfu_rw), true, false, run_write},
    {VFU_RESET, 0, false, false, run_reset},
};

static const size_t n_commands = ARRAY_SIZE(commands);

static int
run_command(struct run *r)
{
    size_t i;

    for (i = 0; i < n_commands && commands[i].cmd != r->m->hdr.cmd; i++)
        ;
    if (i == n_commands)
        return -ENOTSUP;
    if (!r->d->versioned && commands[i].cmd != VFU_VERSION)
        return -EPROTO;
    if (r->m->body.len < commands[i].size ||
        (!commands[i].tail && r->m->body.len != commands[i].size) ||
        (!commands[i].fds && r->m->n_fd > 0))
        return -EINVAL;
    return commands[i].run(r);
}

uint64_t
vfu_dev_handle(struct vfu_dev *d, struct vfu_msg *m, struct buf *out)
{
    struct run r = {.d = d, .m = m, .out = out};
    int res;

    d->counts.messages++;
    buf_clear(out);
    res = run_command(&r);
    if (res < 0) {
        d->counts.errors++;
        vfu_reply_error(out, &m->hdr, -res);
    }
    return r.hold_ns;
}

/* ---- life ---- */

/* The number of vectors as the capabilities in configuration space have it. */
static void
count_vectors(struct sim_gpu *g, unsigned *ret_msi, unsigned *ret_msix)
{
    unsigned at = sim_gpu_cfg_read(g, 0x34, 1);

    for (unsigned i = 0; at && i < 48; i++) {
        unsigned id = sim_gpu_cfg_read(g, at, 1), ctl = sim_gpu_cfg_read(g, at + 2, 2);

        if (id == 0x05)
            *ret_msi = 1u << (ctl >> 1 & 7);
        else if (id == 0x11)
            *ret_msix = (ctl & 0x7ff) + 1;
        at = sim_gpu_cfg_read(g, at + 1, 1);
    }
}

int
vfu_dev_new(struct sim_gpu *gpu, struct vfu_dev **ret, struct err *e)
{
    struct vfu_dev *d = calloc(1, sizeof(*d));
    unsigned msi = 0, msix = 0;

    if (!d)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "make a vfio-user device: out of memory");
    d->gpu = gpu;
    d->model = sim_gpu_model(gpu);
    count_vectors(gpu, &msi, &msix);
    vfu_irqs_init(&d->irqs, msi, msix);
    *ret = d;
    return 0;
}

void
vfu_dev_free(struct vfu_dev *d)
{
    if (!d)
        return;
    vfu_dev_disconnect(d);
    sim_gpu_free(d->gpu);
    free(d);
}

struct sim_gpu *
vfu_dev_gpu(struct vfu_dev *d)
{
    return d->gpu;
}

const struct vfu_counts *
vfu_dev_counts(const struct vfu_dev *d)
{
    return &d->counts;
}

size_t
vfu_dev_maps(const struct vfu_dev *d)
{
    return d->maps.n;
}

void
vfu_dev_connect(struct vfu_dev *d)
{
    vfu_dev_disconnect(d);
    d->counts.clients++;
}

void
vfu_dev_disconnect(struct vfu_dev *d)
{
    d->versioned = false;
    vfu_irqs_close(&d->irqs);
    vfu_maps_clear(&d->maps);
}

int
vfu_dev_irq(struct vfu_dev *d, unsigned index, unsigned vector, struct err *e)
{
    int r = vfu_irqs_raise(&d->irqs, index, vector);

    return r == 0 ? 0 : err_errno(e, -r, ERR_CLASS_INVALID, "raise interrupt %u:%u", index, vector);
}
