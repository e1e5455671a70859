/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl doctor: what on this host keeps confidential GPUs from being handed out. One table of
 * checks per area (cli/doctor_AREA.c); a check has a code that never changes, and one finding or
 * more each time it is run. Looks only: it writes nothing, starts nothing and opens no VFIO node.
 * What it may not read is UNKNOWN, which is not fine and not an error.
 *
 * One thread. Files come from two roots: hardware (/sys, /dev) from --root, everything else from
 * --host; both default to "/". All of them are foreign: read with limits (cli/doctor_files.h).
 */
#ifndef PGPU_CLI_DOCTOR_H
#define PGPU_CLI_DOCTOR_H

#include "base/buf.h"
#include "base/fs.h"
#include "cli/cli.h"
#include "cli/doctor_cri.h"
#include "cli/doctor_procs.h"
#include "cli/json.h"
#include "cli/offline.h"
#include "daemon/config.h"

#include <stdbool.h>
#include <stddef.h>

/* In the order of the exit status they lead to. */
enum doctor_status {
    DOCTOR_OK,
    DOCTOR_UNKNOWN, /* could not be looked at; `seen` says why */
    DOCTOR_INFO,
    DOCTOR_WARNING,
    DOCTOR_ERROR,
};
const char *doctor_status_name(enum doctor_status s); /* "ok", "unknown", "info", ... */

struct doctor_check {
    const char *code;            /* "SNP_OFF": stable, names the bad condition */
    enum doctor_status severity; /* of that condition */
    const char *title;           /* what is looked at, a short phrase: "SEV-SNP in the kernel" */
    const char *why;             /* why the condition matters, whole sentences */
    const char *cure;            /* command or setting; NULL: of the reason of the same name */
};

struct doctor;

struct doctor_area {
    const char *name; /* for --only: "host" */
    const char *title;
    const struct doctor_check *checks;
    size_t n;
    void (*run)(struct doctor *d);
};

/* The areas in the order of printing. */
extern const struct doctor_area *const doctor_areas[];
size_t doctor_area_count(void);

extern const struct doctor_area doctor_tee, doctor_kernel, doctor_iommu, doctor_devices,
    doctor_modes, doctor_kubelet, doctor_cdi, doctor_runtime, doctor_kata, doctor_operator,
    doctor_services, doctor_audit;

/* The cure that is in force for a check. Never NULL. */
const char *doctor_cure_of(const struct doctor_check *c);
/* NULL where no check has this code. */
const struct doctor_check *doctor_find(const char *code, const struct doctor_area **ret_area);

struct doctor_finding {
    const struct doctor_area *area;
    const struct doctor_check *check;
    enum doctor_status status;
    char object[128]; /* "0000:18:00.0", a path; "" = the host */
    char seen[384];   /* one line of printable text */
    char cure[384];   /* "" where there is nothing to do */
};

#define DOCTOR_FINDINGS_MAX 512

/* What areas share; filled once, before the first area runs. */
struct doctor {
    const struct cli *c;
    const struct doctor_area *area; /* the one that runs */
    char *const *only;              /* areas and codes, NULL-terminated; NULL = all */

    struct fs_root host; /* /proc, /etc, /run, /var, /opt */
    struct fs_root hw;   /* /sys and /dev */

    const char *config_path; /* --config as given, or the default; for messages */
    bool have_config;        /* `conf` is of the file; else defaults */
    char config_why[ERR_MSG_MAX];
    struct config conf;
    bool have_hwd_config;
    char hwd_config_why[ERR_MSG_MAX];
    struct hwd_config hwd_conf;

    struct doctor_procs procs;
    struct doctor_cri cri[2]; /* containerd, CRI-O */
    char *dpkg;               /* /var/lib/dpkg/status, or NULL */

    /* Devices: of pgpu-hwd where it answers, else of an offline scan. */
    bool have_scan;
    char scan_why[ERR_MSG_MAX];
    struct offline off; /* the scan; its units' facts are those that `facts` has where offline */
    bool asked;         /* the services; not with --offline */
    bool hwd_up;
    char hwd_why[ERR_MSG_MAX];
    struct hwd_facts *facts;
    int n_facts;

    json_object *status;   /* of pgpud, NULL where it does not answer */
    json_object *in_force; /* its configuration, NULL where it does not tell */
    char status_why[ERR_MSG_MAX];

    size_t n, dropped;
    struct doctor_finding *v;
};

/* Findings. `object` may be NULL. doctor_ok: the condition is not there; doctor_bad: it is;
 * doctor_unknown: nobody knows. Control characters in what was seen are printed as "?". */
void doctor_ok(struct doctor *d, const struct doctor_check *c, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void doctor_bad(struct doctor *d, const struct doctor_check *c, const char *object, const char *fmt,
                ...) __attribute__((format(printf, 4, 5)));
void doctor_unknown(struct doctor *d, const struct doctor_check *c, const char *object,
                    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* A cure for the last finding that knows more than the table's; and another severity. */
void doctor_cure(struct doctor *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void doctor_severity(struct doctor *d, enum doctor_status s);

/* ---- cli/doctor_facts.c ---- */
struct doctor_options {
    const char *host, *config; /* NULL: the defaults */
    bool offline_only;         /* ask no service */
};
int doctor_gather(struct doctor *d, const struct cli *c, const struct doctor_options *o,
                  struct err *e);
void doctor_release(struct doctor *d);

/* ---- cli/doctor_print.c ---- */
struct doctor_counts {
    size_t n[DOCTOR_ERROR + 1];
};
struct doctor_counts doctor_count(const struct doctor *d);
void doctor_print(const struct doctor *d, bool verbose);
void doctor_print_json(const struct doctor *d);
void doctor_explain(const struct doctor_area *a, const struct doctor_check *c, bool json);
void doctor_list(bool json);
/* docs/doctor.md's table. */
void doctor_markdown(struct buf *out);

#endif
