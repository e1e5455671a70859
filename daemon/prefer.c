/* SPDX-License-Identifier: Apache-2.0
 *
 * GetPreferredAllocation: what must be included first; then whole gangs, then devices that are
 * ready now, on as few NUMA nodes as possible.
 */
#include "daemon/node.h"

#include "base/cleanup.h"

#include <string.h>

#define NUMA_MAX 64

struct candidate {
    const char *id;
    const struct unit *u; /* NULL for an ID we do not know */
    bool taken;
};

static int
numa_of(const struct candidate *c)
{
    int node = c->u ? c->u->facts.numa_node : -1;

    return node >= 0 && node < NUMA_MAX ? node : NUMA_MAX;
}

static bool
is_ready(const struct candidate *c)
{
    return c->u && (c->u->state == UNIT_READY || c->u->state == UNIT_ALLOCATED);
}

/* The better of two candidates for the set so far: same NUMA node as most of the chosen, then the
 * node with most candidates left, then ready, then the order of the address. */
static bool
better(const struct candidate *a, const struct candidate *b, const unsigned *chosen,
       const unsigned *left, size_t need)
{
    int na = numa_of(a), nb = numa_of(b);

    if (chosen[na] != chosen[nb])
        return chosen[na] > chosen[nb];
    if (na != nb) {
        bool fits_a = left[na] >= need, fits_b = left[nb] >= need;

        if (fits_a != fits_b)
            return fits_a;
        /* both fit: take the fuller-used node's remainder first, to keep whole nodes free */
        if (left[na] != left[nb])
            return fits_a ? left[na] < left[nb] : left[na] > left[nb];
    }
    if (is_ready(a) != is_ready(b))
        return is_ready(a);
    return strcmp(a->id, b->id) < 0;
}

static bool
same_gang(const struct candidate *a, const struct candidate *b)
{
    return a->u && b->u && a->u->facts.gang_size > 1 &&
           a->u->facts.iommu_group == b->u->facts.iommu_group;
}

/* A member of a gang is worth taking only if the whole gang (what is not taken of it) fits. */
static bool
fits(const struct candidate *c, size_t n, const struct candidate *x, size_t need)
{
    size_t left = 0, all = 0;

    if (!x->u || x->u->facts.gang_size <= 1)
        return true;
    for (size_t i = 0; i < n; i++) {
        all += same_gang(&c[i], x);
        left += same_gang(&c[i], x) && !c[i].taken;
    }
    return all == x->u->facts.gang_size && left <= need;
}

static size_t
take_must(struct candidate *c, size_t n, const char *const *must, size_t n_must, size_t size,
          const char **ret, unsigned *chosen)
{
    size_t k = 0;

    for (size_t i = 0; i < n_must && k < size; i++)
        for (size_t j = 0; j < n; j++)
            if (!c[j].taken && strcmp(c[j].id, must[i]) == 0) {
                c[j].taken = true;
                chosen[numa_of(&c[j])]++;
                ret[k++] = c[j].id;
                break;
            }
    return k;
}

size_t
prefer_devices(void *ctx, const char *resource, const char *const *available, size_t n_available,
               const char *const *must, size_t n_must, size_t size, const char **ret)
{
    struct node *n = ctx;
    struct candidate *c = calloc(n_available ? n_available : 1, sizeof(*c));
    unsigned chosen[NUMA_MAX + 1] = {0};
    size_t k;

    (void)resource;
    if (!c)
        return 0; /* an empty preference leaves the choice to the kubelet */
    for (size_t i = 0; i < n_available; i++)
        c[i] = (struct candidate){available[i], node_find(n, available[i]), false};
    k = take_must(c, n_available, must, n_must, size, ret, chosen);
    while (k < size) {
        unsigned left[NUMA_MAX + 1] = {0};
        struct candidate *best = NULL;

        for (size_t i = 0; i < n_available; i++)
            if (!c[i].taken)
                left[numa_of(&c[i])]++;
        for (size_t i = 0; i < n_available; i++)
            if (!c[i].taken && fits(c, n_available, &c[i], size - k) &&
                (!best || better(&c[i], best, chosen, left, size - k)))
                best = &c[i];
        if (!best)
            break;
        for (size_t i = 0; i < n_available; i++)
            if (!c[i].taken && (&c[i] == best || same_gang(&c[i], best))) {
                c[i].taken = true;
                chosen[numa_of(&c[i])]++;
                ret[k++] = c[i].id;
            }
    }
    free(c);
    return k;
}
