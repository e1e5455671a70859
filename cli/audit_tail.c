/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl audit tail: the newest records, and what comes. Shows what stands there; whether it may
 * be believed is `verify`'s business.
 */
#include "base/cleanup.h"
#include "cli/act_text.h"
#include "cli/audit.h"
#include "cli/cli.h"
#include "cli/node_conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINES_MAX 10000
#define LOOK_EVERY_NS 200000000

/* ---- the newest ---- */

struct ring {
    size_t max, n, next;
    char **line; /* owned */
    bool (*fits)(void *ctx, json_object *o);
    void *ctx;
};

static void
ring_record(void *ctx, const char *file, uint64_t number, uint64_t seq, const char *text,
            size_t len)
{
    struct ring *r = ctx;
    json_object *o = act_parse(text, len);

    (void)file;
    (void)number;
    (void)seq;
    if (o && (!r->fits || r->fits(r->ctx, o))) {
        free(r->line[r->next]);
        r->line[r->next] = strndup(text, len);
        r->next = (r->next + 1) % r->max;
        r->n += r->n < r->max;
    }
    (void)json_object_put(o);
}

static int
read_file(struct ring *r, const char *name, struct err *e)
{
    struct chain_check *c = calloc(1, sizeof(*c));
    int rc;

    if (!c)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "read %s", name);
    chain_check_init(c, NULL, r);
    c->record = ring_record;
    rc = chain_check_file(c, name, e);
    free(c);
    return rc;
}

static void
ring_fini(struct ring *r)
{
    for (size_t i = 0; r->line && i < r->max; i++)
        free(r->line[i]);
    free(r->line);
}

/* From the newest file that alone has enough, or from the oldest. */
static int
fill(struct ring *r, const char *log, struct err *e)
{
    char(*files)[CHAIN_PATH_MAX] = NULL;
    int n = chain_files(log, &files, e);
    int from = n, rc = n < 0 ? n : 0;

    while (rc >= 0 && from > 0 && r->n < r->max) {
        from--;
        /* anew from there: the ring has to be filled in order */
        r->n = r->next = 0;
        for (int i = from; i < n && rc >= 0; i++)
            rc = read_file(r, files[i], e);
    }
    if (n == 0)
        rc = err_set(e, ENOENT, ERR_CLASS_INVALID, "%s: there is no audit log", log);
    free(files);
    return rc;
}

int
audit_newest(const char *log, size_t max, bool (*fits)(void *ctx, json_object *o),
             void (*each)(void *ctx, json_object *o, const char *line, size_t len), void *ctx,
             struct err *e)
{
    struct ring r = {.max = max, .fits = fits, .ctx = ctx};
    int rc;

    r.line = calloc(max ? max : 1, sizeof(*r.line));
    if (!r.line)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "read %s", log);
    rc = max ? fill(&r, log, e) : 0;
    for (size_t i = 0; rc >= 0 && i < r.n; i++) {
        const char *line = r.line[(r.next + r.max - r.n + i) % r.max];
        json_object *o = line ? act_parse(line, strlen(line)) : NULL;

        if (o)
            each(ctx, o, line, strlen(line));
        (void)json_object_put(o);
    }
    rc = rc < 0 ? rc : (int)r.n;
    ring_fini(&r);
    return rc;
}

/* ---- the verb ---- */

struct tail {
    const struct cli *c;
    struct act_filter filter;
};

static bool
fits(void *ctx, json_object *o)
{
    const struct tail *t = ctx;

    return act_filter_fits(&t->filter, o);
}

static void
show(void *ctx, json_object *o, const char *line, size_t len)
{
    const struct tail *t = ctx;

    if (t->c->json)
        (void)printf("%.*s\n", (int)len, line);
    else
        act_print(o, t->c->tty, stdout);
}

static bool
show_line(const struct tail *t, const char *line, size_t len)
{
    json_object *o = act_parse(line, len);

    if (o && act_filter_fits(&t->filter, o))
        show((void *)(uintptr_t)t, o, line, len);
    else if (!o && !t->c->json)
        (void)puts("(a line that is no record)");
    (void)json_object_put(o);
    (void)fflush(stdout);
    return !ferror(stdout);
}

struct reader {
    int fd;
    ino_t ino;
    struct buf in;
};

static bool
reopen(struct reader *r, const char *log, bool at_end)
{
    struct stat st;
    int fd = open(log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return false;
    fd_close(&r->fd);
    r->fd = fd;
    r->ino = fstat(fd, &st) == 0 ? st.st_ino : 0;
    buf_clear(&r->in);
    if (at_end)
        (void)lseek(fd, 0, SEEK_END);
    return true;
}

/* False when nobody reads us any more. */
static bool
drain(struct reader *r, const struct tail *t)
{
    char chunk[8192];
    ssize_t n;

    while (r->fd >= 0 && (n = read(r->fd, chunk, sizeof(chunk))) > 0) {
        const char *nl;

        buf_compact(&r->in);
        if (!buf_put(&r->in, chunk, (size_t)n))
            buf_clear(&r->in);
        while (buf_left(&r->in) > 0 && (nl = memchr(buf_peek(&r->in), '\n', buf_left(&r->in)))) {
            size_t len = (size_t)(nl - (const char *)buf_peek(&r->in));

            if (!show_line(t, (const char *)buf_peek(&r->in), len))
                return false;
            (void)buf_skip(&r->in, len + 1);
        }
    }
    return true;
}

/* As `tail -F`: what is appended, and the next file when this one was rotated away. */
static int
follow(struct reader *r, const char *log, const struct tail *t)
{
    struct stat st;

    for (;;) {
        if (!drain(r, t))
            return 0;
        if (lstat(log, &st) == 0 && (r->fd < 0 || st.st_ino != r->ino)) {
            /* what came between the two looks */
            if (!drain(r, t))
                return 0;
            (void)reopen(r, log, false);
            continue;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_NS}, NULL);
    }
}

int
audit_tail_run(const void *ctx, int argc, char **argv)
{
    struct tail t = {.c = ctx};
    struct reader r = {.fd = -1};
    struct usage_args a;
    struct err e = ERR_INIT;
    char log[CHAIN_PATH_MAX], head[CHAIN_PATH_MAX];
    const char *lines;
    int rc = usage_parse(&audit_verbs[AUDIT_VERB_TAIL], argc, argv, &a);

    if (rc >= 0)
        return rc;
    lines = usage_value(&a, "--lines", "20");
    if (!lines[0] || strspn(lines, "0123456789") != strlen(lines) || strlen(lines) > 5 ||
        strtoul(lines, NULL, 10) > LINES_MAX)
        return usage_wrong(&a, "--lines is a number up to %d, not \"%s\"", LINES_MAX, lines);
    rc = act_filter_take(&t.filter, &a, true);
    if (rc >= 0)
        return rc;
    if (audit_log_path(usage_value(&a, "--config", NULL), usage_value(&a, "--dir", NULL), log,
                       sizeof(log), head, sizeof(head)) < 0)
        return 1;
    bool more = usage_flag(&a, "--follow");
    /* from here on, so that nothing is lost in between; a line may be shown twice instead */
    if (more) {
        buf_init(&r.in, 1u << 20);
        (void)reopen(&r, log, true);
    }
    rc = audit_newest(log, strtoul(lines, NULL, 10), fits, show, &t, &e);
    if (rc < 0 && !(more && e.num == ENOENT)) {
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
        rc = 1;
    } else {
        (void)fflush(stdout);
        rc = more ? follow(&r, log, &t) : 0;
    }
    fd_close(&r.fd);
    buf_fini(&r.in);
    return rc;
}
