/* SPDX-License-Identifier: Apache-2.0
 *
 * What the configuration of a container runtime says: containerd's config.toml (versions 2 and 3,
 * with its imports), CRI-O's crio.conf with its drop-ins. Read with the bounded TOML reader and put
 * together as the runtimes do it: containerd 1.x takes the whole section of a plugin from the last
 * file that has it, containerd 2 a later file's value, CRI-O the same but handlers as a whole.
 */
#ifndef PGPU_CLI_DOCTOR_CRI_H
#define PGPU_CLI_DOCTOR_CRI_H

#include "base/err.h"
#include "nri/kata_annotations.h"
#include "nri/toml.h"

#include <stdbool.h>
#include <stddef.h>

#define CRI_FILES_MAX 32
#define CRI_HANDLERS_MAX 64
#define CRI_FILE_MAX ((size_t)1 << 20)

struct cri_handler {
    char name[64];
    bool kata;
    char config[256];  /* Kata's file, "" = its default place */
    bool passes_known; /* containerd: pod_annotations; CRI-O passes all */
    bool passes;       /* io.katacontainers.* annotations reach Kata */
    char snapshotter[32];
};

enum cri_switch { CRI_UNKNOWN, CRI_OFF, CRI_ON };

struct doctor_cri {
    enum kata_cri kind;
    bool present;   /* a configuration, a process or a package is there */
    bool running;   /* a process is */
    char file[256]; /* the main configuration; "" = none */
    bool broken;
    bool unread;           /* we may not read all of it: what is missing here may be there */
    char why[ERR_MSG_MAX]; /* of `broken` or `unread` */
    bool whole_sections;   /* containerd 1.x, see above */
    unsigned major, minor; /* 0.0: not known */
    char version_from[64];
    enum cri_switch nri;
    char nri_from[96]; /* why we think so */
    char nri_socket[108];
    bool nri_closed;         /* connections from outside are refused */
    unsigned request_ms;     /* plugin_request_timeout; 2000 unless set */
    unsigned register_ms;    /* plugin_registration_timeout; 5000 unless set */
    bool validator_required; /* the default validator demands plugins */
    enum cri_switch cdi;
    size_t n;
    struct cri_handler v[CRI_HANDLERS_MAX];
    /* parsed files, the main one first */
    size_t n_docs;
    struct toml *doc[CRI_FILES_MAX];
};

struct doctor;
void doctor_cri_read(struct doctor *d);
void doctor_cri_free(struct doctor_cri *c);
const char *doctor_cri_name(const struct doctor_cri *c); /* "containerd", "CRI-O" */

#endif
