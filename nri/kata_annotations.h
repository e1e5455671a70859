/* SPDX-License-Identifier: Apache-2.0
 *
 * What a Kata runtime handler does with a pod's annotations: apply, ignore, or fail the sandbox;
 * and whether that changes what an attestation report says about the launch.
 *
 * The two runtimes differ: the Go shim refuses a sandbox with a hypervisor annotation that the
 * handler's enable_annotations does not allow, runtime-rs ignores it with a warning; an allowed one
 * that it does not know is ignored by Go and refused by runtime-rs. Judged as Kata 4.1.0 does it,
 * with what differs in older releases said in the reason where it is known.
 *
 * Pure functions of their arguments but for kata_handler_config's regcomp(3): no files, no clock.
 * A handler is immutable once configured, and may then be asked from several threads.
 */
#ifndef PGPU_NRI_KATA_ANNOTATIONS_H
#define PGPU_NRI_KATA_ANNOTATIONS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define KATA_ANNOTATION_HYPERVISOR "io.katacontainers.config.hypervisor."
#define KATA_ANNOTATION_RUNTIME "io.katacontainers.config.runtime."
#define KATA_ANNOTATION_AGENT "io.katacontainers.config.agent."

enum kata_flavour { KATA_FLAVOUR_UNKNOWN, KATA_FLAVOUR_GO, KATA_FLAVOUR_RS };
enum kata_tee { KATA_TEE_UNKNOWN, KATA_TEE_NONE, KATA_TEE_SNP, KATA_TEE_TDX };
/* The container runtime decides which of a pod's annotations reach Kata at all. */
enum kata_cri { KATA_CRI_UNKNOWN, KATA_CRI_CONTAINERD, KATA_CRI_CRIO };

enum kata_outcome {
    KATA_APPLIED,
    KATA_IGNORED, /* no effect on the sandbox */
    KATA_FAILS,   /* the sandbox is not created */
    KATA_UNSURE,  /* depends on what is not known here; the reason says on what */
    KATA_FOREIGN, /* no annotation for Kata */
};

const char *kata_flavour_name(enum kata_flavour f); /* "unknown", "go", "runtime-rs" */
const char *kata_tee_name(enum kata_tee t);         /* "unknown", "none", "snp", "tdx" */
const char *kata_outcome_name(enum kata_outcome o); /* "applied", "ignored", "fails", ... */

/* A release of Kata; major 0: not known. */
struct kata_version {
    unsigned major, minor;
};

/* What is known of a handler, and from where. Texts are owned by the handler. */
struct kata_handler_facts {
    const char *name;
    enum kata_flavour flavour;
    const char *flavour_from; /* why we think so, for people */
    enum kata_tee tee;
    const char *tee_from;
    enum kata_cri cri;
    struct kata_version version;
    bool allowed_known;       /* is the list of enable_annotations known? */
    const char *allowed_from; /* where it is from, or why it is not known */
    size_t n_allowed;
    const char *const *allowed;  /* its regular expressions, NULL where not known */
    size_t n_unjudged;           /* expressions that cannot be evaluated here */
    const char *const *unjudged; /* they */
    size_t n_notes;
    const char *const *notes; /* contradictions, e.g. between the name and the file */
};

struct kata_handler; /* opaque, owned by whoever made it */

/* What is known before a configuration is read; zero fields: find out from the name. */
struct kata_handler_opts {
    enum kata_flavour flavour; /* as told by the user: wins over what is found */
    enum kata_cri cri;
    struct kata_version version;
};

/* A handler by its CRI name, e.g. "kata-qemu-nvidia-gpu-snp". `opts` may be NULL. The name may tell
 * flavour, TEE and the shipped enable_annotations; what it does not tell stays unknown.
 * -EINVAL: empty or overlong name; -ENOMEM. */
int kata_handler_new(const char *name, const struct kata_handler_opts *opts,
                     struct kata_handler **ret, struct err *e);
void kata_handler_free(struct kata_handler *h);

static inline void
kata_handler_freep(struct kata_handler **h)
{
    kata_handler_free(*h);
}

/* One configuration file of the handler: the base file first, then the drop-ins in the order in
 * which Kata reads them (by file name); a later file's value replaces an earlier one's, lists as a
 * whole. `file` is used in messages, and a "runtime-rs" in it hints at the flavour.
 * -EINVAL: not TOML, or a key of ours with the wrong type, or several hypervisors and no
 * hypervisor_name; -E2BIG: too many files, too large; -ENOMEM. On failure the handler is as before.
 */
int kata_handler_config(struct kata_handler *h, const char *file, const char *text, size_t len,
                        struct err *e);

/* Valid until the next kata_handler_config or kata_handler_free. */
const struct kata_handler_facts *kata_handler_facts(const struct kata_handler *h);

#define KATA_TEXT_MAX 384

struct kata_verdict {
    enum kata_outcome outcome;
    char reason[KATA_TEXT_MAX]; /* one line of printable ASCII, never empty */
    char cure[KATA_TEXT_MAX];   /* what to do about it, "" where there is nothing to do */
    const char *effect;         /* static: what the key does, "" where it does nothing here */
    const char *measured;       /* static: what it does to the measured launch, "" where the outcome
                                   is neither applied nor unsure */
    bool changes_launch;        /* applied, and a measured value of the launch depends on it */
};

/* Judges one annotation of a pod (its sandbox). The value may be NULL: then only the key counts.
 * Key and value are hostile text of any length; NUL-terminated. Never fails. */
void kata_annotation_verdict(const struct kata_handler *h, const char *key, const char *value,
                             struct kata_verdict *ret);

#endif
