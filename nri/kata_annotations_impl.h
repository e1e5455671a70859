/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside kata_annotations*.c alone: the table of keys, the checks of values, the handler.
 */
#ifndef PGPU_NRI_KATA_ANNOTATIONS_IMPL_H
#define PGPU_NRI_KATA_ANNOTATIONS_IMPL_H

#include "nri/kata_annotations.h"
#include "nri/toml.h"

#include <regex.h>

/* How a runtime reads the value of one key. KV_ABSENT: it has no such key. */
enum kata_kind {
    KV_ABSENT,
    KV_STRING, /* any text */
    KV_GO_BOOL,
    KV_GO_LAX_BOOL, /* anything that is no boolean is taken as false */
    KV_GO_UINT,
    KV_GO_PORTS,  /* as KV_GO_UINT, at most 16, 0 changes nothing */
    KV_GO_VCPUS,  /* float >= 0 */
    KV_GO_MEMORY, /* MiB, at least 256 */
    KV_GO_JSON,   /* JSON list of strings */
    KV_RS_BOOL,
    KV_RS_U32,
    KV_RS_U64,
    KV_RS_PORTS,
    KV_RS_VCPUS,  /* float <= 256 */
    KV_RS_MEMORY, /* MiB or with a unit, at least 64 MiB */
    KV_RS_JSON,   /* JSON */
    KV_WORDS,     /* one of `words` */
    KV_MAYBE,     /* one of `words`; others depend on the release */
    KV_GLOB,      /* a path that a valid_* list of the handler allows */
    KV_FILE,      /* a path of a file on the node */
    KV_BASE64,
    KV_INITDATA,
    KV_REMOTE,     /* read for the remote hypervisor only */
    KV_EXPERIMENT, /* names of experimental features */
};

/* What of an attested guest depends on a value. */
enum kata_measure {
    KM_NONE,
    KM_CMDLINE,    /* the kernel command line */
    KM_CMDLINE_RS, /* the same, but by runtime-rs alone */
    KM_IOMMU,      /* command line of runtime-rs, a device for both */
    KM_VCPUS,
    KM_KERNEL,
    KM_INITRD,
    KM_FIRMWARE,
    KM_IMAGE,
    KM_INITDATA,
    KM_MEMORY,
    KM_ACPI,  /* devices and machine as firmware tables show them */
    KM_AFTER, /* reaches the guest after launch */
    KM_ALL,
    KM_CPU, /* features of the vCPUs */
    KM_COUNT
};

struct kata_key {
    const char *key;
    enum kata_kind go, rs;
    enum kata_measure measure;
    const char *words; /* KV_WORDS, KV_MAYBE: separated by '|' */
    const char *list;  /* KV_GLOB: the list of the TOML */
    const char *effect;
};

const struct kata_key *kata_key_find(const char *key);
/* For tests: row i, NULL beyond the end. */
const struct kata_key *kata_key_at(size_t i);
/* The text for people; `*ret_changes`: does a measured value depend on it? */
const char *kata_measure_text(enum kata_measure m, enum kata_tee tee, enum kata_flavour flavour,
                              bool *ret_changes);

#define KATA_FILES_MAX 64
#define KATA_LIST_MAX 128
#define KATA_NOTES_MAX 4

struct kata_pattern {
    char *text; /* owned */
    bool ok;    /* `re` is compiled and means the same to Go, Rust and POSIX */
    regex_t re;
};

struct kata_handler {
    struct kata_handler_facts facts;
    struct kata_handler_opts told;
    char name[128];
    char flavour_from[192], tee_from[192], allowed_from[192];
    struct toml *files[KATA_FILES_MAX]; /* in the order given */
    size_t n_files;
    size_t n_patterns;
    struct kata_pattern *patterns;
    const char **texts, **unjudged; /* what facts point to */
    char note[KATA_NOTES_MAX][192];
    const char *notes[KATA_NOTES_MAX];
    const char *hypervisor; /* name of its table in the TOML, NULL before there is one */
    bool remote;
};

/* The last file's value of a key of the handler's hypervisor table; NULL where no file has it. */
const struct toml_value *kata_handler_value(const struct kata_handler *h, const char *key);

/* 1: some expression matches, *ret_by is it; 0: none does; -1: none does, but there are some that
 * cannot be evaluated. */
int kata_patterns_match(const struct kata_handler *h, const char *suffix, const char **ret_by);
/* Compiles a list of strings; takes nothing over. */
int kata_patterns_compile(const char *const *v, size_t n, struct kata_pattern **ret, struct err *e);
void kata_patterns_free(struct kata_pattern *p, size_t n);

/* Judges a value: sets outcome and reason, and cure where there is one, of a verdict that is
 * KATA_APPLIED before. */
void kata_value_check(const struct kata_handler *h, const struct kata_key *k, enum kata_kind kind,
                      const char *value, struct kata_verdict *v);

/* Printable ASCII of at most 60 characters, shortened with "...". */
#define KATA_SHOWN_MAX 64
const char *kata_shown(const char *text, char buf[KATA_SHOWN_MAX]);

void kata_say(char out[KATA_TEXT_MAX], const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
