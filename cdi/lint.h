/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the lint: what is known about one file, and the steps over it.
 *
 *   lint_scan.c    the directories: which file is looked at by whom
 *   lint.c         each file's verdicts, devices that stand in several files, the report
 *   lint_yaml.c    bytes -> YAML document (all three consumers read JSON through a YAML parser too)
 *   lint_schema.c  document -> fields and types as each consumer's decoder takes them
 *   lint_rules.c   versions, names, edits
 *   lint_bites.c   what is accepted and hurts a pod later
 *
 * The rules were read in, and compared with, these versions (tests/peers):
 *   Kata's Go shim: github.com/container-orchestrated-devices/container-device-interface v0.6.0
 *   Kata's runtime-rs: container-device-interface-rs 1.1.1
 *   containerd: tags.cncf.io/container-device-interface v1.1.1
 */
#ifndef PGPU_CDI_LINT_H
#define PGPU_CDI_LINT_H

#include "cdi/cdi.h"

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

/* What one consumer makes of one file: the worst finding, and of equally bad ones the first. */
struct lint_view {
    bool reads;  /* looks at the file at all */
    bool loaded; /* accepted it: its devices are in the consumer's list */
    enum cdi_verdict verdict;
    char text[sizeof(((struct cdi_finding *)0)->text)];
};

struct lint_file {
    char *path;
    size_t dir; /* index of the directory it was found in: its priority */
    struct lint_view view[CDI_CONSUMERS];
    /* of a file that some consumer accepted */
    char *kind;
    size_t n_devices;
    char **devices;
};

/* All files of a run. */
struct lint_run {
    const char *const *dirs;
    size_t n_dirs;
    size_t n;
    struct lint_file *v;
    size_t bytes_left; /* of all files together that may still be read */
};

/* More than any node has; beyond it the lint says so instead of going on for ever. */
#define LINT_MAX_FILES 1000
#define LINT_MAX_DEPTH 8
#define LINT_MAX_FILE ((size_t)1024 * 1024)
#define LINT_MAX_BYTES ((size_t)64 * 1024 * 1024)
#define LINT_MAX_NODES 200000

/* Fills run->v with the files of the directories, with `reads` set and verdicts for what cannot be
 * read at all. */
int lint_scan(struct lint_run *run, struct err *e);

/* Judges a file's contents for everybody who reads it, and takes its devices. Frees nothing of
 * `f`. */
int lint_bytes(struct lint_file *f, const char *data, size_t len, struct err *e);
void lint_file_free(struct lint_file *f);

/* Notes a finding on a view; see lint_say. */
bool lint_note(struct lint_view *v, enum cdi_verdict verdict, const char *cure, const char *fmt,
               ...) __attribute__((format(printf, 4, 5)));

struct lint_doc {
    yaml_document_t doc;
    yaml_node_t *root; /* NULL: nothing in the file */
    bool more;         /* something follows the first document */
    bool slash_escape; /* "\/" in a string */
};

/* False and a phrase in `why` where the bytes are not YAML. */
bool lint_doc_load(const char *data, size_t len, struct lint_doc *ret, char *why, size_t why_size);
void lint_doc_free(struct lint_doc *d);

/* One consumer's reading of one document. */
struct lint_ctx {
    yaml_document_t *doc;
    yaml_node_t *root;
    enum cdi_consumer who;
    struct lint_view *view;
    size_t budget;      /* nodes that may still be visited: aliases can make a small file huge */
    const char *device; /* named in messages while one is looked at */
};

/* Notes a finding unless a worse or equally bad one is there; always returns false. `cure` may be
 * NULL. */
bool lint_say(struct lint_ctx *c, enum cdi_verdict verdict, const char *cure, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The consumer refuses the file. */
#define lint_refuse(c, cure, ...) lint_say(c, lint_bad((c)->who), cure, __VA_ARGS__)
enum cdi_verdict lint_bad(enum cdi_consumer who);

/* Types and field names of the whole document. */
bool lint_schema(struct lint_ctx *c);
/* Everything after decoding. */
bool lint_rules(struct lint_ctx *c);

/* Access for the rules, after lint_schema said yes. A missing or null member is NULL / "" / 0. */
yaml_node_t *lint_member(const struct lint_ctx *c, const yaml_node_t *map, const char *key);
const char *lint_text(const struct lint_ctx *c, const yaml_node_t *map, const char *key);
size_t lint_count(const yaml_node_t *seq_or_map);
yaml_node_t *lint_item(const struct lint_ctx *c, const yaml_node_t *seq, size_t i);
bool lint_is_null(const yaml_node_t *n);
/* Counts one visit; false (and noted) when the budget is gone. */
bool lint_visit(struct lint_ctx *c);

#endif
