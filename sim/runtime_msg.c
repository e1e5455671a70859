/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: NRI's messages, by field numbers (containerd/nri pkg/api/api.proto).
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

static void
put_entries(struct buf *b, unsigned field, const struct rt_edits *x, enum rt_list l)
{
    for (size_t i = 0; i < x->list[l].n; i++)
        spb_put_entry(b, field, x->list[l].v[i].key, x->list[l].v[i].value);
}

static void
put_device(struct buf *b, unsigned field, const struct rt_item *d)
{
    const char type[2] = {d->type, '\0'};
    struct buf m;

    buf_init(&m, RT_PAYLOAD_MAX);
    spb_put_string(&m, 1, d->key);
    spb_put_string(&m, 2, type);
    spb_put_varint(&m, 3, (uint64_t)d->major);
    spb_put_varint(&m, 4, (uint64_t)d->minor);
    spb_put_message(b, field, &m);
}

/* LinuxContainer has devices as field 2, LinuxContainerAdjustment as field 1. */
static void
put_linux(struct buf *b, unsigned field, unsigned devices, const struct rt_edits *x)
{
    struct buf m;

    if (x->list[RT_DEVICES].n == 0)
        return;
    buf_init(&m, RT_PAYLOAD_MAX);
    for (size_t i = 0; i < x->list[RT_DEVICES].n; i++)
        put_device(&m, devices, &x->list[RT_DEVICES].v[i]);
    spb_put_message(b, field, &m);
}

static void
put_mounts(struct buf *b, unsigned field, const struct rt_edits *x)
{
    for (size_t i = 0; i < x->list[RT_MOUNTS].n; i++) {
        struct buf m;

        buf_init(&m, RT_PAYLOAD_MAX);
        spb_put_string(&m, 1, x->list[RT_MOUNTS].v[i].key);
        spb_put_string(&m, 2, "bind");
        spb_put_string(&m, 3, x->list[RT_MOUNTS].v[i].value);
        spb_put_message(b, field, &m);
    }
}

/* Hooks with all of them as create_runtime, field 2. */
static void
put_hooks(struct buf *b, unsigned field, const struct rt_edits *x)
{
    struct buf m;

    if (x->list[RT_HOOKS].n == 0)
        return;
    buf_init(&m, RT_PAYLOAD_MAX);
    for (size_t i = 0; i < x->list[RT_HOOKS].n; i++) {
        struct buf h;

        buf_init(&h, RT_PAYLOAD_MAX);
        spb_put_string(&h, 1, x->list[RT_HOOKS].v[i].key);
        spb_put_message(&m, 2, &h);
    }
    spb_put_message(b, field, &m);
}

static void
put_cdi(struct buf *b, unsigned field, const struct rt_edits *x)
{
    for (size_t i = 0; i < x->list[RT_CDI].n; i++) {
        struct buf m;

        buf_init(&m, RT_PAYLOAD_MAX);
        spb_put_string(&m, 1, x->list[RT_CDI].v[i].key);
        spb_put_message(b, field, &m);
    }
}

void
rt_msg_pod(struct buf *b, unsigned field, const struct rt_pod *p)
{
    struct buf m;

    buf_init(&m, RT_PAYLOAD_MAX);
    spb_put_string(&m, 1, p->id);
    spb_put_string(&m, 2, p->name);
    spb_put_string(&m, 3, p->uid);
    spb_put_string(&m, 4, p->ns);
    spb_put_entry(&m, 5, "io.kubernetes.pod.name", p->name);
    spb_put_entry(&m, 5, "io.kubernetes.pod.namespace", p->ns);
    spb_put_entry(&m, 5, "io.kubernetes.pod.uid", p->uid);
    put_entries(&m, 6, &p->has, RT_ANNOTATIONS);
    spb_put_string(&m, 7, p->handler);
    spb_put_message(b, field, &m);
}

void
rt_msg_container(const struct sim_runtime *rt, struct buf *b, unsigned field,
                 const struct rt_container *c, const struct rt_edits *has)
{
    struct buf m;

    buf_init(&m, RT_PAYLOAD_MAX);
    spb_put_string(&m, 1, c->id);
    spb_put_string(&m, 2, c->pod->id);
    spb_put_string(&m, 3, c->name);
    spb_put_varint(&m, 4, (uint64_t)c->state);
    spb_put_entry(&m, 5, "io.kubernetes.container.name", c->name);
    put_entries(&m, 6, has, RT_ANNOTATIONS);
    for (size_t i = 0; i < has->list[RT_ENV].n; i++) {
        _cleanup_free_ char *s = NULL;

        if (asprintf(&s, "%s=%s", has->list[RT_ENV].v[i].key, has->list[RT_ENV].v[i].value) < 0)
            s = NULL;
        spb_put_string(&m, 8, s);
    }
    put_mounts(&m, 9, has);
    put_hooks(&m, 10, has);
    put_linux(&m, 11, 2, has);
    if (rt->traits.tells_cdi && rt->release->validates)
        put_cdi(&m, 20, has);
    spb_put_message(b, field, &m);
}

void
rt_msg_adjustment(struct buf *b, unsigned field, const struct rt_edits *x)
{
    struct buf m;

    buf_init(&m, RT_PAYLOAD_MAX);
    put_entries(&m, 2, x, RT_ANNOTATIONS);
    put_mounts(&m, 3, x);
    put_entries(&m, 4, x, RT_ENV); /* KeyValue has a map entry's numbers */
    put_hooks(&m, 5, x);
    put_linux(&m, 6, 1, x);
    put_cdi(&m, 8, x);
    spb_put_message(b, field, &m);
}

/* ---- owners: map<container, FieldOwners> ---- */

static void
put_field_owners(struct buf *b, unsigned number, bool simple, const struct rt_edits *x,
                 enum rt_list l)
{
    struct buf entry, owners;

    if (x->list[l].n == 0)
        return;
    buf_init(&entry, RT_PAYLOAD_MAX);
    spb_put_varint(&entry, 1, number);
    if (simple) {
        spb_put_string(&entry, 2, x->list[l].v[x->list[l].n - 1].owner);
    } else {
        buf_init(&owners, RT_PAYLOAD_MAX);
        for (size_t i = 0; i < x->list[l].n; i++)
            spb_put_entry(&owners, 1, x->list[l].v[i].key, x->list[l].v[i].owner);
        spb_put_message(&entry, 2, &owners);
    }
    spb_put_message(b, simple ? 1 : 2, &entry);
}

void
rt_msg_owners(struct buf *b, unsigned field, const char *container, const struct rt_edits *x)
{
    /* enum Field */
    static const struct {
        enum rt_list list;
        unsigned number;
        bool simple;
    } fields[] = {{RT_ANNOTATIONS, 1, false}, {RT_MOUNTS, 2, false}, {RT_HOOKS, 3, true},
                  {RT_DEVICES, 4, false},     {RT_CDI, 5, false},    {RT_ENV, 6, false}};
    struct buf owning, entry, mine;

    buf_init(&owning, RT_PAYLOAD_MAX);
    buf_init(&entry, RT_PAYLOAD_MAX);
    buf_init(&mine, RT_PAYLOAD_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        put_field_owners(&mine, fields[i].number, fields[i].simple, x, fields[i].list);
    spb_put_string(&entry, 1, container);
    spb_put_message(&entry, 2, &mine);
    spb_put_message(&owning, 1, &entry);
    spb_put_message(b, field, &owning);
}

/* ---- reading an adjustment ---- */

/* A message of strings 1 and 2 (map entry, KeyValue, CDIDevice) or 1 and `second` (Mount). */
static bool
read_pair(const struct spb_field *f, unsigned second, struct rt_edits *x, enum rt_list l)
{
    _cleanup_free_ char *key = NULL;
    _cleanup_free_ char *value = NULL;
    struct spb m = spb_sub(f);
    struct spb_field y;

    while (spb_next(&m, &y)) {
        char **to = y.number == 1 ? &key : y.number == second ? &value : NULL;

        if (!to)
            continue;
        free(*to);
        *to = spb_text(&y);
        if (!*to)
            return false;
    }
    if (m.bad)
        return false;
    /* In a map the last of a key wins. */
    if (l == RT_ANNOTATIONS)
        return rt_edits_set(x, l, key ? key : "", value ? value : "", "") != NULL;
    return rt_edits_add(x, l, key ? key : "", value ? value : "") != NULL;
}

static bool
read_device(const struct spb_field *f, struct rt_edits *x)
{
    _cleanup_free_ char *path = NULL;
    struct rt_item got = {0}, *d;
    struct spb m = spb_sub(f);
    struct spb_field y;

    while (spb_next(&m, &y)) {
        if (y.number == 1) {
            free(path);
            path = spb_text(&y);
            m.bad |= !path;
        } else if (y.number == 2 && y.len > 0) {
            got.type = (char)y.data[0];
        } else if (y.number == 3) {
            got.major = (int64_t)y.varint;
        } else if (y.number == 4) {
            got.minor = (int64_t)y.varint;
        }
    }
    d = m.bad ? NULL : rt_edits_add(x, RT_DEVICES, path ? path : "", "");
    if (!d)
        return false;
    d->type = got.type;
    d->major = got.major;
    d->minor = got.minor;
    return true;
}

/* LinuxContainerAdjustment: devices are field 1. */
static bool
read_linux(const struct spb_field *f, struct rt_edits *x)
{
    struct spb m = spb_sub(f);
    struct spb_field y;

    while (spb_next(&m, &y))
        if (y.number == 1 && !read_device(&y, x))
            return false;
    return !m.bad;
}

/* Hooks: each of the lists 1 to 6 has Hook messages, whose path is field 1. */
static bool
read_hooks(const struct spb_field *f, struct rt_edits *x)
{
    struct spb m = spb_sub(f);
    struct spb_field y;

    while (spb_next(&m, &y))
        if (y.number <= 6 && !read_pair(&y, 0, x, RT_HOOKS))
            return false;
    return !m.bad;
}

bool
rt_msg_read_adjustment(const struct spb_field *f, const struct rt_release *rel,
                       struct rt_edits *ret)
{
    struct spb m = spb_sub(f);
    struct spb_field y;
    bool ok = true;

    while (ok && spb_next(&m, &y)) {
        if (y.number == 2)
            ok = read_pair(&y, 2, ret, RT_ANNOTATIONS);
        else if (y.number == 3)
            ok = read_pair(&y, 3, ret, RT_MOUNTS);
        else if (y.number == 4)
            ok = read_pair(&y, 2, ret, RT_ENV);
        else if (y.number == 5)
            ok = read_hooks(&y, ret);
        else if (y.number == 6)
            ok = read_linux(&y, ret);
        else if (y.number == 8 && rel->cdi)
            ok = read_pair(&y, 0, ret, RT_CDI);
    }
    return ok && !m.bad;
}
