/* SPDX-License-Identifier: Apache-2.0
 *
 * The verdict on one annotation: which rule it comes under, whether the handler allows it, whether
 * its runtime knows it, whether the value is one. No state.
 */
#include "nri/kata_annotations.h"

#include "base/cleanup.h"
#include "nri/kata_annotations_impl.h"

#include <stdio.h>
#include <string.h>

#define KATA_PREFIX "io.katacontainers."
#define CDI_PREFIX "cdi.k8s.io/"
#define SUFFIX_MAX 512 /* Kubernetes: at most 63 */

const char *
kata_outcome_name(enum kata_outcome o)
{
    static const char *const names[] = {
        [KATA_APPLIED] = "applied", [KATA_IGNORED] = "ignored", [KATA_FAILS] = "fails",
        [KATA_UNSURE] = "unsure",   [KATA_FOREIGN] = "foreign",
    };

    return (unsigned)o < ARRAY_SIZE(names) ? names[o] : "?";
}

static const char *
runtime_name(const struct kata_handler *h)
{
    return h->facts.flavour == KATA_FLAVOUR_RS ? "runtime-rs" : "the Go shim";
}

static enum kata_kind
kind_of(const struct kata_handler *h, const struct kata_key *k)
{
    if (!k)
        return KV_ABSENT;
    return h->facts.flavour == KATA_FLAVOUR_RS ? k->rs : k->go;
}

/* The key is not there for this runtime, though perhaps under another name or in the other one. */
static void
say_absent(const struct kata_handler *h, const struct kata_key *k, struct kata_verdict *v)
{
    bool rs = h->facts.flavour == KATA_FLAVOUR_RS;

    if (k)
        kata_say(v->cure, "remove it: only %s reads it", rs ? "the Go shim" : "runtime-rs");
    else
        kata_say(v->cure, "remove it, or correct the key");
}

/* Is it on the list of the handler? False: the verdict is there. */
static bool
is_allowed(const struct kata_handler *h, const struct kata_key *k, const char *suffix,
           struct kata_verdict *v)
{
    const char *by = NULL;
    char shown[KATA_SHOWN_MAX];

    if (!h->facts.allowed_known) {
        v->outcome = KATA_UNSURE;
        kata_say(v->reason, "the handler's enable_annotations are not known");
        kata_say(v->cure, "give the handler's file by --kata-config");
        return false;
    }
    int rc = strlen(suffix) > SUFFIX_MAX ? 0 : kata_patterns_match(h, suffix, &by);
    if (rc > 0) {
        if (strcmp(by, suffix) != 0)
            kata_say(v->reason, "applied; allowed by \"%s\" in enable_annotations",
                     kata_shown(by, shown));
        return true;
    }
    if (rc < 0) {
        v->outcome = KATA_UNSURE;
        kata_say(v->reason,
                 "enable_annotations has an expression that cannot be evaluated here: "
                 "\"%s\"",
                 kata_shown(h->facts.unjudged[0], shown));
        kata_say(v->cure, "list the key itself in enable_annotations");
        return false;
    }
    (void)kata_shown(suffix, shown);
    if (h->facts.flavour == KATA_FLAVOUR_RS) {
        v->outcome = KATA_IGNORED;
        kata_say(v->reason, "enable_annotations does not allow \"%s\": ignored with a warning",
                 shown);
    } else {
        v->outcome = KATA_FAILS;
        kata_say(v->reason,
                 "enable_annotations does not allow \"%s\": \"annotation ... is not "
                 "enabled\"",
                 shown);
    }
    /* allowing what the runtime does not know would not help, and runtime-rs would fail */
    if (kind_of(h, k) == KV_ABSENT)
        say_absent(h, k, v);
    else
        kata_say(v->cure, "remove it, or allow it in the handler's configuration");
    return false;
}

static void
judge_known(const struct kata_handler *h, const struct kata_key *k, const char *value,
            struct kata_verdict *v)
{
    enum kata_kind kind = kind_of(h, k);

    v->effect = k->effect;
    if (value)
        kata_value_check(h, k, kind, value, v);
    if (v->reason[0] == '\0')
        kata_say(v->reason, "applied");
    if (v->outcome == KATA_APPLIED || v->outcome == KATA_UNSURE)
        v->measured =
            kata_measure_text(k->measure, h->facts.tee, h->facts.flavour, &v->changes_launch);
    v->changes_launch = v->changes_launch && v->outcome == KATA_APPLIED;
}

static void
judge_hypervisor(const struct kata_handler *h, const char *key, const char *value,
                 struct kata_verdict *v)
{
    const struct kata_key *k = kata_key_find(key);

    if (!is_allowed(h, k, key + strlen(KATA_ANNOTATION_HYPERVISOR), v)) {
        v->effect = k ? k->effect : "";
        return;
    }
    if (kind_of(h, k) != KV_ABSENT) {
        judge_known(h, k, value, v);
        return;
    }
    v->outcome = h->facts.flavour == KATA_FLAVOUR_RS ? KATA_FAILS : KATA_IGNORED;
    if (v->outcome == KATA_FAILS)
        kata_say(v->reason, "allowed, but runtime-rs has no such key: \"Invalid annotation type\"");
    else
        kata_say(v->reason, "allowed, but the Go shim has no such key");
    say_absent(h, k, v);
}

/* io.katacontainers.config.runtime., .agent. and the few keys beside them: nothing has to allow
 * them. */
static void
judge_ungated(const struct kata_handler *h, const char *key, const char *value,
              struct kata_verdict *v)
{
    const struct kata_key *k = kata_key_find(key);

    if (kind_of(h, k) != KV_ABSENT) {
        judge_known(h, k, value, v);
        return;
    }
    v->outcome = KATA_IGNORED;
    kata_say(v->reason, "%s has no such key", runtime_name(h));
    say_absent(h, k, v);
}

static void
judge_config_path(const struct kata_handler *h, const char *key, const char *value,
                  struct kata_verdict *v)
{
    (void)h;
    (void)key;
    (void)value;
    v->outcome = KATA_UNSURE;
    v->effect = "the whole configuration is read from another file of the node";
    v->measured = kata_measure_text(KM_ALL, h->facts.tee, h->facts.flavour, &v->changes_launch);
    v->changes_launch = false;
    kata_say(v->reason, "releases differ: either ignored, or nothing of the handler's own "
                        "configuration counts");
    kata_say(v->cure, "remove it, and refuse it by admission policy");
}

/* Options of a container, not of the sandbox. */
static void
judge_container(const struct kata_handler *h, const char *key, const char *value,
                struct kata_verdict *v)
{
    (void)key;
    (void)value;
    if (h->facts.cri == KATA_CRI_CRIO) {
        v->outcome = h->facts.flavour == KATA_FLAVOUR_RS ? KATA_UNSURE : KATA_APPLIED;
        kata_say(v->reason, h->facts.flavour == KATA_FLAVOUR_RS
                                ? "CRI-O hands it to the containers; runtime-rs reads some of these"
                                : "CRI-O hands it to the containers");
        if (v->outcome == KATA_UNSURE)
            kata_say(v->cure, "set limits in the pod's spec instead where there are any");
    } else {
        v->outcome = KATA_IGNORED;
        kata_say(v->reason, "an option of containers: containerd hands them only what the "
                            "handler's container_annotations list");
    }
}

static void
cdi_counts(const struct kata_handler *h, const char *why, struct kata_verdict *v)
{
    bool containerd = h->facts.cri == KATA_CRI_CONTAINERD;

    v->outcome = containerd ? KATA_UNSURE : KATA_APPLIED;
    kata_say(v->reason, "%s%s", why,
             containerd ? ", if containerd's pod_annotations list cdi.k8s.io/*" : "");
}

/* The Go shim: kata-containers pkg/containerd-shim-v2/device_cold_plug.go; 3.24.0 brought the
 * kubelet's socket, 4.0.0 (92da797) the way back where there is none. */
static void
judge_cdi_go(const struct kata_handler *h, struct kata_verdict *v)
{
    struct kata_version ver = h->facts.version;
    const char *sock = toml_string(kata_handler_value(h, "pod_resource_api_sock"));

    kata_say(v->cure, "remove it");
    if (ver.major != 0 && (ver.major < 3 || (ver.major == 3 && ver.minor < 24))) {
        cdi_counts(h, "Kata before 3.24 plugs the device that it names", v);
        kata_say(v->cure, "it must name what the kubelet allocates; Kata 3.24 needs none");
    } else if (sock && *sock) {
        v->outcome = KATA_IGNORED;
        kata_say(v->reason, "pod_resource_api_sock is set: Kata asks the kubelet (4.0 and newer: "
                            "while that socket is there)");
    } else if (ver.major != 0 && h->n_files > 0) {
        cdi_counts(h, "pod_resource_api_sock is empty: Kata plugs the device that it names", v);
        kata_say(v->cure, "remove it, and set pod_resource_api_sock");
    } else if (ver.major >= 4) {
        v->outcome = KATA_IGNORED;
        kata_say(v->reason, "Kata 4 asks the kubelet; it counts only where pod_resource_api_sock "
                            "is empty or the socket missing");
    } else {
        v->outcome = KATA_UNSURE;
        kata_say(v->reason, ver.major == 3
                                ? "Kata 3.24 to 3.32 uses it where pod_resource_api_sock is empty"
                                : "Kata before 3.24 plugs the device it names; newer ones ask the "
                                  "kubelet, unless pod_resource_api_sock is empty (4.0: or "
                                  "missing)");
        kata_say(v->cure, "remove it, or give --kata-version and --kata-config");
    }
}

static void
judge_cdi(const struct kata_handler *h, const char *key, const char *value, struct kata_verdict *v)
{
    (void)key;
    (void)value;
    v->effect = "names a CDI device";
    if (h->facts.cri == KATA_CRI_CONTAINERD && h->facts.flavour == KATA_FLAVOUR_RS) {
        v->outcome = KATA_IGNORED;
        kata_say(v->reason, "containerd hands it on only where the handler's pod_annotations and "
                            "container_annotations list cdi.k8s.io/*");
        kata_say(v->cure, "remove it");
    } else if (h->facts.flavour == KATA_FLAVOUR_RS) {
        v->outcome = h->facts.cri == KATA_CRI_CRIO ? KATA_FAILS : KATA_UNSURE;
        kata_say(v->reason, "CRI-O hands it to the containers, runtime-rs leaves it there, and the "
                            "guest's agent waits 100 s for a device that never comes");
        kata_say(v->cure, "remove it");
    } else {
        judge_cdi_go(h, v);
    }
}

static void
judge_pgpu(const struct kata_handler *h, const char *key, const char *value, struct kata_verdict *v)
{
    (void)h;
    (void)key;
    (void)value;
    v->outcome = KATA_FOREIGN;
    kata_say(v->reason, "read by pgpu, not by Kata");
}

static void
judge_other(const struct kata_handler *h, const char *key, const char *value,
            struct kata_verdict *v)
{
    (void)h;
    (void)key;
    (void)value;
    v->outcome = KATA_FOREIGN;
    kata_say(v->reason, "no annotation of Kata's");
}

/* The first prefix that fits counts. */
static const struct rule {
    const char *prefix;
    void (*judge)(const struct kata_handler *h, const char *key, const char *value,
                  struct kata_verdict *v);
} rules[] = {
    {KATA_ANNOTATION_HYPERVISOR, judge_hypervisor},
    {KATA_PREFIX "config_path", judge_config_path},
    {KATA_PREFIX "container.", judge_container},
    {KATA_PREFIX "fs-opt.", judge_container},
    {KATA_PREFIX, judge_ungated},
    {CDI_PREFIX, judge_cdi},
    {"nvidia.com/pgpu", judge_pgpu},
    {"", judge_other},
};

void
kata_annotation_verdict(const struct kata_handler *h, const char *key, const char *value,
                        struct kata_verdict *ret)
{
    size_t i = 0;

    *ret = (struct kata_verdict){.outcome = KATA_APPLIED, .effect = "", .measured = ""};
    while (strncmp(key, rules[i].prefix, strlen(rules[i].prefix)) != 0)
        i++;
    bool kata = rules[i].judge != judge_pgpu && rules[i].judge != judge_other;
    if (kata && h->facts.flavour == KATA_FLAVOUR_UNKNOWN) {
        ret->outcome = KATA_UNSURE;
        kata_say(ret->reason, "depends on the runtime, which the handler's name does not tell");
        kata_say(ret->cure, "say it by --flavour, or give the handler's file by --kata-config");
        return;
    }
    rules[i].judge(h, key, value, ret);
}
