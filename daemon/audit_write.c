/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines of the audit log: acts, and records about the log itself.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "daemon/act_json.h"
#include "daemon/audit_file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* One short write to a file in memory; if it fails, only a cut end goes unnoticed. */
void
audit_file_note(struct audit_file *f)
{
    char line[CHAIN_NOTE_MAX];
    int n = chain_note_text(&f->head, f->boot, f->path, line);

    if (n <= 0 || n >= CHAIN_NOTE_MAX)
        return;
    if (f->head_fd < 0)
        f->head_fd = open(f->head_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (f->head_fd >= 0 && pwrite(f->head_fd, line, (size_t)n, 0) == n)
        (void)!ftruncate(f->head_fd, n);
    if (f->sync)
        f->asked = syncer_want(f->sync, line);
}

int
audit_file_line(struct audit_file *f, const char *before, const char *members, struct err *e)
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
        audit_file_note(f);
    } else {
        /* The file stays open: as long as it is as we left it, it need not be checked anew. */
        if (n > 0)
            (void)!ftruncate(f->fd, (off_t)f->size);
        (void)err_reason(e, r, ERR_CLASS_RETRY, REASON_AUDIT_WRITE, "write %s: %s", f->path,
                         strerror(r));
    }
    buf_fini(&out);
    return r == 0 ? 0 : -e->num;
}

/* ---- records about the log itself ---- */

void
audit_file_new_chain(struct audit_file *f)
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
    r = audit_file_line(f, before, members + 1, e);
    free(members);
    return r;
}

static bool
is_same(const struct chain_origin *a, const struct chain_origin *b)
{
    return a->seq == b->seq && strcmp(a->id, b->id) == 0;
}

/* Which is the oldest file that stays, once those beyond `keep` are gone? *ret_found: whether the
 * one that the file before this one names is among them all. seq 0: there is none but this one. */
static void
find_oldest(const struct audit_file *f, struct chain_origin *ret, bool *ret_found)
{
    char(*files)[CHAIN_PATH_MAX] = NULL;
    struct err ignored = ERR_INIT;
    struct chain_origin o;
    int n = chain_files(f->path, &files, &ignored);

    ret->seq = 0;
    *ret_found = n < 0;
    for (int i = 0; i < n; i++) {
        if (!chain_first(files[i], &o))
            continue;
        *ret_found = *ret_found || is_same(&o, &f->oldest);
        if (ret->seq == 0 && audit_file_number(f, files[i]) <= f->keep)
            *ret = o;
    }
    free(files);
}

static json_object *
origin_object(const struct chain_origin *origin)
{
    json_object *o = json_object_new_object();

    act_json_text(o, "chain", origin->id);
    (void)json_object_object_add(o, "seq", json_object_new_uint64(origin->seq));
    return o;
}

int
audit_file_first(struct audit_file *f, const char *what, const char *text, struct err *e)
{
    json_object *o = chain_record(what);
    struct chain_origin oldest;
    struct utsname host;
    char why[200] = "";
    bool found;
    int r;

    find_oldest(f, &oldest, &found);
    if (oldest.seq == 0) { /* this one */
        oldest.seq = f->head.seq + 1;
        (void)str_copy(oldest.id, sizeof(oldest.id), f->chain);
    }
    if (!found && f->oldest.seq && strcmp(what, "continues") == 0)
        (void)snprintf(why, sizeof(why),
                       "the file that began with record %" PRIu64
                       ", which was to be kept, was taken away",
                       f->oldest.seq);
    add_str(o, "chain", f->chain);
    act_json_text(o, "host", uname(&host) == 0 ? host.nodename : "");
    (void)json_object_object_add(o, "oldest", origin_object(&oldest));
    if (why[0])
        (void)json_object_object_add(o, "missing", origin_object(&f->oldest));
    act_json_text(o, "text", why[0] ? why : text);
    r = put_object(f, "", o, e);
    if (r < 0)
        return r;
    f->oldest = oldest;
    if (why[0])
        (void)str_copy(f->broken, sizeof(f->broken), why);
    return 0;
}

int
audit_file_torn(struct audit_file *f, const struct chain_check *c, struct err *e)
{
    json_object *o = chain_record("torn");

    (void)json_object_object_add(o, "bytes", json_object_new_uint64(c->tail_bytes));
    add_str(o, "sha256", c->tail_hash);
    add_str(o, "text", "the last record was cut off when the machine or its disk stopped");
    return put_object(f, "\n", o, e);
}
