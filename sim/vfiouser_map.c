/* SPDX-License-Identifier: Apache-2.0
 *
 * DMA windows. See sim/vfiouser_map.h.
 */
#include "sim/vfiouser_map.h"

#include "sim/vfiouser_proto.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void
vfu_maps_clear(struct vfu_maps *m)
{
    free(m->w);
    *m = (struct vfu_maps){0};
}

/* A range that ends with the address space has a last byte but no end: compare those. */
static bool
range_ok(uint64_t addr, uint64_t size)
{
    return size > 0 && addr % VFU_PAGE == 0 && size % VFU_PAGE == 0 && addr + (size - 1) >= addr;
}

static uint64_t
last(const struct vfu_window *w)
{
    return w->addr + (w->size - 1);
}

/* First window that does not end before `addr`. */
static size_t
find(const struct vfu_maps *m, uint64_t addr)
{
    size_t lo = 0, hi = m->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (last(&m->w[mid]) < addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int
grow(struct vfu_maps *m)
{
    size_t cap = m->cap ? m->cap * 2 : 16;
    struct vfu_window *w;

    if (m->n >= VFU_MAPS_MAX)
        return -ENOSPC;
    if (m->n < m->cap)
        return 0;
    w = realloc(m->w, cap * sizeof(*w));
    if (!w)
        return -ENOMEM;
    m->w = w;
    m->cap = cap;
    return 0;
}

int
vfu_maps_add(struct vfu_maps *m, uint64_t addr, uint64_t size)
{
    size_t i;
    int r;

    if (!range_ok(addr, size))
        return -EINVAL;
    i = find(m, addr);
    if (i < m->n && m->w[i].addr <= addr + (size - 1))
        return -EEXIST;
    r = grow(m);
    if (r < 0)
        return r;
    memmove(&m->w[i + 1], &m->w[i], (m->n - i) * sizeof(m->w[0]));
    m->w[i] = (struct vfu_window){addr, size};
    m->n++;
    return 0;
}

int
vfu_maps_remove(struct vfu_maps *m, uint64_t addr, uint64_t size, uint64_t *ret_size)
{
    uint64_t end, sum = 0;
    size_t i, j;

    if (!range_ok(addr, size))
        return -EINVAL;
    end = addr + (size - 1);
    i = find(m, addr);
    for (j = i; j < m->n && m->w[j].addr <= end; j++) {
        if (m->w[j].addr < addr || last(&m->w[j]) > end)
            return -EINVAL;
        sum += m->w[j].size;
    }
    if (j > i)
        memmove(&m->w[i], &m->w[j], (m->n - j) * sizeof(m->w[0]));
    m->n -= j - i;
    *ret_size = sum;
    return 0;
}
