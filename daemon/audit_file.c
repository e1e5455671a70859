/* SPDX-License-Identifier: Apache-2.0
 *
 * To open:
 *
 *   1. make the directory, see which files there are
 *   2. check the newest one as a whole, and that it has the newest record we know of
 *   3. tampered with: put it aside, begin a new chain whose first record says why
 *      newest one rotated away (we died in between): begin the next file of its chain
 *      torn last line: end it, and record it
 *
 * Nothing here waits for the disk: what has to reach it is the syncer's.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "daemon/audit_file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void
audit_file_init(struct audit_file *f, const struct audit_conf *conf, const char *state_dir,
                struct syncer *sync)
{
    *f = (struct audit_file){.fd = -1, .head_fd = -1, .sync = sync, .keep = conf->keep};

    chain_boot_id(f->boot);
    f->max_size = config_audit_bytes(conf->max_size);
    chain_head_init(&f->head);
    (void)str_copy(f->path, sizeof(f->path), conf->file);
    (void)snprintf(f->head_path, sizeof(f->head_path), "%s/audit.head", state_dir);
    (void)snprintf(f->note_path, sizeof(f->note_path), "%s" CHAIN_NOTE_SUFFIX, conf->file);
}

void
audit_file_close(struct audit_file *f)
{
    if (f->sync)
        syncer_set(f->sync, -1);
    /* the thread may be busy with a duplicate, which would keep the lock */
    if (f->fd >= 0)
        (void)flock(f->fd, LOCK_UN);
    fd_close(&f->fd);
    fd_close(&f->head_fd);
}

/* ---- the file ---- */

static int
open_file(struct audit_file *f, int flags, struct err *e)
{
    struct stat st;

    f->fd = open(f->path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600);
    if (f->fd < 0)
        return err_reason(e, errno, ERR_CLASS_FATAL, REASON_AUDIT_WRITE, "open %s: %s", f->path,
                          strerror(errno));
    if (fstat(f->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1) {
        fd_close(&f->fd);
        return err_reason(e, EINVAL, ERR_CLASS_FATAL, REASON_AUDIT_WRITE,
                          "open %s: not a plain file with one name", f->path);
    }
    if (flock(f->fd, LOCK_EX | LOCK_NB) < 0) {
        fd_close(&f->fd);
        return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_AUDIT_WRITE,
                          "open %s: another program writes to it", f->path);
    }
    (void)fchmod(f->fd, 0600);
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    f->size = (uint64_t)st.st_size;
    if (f->sync)
        syncer_set(f->sync, f->fd);
    return 0;
}

/* That there is a file of that name, too, has to reach the disk. */
static void
sync_dir(const struct audit_file *f)
{
    char dir[sizeof(f->path)];
    const char *slash = strrchr(f->path, '/');
    int fd;

    if (!f->sync)
        return;
    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - f->path), f->path);
    fd = open(dir[0] ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        syncer_dir(f->sync, fd);
}

/* Where the thread notes what the disk has; a log without it misses only that. */
static void
open_note(const struct audit_file *f)
{
    _cleanup_fd_ int fd = -1;

    if (!f->sync)
        return;
    fd = open(f->note_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    syncer_note_to(f->sync, fd);
}

/* ---- rotation ---- */

unsigned long
audit_file_number(const struct audit_file *f, const char *name)
{
    size_t len = strlen(f->path);

    return name[len] ? strtoul(name + len + 1, NULL, 10) : 0;
}

/* PATH becomes PATH.1, and so on up to the first number that is free. From the oldest on, so that
 * nothing is lost if we die in between: gaps in the numbers mean nothing. Without PATH there is
 * nothing to do. */
static int
shift(struct audit_file *f, struct err *e)
{
    char(*files)[CHAIN_PATH_MAX] = NULL;
    int n = chain_files(f->path, &files, e);
    unsigned long count = 0; /* PATH to PATH.<count - 1> are there */
    int r = 0;

    if (n < 0)
        return n;
    for (int i = n - 1; i >= 0 && audit_file_number(f, files[i]) == count; i--)
        count++;
    for (unsigned long i = count; i > 0 && r == 0; i--) {
        const char *name = files[(unsigned long)n - i];
        char next[CHAIN_PATH_MAX + 16];

        (void)snprintf(next, sizeof(next), "%s.%lu", f->path, i);
        if (rename(name, next) < 0)
            r = err_reason(e, errno, ERR_CLASS_RETRY, REASON_AUDIT_WRITE, "rotate %s: %s", name,
                           strerror(errno));
    }
    free(files);
    return r;
}

/* What is beyond `keep` goes when the disk has the record that says so: otherwise a power cut
 * could make it look as if somebody had taken a file away. */
void
audit_file_prune(struct audit_file *f)
{
    char(*files)[CHAIN_PATH_MAX] = NULL;
    struct syncer_state s = {.done = UINT64_MAX};
    struct err ignored = ERR_INIT;
    int n;

    if (!f->prune)
        return;
    if (f->sync)
        syncer_state(f->sync, &s);
    if (s.done < f->prune_after)
        return;
    f->prune = false;
    n = chain_files(f->path, &files, &ignored);
    for (int i = 0; i < n; i++)
        if (audit_file_number(f, files[i]) > f->keep)
            (void)unlink(files[i]);
    free(files);
}

/* The former file is remembered until the new one has its first record. */
static int
next_file(struct audit_file *f, const char *what, const char *text, struct err *e)
{
    const dev_t dev = f->dev;
    const ino_t ino = f->ino;
    const uint64_t size = f->size;
    int r;

    audit_file_close(f);
    r = open_file(f, O_CREAT | O_EXCL, e);
    if (r < 0)
        return r;
    sync_dir(f);
    r = audit_file_first(f, what, text, e);
    if (r < 0) {
        (void)unlink(f->path);
        audit_file_close(f);
        f->dev = dev;
        f->ino = ino;
        f->size = size;
        return r;
    }
    f->known = true;
    f->prune = true;
    f->prune_after = f->asked;
    return 0;
}

static int
rotate(struct audit_file *f, struct err *e)
{
    int r = shift(f, e);

    return r < 0 ? r : next_file(f, "continues", NULL, e);
}

/* ---- opening ---- */

static void
on_problem(void *ctx, const struct chain_problem *p)
{
    struct audit_file *f = ctx;

    if (p->kind == CHAIN_TORN_TAIL || p->kind == CHAIN_BREAK || p->kind == CHAIN_OLDEST ||
        f->broken[0])
        return;
    if (p->line)
        (void)snprintf(f->broken, sizeof(f->broken), "%.120s, line %" PRIu64 ": %s", p->file,
                       p->line, p->text);
    else
        (void)snprintf(f->broken, sizeof(f->broken), "%s", p->text);
}

/* Begins a new chain; what is there of the old one is put aside. */
static int
begin_anew(struct audit_file *f, struct err *e)
{
    int r = shift(f, e);

    if (r < 0)
        return r;
    audit_file_new_chain(f);
    return next_file(f, "break", f->broken, e);
}

/* Goes on after what `c` has read of the newest file, which is open unless it was rotated away. */
static int
go_on(struct audit_file *f, const struct chain_check *c, struct err *e)
{
    int r;

    f->head = c->head;
    f->oldest = c->oldest;
    (void)str_copy(f->chain, sizeof(f->chain), c->origin.id);
    if (f->fd < 0)
        return next_file(f, "continues", NULL, e);
    r = c->tail_torn ? audit_file_torn(f, c, e) : 0;
    if (r < 0)
        return r;
    f->known = true;
    if (!c->tail_torn)
        audit_file_note(f);
    return 0;
}

/* A note may be older than the newest file: of before a rotation that we did not survive. */
static bool
is_in_older(const struct audit_file *f, const struct chain_head *expect)
{
    struct chain_check *c = calloc(1, sizeof(*c));
    char(*files)[CHAIN_PATH_MAX] = NULL;
    struct err ignored = ERR_INIT;
    int n = c ? chain_files(f->path, &files, &ignored) : 0;
    bool seen = false;

    for (int i = n - 2; i >= 0 && !seen; i--) {
        chain_check_init(c, NULL, NULL);
        c->expect = *expect;
        (void)chain_check_file(c, files[i], &ignored);
        seen = c->expect_seen;
        err_clear(&ignored);
    }
    free(files);
    free(c);
    return seen;
}

static int
check_newest(struct audit_file *f, const char *newest, const struct chain_head *expect,
             struct chain_check *c, struct err *e)
{
    int r;

    chain_check_init(c, on_problem, f);
    c->expect = *expect;
    if (strcmp(newest, f->path) == 0) {
        r = open_file(f, 0, e);
        if (r >= 0)
            r = chain_check_fd(c, f->path, f->fd, e);
    } else {
        r = chain_check_file(c, newest, e);
    }
    if (r < 0)
        return r;
    if (expect->seq && !c->expect_seen && is_in_older(f, expect))
        c->expect_seen = true;
    chain_check_end(c, false);
    /* A file of which only a torn first line is there belongs to no chain. */
    if (c->records == 0 && c->tail_torn && !f->broken[0])
        (void)snprintf(f->broken, sizeof(f->broken), "%.150s has no whole record", newest);
    return 0;
}

/* The newest file has nothing in it: we died when it was made. */
static bool
is_empty(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0;
}

/* As we left it? Looked at by name and size, as before every record. */
static bool
is_known(const struct audit_file *f, const char *path)
{
    struct stat st;

    return f->known && lstat(path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino &&
           (uint64_t)st.st_size == f->size;
}

/* Checks the newest of `n` files and goes on after it, or begins anew. */
static int
open_newest(struct audit_file *f, const char *newest, const struct chain_head *expect,
            struct err *e)
{
    struct chain_check *c;
    int r;

    if (is_known(f, newest)) /* a rotation failed half-way */
        return strcmp(newest, f->path) == 0 ? open_file(f, 0, e)
                                            : next_file(f, "continues", NULL, e);
    f->known = false;
    c = calloc(1, sizeof(*c));
    if (!c)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "open %s", f->path);
    r = check_newest(f, newest, expect, c, e);
    if (r >= 0)
        r = f->broken[0] ? begin_anew(f, e) : go_on(f, c, e);
    free(c);
    return r;
}

static int
open_any(struct audit_file *f, const struct chain_head *expect, struct err *e)
{
    char(*files)[CHAIN_PATH_MAX] = NULL;
    int n = chain_files(f->path, &files, e);
    int r = n;

    if (n > 0 && is_empty(files[n - 1])) {
        (void)unlink(files[n - 1]);
        n--;
    }
    if (n > 0) {
        r = open_newest(f, files[n - 1], expect, e);
    } else if (n == 0) {
        f->known = false;
        if (expect->seq)
            (void)snprintf(f->broken, sizeof(f->broken),
                           "the log is gone; its newest record was number %" PRIu64, expect->seq);
        audit_file_new_chain(f);
        f->oldest.seq = 0;
        r = next_file(f, expect->seq ? "break" : "begins", expect->seq ? f->broken : NULL, e);
    }
    free(files);
    return r;
}

int
audit_file_open(struct audit_file *f, struct err *e)
{
    struct chain_head expect = f->head;
    char dir[sizeof(f->path)];
    int r = 0;

    f->broken[0] = '\0';
    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(f->path, '/') - f->path), f->path);
    if (!f->head.seq)
        (void)chain_expected(f->head_path, f->note_path, f->path, &expect);
    if (dir[0])
        r = fs_mkdirs(dir, 0700, e);
    if (r >= 0) {
        open_note(f);
        r = open_any(f, &expect, e);
    }
    if (r < 0) {
        audit_file_close(f);
        return err_prefix(e, "audit log");
    }
    return 0;
}

/* ---- writing ---- */

int
audit_file_ready(struct audit_file *f, struct err *e)
{
    if (f->fd >= 0 && is_known(f, f->path))
        return 0;
    audit_file_close(f);
    return audit_file_open(f, e);
}

void
audit_file_sync(struct audit_file *f)
{
    if (f->fd >= 0)
        audit_file_note(f);
}

int
audit_file_put(struct audit_file *f, const char *members, struct err *e)
{
    int r;

    audit_file_prune(f);
    if (f->fd >= 0 && is_known(f, f->path) && f->size >= f->max_size)
        r = rotate(f, e);
    else
        r = audit_file_ready(f, e);
    return r < 0 ? r : audit_file_line(f, "", members, e);
}
