/* SPDX-License-Identifier: Apache-2.0
 *
 * CDI spec files as Kata's shims read them: cdiVersion 0.5.0, one device-level device node per
 * device and nothing else. kind = resource name, device name = PCI address.
 */
#ifndef PGPU_CDI_CDI_H
#define PGPU_CDI_CDI_H

#include "base/buf.h"
#include "base/err.h"

#include <stddef.h>

struct cdi_device {
    const char *name;      /* "0000:41:00.0" */
    const char *node_path; /* "/dev/vfio/devices/vfio3", as the consumer will open it */
};

/* Deterministic bytes: devices in the order given, one trailing newline. INVALID where kind, a name
 * or a path would be refused by a consumer (bad characters, duplicate name, one-letter class). */
int cdi_render(const char *kind, const struct cdi_device *dev, size_t n, struct buf *out,
               struct err *e);

/* Writes "<vendor>-<class>.json" in `dir` atomically, or removes it when n == 0. A file whose bytes
 * are already right is left alone (*ret_changed = 0). */
int cdi_publish(const char *dir, const char *kind, const struct cdi_device *dev, size_t n,
                int *ret_changed, struct err *e);

/* File name for a kind: "nvidia.com-pgpu.json". */
int cdi_file_name(const char *kind, char *buf, size_t size, struct err *e);

/* ---- lint ---- */

enum cdi_consumer { CDI_KATA_GO, CDI_KATA_RS, CDI_CONTAINERD, CDI_CONSUMERS };
const char *cdi_consumer_name(enum cdi_consumer c);

enum cdi_verdict {
    CDI_OK,      /* read and used */
    CDI_IGNORED, /* not looked at (extension, subdirectory) */
    CDI_WARN,    /* used, but something in it will bite (e.g. device node that does not exist) */
    CDI_POISON,  /* makes the consumer fail for every GPU pod of the node */
    CDI_CRASH,   /* makes the consumer panic */
};

struct cdi_finding {
    char *file; /* path */
    enum cdi_consumer consumer;
    enum cdi_verdict verdict;
    char text[256];
};

struct cdi_report {
    size_t n;
    struct cdi_finding *v;
    size_t poisoned; /* findings with verdict >= CDI_POISON */
};

/* Reads every file of the directories as each consumer would: `dirs` in CDI order (lowest priority
 * first: /etc/cdi, /var/run/cdi). A missing directory is fine. Never modifies anything. */
int cdi_lint(const char *const *dirs, size_t n_dirs, struct cdi_report **ret, struct err *e);
void cdi_report_free(struct cdi_report *r);

#endif
