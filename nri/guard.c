/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard's tables and verdicts: which handlers are guarded, and how findings are collected.
 */
#include "nri/guard_priv.h"

#include "base/cleanup.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *
guard_rule_name(enum guard_rule r)
{
    static const char *const names[GUARD_RULES] = {
        [GUARD_RULE_CC] = "cc",
        [GUARD_RULE_OWNER] = "owner",
        [GUARD_RULE_DEVICES] = "devices",
        [GUARD_RULE_INITDATA] = "initdata",
        [GUARD_RULE_ANNOTATIONS] = "annotations",
        [GUARD_RULE_PLUGINS] = "plugins",
    };

    return (unsigned)r < GUARD_RULES ? names[r] : "unknown";
}

/* Names by kata-deploy (helm-chart/kata-deploy values), OpenShift sandboxed containers
 * (confidential_handler.go) and NVIDIA's first Kata manager. */
const struct guard_handler *
guard_default_handlers(size_t *ret_n)
{
    static const struct guard_handler table[] = {
        {"kata-qemu-nvidia-gpu-snp*", GUARD_CONFIDENTIAL, GUARD_TEE_SNP, "default", 0, 0, NULL},
        {"kata-qemu-nvidia-gpu-tdx*", GUARD_CONFIDENTIAL, GUARD_TEE_TDX, "default", 0, 0, NULL},
        {"kata-snp-nvidia-gpu*", GUARD_CONFIDENTIAL, GUARD_TEE_SNP, "default", 0, 0, NULL},
        {"kata-tdx-nvidia-gpu*", GUARD_CONFIDENTIAL, GUARD_TEE_TDX, "default", 0, 0, NULL},
        {"kata-qemu-nvidiagpu-confidential*", GUARD_CONFIDENTIAL, GUARD_TEE_NONE, "default", 0, 0,
         NULL},
        {"kata-cc-amd*", GUARD_CONFIDENTIAL, GUARD_TEE_SNP, "default", 0, 0, NULL},
        {"kata-cc-intel*", GUARD_CONFIDENTIAL, GUARD_TEE_TDX, "default", 0, 0, NULL},
        {"kata-cc*", GUARD_CONFIDENTIAL, GUARD_TEE_NONE, "default", 0, 0, NULL},
        {"kata-qemu-nvidia-gpu*", GUARD_PLAIN, GUARD_TEE_NONE, "default", 0, 0, NULL},
    };

    *ret_n = ARRAY_SIZE(table);
    return table;
}

const struct guard_set *
guard_default_sets(size_t *ret_n)
{
    static const char *const annotations[] = {
        "nvidia.com/pgpu.devices={devices}",
        "nvidia.com/pgpu.cc-mode={cc_mode}",
        "nvidia.com/pgpu.iommu-groups={iommu_groups}",
        "nvidia.com/pgpu.iommu-backend={iommu_backend}",
        "nvidia.com/pgpu.numa-nodes={numa_nodes}",
        "nvidia.com/pgpu.tee={tee}",
        "nvidia.com/pgpu.initdata-digest={initdata_digest}",
    };
    static const struct guard_set set = {"default", ARRAY_SIZE(annotations), annotations};

    *ret_n = 1;
    return &set;
}

const struct guard_handler *
guard_handler_of(const struct guard_policy *p, const char *handler)
{
    static const struct guard_handler none = {"*", GUARD_NONE, GUARD_TEE_NONE, "", false, 0, NULL};

    for (size_t i = 0; i < p->n_handlers; i++)
        if (fnmatch(p->handlers[i].match, handler, 0) == 0)
            return &p->handlers[i];
    return &none;
}

bool
guard_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* The last of several with the same key: what protobuf makes of a map. */
const char *
guard_annotation(const struct nri_pod *pod, const char *key)
{
    for (size_t i = pod->n_annotations; i-- > 0;)
        if (strcmp(pod->annotations[i].key, key) == 0)
            return pod->annotations[i].value;
    return NULL;
}

const char *
guard_show(char *dst, size_t size, const char *s, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0, cut = 0; /* cut: where the dots would still fit */

    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)s[i];
        bool plain = ch > 0x1f && ch < 0x7f && ch != '"' && ch != '\\';

        if (n + (plain ? 1 : 4) >= size) {
            memcpy(dst + cut, "..", sizeof(".."));
            return dst;
        }
        if (plain) {
            dst[n++] = (char)ch;
        } else {
            dst[n++] = '\\';
            dst[n++] = 'x';
            dst[n++] = hex[ch >> 4];
            dst[n++] = hex[ch & 0xf];
        }
        if (n + 2 < size)
            cut = n;
    }
    dst[n] = '\0';
    return dst;
}

/* A place for one more finding: the refusing ones stand first, and put out a warning where there is
 * no place. NULL: no place. */
static struct guard_finding *
place(struct guard_verdict *v, bool refuse)
{
    size_t at = v->n;

    if (refuse)
        for (at = 0; at < v->n && v->v[at].refuse; at++)
            ;
    if (at == GUARD_FINDINGS_MAX || (!refuse && v->n == GUARD_FINDINGS_MAX)) {
        v->dropped++;
        return NULL;
    }
    if (v->n == GUARD_FINDINGS_MAX) {
        v->n--;
        v->dropped++;
    }
    memmove(&v->v[at + 1], &v->v[at], (v->n - at) * sizeof(v->v[0]));
    v->n++;
    return &v->v[at];
}

static void __attribute__((format(printf, 4, 0)))
find(struct guard_case *g, enum guard_rule rule, bool refuse, const char *fmt, va_list ap)
{
    struct guard_verdict *v = g->out;

    if (refuse)
        v->refused = true;
    struct guard_finding *f = place(v, refuse);
    if (!f)
        return;
    f->rule = rule;
    f->refuse = refuse;
    int n = snprintf(f->text, sizeof(f->text), "%s: ", g->object);
    if (n > 0 && (size_t)n < sizeof(f->text))
        (void)vsnprintf(f->text + n, sizeof(f->text) - (size_t)n, fmt, ap);
}

void
guard_find(struct guard_case *g, enum guard_rule rule, const char *fmt, ...)
{
    va_list ap;

    if (g->policy->mode[rule] == GUARD_OFF)
        return;
    va_start(ap, fmt);
    find(g, rule, g->policy->mode[rule] == GUARD_ENFORCE, fmt, ap);
    va_end(ap);
}

void
guard_refuse(struct guard_case *g, enum guard_rule rule, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    find(g, rule, true, fmt, ap);
    va_end(ap);
}

void
guard_warn(struct guard_case *g, enum guard_rule rule, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    find(g, rule, false, fmt, ap);
    va_end(ap);
}

bool
guard_open(struct guard_case *g, const struct guard_view *view, const struct nri_pod *pod,
           const struct nri_container *c, struct guard_verdict *out)
{
    *out = (struct guard_verdict){0};
    *g = (struct guard_case){
        .view = view,
        .policy = view->policy,
        .handler = guard_handler_of(view->policy, pod->handler),
        .pod = pod,
        .c = c,
        .sandbox = pod->id[0] || !c ? pod->id : c->pod_id,
        .out = out,
    };
    if (g->handler->cls == GUARD_NONE)
        return false;
    (void)snprintf(g->object, sizeof(g->object), "%s %s/%s%s%s", c ? "container" : "pod",
                   SHOWN(40, pod->ns), SHOWN(64, pod->name), c ? "/" : "",
                   c ? SHOWN(48, c->name) : "");
    if (view->n_devices > GUARD_VIEW_MAX) {
        guard_refuse(g, GUARD_RULE_DEVICES,
                     "the node has %zu GPUs, more than the %d that can be"
                     " told apart",
                     view->n_devices, GUARD_VIEW_MAX);
        return false;
    }
    return true;
}
