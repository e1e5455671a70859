/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the guard share. Nothing here outlives one call of guard.h.
 */
#ifndef PGPU_NRI_GUARD_PRIV_H
#define PGPU_NRI_GUARD_PRIV_H

#include "nri/guard.h"

#include <stdint.h>

/* Devices of a node that are told apart; the daemon's own limit is the same. */
#define GUARD_VIEW_MAX 256
/* `cdi.k8s.io/` annotations of one pod with a name of ours. Nobody needs as many; a tenant who
 * writes thousands wants us to be slow. */
#define GUARD_POD_CDI_MAX 64
/* One value and all values that a container gets. Kubernetes allows 256 KiB for all annotations of
 * an object (apimachinery pkg/api/validation TotalAnnotationSizeLimitB). */
#define GUARD_VALUE_MAX 4096
#define GUARD_VALUES_MAX (64 * 1024)
#define GUARD_OWN_MAX ARRAY_SIZE(((struct guard_verdict *)0)->own)

#define GUARD_CDI_PREFIX "cdi.k8s.io/"

/* One call's view of things. */
struct guard_case {
    const struct guard_view *view;
    const struct guard_policy *policy;
    const struct guard_handler *handler;
    const struct nri_pod *pod;
    const struct nri_container *c; /* NULL: the sandbox itself */
    const char *sandbox;
    struct guard_verdict *out;
    char object[176]; /* "pod ns/name" or "container ns/name/c", safe to print */
};

/* Empties the verdict. False where nothing is to be judged: no guarded handler; or where it cannot
 * be judged, and is refused. */
bool guard_open(struct guard_case *g, const struct guard_view *view, const struct nri_pod *pod,
                const struct nri_container *c, struct guard_verdict *out);

/* Adds "<object>: <text>" by the mode of the rule; nothing where that is off. */
void guard_find(struct guard_case *g, enum guard_rule rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same whatever the mode is: what cannot be done is refused, what must be heard is a warning.
 */
void guard_refuse(struct guard_case *g, enum guard_rule rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void guard_warn(struct guard_case *g, enum guard_rule rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Others' text for a message: printable ASCII without quotes and backslashes stays, the rest is
 * \xNN; cut to fit, with ".." at the end. size >= 3. Returns dst. */
const char *guard_show(char *dst, size_t size, const char *s, size_t len);
#define SHOWN(size, s) guard_show((char[(size)]){0}, (size), (s), strlen(s))

bool guard_starts(const char *s, const char *prefix);
/* NULL where there is none. */
const char *guard_annotation(const struct nri_pod *pod, const char *key);

/* Devices that a request names, and how. */
enum { NAMED_NODE = 1, NAMED_CDI = 2 };
struct guard_named {
    uint8_t by[GUARD_VIEW_MAX];
    size_t n_unknown; /* names of our kinds that are no device of ours */
    char unknown[72]; /* the first of them, safe to print */
    /* A node at a device's path that is not the device. */
    bool fake;
    size_t fake_device;
};
/* Our device at this node, by path or by numbers: sets `by`. */
void guard_name_node(const struct guard_view *view, const struct nri_device *node,
                     struct guard_named *ret);
/* A comma-separated list of CDI names. Other kinds are not ours to judge. */
void guard_name_cdi(const struct guard_view *view, const char *list, struct guard_named *ret);
/* Does the list hold a name of one of our kinds? */
bool guard_lists_ours(const struct guard_view *view, const char *list);
/* By the pod's annotations. False: too many to judge. */
bool guard_name_pod(const struct guard_case *g, struct guard_named *ret);
/* By the container's nodes, CDI field and the annotations that are its own, not its pod's. */
void guard_name_container(const struct guard_case *g, struct guard_named *ret);

/* Writes the path without empty, "." and ".." parts; false if it is too long. */
bool guard_path(const char *path, char *dst, size_t size);

/* Whose is it? By the kubelet's list for this pod, as far as the list can be believed; by that list
 * another pod's; by our own record this sandbox's. */
bool guard_listed_here(const struct guard_case *g, const struct guard_device *d);
bool guard_listed_elsewhere(const struct guard_case *g, const struct guard_device *d);
bool guard_recorded_here(const struct guard_case *g, const struct guard_device *d);

/* Finding if the device is another's. */
bool guard_check_owner(struct guard_case *g, const struct guard_device *d);
/* Finding for confidential pods if the list is too old to tell who has a device, and one is named
 * or handed out to nobody known. `a`, `b` may be NULL. */
void guard_check_list(struct guard_case *g, const struct guard_named *a,
                      const struct guard_named *b);
void guard_check_cc(struct guard_case *g, const struct guard_device *d);
/* What the pod's own annotations name must be what the kubelet gave it. */
void guard_check_pod_names(struct guard_case *g, const struct guard_named *p);
void guard_check_required(struct guard_case *g);
/* Adds to verdict->own; refuses what does not fit. */
void guard_own(struct guard_case *g, size_t device);

/* What the pod brings for its guest. */
struct guard_guest;
struct guard_guest *guard_guest_new(const struct nri_pod *pod); /* NULL: no memory */
void guard_guest_free(struct guard_guest *t);
/* "" where there is none or it cannot be read. */
const char *guard_guest_algorithm(const struct guard_guest *t);
const char *guard_guest_digest(const struct guard_guest *t);
const char *guard_guest_fault(const struct guard_guest *t); /* of its initdata, NULL = none */
/* May a container have this annotation by every agent policy that the pod carries? A policy that
 * cannot be read allows nothing. */
bool guard_guest_allows(const struct guard_guest *t, const char *key);

/* A template's facts: of the devices `own` in their order. */
struct guard_facts {
    const struct guard_view *view;
    const struct guard_handler *handler;
    size_t n_own;
    const size_t *own;
    const char *digest;
};
/* Expands the part after "KEY=". *ret_empty: all its facts are, and it has some. False: too long.
 */
bool guard_expand(const char *tmpl, const struct guard_facts *f, struct buf *out, bool *ret_empty);

#endif
