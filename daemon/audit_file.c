/* SPDX-License-Identifier: Apache-2.0
 *
 * To open:
 *
 *   1. make the directory, see which files there are
 *   2. check the newest one as a whole, and that it has the newest record we know of
 *   3. tampered with: put it aside, begin a new chain whose first record says why
 *      newest one rotated away (we died in between): begin the next file of its chain
 *      torn last line: end it, and record it
 */
#include "daemon/audit_file.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "daemon/act_json.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define HEAD_LINE_MAX 400

void
audit_file_init(struct audit_file *f, const struct audit_conf *conf, const char *state_dir,
                struct syncer *sync)
{
    *f = (struct audit_file){.fd = -1, .head_fd = -1, .sync = sync, .keep = conf->keep};
    f->max_size = config_audit_bytes(conf->max_size);
    chain_head_init(&f->head);
    (void)str_copy(f->path, sizeof(f->path), conf->file);
    (void)snprintf(f->head_path, sizeof(f->head_path), "%s/audit.head", state_dir);
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

/* ---- the newest record, as we last knew ---- */

/* "SEQ HASH PATH\n" */
static void
read_head(struct audit_file *f, struct chain_head *ret)
{
    _cleanup_free_ char *text = NULL;
    struct err ignored = ERR_INIT;
    size_t len;
    char *end;

    *ret = f->head;
    if (f->head.seq ||
        fs_read_file(AT_FDCWD, f->head_path, HEAD_LINE_MAX, &text, &len, &ignored) < 0)
        return;
    text[strcspn(text, "\n")] = '\0';
    errno = 0;
    ret->seq = strtoull(text, &end, 10);
    if (errno || *end != ' ' || strlen(end + 1) < CHAIN_HEX || !chain_is_hash(end + 1) ||
        strcmp(end + 1 + CHAIN_HEX, f->path) != 0) {
        *ret = f->head;
        return;
    }
    memcpy(ret->hash, end + 1, CHAIN_HEX - 1);
}

/* One short write to a file in memory; if it fails, only a cut end goes unnoticed. */
static void
write_head(struct audit_file *f)
{
    char line[HEAD_LINE_MAX];
    int n = snprintf(line, sizeof(line), "%" PRIu64 " %s %s\n", f->head.seq, f->head.hash, f->path);

    if (f->head_fd < 0)
        f->head_fd = open(f->head_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->head_fd >= 0 && n > 0 && pwrite(f->head_fd, line, (size_t)n, 0) == n)
        (void)!ftruncate(f->head_fd, n);
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

static int
sync_dir(const struct audit_file *f, struct err *e)
{
    char dir[sizeof(f->path)];
    const char *slash = strrchr(f->path, '/');
    _cleanup_fd_ int fd = -1;

    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - f->path), f->path);
    fd = open(dir[0] ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_reason(e, errno, ERR_CLASS_FATAL, REASON_AUDIT_WRITE, "sync %s: %s", dir,
                          strerror(errno));
    return 0;
}

/* Appends a line (and `before` it what it takes) in one write; the file is as before if it fails.
 */
static int
put_line(struct audit_file *f, const char *before, const char *members, struct err *e)
{
    struct chain_head next = f->head;
    struct buf out;
    ssize_t n;
    int r;

    buf_init(&out, CHAIN_LINE_MAX + 1);
    (void)buf_put_str(&out, before);
    r = chain_append(&next, members, &out, e);
    if (r < 0) {
        buf_fini(&out);
        return r;
    }
    n = write(f->fd, out.data, out.len);
    r = n < 0 ? errno : (size_t)n < out.len ? ENOSPC : 0;
    if (r == 0) {
        f->size += out.len;
        f->head = next;
        write_head(f);
        if (f->sync)
            syncer_want(f->sync);
    } else {
        if (n > 0)
            (void)!ftruncate(f->fd, (off_t)f->size);
        (void)err_reason(e, r, ERR_CLASS_RETRY, REASON_AUDIT_WRITE, "write %s: %s", f->path,
                         strerror(r));
        audit_file_close(f);
    }
    buf_fini(&out);
    return r == 0 ? 0 : -e->num;
}

/* ---- records about the log itself ---- */

static void
new_chain(struct audit_file *f)
{
    unsigned char id[16];

    chain_head_init(&f->head);
    if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
        memset(id, 0, sizeof(id));
    for (size_t i = 0; i < sizeof(id); i++)
        (void)snprintf(f->chain + i * 2, 3, "%02x", id[i]);
}

static void
add_str(json_object *o, const char *key, const char *v)
{
    (void)json_object_object_add(o, key, json_object_new_string(v));
}

static json_object *
chain_record(const char *what)
{
    json_object *o = json_object_new_object();
    struct timespec now;
    char time[ACT_TIME_MAX];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    add_str(o, "time", act_time(&now, time));
    add_str(o, "kind", "chain");
    add_str(o, "what", what);
    return o;
}

/* Puts the object and frees it. */
static int
put_object(struct audit_file *f, const char *before, json_object *o, struct err *e)
{
    char *members = strdup(
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    int r;

    (void)json_object_put(o);
    if (!members)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "write %s", f->path);
    members[strlen(members) - 1] = '\0'; /* the braces */
    r = put_line(f, before, members + 1, e);
    free(members);
    return r;
}

/* First record of a file. */
static int
put_first(struct audit_file *f, const char *what, const char *text, struct err *e)
{
    json_object *o = chain_record(what), *oldest = json_object_new_object();
    struct chain_origin origin = {.seq = 0};
    char(*files)[CHAIN_PATH_MAX] = NULL;
    struct err ignored = ERR_INIT;
    struct utsname host;
    int n = chain_files(f->path, &files, &ignored);

    for (int i = 0; i < n && origin.seq == 0; i++)
        if (!chain_first(files[i], &origin))
            origin.seq = 0;
    free(files);
    if (origin.seq == 0) { /* this one */
        origin.seq = f->head.seq + 1;
        (void)str_copy(origin.id, sizeof(origin.id), f->chain);
    }
    add_str(o, "chain", f->chain);
    act_json_text(o, "host", uname(&host) == 0 ? host.nodename : "");
    act_json_text(oldest, "chain", origin.id);
    (void)json_object_object_add(oldest, "seq", json_object_new_uint64(origin.seq));
    (void)json_object_object_add(o, "oldest", oldest);
    act_json_text(o, "text", text);
    return put_object(f, "", o, e);
}

static int
put_torn(struct audit_file *f, const struct chain_check *c, struct err *e)
{
    json_object *o = chain_record("torn");

    (void)json_object_object_add(o, "bytes", json_object_new_uint64(c->tail_bytes));
    add_str(o, "sha256", c->tail_hash);
    add_str(o, "text", "the last record was cut off when the machine or its disk stopped");
    return put_object(f, "\n", o, e);
}

/* ---- rotation ---- */

/* PATH becomes PATH.1, and so on; what is beyond `keep` goes. From the oldest on, so that nothing
 * is lost if we die in between: gaps in the numbers mean nothing. */
static int
shift(struct audit_file *f, struct err *e)
{
    char(*files)[CHAIN_PATH_MAX] = NULL;
    size_t len = strlen(f->path);
    int n = chain_files(f->path, &files, e);
    int r = 0;

    if (n < 0)
        return n;
    for (int i = 0; i < n && r == 0; i++) {
        const char *name = files[i];
        unsigned long k = name[len] ? strtoul(name + len + 1, NULL, 10) : 0;
        char next[CHAIN_PATH_MAX + 16];

        (void)snprintf(next, sizeof(next), "%s.%lu", f->path, k + 1);
        if ((k >= f->keep ? unlink(name) : rename(name, next)) < 0)
            r = err_reason(e, errno, ERR_CLASS_RETRY, REASON_AUDIT_WRITE, "rotate %s: %s", name,
                           strerror(errno));
    }
    free(files);
    return r < 0 ? r : sync_dir(f, e);
}

static int
next_file(struct audit_file *f, const char *what, const char *text, struct err *e)
{
    int r = open_file(f, O_CREAT | O_EXCL, e);

    if (r >= 0)
        r = put_first(f, what, text, e);
    return r < 0 ? r : sync_dir(f, e);
}

static int
rotate(struct audit_file *f, struct err *e)
{
    int r;

    audit_file_close(f);
    r = shift(f, e);
    return r < 0 ? r : next_file(f, "continues", NULL, e);
}

/* ---- opening ---- */

static void
on_problem(void *ctx, const struct chain_problem *p)
{
    struct audit_file *f = ctx;

    if (p->kind == CHAIN_TORN_TAIL || p->kind == CHAIN_BREAK || f->broken[0])
        return;
    if (p->line)
        (void)snprintf(f->broken, sizeof(f->broken), "%.120s, line %" PRIu64 ": %s", p->file,
                       p->line, p->text);
    else
        (void)snprintf(f->broken, sizeof(f->broken), "%s", p->text);
}

/* Begins a new chain; what is there of the old one is put aside. */
static int
begin_anew(struct audit_file *f, bool aside, struct err *e)
{
    int r = 0;

    audit_file_close(f);
    if (aside)
        r = shift(f, e);
    if (r < 0)
        return r;
    new_chain(f);
    return next_file(f, "break", f->broken, e);
}

/* Goes on after what `c` has read of the newest file, which is open unless it was rotated away. */
static int
go_on(struct audit_file *f, const struct chain_check *c, struct err *e)
{
    f->head = c->head;
    (void)str_copy(f->chain, sizeof(f->chain), c->origin.id);
    if (f->fd < 0)
        return next_file(f, "continues", NULL, e);
    if (c->tail_torn)
        return put_torn(f, c, e);
    write_head(f);
    return 0;
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

int
audit_file_open(struct audit_file *f, struct err *e)
{
    char(*files)[CHAIN_PATH_MAX] = NULL;
    struct chain_check *c = calloc(1, sizeof(*c));
    struct chain_head expect;
    char dir[sizeof(f->path)];
    int n, r;

    f->broken[0] = '\0';
    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(strrchr(f->path, '/') - f->path), f->path);
    read_head(f, &expect);
    r = c ? 0 : err_errno(e, ENOMEM, ERR_CLASS_FATAL, "open %s", f->path);
    if (r >= 0 && dir[0])
        r = fs_mkdirs(dir, 0700, e);
    n = r < 0 ? r : chain_files(f->path, &files, e);
    if (n > 0 && is_empty(files[n - 1])) {
        (void)unlink(files[n - 1]);
        n--;
    }
    if (n == 0 && expect.seq) {
        (void)snprintf(f->broken, sizeof(f->broken),
                       "the log is gone; its newest record was number %" PRIu64, expect.seq);
        r = begin_anew(f, false, e);
    } else if (n == 0) {
        new_chain(f);
        r = next_file(f, "begins", NULL, e);
    } else if (n > 0) {
        r = check_newest(f, files[n - 1], &expect, c, e);
        if (r >= 0)
            r = f->broken[0] ? begin_anew(f, true, e) : go_on(f, c, e);
    } else {
        r = n;
    }
    free(files);
    free(c);
    if (r < 0) {
        audit_file_close(f);
        return err_prefix(e, "audit log");
    }
    return 0;
}

/* ---- writing ---- */

static bool
is_ours(const struct audit_file *f)
{
    struct stat st;

    return f->fd >= 0 && lstat(f->path, &st) == 0 && st.st_dev == f->dev && st.st_ino == f->ino &&
           (uint64_t)st.st_size == f->size;
}

int
audit_file_put(struct audit_file *f, const char *members, struct err *e)
{
    int r = 0;

    if (!is_ours(f)) {
        audit_file_close(f);
        r = audit_file_open(f, e);
    } else if (f->size >= f->max_size) {
        r = rotate(f, e);
    }
    if (r >= 0)
        r = put_line(f, "", members, e);
    if (r < 0)
        audit_file_close(f);
    return r;
}
