/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside pgpuctl annotations: pods with their annotations, from manifests and from the command
 * line. One thread.
 */
#ifndef PGPU_CLI_ANNOTATIONS_H
#define PGPU_CLI_ANNOTATIONS_H

#include "base/err.h"
#include "base/yamldoc.h"
#include "nri/kata_annotations.h"

#include <stdbool.h>
#include <stddef.h>

#define ANNO_FILES_MAX 64
#define ANNO_PODS_MAX 4096

/* Why the API server or the kubelet stops an annotation before any runtime sees it. */
enum anno_stop {
    ANNO_REACHES,
    ANNO_MISPLACED, /* on the workload, not on the template of its pods */
    ANNO_NO_STRING, /* the API server takes strings only */
};

struct anno {
    const char *key, *value; /* borrowed; value "" where it is no single value */
    unsigned line;           /* 0: from the command line */
    enum anno_stop stop;
    struct kata_verdict v;
};

struct anno_pod {
    const char *kind, *name, *namespace, *runtime_class; /* borrowed; "" where not given */
    const char *file;
    unsigned line;
    size_t n;
    struct anno *v; /* owned */
};

struct anno_pods {
    size_t n;
    struct anno_pod *v; /* owned */
    size_t n_skipped;   /* documents without a pod */
    size_t n_docs;
    struct yamldoc *docs[ANNO_FILES_MAX]; /* owned; what the texts are borrowed from */
};

/* Adds the pods of one manifest; `file` is kept. On failure what was there before stays. */
int anno_pods_add(struct anno_pods *p, const char *file, const char *text, size_t len,
                  struct err *e);
/* Adds a pod by hand, with room for n annotations; NULL and an error when there is no memory. */
struct anno_pod *anno_pods_new(struct anno_pods *p, size_t n, struct err *e);
void anno_pods_fini(struct anno_pods *p);

struct anno_count {
    size_t by[KATA_FOREIGN + 1];
    size_t n;
};

void anno_print_people(const struct kata_handler_facts *f, const struct anno_pods *p,
                       const struct anno_count *count, bool colour);
void anno_print_json(const struct kata_handler_facts *f, const struct anno_pods *p,
                     const struct anno_count *count);

#endif
