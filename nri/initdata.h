/* SPDX-License-Identifier: Apache-2.0
 *
 * Initdata: what a tenant hands to a confidential guest at its start, measured by the hardware
 * (trustee: kbs/docs/initdata.md). Kata takes it from an annotation of the pod, as base64 of gzip
 * of TOML:
 *
 *   version = "0.1.0"
 *   algorithm = "sha384"       # or sha256, sha512
 *   [data]                     # name -> text
 *   "aa.toml" = '''...'''
 *
 * The digest is over the exact bytes of the TOML text and lands in a field of the hardware's
 * report. Any thread; nothing here blocks.
 */
#ifndef PGPU_NRI_INITDATA_H
#define PGPU_NRI_INITDATA_H

#include "base/buf.h"
#include "base/err.h"
#include "nri/toml.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INITDATA_ANNOTATION "io.katacontainers.config.hypervisor.cc_init_data"

/* Kubernetes: all annotations of an object together (apimachinery, TotalAnnotationSizeLimitB). */
#define INITDATA_ANNOTATION_MAX (256u * 1024)
/* Of the TOML text: a policy of genpolicy's making with many containers is a few hundred KiB. The
 * consumers have no limit, so this one is ours. */
#define INITDATA_TOML_MAX (2u << 20)
#define INITDATA_DIGEST_MAX 64

struct initdata {
    char *text; /* the TOML, NUL-terminated */
    size_t len;
    struct toml *doc;
    const char *version, *algorithm; /* "" where missing or no string */
    const struct toml_value *data;   /* the table [data], NULL where there is none */
    uint8_t digest[INITDATA_DIGEST_MAX];
    size_t digest_len;  /* 0 where the algorithm is not known */
    const char *policy; /* data "policy.rego", NULL where there is none */
    size_t policy_len;
};

void initdata_free(struct initdata *i);

static inline void
initdata_freep(struct initdata **i)
{
    initdata_free(*i);
}

/* Reads the value of INITDATA_ANNOTATION and holds it against every rule that some consumer of it
 * has. On success algorithm, digest and data are there. -EINVAL: a rule is violated, and the
 * message says which and what breaks; -E2BIG: beyond a limit above; -ENOMEM. An empty value is an
 * error: ask whether the pod has initdata before. */
int initdata_parse(const char *annotation, size_t len, struct initdata **ret, struct err *e);

/* The same for text that is the TOML itself. */
int initdata_parse_toml(const char *text, size_t len, struct initdata **ret, struct err *e);

/* All that is wrong with it, not only the first. */
struct initdata_finding {
    const char *rule;   /* short stable name, e.g. "base64-line-breaks" */
    bool error;         /* else it works, though hardly as it was meant */
    int num;            /* E2BIG: beyond a limit, else EINVAL */
    const char *breaks; /* what it breaks, and where */
    char what[200];     /* what is wrong, printable characters only */
};
#define INITDATA_FINDINGS_MAX 32

struct initdata_report {
    size_t n, errors;
    struct initdata_finding v[INITDATA_FINDINGS_MAX];
    struct initdata *initdata; /* as far as it could be read; NULL where there is no TOML */
};

/* Fails (-ENOMEM) only for reasons that are not the initdata's. On success the report is the
 * caller's to finish. */
int initdata_check(const char *annotation, size_t len, struct initdata_report *ret, struct err *e);
int initdata_check_toml(const char *text, size_t len, struct initdata_report *ret, struct err *e);
void initdata_report_fini(struct initdata_report *r);

/* Every rule by its name, with what breaks; NULL beyond the last. */
const char *initdata_rule(size_t i, const char **ret_breaks);

/* Appends the annotation's value for a TOML text, which must pass initdata_parse_toml: the same
 * bytes each time. -E2BIG: longer than annotations may be. */
int initdata_encode(const char *text, size_t len, struct buf *out, struct err *e);

/* Where each kind of hardware keeps the digest (trustee: kbs/docs/initdata.md). */
struct initdata_tee {
    const char *name;  /* "snp", "tdx", ... */
    const char *field; /* "HOSTDATA", "MRCONFIGID", ... */
    size_t len;        /* <= INITDATA_FIELD_MAX */
    bool gpu;          /* Kata has handlers with GPUs for it */
};
#define INITDATA_FIELD_MAX 256

const struct initdata_tee *initdata_tee_at(size_t i); /* NULL beyond the last */
const struct initdata_tee *initdata_tee_by_name(const char *name);

/* The field's bytes: a longer digest is cut at its end, a shorter one filled with zeroes there.
 * `out` takes tee->len bytes. */
void initdata_field(const struct initdata *i, const struct initdata_tee *tee, uint8_t *out);

#endif
