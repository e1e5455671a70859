/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations that fail, hang or are ignored on demand, by path pattern or by count. Caller holds
 * the kernel's lock.
 *
 * A rule matches the canonical path of what is accessed, its short form where it belongs to a
 * function ("/sys/bus/pci/devices/ADDR/reset"), and for writes also "<path>=<text>", so that one
 * device can be picked at a file shared by all ("*" "/vfio-pci/bind=0000:18:00.0").
 */
#include "sim/kernel_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define RULES_MAX 256
#define MS_LONGEST 86400000ul

enum rule_kind { RULE_FAIL, RULE_HANG, RULE_IGNORE };

struct rule {
    struct rule *next;
    enum rule_kind kind;
    unsigned ops; /* bits of enum op_class */
    char glob[256];
    int err;
    uint64_t ms;        /* 0: until the rules are cleared */
    unsigned long left; /* 0: for ever */
    unsigned long nth;  /* act at the nth match only; counts down */
    unsigned long hits;
};

static const struct {
    const char *name;
    int num;
} errnos[] = {
    {"EPERM", EPERM},         {"ENOENT", ENOENT}, {"EIO", EIO},
    {"EAGAIN", EAGAIN},       {"ENOMEM", ENOMEM}, {"EACCES", EACCES},
    {"EBUSY", EBUSY},         {"EEXIST", EEXIST}, {"ENODEV", ENODEV},
    {"EINVAL", EINVAL},       {"ENFILE", ENFILE}, {"EMFILE", EMFILE},
    {"ENOTTY", ENOTTY},       {"ENOSPC", ENOSPC}, {"EROFS", EROFS},
    {"ENOTSUP", ENOTSUP},     {"EINTR", EINTR},   {"ENXIO", ENXIO},
    {"ETIMEDOUT", ETIMEDOUT}, {"ERANGE", ERANGE},
};

static int
errno_parse(const char *s)
{
    unsigned long v;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(errnos); i++)
        if (strcmp(s, errnos[i].name) == 0)
            return errnos[i].num;
    return parse_ulong(s, strlen(s), &v) && v > 0 && v < 4096 ? (int)v : 0;
}

/* ---- matching ---- */

static bool
glob_hits(const struct rule *r, const char *path, const char *text)
{
    char both[1024];

    if (fnmatch(r->glob, path, 0) == 0)
        return true;
    if (!text)
        return false;
    (void)snprintf(both, sizeof(both), "%s=%s", path, text);
    return fnmatch(r->glob, both, 0) == 0;
}

static bool
rule_hits(const struct rule *r, const struct kn *n, enum op_class op, const char *text)
{
    char buf[512], alias[512];
    const char *path = kn_path(n, buf, sizeof(buf)), *below;
    unsigned ops = r->ops;

    if (ops == 0)
        ops = n->flags & KN_DEV ? OP_OPEN | OP_IOCTL : OP_WRITE;
    if (!(ops & op))
        return false;
    if (glob_hits(r, path, text))
        return true;
    below = n->fn ? strstr(path, n->fn->name) : NULL;
    if (!below)
        return false;
    (void)snprintf(alias, sizeof(alias), "/sys/bus/pci/devices/%s", below);
    return glob_hits(r, alias, text);
}

static void
rule_drop(struct sim_kernel *k, struct rule *r)
{
    struct rule **at;

    for (at = &k->rules; *at != r; at = &(*at)->next)
        ;
    *at = r->next;
    free(r);
}

int
rules_check(struct sim_kernel *k, const struct kn *n, enum op_class op, const char *text,
            size_t len)
{
    struct rule *r, *next;
    char word[256];
    enum rule_kind kind;
    uint64_t ms;
    int err;

    if (!k->rules)
        return 0;
    if (text && !take_word(word, sizeof(word), text, len))
        text = NULL;
    for (r = k->rules; r; r = next) {
        next = r->next;
        if (!rule_hits(r, n, op, text ? word : NULL) || (r->nth > 0 && --r->nth > 0))
            continue;
        r->hits++;
        kind = r->kind;
        ms = r->ms;
        err = r->err;
        if (r->left > 0 && --r->left == 0)
            rule_drop(k, r);
        if (kind == RULE_FAIL)
            return -err;
        if (kind == RULE_IGNORE)
            return 1;
        k_block(k, ms ? ms * 1000000u : UINT64_MAX);
        return k->stopping ? -ENODEV : 0; /* and then it takes effect */
    }
    return 0;
}

/* ---- commands ---- */

void
rules_free(struct sim_kernel *k)
{
    while (k->rules)
        rule_drop(k, k->rules);
}

void
rules_show(struct sim_kernel *k, char *buf, size_t size)
{
    static const char *const kinds[] = {"fail", "hang", "ignore"};
    const struct rule *r;
    size_t used = 0;

    buf[0] = '\0';
    for (r = k->rules; r; r = r->next) {
        used += (size_t)showf(buf + used, size - used, "%s %s", kinds[r->kind], r->glob);
        if (r->kind == RULE_FAIL)
            used += (size_t)showf(buf + used, size - used, " %s", strerrorname_np(r->err));
        if (r->kind == RULE_HANG)
            used += (size_t)showf(buf + used, size - used, " %llu ms", (unsigned long long)r->ms);
        if (r->left)
            used += (size_t)showf(buf + used, size - used, ", %lu left", r->left);
        if (r->nth)
            used += (size_t)showf(buf + used, size - used, ", at match %lu from here", r->nth);
        used += (size_t)showf(buf + used, size - used, ", %lu hits\n", r->hits);
    }
}

static int
rule_add(struct sim_kernel *k, const struct rule *new)
{
    struct rule **at, *r;
    unsigned n = 0;

    for (at = &k->rules; *at; at = &(*at)->next)
        n++;
    if (n >= RULES_MAX || !(r = malloc(sizeof(*r))))
        return -ENOSPC;
    *r = *new;
    r->next = NULL;
    *at = r;
    return 0;
}

/* "write:PATTERN" and so on narrow a rule to one kind of access. */
static const char *
ops_prefix(const char *glob, unsigned *ops)
{
    static const struct {
        const char *name;
        unsigned op;
    } names[] = {
        {"write:", OP_WRITE}, {"open:", OP_OPEN}, {"read:", OP_READ}, {"ioctl:", OP_IOCTL}};
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++)
        if (strncmp(glob, names[i].name, strlen(names[i].name)) == 0) {
            *ops = names[i].op;
            return glob + strlen(names[i].name);
        }
    return glob;
}

/* fail GLOB ERRNO [COUNT] | hang GLOB MS [COUNT] | ignore GLOB [COUNT] | fail-op N ERRNO |
 * hang-op N MS | rules | rules clear */
int
rules_command(struct sim_kernel *k, int argc, char **argv, char *reply, size_t size, struct err *e)
{
    struct rule r = {.kind = argv[0][0] == 'h'   ? RULE_HANG
                             : argv[0][0] == 'i' ? RULE_IGNORE
                                                 : RULE_FAIL};
    bool by_count = strstr(argv[0], "-op") != NULL;
    int arg = r.kind == RULE_IGNORE ? 1 : 2;
    unsigned long v = 0;

    if (strcmp(argv[0], "rules") == 0) {
        if (argc > 1 && strcmp(argv[1], "clear") == 0) {
            rules_free(k);
            k->wake_gen++; /* lets go what hangs */
            k_changed(k);
        }
        rules_show(k, reply, size);
        return 0;
    }
    if (argc <= arg)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: too few words; see help", argv[0]);
    if (r.kind == RULE_FAIL && (r.err = errno_parse(argv[2])) == 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: \"%s\" is no errno name or number",
                       argv[0], argv[2]);
    if (r.kind == RULE_HANG) {
        if (!parse_ulong(argv[2], strlen(argv[2]), &v) || v > MS_LONGEST)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: \"%s\" is no time in milliseconds",
                           argv[0], argv[2]);
        r.ms = v;
    }
    if (by_count) {
        if (!parse_ulong(argv[1], strlen(argv[1]), &r.nth) || r.nth == 0)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: \"%s\" is no count", argv[0],
                           argv[1]);
        (void)snprintf(r.glob, sizeof(r.glob), "*");
        r.ops = OP_WRITE | OP_IOCTL;
        r.left = 1;
    } else {
        (void)snprintf(r.glob, sizeof(r.glob), "%s", ops_prefix(argv[1], &r.ops));
        if (argc > arg + 1 && !parse_ulong(argv[arg + 1], strlen(argv[arg + 1]), &r.left))
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: \"%s\" is no count", argv[0],
                           argv[arg + 1]);
    }
    if (rule_add(k, &r) < 0)
        return err_set(e, ENOSPC, ERR_CLASS_INVALID, "%s: too many rules", argv[0]);
    return 0;
}
