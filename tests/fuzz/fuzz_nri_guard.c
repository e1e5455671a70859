/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz: pods and containers as tenants, device plugins and other NRI plugins may make them, judged
 * at every step. The input is text, one thing a line, its first character says what:
 *
 *   H handler       P key=value  annotation of the pod   d path  node that plugins add
 *   S namespace     A key=value  of the container        c name  CDI device that plugins add
 *   N pod           D path       node in the request     a key=value, m path  annotation, mount
 *   C container     I name       CDI device in it        k       hook
 *   T template      L            the list is old         M digits  mode of each rule
 *
 * Nodes are "PATH TYPE MINOR".
 */
#include "base/cleanup.h"
#include "nri/guard.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define LINES_MAX 256
#define VALUE_MAX 4096

struct world {
    struct guard_policy policy;
    struct guard_view view;
    struct nri_pod pod;
    struct nri_container c;
    struct nri_adjust adjust;
    struct nri_kv pod_kv[LINES_MAX], c_kv[LINES_MAX], adjust_kv[LINES_MAX], mounts[LINES_MAX];
    struct nri_device nodes[LINES_MAX], adjust_nodes[LINES_MAX];
    const char *cdi[LINES_MAX], *adjust_cdi[LINES_MAX], *templates[LINES_MAX];
    struct guard_set set;
    struct guard_handler handlers[2];
};

#define KIND "nvidia.com/pgpu"
static const char *const kinds[] = {KIND};
static const char *const required[] = {"example.com/iommu=on", "example.com/sized"};

/* One ours, one another pod's, one idle, one of an init container, one ours without a node. */
static const struct guard_device devices[] = {
    {"0000:41:00.0", KIND, "/dev/vfio/devices/vfio3", "/dev/vfio/17", 511, 3, 17, 0, true, true,
     NULL, CC_MODE_ON, CC_MODE_ON, "team", "train", "main", ""},
    {"0000:61:00.0", KIND, "/dev/vfio/devices/vfio5", "/dev/vfio/19", 511, 5, 19, 1, true, true,
     NULL, CC_MODE_ON, CC_MODE_ON, "rivals", "infer", "main", "sandbox-2"},
    {"0000:81:00.0", KIND, "/dev/vfio/devices/vfio6", "/dev/vfio/20", 511, 6, 20, -1, true, false,
     "not allocated", CC_MODE_OFF, CC_MODE_OFF, "", "", "", ""},
    {"0000:a1:00.0", KIND, "/dev/vfio/devices/vfio7", "", 511, 7, -1, -1, false, true, NULL,
     CC_MODE_DEVTOOLS, CC_MODE_ON, "", "", "", ""},
    {"0000:c1:00.0", KIND, "", "", 0, 0, -1, -1, false, true, NULL, CC_MODE_PPCIE, CC_MODE_PPCIE,
     "team", "train", "other", "sandbox-1"},
};

static void
add_kv(struct nri_kv *list, size_t *n, char *text)
{
    char *eq = strchr(text, '=');

    if (!eq || *n == LINES_MAX)
        return;
    *eq = '\0';
    list[(*n)++] = (struct nri_kv){text, eq + 1};
}

static void
add_text(const char **list, size_t *n, const char *text)
{
    if (*n < LINES_MAX)
        list[(*n)++] = text;
}

static void
add_node(struct nri_device *list, size_t *n, char *text)
{
    char *type = strchr(text, ' ');
    struct nri_device d = {.path = text, .type = 'c', .major = 511};

    if (*n == LINES_MAX)
        return;
    if (type) {
        *type++ = '\0';
        d.type = *type;
        d.minor = *type && type[1] ? type[1] - '0' : 0;
    }
    list[(*n)++] = d;
}

static void
add_line(struct world *w, char *line)
{
    char *rest = line + 1;

    switch (line[0]) {
    case 'H':
        w->pod.handler = rest;
        break;
    case 'S':
        w->pod.ns = rest;
        break;
    case 'N':
        w->pod.name = rest;
        break;
    case 'C':
        w->c.name = rest;
        break;
    case 'P':
        add_kv(w->pod_kv, &w->pod.n_annotations, rest);
        break;
    case 'A':
        add_kv(w->c_kv, &w->c.n_annotations, rest);
        break;
    case 'a':
        add_kv(w->adjust_kv, &w->adjust.n_annotations, rest);
        break;
    case 'm':
        if (w->adjust.n_mounts < LINES_MAX)
            w->mounts[w->adjust.n_mounts++] = (struct nri_kv){"/mnt", rest};
        break;
    case 'D':
        add_node(w->nodes, &w->c.n_devices, rest);
        break;
    case 'd':
        add_node(w->adjust_nodes, &w->adjust.n_devices, rest);
        break;
    case 'I':
        add_text(w->cdi, &w->c.n_cdi, rest);
        break;
    case 'c':
        add_text(w->adjust_cdi, &w->adjust.n_cdi, rest);
        break;
    case 'T':
        add_text(w->templates, &w->set.n, rest);
        break;
    case 'k':
        w->adjust.n_hooks++;
        break;
    case 'L':
        w->view.list_ok = false;
        break;
    case 'M':
        for (size_t i = 0; i < GUARD_RULES && rest[i]; i++)
            w->policy.mode[i] = (enum guard_mode)((unsigned char)rest[i] % 3);
        break;
    default:
        break;
    }
}

static void
init(struct world *w)
{
    *w = (struct world){
        .view = {.list_ok = true, .list_why = "it does not answer"},
        .pod = {.id = "sandbox-1",
                .name = "train",
                .uid = "",
                .ns = "team",
                .handler = "kata-qemu-nvidia-gpu-snp"},
        .c = {.id = "c", .pod_id = "sandbox-1", .name = "main"},
        .set = {.name = "default"},
    };
    /* Any name is guarded: one glob for those that may choose devices, one for the rest. */
    w->handlers[0] = (struct guard_handler){"old*", GUARD_CONFIDENTIAL,   GUARD_TEE_TDX, "default",
                                            true,   ARRAY_SIZE(required), required};
    w->handlers[1] =
        (struct guard_handler){"*", GUARD_CONFIDENTIAL, GUARD_TEE_SNP, "default", false, 0, NULL};
    w->policy = (struct guard_policy){.n_handlers = 2,
                                      .handlers = w->handlers,
                                      .n_sets = 1,
                                      .sets = &w->set,
                                      .wanted = CC_MODE_ON,
                                      .n_kinds = ARRAY_SIZE(kinds),
                                      .kinds = kinds};
    w->pod.annotations = w->pod_kv;
    w->c.annotations = w->c_kv;
    w->c.devices = w->nodes;
    w->c.cdi = w->cdi;
    w->adjust.annotations = w->adjust_kv;
    w->adjust.devices = w->adjust_nodes;
    w->adjust.cdi = w->adjust_cdi;
    w->adjust.mounts = w->mounts;
    w->set.annotations = w->templates;
    w->view.policy = &w->policy;
    w->view.devices = devices;
    w->view.n_devices = ARRAY_SIZE(devices);
}

static void
check_verdict(const struct guard_verdict *v)
{
    unsigned seen = 0;

    FUZZ_ASSERT(v->n <= GUARD_FINDINGS_MAX && (v->dropped == 0 || v->n == GUARD_FINDINGS_MAX));
    FUZZ_ASSERT(v->refused == (v->n > 0 && v->v[0].refuse));
    for (size_t i = 0; i < v->n; i++) {
        const char *t = v->v[i].text;

        FUZZ_ASSERT(i == 0 || v->v[i - 1].refuse || !v->v[i].refuse);
        FUZZ_ASSERT(memchr(t, '\0', sizeof(v->v[i].text)) != NULL && t[0] != '\0');
        for (; *t; t++)
            FUZZ_ASSERT(*t >= 0x20 && *t <= 0x7e);
    }
    for (size_t i = 0; i < v->n_own; i++) {
        FUZZ_ASSERT(v->own[i] < ARRAY_SIZE(devices) && !(seen & 1u << v->own[i]));
        seen |= 1u << v->own[i];
    }
    FUZZ_ASSERT(!(seen & 1u << 1)); /* another pod's: never ours */
    FUZZ_ASSERT(strlen(v->initdata_digest) % 2 == 0);
}

static void
check_annotations(const struct world *w, const struct nri_adjust *a)
{
    for (size_t i = 0; i < a->n_annotations; i++) {
        const char *key = a->annotations[i].key;

        FUZZ_ASSERT(strncmp(key, "cdi.k8s.io/", 11) != 0);
        FUZZ_ASSERT(strlen(a->annotations[i].value) <= VALUE_MAX);
        for (size_t k = 0; k < w->c.n_annotations; k++)
            FUZZ_ASSERT(strcmp(w->c_kv[k].key, key) != 0);
        for (size_t k = 0; k < i; k++)
            FUZZ_ASSERT(strcmp(a->annotations[k].key, key) != 0);
    }
}

static void
check_adjust(const struct world *w, const struct guard_verdict *v, const struct nri_adjust *a)
{
    size_t n = a->n_devices + a->n_cdi;

    FUZZ_ASSERT(n <= v->n_own && a->n_hooks + a->n_env + a->n_mounts == 0);
    FUZZ_ASSERT(!v->refused || (n == 0 && a->n_annotations == 0));
    FUZZ_ASSERT(v->n_own > 0 || a->n_annotations == 0);
    for (size_t i = 0; i < a->n_devices; i++) {
        bool own = false;

        for (size_t k = 0; k < v->n_own; k++)
            own = own || strcmp(devices[v->own[k]].node, a->devices[i].path) == 0;
        FUZZ_ASSERT(own);
        for (size_t k = 0; k < w->c.n_devices; k++)
            FUZZ_ASSERT(strcmp(w->nodes[k].path, a->devices[i].path) != 0);
    }
    check_annotations(w, a);
}

static void
judge(const struct world *w, bool runtime_cdi)
{
    static struct guard_verdict v;
    struct guard_injection *inj = NULL;
    struct err e = ERR_INIT;

    guard_run_pod(&w->view, &w->pod, &v);
    check_verdict(&v);
    FUZZ_ASSERT(guard_create_container(&w->view, &w->pod, &w->c, runtime_cdi, &v, &inj, &e) == 0);
    check_verdict(&v);
    check_adjust(w, &v, guard_injection_adjust(inj));
    guard_injection_free(inj);
    bool refused = v.refused;
    FUZZ_ASSERT(guard_validate(&w->view, &w->pod, &w->c, &w->adjust, runtime_cdi, &v, &e) == 0);
    check_verdict(&v);
    FUZZ_ASSERT(!refused || v.refused);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    const char *why = NULL;

    if (size > FUZZ_MAX)
        return 0;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';

    init(&w);
    for (char *line = text; line < text + size;) {
        size_t len = strcspn(line, "\n"); /* a NUL ends a line as well */

        line[len] = '\0';
        if (len > 0)
            add_line(&w, line);
        line += len + 1;
    }
    for (size_t i = 0; i < w.set.n; i++)
        FUZZ_ASSERT(guard_template_valid(w.templates[i], &why) || why);
    judge(&w, false);
    w.policy.inject = GUARD_INJECT_CDI;
    judge(&w, true);
    free(text);
    return 0;
}
