/* SPDX-License-Identifier: Apache-2.0
 *
 * What is added to a container: devices of its own that the request lacks, and annotations with
 * facts about its devices.
 *
 * A device goes in by CDI name where the runtime injects it, for then the runtime and Kata read the
 * same file; our files have one node for each device and no hooks, so this is the same as the node
 * itself, which is what other runtimes get.
 */
#include "nri/guard_inject.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct guard_injection {
    struct nri_adjust adjust;
    struct nri_kv *annotations;
    struct nri_device devices[GUARD_OWN_MAX];
    const char *cdi[GUARD_OWN_MAX];
    size_t n_texts, texts_size; /* what the above point to */
    char **texts;
};

const struct nri_adjust *
guard_injection_adjust(const struct guard_injection *i)
{
    return &i->adjust;
}

void
guard_injection_free(struct guard_injection *i)
{
    if (!i)
        return;
    for (size_t k = 0; k < i->n_texts; k++)
        free(i->texts[k]);
    free(i->texts);
    free(i->annotations);
    free(i);
}

struct guard_injection *
guard_injection_new(size_t n_annotations)
{
    struct guard_injection *i = calloc(1, sizeof(*i));

    if (!i)
        return NULL;
    i->texts_size = 2 * n_annotations + GUARD_OWN_MAX;
    i->texts = calloc(i->texts_size, sizeof(*i->texts));
    i->annotations = calloc(n_annotations + 1, sizeof(*i->annotations));
    if (!i->texts || !i->annotations) {
        guard_injection_free(i);
        return NULL;
    }
    i->adjust.annotations = i->annotations;
    i->adjust.devices = i->devices;
    i->adjust.cdi = i->cdi;
    return i;
}

/* A copy that lives as long as the injection; NULL: no memory. */
static const char *
keep(struct guard_injection *i, const char *s, size_t len)
{
    char *copy = i->n_texts < i->texts_size ? malloc(len + 1) : NULL;

    if (!copy)
        return NULL;
    memcpy(copy, s, len);
    copy[len] = '\0';
    return i->texts[i->n_texts++] = copy;
}

static bool
by_name(const struct guard_policy *p, bool runtime_cdi)
{
    return p->inject == GUARD_INJECT_CDI || (p->inject == GUARD_INJECT_AUTO && runtime_cdi);
}

static int
no_memory(struct err *e)
{
    return err_set(e, ENOMEM, ERR_CLASS_RETRY, "add to a container: out of memory");
}

int
guard_inject_device(struct guard_case *g, struct guard_injection *i, size_t device,
                    bool runtime_cdi, struct err *e)
{
    const struct guard_device *d = &g->view->devices[device];
    struct nri_adjust *a = &i->adjust;

    if (g->policy->inject == GUARD_INJECT_OFF)
        return 0;
    if (by_name(g->policy, runtime_cdi) && d->kind[0]) {
        char name[512];
        int n = snprintf(name, sizeof(name), "%s=%s", d->kind, d->id);

        if (n < 0 || (size_t)n >= sizeof(name)) {
            guard_refuse(g, GUARD_RULE_DEVICES, "GPU %s has a CDI name that is too long",
                         SHOWN(40, d->id));
            return 0;
        }
        const char *copy = keep(i, name, (size_t)n);
        if (!copy)
            return no_memory(e);
        i->cdi[a->n_cdi++] = copy;
        return 0;
    }
    if (!d->node[0] || d->major == 0) {
        guard_refuse(g, GUARD_RULE_DEVICES,
                     "GPU %s is this container's, is missing in its request, and cannot be added:"
                     " %s is not known; see pgpuctl status",
                     SHOWN(40, d->id),
                     d->node[0] ? "the number of its VFIO node" : "its VFIO node");
        return 0;
    }
    const char *path = keep(i, d->node, strlen(d->node));
    if (!path)
        return no_memory(e);
    i->devices[a->n_devices++] =
        (struct nri_device){.path = path, .type = 'c', .major = d->major, .minor = d->minor};
    return 0;
}

static const struct guard_set *
set_of(const struct guard_case *g)
{
    for (size_t i = 0; i < g->policy->n_sets && g->handler->set[0]; i++)
        if (strcmp(g->policy->sets[i].name, g->handler->set) == 0)
            return &g->policy->sets[i];
    return NULL;
}

size_t
guard_annotations_max(const struct guard_case *g)
{
    const struct guard_set *set = set_of(g);

    return set ? set->n : 0;
}

static bool
has_key(const struct nri_kv *kv, size_t n, const char *key, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(kv[i].key) == len && memcmp(kv[i].key, key, len) == 0)
            return true;
    return false;
}

struct annotate {
    struct guard_case *g;
    struct guard_injection *i;
    const struct guard_guest *guest;
    struct guard_facts facts;
    size_t total;
};

/* One "KEY=TEMPLATE"; `value` is scratch. */
static int
annotate_one(struct annotate *t, const char *text, struct buf *value, struct err *e)
{
    const char *eq = strchr(text, '=');
    struct nri_adjust *a = &t->i->adjust;
    bool empty = false;

    if (!eq || guard_starts(text, GUARD_CDI_PREFIX))
        return 0; /* no configuration lets it come here */
    size_t len = (size_t)(eq - text);
    if (has_key(t->g->c->annotations, t->g->c->n_annotations, text, len) ||
        has_key(a->annotations, a->n_annotations, text, len))
        return 0;
    buf_clear(value);
    bool fits = guard_expand(eq + 1, &t->facts, value, &empty);
    if (fits && empty)
        return 0;
    if (!fits || t->total + len + value->len > GUARD_VALUES_MAX) {
        guard_warn(t->g, GUARD_RULE_ANNOTATIONS,
                   "annotation %s of set %s is left out: its value would be too long",
                   SHOWN(80, text), SHOWN(40, t->g->handler->set));
        return 0;
    }
    const char *key = keep(t->i, text, len);
    if (!key)
        return no_memory(e);
    if (!guard_guest_allows(t->guest, key)) {
        t->g->out->held_back++;
        return 0;
    }
    const char *copy = keep(t->i, value->len ? (const char *)value->data : "", value->len);
    if (!copy)
        return no_memory(e);
    t->i->annotations[a->n_annotations++] = (struct nri_kv){.key = key, .value = copy};
    t->total += len + value->len;
    return 0;
}

int
guard_inject_annotations(struct guard_case *g, struct guard_injection *i, struct err *e)
{
    const struct guard_set *set = set_of(g);
    struct guard_verdict *v = g->out;
    struct buf value;
    int rc = 0;

    if (!set || v->n_own == 0)
        return 0;
    struct guard_guest *guest = guard_guest_new(g->pod);
    if (!guest)
        return no_memory(e);
    struct annotate t = {
        .g = g,
        .i = i,
        .guest = guest,
        .facts = {.view = g->view,
                  .handler = g->handler,
                  .n_own = v->n_own,
                  .own = v->own,
                  .digest = guard_guest_digest(guest)},
    };
    buf_init(&value, GUARD_VALUE_MAX);
    for (size_t k = 0; k < set->n && rc == 0; k++)
        rc = annotate_one(&t, set->annotations[k], &value, e);
    buf_fini(&value);
    guard_guest_free(guest);
    return rc;
}

void
guard_injection_clear(struct guard_injection *i)
{
    i->adjust.n_annotations = i->adjust.n_devices = i->adjust.n_cdi = 0;
}
