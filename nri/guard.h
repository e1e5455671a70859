/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules: which pods are guarded, what a sandbox or container may have, and what is added to a
 * container. Pure functions of the request and of what the daemon knows; no clock, no I/O, no
 * hardware. Any thread.
 *
 * What the guard cannot do: change a sandbox. RunPodSandbox comes after the VM has booted, and its
 * answer is empty (containerd internal/cri/server/sandbox_run.go), so there it only accepts or
 * refuses.
 */
#ifndef PGPU_NRI_GUARD_H
#define PGPU_NRI_GUARD_H

#include "base/buf.h"
#include "base/cc_mode.h"
#include "base/err.h"
#include "nri/nri.h"

#include <stdbool.h>
#include <stddef.h>

enum guard_class {
    GUARD_NONE,         /* no Kata GPU handler: not looked at */
    GUARD_PLAIN,        /* Kata VM with a GPU, not confidential */
    GUARD_CONFIDENTIAL, /* the VM is protected from the host: every rule holds */
};
enum guard_mode { GUARD_ENFORCE, GUARD_WARN, GUARD_OFF };
enum guard_rule {
    GUARD_RULE_CC,          /* GPUs verified since their last use, CC mode on */
    GUARD_RULE_OWNER,       /* GPUs belong to this pod and container by the kubelet's account */
    GUARD_RULE_DEVICES,     /* no device ID or VFIO node that the kubelet did not allocate */
    GUARD_RULE_INITDATA,    /* initdata well formed */
    GUARD_RULE_ANNOTATIONS, /* the annotations that the admission policy should have set */
    GUARD_RULE_PLUGINS,     /* no other NRI plugin adds VFIO nodes, hooks, CDI devices of ours */
    GUARD_RULES
};
const char *guard_rule_name(enum guard_rule r); /* "cc", "owner", "devices", "initdata", ... */
enum guard_tee { GUARD_TEE_NONE, GUARD_TEE_SNP, GUARD_TEE_TDX };

/* One line of the handler table: the first whose glob matches the CRI runtime handler counts. */
struct guard_handler {
    const char *match; /* fnmatch glob, no flags */
    enum guard_class cls;
    enum guard_tee tee;
    const char *set; /* name of the annotation set for containers, "" = none */
    /* May a pod choose devices by `cdi.k8s.io/` annotation, if they equal the kubelet's allocation?
     * For Kata before 3.24, whose only cold-plug path that is. Else it may not. */
    bool cdi_annotation;
    /* "KEY=VALUE" that must be among the pod's annotations when it has one of our devices; "KEY"
     * alone: any value. What the admission policy should have added. */
    size_t n_require;
    const char *const *require;
};

/* A named set of container annotations: "KEY=TEMPLATE". In a template {name} stands for a fact of
 * the container's devices: cc_mode, devices (PCI addresses), iommu_groups, iommu_backend
 * (iommufd|legacy), numa_nodes, tee, count, initdata_digest; lists are comma-separated in the order
 * of the devices, with an empty place for a device that has none; cc_mode and iommu_backend are one
 * word where the devices agree; cc_mode is empty where one of them is not verified. {{ and }} are
 * braces. An annotation whose facts are all empty is left out, one of more than 4 KiB too (with a
 * finding). */
struct guard_set {
    const char *name;
    size_t n;
    const char *const *annotations;
};

enum guard_inject {
    GUARD_INJECT_AUTO,  /* by CDI name where the runtime injects it, else as device node */
    GUARD_INJECT_CDI,   /* by CDI name */
    GUARD_INJECT_NODES, /* as device nodes */
    GUARD_INJECT_OFF,
};

struct guard_policy {
    size_t n_handlers, n_sets;
    const struct guard_handler *handlers;
    const struct guard_set *sets;
    enum guard_mode mode[GUARD_RULES];
    enum guard_inject inject;
    enum cc_mode wanted; /* what the daemon verifies GPUs to be in, now */
    size_t n_kinds;      /* our resource names = CDI kinds */
    const char *const *kinds;
};

/* The built-in table: confidential kata-qemu-nvidia-gpu-snp*, -tdx*, kata-snp-nvidia-gpu*,
 * kata-tdx-nvidia-gpu*, kata-qemu-nvidiagpu-confidential*, kata-cc* (its TEE known for -amd* and
 * -intel*); plain kata-qemu-nvidia-gpu*. `-runtime-rs` and other suffixes match by the star. And
 * the default annotation set "default" under nvidia.com/pgpu.*. */
const struct guard_handler *guard_default_handlers(size_t *ret_n);
const struct guard_set *guard_default_sets(size_t *ret_n);

/* Is the text a legal "KEY=TEMPLATE": annotation key by Kubernetes' rules, not cdi.k8s.io/ (Kata's
 * runtime-rs and agent choke on it) nor io.kubernetes.cri* (by which runtimes tell the shim what a
 * container is); printable ASCII, known facts only? `why` is a phrase. For the configuration. */
bool guard_template_valid(const char *text, const char **why);

/* Never NULL: a handler of class GUARD_NONE where nothing matches. */
const struct guard_handler *guard_handler_of(const struct guard_policy *p, const char *handler);

/* A device of ours as the daemon knows it. */
struct guard_device {
    const char *id;             /* PCI address = device ID = CDI device name */
    const char *kind;           /* resource it is listed under = CDI kind */
    const char *node;           /* /dev/vfio/devices/vfio3, "" = none */
    const char *group_node;     /* /dev/vfio/17, "" = none: same device by its other name */
    int64_t major, minor;       /* of `node`; major 0 = unknown */
    int iommu_group, numa_node; /* -1 = none */
    bool iommufd;
    bool handed; /* given to some pod by Allocate, or in use; verified or not */
    /* Handed out, and verified since its last use? NULL = yes, else a phrase why not. */
    const char *unverified;
    enum cc_mode mode; /* that it was verified to be in */
    /* The node's mode when it was prepared; a change of it leaves alone what is handed out. */
    enum cc_mode meant;
    /* By the kubelet's newest list; "" = not listed (its container may be an init container, which
     * the list leaves out). */
    const char *ns, *pod, *container;
    /* Sandbox that has it by our own record, "" = none yet. */
    const char *sandbox;
};

/* What the daemon knows at the time of a request. */
struct guard_view {
    const struct guard_policy *policy;
    size_t n_devices;
    const struct guard_device *devices; /* all of ours; above 256 everything guarded is refused */
    /* Is the kubelet's list newer than the sandbox's start? Else `list_why`. */
    bool list_ok;
    const char *list_why;
};

struct guard_finding {
    enum guard_rule rule;
    bool refuse;    /* mode is enforce, or it cannot be done or judged at all */
    char text[320]; /* object, what is wrong, what to do; one line of printable ASCII */
};
#define GUARD_FINDINGS_MAX 16

struct guard_verdict {
    bool refused;
    size_t n; /* findings; the refusing ones first */
    struct guard_finding v[GUARD_FINDINGS_MAX];
    size_t dropped; /* findings that found no place: a refusing one puts out a warning, and is
                       itself dropped only where all places are refusing ones */
    /* Devices that are the pod's (RUN_POD) or the container's (CREATE_CONTAINER): indexes into
     * view->devices, to be recorded as this sandbox's; where refused only those that are the
     * pod's by the kubelet's list or by our record, whatever the request claims. */
    size_t n_own;
    size_t own[64];
    /* RUN_POD: of the pod's initdata; "" = the pod has none or it cannot be read. */
    char initdata_algorithm[16];
    char initdata_digest[129]; /* lower-case hex */
    /* CREATE_CONTAINER: keys that were held back since the pod's agent policy would reject them */
    size_t held_back;
};

/* RunPodSandbox. The devices of the pod are those that the kubelet lists for it. */
void guard_run_pod(const struct guard_view *view, const struct nri_pod *pod,
                   struct guard_verdict *ret);

/* CreateContainer: verdict and what is to be added. The request's devices are found by node, CDI
 * name and `cdi.k8s.io/` annotation (those that are not the pod's own, copied); the kubelet's by
 * its list; a device that is not listed for anybody is the container's if the request has it and
 * the sandbox owns it or nobody does; so is one that is listed for another container of the pod if
 * nothing is listed for this one, for init containers are not listed. Disagreement is a finding of
 * the rule `owner` or `devices`. Nothing that is there is added a second time. `runtime_cdi` as
 * nri_runtime.cdi. The adjustment is valid until guard_injection_free; nothing in it where refused.
 */
struct guard_injection;
int guard_create_container(const struct guard_view *view, const struct nri_pod *pod,
                           const struct nri_container *c, bool runtime_cdi,
                           struct guard_verdict *ret, struct guard_injection **ret_injection,
                           struct err *e);
const struct nri_adjust *guard_injection_adjust(const struct guard_injection *i);
void guard_injection_free(struct guard_injection *i);

/* ValidateContainerAdjustment of a guarded container: `adjust` is what all plugins together want;
 * what guard_create_container would give for the same container is fine. Its rules are applied
 * again, for a runtime that did not wait for us at CreateContainer. */
int guard_validate(const struct guard_view *view, const struct nri_pod *pod,
                   const struct nri_container *c, const struct nri_adjust *adjust, bool runtime_cdi,
                   struct guard_verdict *ret, struct err *e);

#endif
