/* SPDX-License-Identifier: Apache-2.0
 *
 * Templates of annotations: "KEY=text {fact} text", {{ and }} are braces.
 */
#include "nri/guard_priv.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <string.h>

#define TEMPLATE_MAX 1024

typedef bool value_fn(const struct guard_facts *f, const struct guard_device *d, struct buf *out);

/* Nothing for any where one is not verified, which the rule cc may let pass: half of it would be
 * read as the whole. */
static bool
value_mode(const struct guard_facts *f, const struct guard_device *d, struct buf *out)
{
    for (size_t i = 0; i < f->n_own; i++)
        if (f->view->devices[f->own[i]].unverified)
            return true;
    return buf_put_str(out, cc_mode_name(d->mode));
}

static bool
value_id(const struct guard_facts *f, const struct guard_device *d, struct buf *out)
{
    (void)f;
    return buf_put_str(out, d->id);
}

static bool
value_group(const struct guard_facts *f, const struct guard_device *d, struct buf *out)
{
    (void)f;
    return d->iommu_group < 0 || buf_putf(out, "%d", d->iommu_group);
}

static bool
value_numa(const struct guard_facts *f, const struct guard_device *d, struct buf *out)
{
    (void)f;
    return d->numa_node < 0 || buf_putf(out, "%d", d->numa_node);
}

static bool
value_backend(const struct guard_facts *f, const struct guard_device *d, struct buf *out)
{
    (void)f;
    return buf_put_str(out, d->iommufd ? "iommufd" : "legacy");
}

static bool
value_tee(const struct guard_facts *f, const struct guard_device *d, struct buf *out)
{
    static const char *const names[] = {
        [GUARD_TEE_NONE] = "", [GUARD_TEE_SNP] = "snp", [GUARD_TEE_TDX] = "tdx"};

    (void)d;
    return buf_put_str(out, names[f->handler->tee]);
}

static bool
value_count(const struct guard_facts *f, const struct guard_device *d, struct buf *out)
{
    (void)d;
    return buf_putf(out, "%zu", f->n_own);
}

static bool
value_digest(const struct guard_facts *f, const struct guard_device *d, struct buf *out)
{
    (void)d;
    return buf_put_str(out, f->digest);
}

static const struct fact {
    const char *name;
    value_fn *value;
    enum { ONCE, LIST, LIST_IF_MIXED } form; /* one value for each device, or one if all agree */
} fact_table[] = {
    {"cc_mode", value_mode, LIST_IF_MIXED}, {"devices", value_id, LIST},
    {"iommu_groups", value_group, LIST},    {"iommu_backend", value_backend, LIST_IF_MIXED},
    {"numa_nodes", value_numa, LIST},       {"tee", value_tee, ONCE},
    {"count", value_count, ONCE},           {"initdata_digest", value_digest, ONCE},
};

/* A piece of a template: text, or a fact. */
struct piece {
    const char *text;
    size_t len;
    const struct fact *fact; /* NULL: text */
};

/* The next piece; false at the end, or with a reason where the template is wrong. */
static bool
next_piece(const char **at, struct piece *ret, const char **why)
{
    const char *p = *at;

    *ret = (struct piece){.text = p, .len = strcspn(p, "{}")};
    if (ret->len == 0 && p[0] != '\0' && p[1] == p[0]) {
        ret->len = 1;
        *at = p + 2;
        return true;
    }
    if (ret->len > 0) {
        *at = p + ret->len;
        return true;
    }
    if (p[0] == '\0')
        return false;
    if (p[0] == '}') {
        *why = "has a } without {; write }} for a brace";
        return false;
    }
    ret->text = p + 1;
    ret->len = strcspn(ret->text, "{}");
    if (ret->text[ret->len] != '}') {
        *why = "has a { without }; write {{ for a brace";
        return false;
    }
    *at = ret->text + ret->len + 1;
    for (size_t i = 0; i < ARRAY_SIZE(fact_table); i++)
        if (strlen(fact_table[i].name) == ret->len &&
            memcmp(fact_table[i].name, ret->text, ret->len) == 0) {
            ret->fact = &fact_table[i];
            return true;
        }
    *why = "names an unknown fact; there are cc_mode, devices, iommu_groups, iommu_backend,"
           " numa_nodes, tee, count, initdata_digest";
    return false;
}

/* A list keeps its empty places, so that those of two lists can be told to be of one device. */
static bool
put_list(const struct fact *fact, const struct guard_facts *f, struct buf *out)
{
    for (size_t i = 0; i < f->n_own; i++)
        if ((i > 0 && !buf_put_u8(out, ',')) || !fact->value(f, &f->view->devices[f->own[i]], out))
            return false;
    return true;
}

/* Is it the same for all devices? */
static bool
agree(const struct fact *fact, const struct guard_facts *f)
{
    struct buf one, other;
    bool same = true;

    buf_init(&one, GUARD_VALUE_MAX);
    buf_init(&other, GUARD_VALUE_MAX);
    for (size_t i = 0; i < f->n_own && same; i++) {
        buf_clear(&other);
        same = fact->value(f, &f->view->devices[f->own[i]], i == 0 ? &one : &other) &&
               (i == 0 || (one.len == other.len &&
                           (one.len == 0 || memcmp(one.data, other.data, one.len) == 0)));
    }
    buf_fini(&one);
    buf_fini(&other);
    return same;
}

static bool
put_fact(const struct fact *fact, const struct guard_facts *f, struct buf *out)
{
    if (fact->form == LIST || (fact->form == LIST_IF_MIXED && !agree(fact, f)))
        return put_list(fact, f, out);
    return f->n_own == 0 || fact->value(f, &f->view->devices[f->own[0]], out);
}

bool
guard_expand(const char *tmpl, const struct guard_facts *f, struct buf *out, bool *ret_empty)
{
    const char *why = NULL;
    struct piece p;
    bool any = false, filled = false;

    while (next_piece(&tmpl, &p, &why)) {
        size_t before = out->len;

        if (!(p.fact ? put_fact(p.fact, f, out) : buf_put(out, p.text, p.len)))
            return false;
        if (!p.fact)
            continue;
        any = true;
        for (size_t i = before; i < out->len && !filled; i++)
            filled = out->data[i] != ',';
    }
    *ret_empty = any && !filled;
    return true;
}

/* Names and prefixes by Kubernetes (apimachinery pkg/util/validation IsQualifiedName). */
static const char *
key_refused(const char *key, size_t len)
{
    const char *slash = memchr(key, '/', len);
    const char *name = slash ? slash + 1 : key;
    size_t n = len - (size_t)(name - key);

    if (n == 0 || n > 63 || !isalnum((unsigned char)name[0]) ||
        !isalnum((unsigned char)name[n - 1]))
        return "has a key whose name is not 1 to 63 letters, digits, - _ . between letters or"
               " digits";
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i]))
            return "has a key with other characters than letters, digits, - _ .";
    if (!slash)
        return NULL;
    size_t prefix = (size_t)(slash - key);
    if (prefix == 0 || prefix > 253)
        return "has a key whose prefix is no DNS name";
    for (size_t i = 0; i < prefix; i++) {
        bool word = islower((unsigned char)key[i]) || isdigit((unsigned char)key[i]);
        bool edge = i == 0 || i + 1 == prefix || key[i - 1] == '.' || key[i + 1] == '.';

        if (!word && (edge || (key[i] != '-' && key[i] != '.')))
            return "has a key whose prefix is no DNS name";
    }
    return NULL;
}

/* Keys that are not ours to set on a container, by their beginning. */
static const struct {
    const char *prefix, *why;
} reserved[] = {
    {GUARD_CDI_PREFIX, "has a key of CDI's, which Kata's runtime-rs and agent take for a device of"
                       " the guest"},
    {"io.kubernetes.cri.", "has a key by which containerd tells the shim what a container is"},
    {"io.kubernetes.cri-o.", "has a key by which CRI-O tells the shim what a container is"},
};

bool
guard_template_valid(const char *text, const char **why)
{
    const char *eq = strchr(text, '='), *reason = NULL;
    struct piece p;

    if (!eq) {
        *why = "is not KEY=TEMPLATE";
        return false;
    }
    reason = key_refused(text, (size_t)(eq - text));
    for (size_t i = 0; i < ARRAY_SIZE(reserved) && !reason; i++)
        if (guard_starts(text, reserved[i].prefix))
            reason = reserved[i].why;
    if (!reason && strlen(eq + 1) > TEMPLATE_MAX)
        reason = "has a template of more than 1024 characters";
    for (const char *s = eq + 1; *s && !reason; s++)
        if (*s < 0x20 || *s > 0x7e)
            reason = "has other characters than printable ASCII";
    for (eq++; !reason && next_piece(&eq, &p, &reason);)
        ;
    if (reason)
        *why = reason;
    return !reason;
}
