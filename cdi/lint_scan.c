/* SPDX-License-Identifier: Apache-2.0
 *
 * Which files the consumers look at. The rules differ:
 *   Kata's Go shim   top level only, names ending in .json or .yaml (dotfiles too); the directory
 *                    itself must not be a symbolic link
 *   runtime-rs       all levels, any case of the ending, no name that is only an ending
 *   containerd       as the Go shim, but follows a directory that is a link
 * No state. Opens nothing but directories.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "cdi/lint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* The ending as Go's filepath.Ext sees it. */
static bool
go_spec_name(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && (strcmp(dot, ".json") == 0 || strcmp(dot, ".yaml") == 0);
}

/* As Rust's Path::extension: a leading dot alone makes no ending. */
static bool
rs_spec_name(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && dot != name && (strcasecmp(dot, ".json") == 0 || strcasecmp(dot, ".yaml") == 0);
}

static struct lint_file *
add_file(struct lint_run *run, size_t dir, const char *path, struct err *e)
{
    if (run->n >= LINT_MAX_FILES) {
        (void)err_set(e, E2BIG, ERR_CLASS_INVALID,
                      "CDI directory %s: more than %d files, which is not judged", run->dirs[dir],
                      LINT_MAX_FILES);
        return NULL;
    }
    if (!run->v)
        run->v = calloc(LINT_MAX_FILES, sizeof(*run->v));
    struct lint_file *f = run->v ? &run->v[run->n] : NULL;
    if (f)
        f->path = strdup(path);
    if (!f || !f->path) {
        (void)err_set(e, ENOMEM, ERR_CLASS_RETRY, "CDI directory %s: no memory", run->dirs[dir]);
        return NULL;
    }
    f->dir = dir;
    run->n++;
    return f;
}

/* What is wrong with the file itself, before its contents matter. */
static void
judge_kind_of_file(struct lint_file *f, const struct stat *st, int num)
{
    for (int c = 0; c < CDI_CONSUMERS; c++) {
        struct lint_view *v = &f->view[c];

        if (!v->reads)
            (void)lint_note(v, CDI_IGNORED, NULL, "not looked at");
        else if (num != 0)
            (void)lint_note(v, lint_bad((enum cdi_consumer)c), "remove it", "cannot be read: %s",
                            num == ENOENT ? "a link that leads nowhere" : strerror(num));
        else if (!S_ISREG(st->st_mode))
            (void)lint_note(v, lint_bad((enum cdi_consumer)c), "remove it", "is not a file");
    }
}

static int scan_dir(struct lint_run *run, size_t dir, const char *path, int depth, bool go_sees,
                    struct err *e);

static int
scan_entry(struct lint_run *run, size_t dir, const char *path, const char *name, int depth,
           bool go_sees, struct err *e)
{
    char full[PATH_MAX];
    struct stat lst, st = {0};
    int n = snprintf(full, sizeof(full), "%s/%s", path, name);

    if (n < 0 || (size_t)n >= sizeof(full) || lstat(full, &lst) < 0)
        return 0; /* gone since it was listed */
    int num = stat(full, &st) < 0 ? errno : 0;
    bool is_dir = num == 0 && S_ISDIR(st.st_mode);

    /* Go asks the entry itself, so a link to a directory is a file to it; Rust follows. */
    if (is_dir) {
        int rc = depth < LINT_MAX_DEPTH
                     ? scan_dir(run, dir, full, depth + 1, false, e)
                     : err_set(e, ELOOP, ERR_CLASS_INVALID,
                               "CDI directory %s: more than %d levels deep", full, LINT_MAX_DEPTH);
        if (rc < 0 || S_ISDIR(lst.st_mode) || !go_spec_name(name))
            return rc;
    }

    struct lint_file *f = add_file(run, dir, full, e);
    if (!f)
        return -e->num;
    f->view[CDI_KATA_GO].reads = go_sees && depth == 0 && go_spec_name(name);
    f->view[CDI_CONTAINERD].reads = depth == 0 && go_spec_name(name);
    f->view[CDI_KATA_RS].reads = !is_dir && rs_spec_name(name);
    judge_kind_of_file(f, &st, num);
    return 0;
}

static int
scan_dir(struct lint_run *run, size_t dir, const char *path, int depth, bool go_sees, struct err *e)
{
    struct fs_root root;
    char **names;
    int rc = fs_root_open(&root, path, e);

    if (rc < 0)
        return rc;
    /* Names that are not specs count too: they are reported as ignored. */
    int n = fs_list(&root, "/", LINT_MAX_FILES, &names, e);
    fs_root_close(&root);
    if (n < 0)
        return err_prefix(e, "CDI directory %s", path);
    rc = 0;
    for (int i = 0; i < n && rc >= 0; i++)
        rc = scan_entry(run, dir, path, names[i], depth, go_sees, e);
    fs_names_free(names);
    return rc;
}

/* filepath.Walk of the Go shim's library asks the directory itself with lstat. */
static int
note_linked_dir(struct lint_run *run, size_t dir, struct err *e)
{
    struct lint_file *f = add_file(run, dir, run->dirs[dir], e);

    if (!f)
        return -e->num;
    (void)lint_note(&f->view[CDI_KATA_GO], CDI_WARN, "make it a directory, or bind-mount it",
                    "is a symbolic link: the Go shim reads nothing in it");
    (void)lint_note(&f->view[CDI_KATA_RS], CDI_IGNORED, NULL, "a directory");
    (void)lint_note(&f->view[CDI_CONTAINERD], CDI_IGNORED, NULL, "a directory");
    return 0;
}

int
lint_scan(struct lint_run *run, struct err *e)
{
    for (size_t i = 0; i < run->n_dirs; i++) {
        struct stat st;
        bool linked = lstat(run->dirs[i], &st) == 0 && S_ISLNK(st.st_mode);

        if (stat(run->dirs[i], &st) < 0) {
            if (errno == ENOENT)
                continue;
            return err_errno(e, errno, ERR_CLASS_INVALID, "CDI directory %s", run->dirs[i]);
        }
        if (!S_ISDIR(st.st_mode))
            return err_errno(e, ENOTDIR, ERR_CLASS_INVALID, "CDI directory %s", run->dirs[i]);
        int rc = linked ? note_linked_dir(run, i, e) : 0;
        if (rc == 0)
            rc = scan_dir(run, i, run->dirs[i], 0, !linked, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
