/* SPDX-License-Identifier: Apache-2.0
 *
 * A directory of CDI specs as each consumer reads it. No state; reads files and stats device nodes,
 * writes nothing.
 */
#include "cdi/lint.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "cdi/lint_bites.h"
#include "cdi/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *
cdi_consumer_name(enum cdi_consumer c)
{
    switch (c) {
    case CDI_KATA_GO:
        return "kata-go";
    case CDI_KATA_RS:
        return "kata-rs";
    case CDI_CONTAINERD:
        return "containerd";
    case CDI_CONSUMERS:
        break;
    }
    return "?";
}

/* ---- findings ---- */

/* The shims refuse to start a sandbox while any file is bad; containerd passes over the file. */
enum cdi_verdict
lint_bad(enum cdi_consumer who)
{
    return who == CDI_CONTAINERD ? CDI_WARN : CDI_POISON;
}

/* Appends what fits. */
static void
append(char *dst, size_t size, const char *src)
{
    size_t have = strlen(dst);
    size_t n = strnlen(src, size - 1 - have);

    memcpy(dst + have, src, n);
    dst[have + n] = '\0';
}

static void
note(struct lint_view *v, enum cdi_verdict verdict, const char *device, const char *cure,
     const char *what)
{
    char tail[140] = "";

    if (v->verdict >= verdict && v->text[0])
        return;
    if (cure) {
        append(tail, sizeof(tail), "; cure: ");
        append(tail, sizeof(tail), cure);
    }
    v->verdict = verdict;
    v->text[0] = '\0';
    /* The cure is what the reader needs most: what stands before it gives way. */
    if (device && *device) {
        append(v->text, 12, "device ");
        append(v->text, 100, device);
        append(v->text, 102, ": ");
    }
    append(v->text, sizeof(v->text) - strlen(tail), what);
    append(v->text, sizeof(v->text), tail);
    /* Names in it come from files that anybody may have written. */
    for (char *p = v->text; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    }
}

bool
lint_note(struct lint_view *v, enum cdi_verdict verdict, const char *cure, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    note(v, verdict, NULL, cure, what);
    return false;
}

bool
lint_say(struct lint_ctx *c, enum cdi_verdict verdict, const char *cure, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    note(c->view, verdict, c->device, cure, what);
    return false;
}

/* ---- one file ---- */

static void
for_readers(struct lint_file *f, const char *cure, const char *what)
{
    for (int c = 0; c < CDI_CONSUMERS; c++) {
        if (f->view[c].reads)
            (void)lint_note(&f->view[c], lint_bad((enum cdi_consumer)c), cure, "%s", what);
    }
}

/* Kind and device names, from a consumer that accepted the file. */
static int
take_devices(struct lint_file *f, const struct lint_ctx *c, struct err *e)
{
    const yaml_node_t *devices = lint_member(c, c->root, "devices");
    size_t n = lint_count(devices);

    if (f->kind)
        return 0;
    f->kind = strdup(lint_text(c, c->root, "kind"));
    f->devices = calloc(n > 0 ? n : 1, sizeof(*f->devices));
    if (!f->kind || !f->devices)
        return err_set(e, ENOMEM, ERR_CLASS_RETRY, "CDI file %s: no memory", f->path);
    for (size_t i = 0; i < n; i++) {
        f->devices[i] = strdup(lint_text(c, lint_item(c, devices, i), "name"));
        if (!f->devices[i])
            return err_set(e, ENOMEM, ERR_CLASS_RETRY, "CDI file %s: no memory", f->path);
        f->n_devices++;
    }
    return 0;
}

static int
judge_document(struct lint_file *f, struct lint_doc *doc, struct err *e)
{
    for (int i = 0; i < CDI_CONSUMERS; i++) {
        struct lint_view *v = &f->view[i];
        struct lint_ctx c = {.doc = &doc->doc,
                             .root = doc->root,
                             .who = (enum cdi_consumer)i,
                             .view = v,
                             .budget = LINT_MAX_NODES};

        if (!v->reads)
            continue;
        if (doc->more && c.who == CDI_KATA_RS) {
            (void)lint_refuse(&c, "one document a file", "something follows the first document");
            continue;
        }
        if (doc->slash_escape && c.who != CDI_KATA_RS) {
            (void)lint_refuse(&c, "write / without the backslash",
                              "a string with \\/, which the Go library cannot read");
            continue;
        }
        if (!lint_schema(&c) || !lint_rules(&c))
            continue;
        v->loaded = true;
        lint_bites(&c);
        int rc = take_devices(f, &c, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int
lint_bytes(struct lint_file *f, const char *data, size_t len, struct err *e)
{
    struct lint_doc doc = {0};
    char problem[160] = "", text[256] = "neither JSON nor YAML: ";
    int rc = 0;

    if (!lint_doc_load(data, len, &doc, problem, sizeof(problem))) {
        append(text, sizeof(text), problem);
        for_readers(f, "remove it, or have its owner write it again", text);
        return 0;
    }
    if (!doc.root || (doc.root->type == YAML_SCALAR_NODE && lint_is_null(doc.root)))
        for_readers(f, "remove it", "the file is empty");
    else
        rc = judge_document(f, &doc, e);
    lint_doc_free(&doc);
    return rc;
}

static int
judge_file(struct lint_run *run, struct lint_file *f, struct err *e)
{
    _cleanup_free_ char *data = NULL;
    struct err why = ERR_INIT;
    size_t len = 0;
    size_t max = run->bytes_left < LINT_MAX_FILE ? run->bytes_left : LINT_MAX_FILE;
    int rc = fs_read_file(AT_FDCWD, f->path, max, &data, &len, &why);

    if (rc == -ENOENT)
        return 0; /* gone since it was listed: being replaced or withdrawn */
    if (rc == -EFBIG) {
        for (int c = 0; c < CDI_CONSUMERS; c++) {
            if (f->view[c].reads)
                (void)lint_note(&f->view[c], CDI_WARN, "look at it by hand",
                                "larger than %zu bytes: not judged", max);
        }
        return 0;
    }
    if (rc < 0) {
        for_readers(f, "remove it", why.msg);
        return 0;
    }
    run->bytes_left -= len;
    return lint_bytes(f, data, len, e);
}

/* ---- devices that stand in several files ---- */

struct entry {
    const char *kind, *name;
    struct lint_file *file;
};

static int
entry_cmp(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    int d = strcmp(x->kind, y->kind);

    if (d == 0)
        d = strcmp(x->name, y->name);
    return d != 0 ? d : (x->file > y->file) - (x->file < y->file);
}

static void
note_device(struct lint_view *v, const struct entry *x, enum cdi_verdict verdict, const char *cure,
            const char *before, const char *path, const char *after)
{
    char device[200], what[400];
    size_t len = strlen(path);
    /* the end of a long path says more than its beginning */
    const char *shown = len > 90 ? path + len - 90 : path;

    (void)snprintf(device, sizeof(device), "%.60s=%.63s", x->kind, x->name);
    (void)snprintf(what, sizeof(what), "%s%s%s", before, shown, after);
    note(v, verdict, device, cure, what);
}

/* Two entries of one device, x before y in the order of directories and files. */
static void
judge_pair(const struct entry *x, const struct entry *y)
{
    for (int c = 0; c < CDI_CONSUMERS; c++) {
        struct lint_view *vx = &x->file->view[c], *vy = &y->file->view[c];

        if (!vx->loaded || !vy->loaded)
            continue;
        if (x->file == y->file) {
            note_device(vx, x, lint_bad((enum cdi_consumer)c), "keep one", "stands twice", "", "");
            continue;
        }
        if (x->file->dir == y->file->dir) {
            const char *cure = "keep one of the two files";

            note_device(vx, x, lint_bad((enum cdi_consumer)c), cure, "also in ", y->file->path, "");
            note_device(vy, y, lint_bad((enum cdi_consumer)c), cure, "also in ", x->file->path, "");
            continue;
        }
        /* Go: the later directory wins. runtime-rs is given the directories the other way round
         * (virt_container sandbox.rs), so there /etc/cdi wins. */
        const struct entry *wins = c == CDI_KATA_RS ? x : y;
        const struct entry *loses = c == CDI_KATA_RS ? y : x;

        note_device(&loses->file->view[c], loses, CDI_WARN,
                    "keep it in one directory: Kata's Go shim and runtime-rs choose differently",
                    "not used, ", wins->file->path, " wins");
    }
}

static int
judge_duplicates(struct lint_run *run, struct err *e)
{
    size_t n = 0, k = 0;

    for (size_t i = 0; i < run->n; i++)
        n += run->v[i].n_devices;
    if (n < 2)
        return 0;
    struct entry *v = calloc(n, sizeof(*v));
    if (!v)
        return err_set(e, ENOMEM, ERR_CLASS_RETRY, "CDI lint: no memory");
    for (size_t i = 0; i < run->n; i++) {
        struct lint_file *f = &run->v[i];

        for (size_t d = 0; d < f->n_devices; d++)
            v[k++] = (struct entry){.kind = f->kind, .name = f->devices[d], .file = f};
    }
    qsort(v, n, sizeof(*v), entry_cmp);
    /* Pairs within a run of equal names; a view keeps its first finding, so that neighbours and the
     * run's first are enough. */
    for (size_t i = 1, first = 0; i < n; i++) {
        if (strcmp(v[i].kind, v[first].kind) != 0 || strcmp(v[i].name, v[first].name) != 0) {
            first = i;
            continue;
        }
        judge_pair(&v[i - 1], &v[i]);
        if (first + 1 < i)
            judge_pair(&v[first], &v[i]);
    }
    free(v);
    return 0;
}

/* ---- the report ---- */

static int
make_report(const struct lint_run *run, struct cdi_report **ret, struct err *e)
{
    struct cdi_report *r = calloc(1, sizeof(*r));

    if (r)
        r->v = calloc(run->n * CDI_CONSUMERS + 1, sizeof(*r->v));
    if (!r || !r->v) {
        cdi_report_free(r);
        return err_set(e, ENOMEM, ERR_CLASS_RETRY, "CDI lint: no memory");
    }
    for (size_t i = 0; i < run->n; i++) {
        for (int c = 0; c < CDI_CONSUMERS; c++) {
            struct cdi_finding *f = &r->v[r->n];

            f->file = strdup(run->v[i].path);
            if (!f->file) {
                cdi_report_free(r);
                return err_set(e, ENOMEM, ERR_CLASS_RETRY, "CDI lint: no memory");
            }
            f->consumer = (enum cdi_consumer)c;
            f->verdict = run->v[i].view[c].verdict;
            append(f->text, sizeof(f->text), run->v[i].view[c].text);
            r->poisoned += f->verdict >= CDI_POISON;
            r->n++;
        }
    }
    *ret = r;
    return 0;
}

void
lint_file_free(struct lint_file *f)
{
    for (size_t d = 0; d < f->n_devices; d++)
        free(f->devices[d]);
    free(f->devices);
    free(f->kind);
    free(f->path);
}

static void
run_free(struct lint_run *run)
{
    for (size_t i = 0; i < run->n; i++)
        lint_file_free(&run->v[i]);
    free(run->v);
}

static bool
any_open(const struct lint_file *f)
{
    for (int c = 0; c < CDI_CONSUMERS; c++) {
        if (f->view[c].reads && f->view[c].text[0] == '\0')
            return true;
    }
    return false;
}

/*  1. list the files, and who looks at each
 *  2. read each once, and judge it as each of its readers does
 *  3. compare the devices of all accepted files
 *  4. report */
int
cdi_lint(const char *const *dirs, size_t n_dirs, struct cdi_report **ret, struct err *e)
{
    struct lint_run run = {.dirs = dirs, .n_dirs = n_dirs, .bytes_left = LINT_MAX_BYTES};
    int rc = lint_scan(&run, e);

    for (size_t i = 0; i < run.n && rc >= 0; i++) {
        if (any_open(&run.v[i]))
            rc = judge_file(&run, &run.v[i], e);
    }
    if (rc >= 0)
        rc = judge_duplicates(&run, e);
    if (rc >= 0)
        rc = make_report(&run, ret, e);
    run_free(&run);
    return rc < 0 ? rc : 0;
}

void
cdi_report_free(struct cdi_report *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++)
        free(r->v[i].file);
    free(r->v);
    free(r);
}
