/* SPDX-License-Identifier: Apache-2.0
 *
 * Node shapes; see shape.h. Pure functions.
 */
#include "sim/shape.h"

#include "base/cleanup.h"
#include "sim/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* GPU and switch slots of an HGX H200 board, as a user's listing shows them (bigstack-oss/cubecos
 * #259): GPUs 0-3 on socket 0, 4-7 on socket 1. */
static const uint8_t gpu_bus[] = {0x18, 0x2a, 0x3a, 0x5d, 0x9a, 0xab, 0xba, 0xdb};
#define SWITCH_BUS_FIRST 5
#define SWITCH_GROUP 114 /* the group that all switches of that board share */
#define SWITCHES_MAX 8
#define GPUS_MAX 32
#define GROUP_FIRST_SHARED 200 /* shared groups of GPUs: numbers that nothing else gets */

void
shape_init(struct shape *s)
{
    *s = (struct shape){.gpus = 8, .gpus_per_group = 1, .numa = -2};
    (void)snprintf(s->models[0].name, sizeof(s->models[0].name), "h100-sxm");
    s->n_models = 1;
}

int
shape_models(struct shape *s, const char *text, struct err *e)
{
    _cleanup_free_ char *copy = strdup(text);
    char *rest = copy, *word, *colon, *end;
    unsigned n = 0;

    if (!copy)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "models: out of memory");
    while ((word = strsep(&rest, ","))) {
        unsigned long count = 0;

        colon = strchr(word, ':');
        if (colon) {
            *colon = '\0';
            count = strtoul(colon + 1, &end, 10);
            if (end == colon + 1 || *end || count == 0 || count > GPUS_MAX)
                return err_set(e, EINVAL, ERR_CLASS_INVALID, "model %s: \"%s\" is no count", word,
                               colon + 1);
        }
        if (n == SHAPE_MODELS_MAX || !sim_model_find(word))
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "model \"%s\" is none of h100-pcie, h100-sxm, h200, b200, rtxpro6000",
                           word);
        (void)snprintf(s->models[n].name, sizeof(s->models[n].name), "%s", word);
        s->models[n++].count = (unsigned)count;
    }
    s->n_models = n;
    return 0;
}

static const char *
model_of(const struct shape *s, unsigned i)
{
    unsigned m, upto = 0;

    for (m = 0; m + 1 < s->n_models; m++) {
        upto += s->models[m].count;
        if (s->models[m].count == 0 || i < upto)
            break;
    }
    return s->models[m].name;
}

static int
push(struct shape_fns *f, struct sim_fn_spec spec, struct err *e)
{
    if (f->n == SHAPE_FNS_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "a node has at most %d functions",
                       SHAPE_FNS_MAX);
    f->fn[f->n++] = spec;
    return 0;
}

/* Companions share the GPU's group, so a GPU that has them needs a number of its own choice. */
static int
build_gpu(const struct shape *s, unsigned i, struct shape_fns *f, struct err *e)
{
    struct sim_fn_spec spec = {.addr = {.domain = s->domain},
                               .model = model_of(s, i),
                               .group = -1,
                               .driver = s->driver,
                               .num_vfs = s->vfs,
                               .missing = s->missing,
                               .garbage = s->garbage,
                               .on_root_bus = s->no_bridges};
    int r;

    spec.addr.bus = i < sizeof(gpu_bus) ? gpu_bus[i] : (uint8_t)(0x10 + 3 + i * 6);
    spec.numa_node = s->numa >= -1 ? s->numa : (int)(i >= (s->gpus + 1) / 2);
    if (s->no_iommu)
        spec.group = -2;
    else if (s->gpus_per_group > 1 || s->audio || s->usb)
        spec.group = GROUP_FIRST_SHARED + (int)(i / s->gpus_per_group);
    r = push(f, spec, e);
    spec.num_vfs = 0;
    spec.missing = spec.garbage = NULL;
    if (r == 0 && s->audio) {
        spec.addr.fn++;
        spec.model = "audio";
        spec.driver = s->driver && strcmp(s->driver, "nvidia") == 0 ? "snd_hda_intel" : s->driver;
        r = push(f, spec, e);
    }
    if (r == 0 && s->usb) {
        spec.addr.fn++;
        spec.model = "usb";
        spec.driver = s->driver && strcmp(s->driver, "nvidia") == 0 ? "xhci_hcd" : s->driver;
        r = push(f, spec, e);
    }
    return r;
}

static int
build_switches(const struct shape *s, struct shape_fns *f, struct err *e)
{
    unsigned i;
    int r = 0;

    for (i = 0; r == 0 && i < s->nvswitches; i++) {
        struct sim_fn_spec spec = {
            .addr = {.domain = s->domain, .bus = (uint8_t)(SWITCH_BUS_FIRST + i)},
            .model = "nvswitch",
            .group = s->no_iommu         ? -2
                     : s->switches_share ? SWITCH_GROUP
                                         : -1,
            .numa_node = s->numa >= -1 ? s->numa : 0,
            .driver = s->driver,
            .on_root_bus = s->no_bridges};

        if (s->driver && strcmp(s->driver, "nvidia") == 0)
            spec.driver = "nvidia-nvswitch";
        r = push(f, spec, e);
    }
    return r;
}

/* Splits "ADDR=REST": returns REST in a copy that `f` owns. */
static int
split_addr(struct shape_fns *f, const char *opt, const char *text, struct pci_addr *ret_addr,
           char **ret_rest, struct err *e)
{
    char *rest = strdup(text), *addr;

    if (!rest)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "shape: out of memory");
    f->text[f->n_text++] = rest;
    addr = strsep(&rest, "=");
    if (!rest || !pci_addr_parse(addr, ret_addr))
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "--%s %s: want ADDR=... with ADDR like 0000:18:00.0", opt, text);
    *ret_rest = rest;
    return 0;
}

static int
apply_words(struct sim_fn_spec *spec, const char *opt, const char *text, char *rest, struct err *e)
{
    char *word;

    while ((word = strsep(&rest, ",")))
        if (sim_spec_option(spec, word, e) < 0)
            return err_prefix(e, "--%s %s", opt, text);
    return 0;
}

static int
build_added(const struct shape *s, struct shape_fns *f, struct err *e)
{
    char *rest = NULL;
    unsigned i;
    int r = 0;

    for (i = 0; r == 0 && i < s->n_add; i++) {
        struct sim_fn_spec spec = {.group = s->no_iommu ? -2 : -1};

        r = split_addr(f, "add", s->add[i], &spec.addr, &rest, e);
        if (r < 0)
            return r;
        spec.model = strsep(&rest, ",");
        r = apply_words(&spec, "add", s->add[i], rest, e);
        if (r == 0)
            r = push(f, spec, e);
    }
    return r;
}

static int
apply_with(const struct shape *s, struct shape_fns *f, struct err *e)
{
    struct pci_addr a;
    char *rest = NULL;
    unsigned i;
    size_t j;
    int r = 0;

    for (i = 0; r == 0 && i < s->n_with; i++) {
        r = split_addr(f, "with", s->with[i], &a, &rest, e);
        if (r < 0)
            return r;
        for (j = 0; j < f->n && pci_addr_cmp(f->fn[j].addr, a) != 0; j++)
            ;
        if (j == f->n)
            return err_set(e, ENODEV, ERR_CLASS_INVALID, "--with %s: no such function on the node",
                           s->with[i]);
        r = apply_words(&f->fn[j], "with", s->with[i], rest, e);
    }
    return r;
}

static int
check_drivers(const struct shape_fns *f, struct err *e)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const char *d;
    size_t i;

    for (i = 0; i < f->n; i++) {
        d = f->fn[i].driver;
        if (d && (!*d || strlen(d) > 31 || d[strspn(d, good)]))
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "\"%s\" is no driver's name; for one device: --with ADDR=driver=NAME",
                           d);
    }
    return 0;
}

int
shape_build(const struct shape *s, struct shape_fns *ret, struct err *e)
{
    unsigned i;
    int r = 0;

    memset(ret, 0, sizeof(*ret));
    if (s->gpus > GPUS_MAX || s->nvswitches > SWITCHES_MAX || s->gpus_per_group == 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "a node has at most %d GPUs and %d NVSwitches, at least 1 GPU in a group",
                       GPUS_MAX, SWITCHES_MAX);
    for (i = 0; r == 0 && i < s->gpus; i++)
        r = build_gpu(s, i, ret, e);
    if (r == 0)
        r = build_switches(s, ret, e);
    if (r == 0)
        r = build_added(s, ret, e);
    if (r == 0)
        r = apply_with(s, ret, e);
    if (r == 0)
        r = check_drivers(ret, e);
    if (r < 0)
        shape_fns_fini(ret);
    return r;
}

void
shape_fns_fini(struct shape_fns *f)
{
    size_t i;

    for (i = 0; i < f->n_text; i++)
        free(f->text[i]);
    memset(f, 0, sizeof(*f));
}
