/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `audit`: is the audit log written, and is its chain whole. Checked as `pgpuctl
 * audit verify` does, but only as much as fits the time doctor takes.
 */
#include "cli/doctor.h"

#include "base/chain.h"
#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* All files together, read at some hundred MB/s; beyond it the newest file alone is checked. */
#define READ_MAX ((off_t)64 << 20)

enum { C_AUDIT_OFF, C_AUDIT_BROKEN };

static const struct doctor_check checks[] = {
    [C_AUDIT_OFF] = {"AUDIT_OFF", DOCTOR_INFO, "audit log",
                     "Without the audit log nobody can tell later who had which GPU, and in which "
                     "condition it was.",
                     "set audit.file in pgpud.yaml (default /var/log/pgpu/audit.log)"},
    [C_AUDIT_BROKEN] = {"AUDIT_BROKEN", DOCTOR_ERROR, "audit log's chain",
                        "A record was changed, removed or moved after it was written: by somebody "
                        "with root's rights, or by a failing disk.",
                        "pgpuctl audit verify says where; keep the files for the investigation"},
};

struct first {
    uint64_t n;
    char text[256];
};

/* A line that is just being written is no fault. */
static void
note(void *ctx, const struct chain_problem *p)
{
    struct first *f = ctx;
    const char *file = p->file ? strrchr(p->file, '/') : NULL;

    if (p->kind == CHAIN_TORN_TAIL || f->n++ > 0)
        return;
    if (p->line)
        (void)snprintf(f->text, sizeof(f->text), "%s, line %llu: %s: %s", file ? file + 1 : "?",
                       (unsigned long long)p->line, chain_problem_name(p->kind),
                       p->text ? p->text : "");
    else /* of the log as a whole */
        (void)snprintf(f->text, sizeof(f->text), "%s: %s", chain_problem_name(p->kind),
                       p->text ? p->text : "");
}

static off_t
total_size(char (*file)[CHAIN_PATH_MAX], int n)
{
    off_t sum = 0;
    struct stat st;

    for (int i = 0; i < n; i++)
        if (stat(file[i], &st) == 0)
            sum += st.st_size;
    return sum;
}

/* The paths as they can be opened; `log` is the log's as pgpud names it. */
struct log {
    char path[CHAIN_PATH_MAX], beside[CHAIN_PATH_MAX + sizeof(CHAIN_NOTE_SUFFIX)];
    char note[CHAIN_PATH_MAX];
    const char *name;
};

/* Number of records, or -errno. */
static int64_t
check_files(const struct log *l, struct first *f, bool *ret_whole, struct err *e)
{
    struct chain_head expect = {.seq = 0};

    /* before the log: pgpud may go on meanwhile */
    (void)chain_expected(l->note, l->beside, l->name, &expect);

    char(*file)[CHAIN_PATH_MAX] = NULL;
    int n = chain_files(l->path, &file, e), r = 0;
    struct chain_check *c;
    int64_t records;

    if (n < 0 || (n == 0 && !expect.seq))
        return n;
    c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    *ret_whole = total_size(file, n) <= READ_MAX;
    chain_check_init(c, note, f);
    c->expect = expect;
    for (int i = *ret_whole ? 0 : n - 1; i < n && r >= 0; i++)
        r = chain_check_file(c, file[i], e);
    if (!*ret_whole && c->expect.seq < c->origin.seq)
        c->expect.seq = 0; /* in an older file */
    if (r >= 0)
        chain_check_end(c, *ret_whole);
    records = (int64_t)c->records;
    free(c);
    free(file);
    return r < 0 ? r : records;
}

static void
check_chain(struct doctor *d, const char *dir, const struct log *l)
{
    struct first f = {0};
    struct err e = ERR_INIT;
    bool whole = true;
    int64_t n = check_files(l, &f, &whole, &e);

    if (n >= 0 && f.n > 0) { /* files may have been turned over while they were read */
        f = (struct first){0};
        n = check_files(l, &f, &whole, &e);
    }
    if (n < 0) {
        doctor_rename(e.msg, sizeof(e.msg), l->path, d->conf.audit.file);
        doctor_unknown(d, &checks[C_AUDIT_BROKEN], d->conf.audit.file, "%s", e.msg);
    } else if (f.n > 0) {
        doctor_bad(d, &checks[C_AUDIT_BROKEN], d->conf.audit.file, "%s%s", f.text,
                   f.n > 1 ? ", and more" : "");
    } else {
        doctor_ok(d, &checks[C_AUDIT_BROKEN], "%lld record%s in %s%s", (long long)n,
                  n == 1 ? "" : "s", dir, whole ? "" : " (newest file alone)");
    }
}

static void
run(struct doctor *d)
{
    char dir[sizeof(d->conf.audit.file)], real[64], real_state[64];
    struct log l = {.name = d->conf.audit.file};
    const char *file = d->conf.audit.file, *slash = strrchr(file, '/');

    if (!slash) {
        doctor_bad(d, &checks[C_AUDIT_OFF], d->config_path, "audit.file is empty");
        return;
    }
    doctor_ok(d, &checks[C_AUDIT_OFF], "%s", file);
    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - file), file);
    _cleanup_fd_ int fd = doctor_real(&d->host, doctor_path(d, dir[0] ? dir : "/"),
                                      O_RDONLY | O_DIRECTORY, real, sizeof(real));
    if (fd == -ENOENT) {
        doctor_ok(d, &checks[C_AUDIT_BROKEN], "none yet");
        return;
    }
    if (fd < 0) {
        doctor_unknown(d, &checks[C_AUDIT_BROKEN], file, "%s", strerror(-fd));
        return;
    }
    _cleanup_fd_ int state = doctor_real(&d->host, doctor_path(d, d->conf.state_dir),
                                         O_RDONLY | O_DIRECTORY, real_state, sizeof(real_state));
    (void)snprintf(l.path, sizeof(l.path), "%s/.%s", real, slash);
    (void)snprintf(l.beside, sizeof(l.beside), "%s" CHAIN_NOTE_SUFFIX, l.path);
    if (state >= 0)
        (void)snprintf(l.note, sizeof(l.note), "%s/audit.head", real_state);
    check_chain(d, dir, &l);
}

const struct doctor_area doctor_audit = {"audit", "Audit log", checks, ARRAY_SIZE(checks), run};
