/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner of the audit log's files.
 */
#include "daemon/audit.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/act_json.h"
#include "daemon/audit_file.h"
#include "daemon/timer.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* A log that fails is not tried anew for every act: opening it may mean to check all of it. */
#define RETRY_EVERY HW_SEC(5)

struct audit {
    struct audit_file file;
    struct syncer *sync;
    const struct act_bus *acts;
    bool required;
    bool failing, telling;
    uint64_t written, lost, lost_ever;
    uint64_t tried_at;  /* of a log that fails */
    int64_t first_lost; /* time of day, seconds */
    char why[ERR_MSG_MAX];
    int sync_error;
    sd_event *loop;
    sd_event_source *retry, *synced;
};

static int on_retry(sd_event_source *s, uint64_t usec, void *ctx);

/* ---- telling of the log itself ---- */

static void
tell(struct audit *a, bool ok, enum reason reason, const char *text)
{
    a->telling = true; /* it is not written down: it was, or it cannot be */
    act_tell(a->acts, &(struct act){.kind = ACT_AUDIT, .ok = ok, .reason = reason, .text = text});
    a->telling = false;
}

static void
failed(struct audit *a, const char *why)
{
    bool news = !a->failing || strcmp(a->why, why) != 0;

    a->failing = true;
    a->tried_at = now_ns();
    (void)str_copy(a->why, sizeof(a->why), why);
    timer_arm(a->loop, &a->retry, RETRY_EVERY, on_retry, a);
    if (!news)
        return;
    log_error(a->required ? "the audit log cannot be written: allocations are refused"
                          : "the audit log cannot be written: records are lost",
              "why", why, "cure", reason_cure(REASON_AUDIT_WRITE));
    tell(a, false, REASON_AUDIT_WRITE, why);
}

/* After an open: what was found there? */
static void
say_broken(struct audit *a)
{
    if (!a->file.broken[0])
        return;
    log_error("the audit log was tampered with, or damaged: that is on record now", "found",
              a->file.broken, "look", "pgpuctl audit verify");
    tell(a, false, REASON_NONE, a->file.broken);
    a->file.broken[0] = '\0';
}

static void
look_at_sync(struct audit *a)
{
    struct syncer_state s;

    syncer_state(a->sync, &s);
    if (s.error == a->sync_error)
        return;
    a->sync_error = s.error;
    if (!s.error) {
        log_info("the audit log reaches the disk again", "file", a->file.path);
        return;
    }
    log_error(a->required ? "the audit log does not reach the disk: allocations are refused"
                          : "the audit log does not reach the disk",
              "file", a->file.path, "why", strerror(s.error));
    tell(a, false, REASON_AUDIT_WRITE, "the disk does not take the audit log");
    timer_arm(a->loop, &a->retry, RETRY_EVERY, on_retry, a);
}

static int
on_synced(sd_event_source *s, int fd, uint32_t events, void *ctx)
{
    uint64_t n;

    (void)s;
    (void)events;
    (void)!read(fd, &n, sizeof(n));
    look_at_sync(ctx);
    return 0;
}

/* ---- records ---- */

/* "time":..., and the members of `o`, which is freed. */
static int
put(struct audit *a, json_object *o, struct err *e)
{
    const char *text =
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    _cleanup_free_ char *members = strdup(text + 1);
    int r;

    (void)json_object_put(o);
    if (!members)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "audit log");
    members[strlen(members) - 1] = '\0';
    r = audit_file_put(&a->file, members, e);
    if (r >= 0)
        a->written++;
    say_broken(a);
    return r;
}

static json_object *
new_record(void)
{
    json_object *o = json_object_new_object();
    struct timespec now;
    char time[ACT_TIME_MAX];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)json_object_object_add(o, "time", json_object_new_string(act_time(&now, time)));
    return o;
}

/* Writing works again: says what is not there. */
static int
put_gap(struct audit *a, struct err *e)
{
    json_object *o = new_record();
    struct timespec since = {.tv_sec = a->first_lost};
    char time[ACT_TIME_MAX];
    int r;

    act_json_text(o, "kind", "gap");
    (void)json_object_object_add(o, "lost", json_object_new_uint64(a->lost));
    act_json_text(o, "since", act_time(&since, time));
    act_json_text(o, "text", a->why);
    r = put(a, o, e);
    if (r < 0)
        return r;
    log_info("the audit log is written again", "file", a->file.path, "lost", LOG_NUM(a->lost));
    a->lost = 0;
    tell(a, true, REASON_NONE, NULL);
    return 0;
}

/* Tries a log that fails anew. */
static int
recover(struct audit *a, struct err *e)
{
    int r = a->lost ? put_gap(a, e) : audit_file_ready(&a->file, e);

    say_broken(a);
    if (r < 0) {
        failed(a, e->msg);
        return r;
    }
    a->failing = false;
    a->why[0] = '\0';
    return 0;
}

static int
on_retry(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct audit *a = ctx;
    struct err e = ERR_INIT;

    (void)s;
    (void)usec;
    look_at_sync(a);
    if (a->failing)
        (void)recover(a, &e);
    if (a->sync_error) {
        audit_file_sync(&a->file);
        timer_arm(a->loop, &a->retry, RETRY_EVERY, on_retry, a);
    }
    return 0;
}

static void
lose(struct audit *a)
{
    if (a->lost++ == 0)
        a->first_lost = (int64_t)time(NULL);
    a->lost_ever++;
}

void
audit_act(void *ctx, const struct act *act)
{
    struct audit *a = ctx;
    struct err e = ERR_INIT;
    json_object *o;

    if (a->telling || !act_is_audited(act))
        return;
    look_at_sync(a);
    if (a->failing && (now_ns() - a->tried_at < RETRY_EVERY || recover(a, &e) < 0)) {
        lose(a);
        return;
    }
    o = new_record();
    act_json_put(o, act);
    if (put(a, o, &e) < 0) {
        lose(a);
        failed(a, e.msg);
        return;
    }
    tell(a, true, REASON_NONE, NULL);
}

bool
audit_is_ok(const struct audit *a, const char **why)
{
    struct syncer_state s;

    *why = "";
    if (!a)
        return true;
    syncer_state(a->sync, &s);
    if (a->failing)
        *why = a->why;
    else if (s.error)
        *why = strerror(s.error);
    return !a->failing && !s.error;
}

bool
audit_has_it(const struct audit *a, struct err *e)
{
    const char *why;

    if (!a || !a->required || audit_is_ok(a, &why))
        return true;
    (void)err_reason(e, EIO, ERR_CLASS_RETRY, REASON_AUDIT_WRITE,
                     "the audit log cannot be written, and it is required: %s", why);
    return false;
}

bool
audit_ready(struct audit *a, struct err *e)
{
    struct err ignored = ERR_INIT;

    if (a && a->required && a->failing)
        (void)recover(a, &ignored);
    return audit_has_it(a, e);
}

/* ---- life ---- */

int
audit_new(sd_event *loop, const struct audit_conf *conf, const char *state_dir,
          const struct act_bus *acts, struct audit **ret, struct err *e)
{
    struct audit *a;
    struct err opening = ERR_INIT;
    int r;

    *ret = NULL;
    if (!conf->file[0]) {
        log_info("there is no audit log: audit.file is empty");
        return 0;
    }
    a = calloc(1, sizeof(*a));
    if (!a)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "audit log");
    audit_file_init(&a->file, conf, state_dir, NULL);
    r = syncer_new(&a->sync, e);
    if (r < 0) {
        free(a);
        return r;
    }
    r = sd_event_add_io(loop, &a->synced, syncer_event(a->sync), EPOLLIN, on_synced, a);
    if (r < 0) {
        audit_free(a);
        return err_errno(e, -r, ERR_CLASS_FATAL, "audit log");
    }
    a->loop = loop;
    a->acts = acts;
    a->required = conf->required;
    a->file.sync = a->sync;
    if (audit_file_open(&a->file, &opening) < 0)
        failed(a, opening.msg);
    say_broken(a);
    *ret = a;
    return 0;
}

void
audit_free(struct audit *a)
{
    if (!a)
        return;
    (void)sd_event_source_disable_unref(a->synced);
    (void)sd_event_source_disable_unref(a->retry);
    syncer_free(a->sync);
    a->file.sync = NULL;
    audit_file_prune(&a->file);
    audit_file_close(&a->file);
    free(a);
}

json_object *
audit_json(const struct audit *a)
{
    json_object *o = json_object_new_object();
    struct syncer_state s;
    const char *why;

    (void)json_object_object_add(o, "file", json_object_new_string(a ? a->file.path : ""));
    if (!a)
        return o;
    syncer_state(a->sync, &s);
    (void)json_object_object_add(o, "ok", json_object_new_boolean(audit_is_ok(a, &why)));
    (void)json_object_object_add(o, "why", json_object_new_string(why));
    (void)json_object_object_add(o, "required", json_object_new_boolean(a->required));
    (void)json_object_object_add(o, "seq", json_object_new_uint64(a->file.head.seq));
    (void)json_object_object_add(o, "hash", json_object_new_string(a->file.head.hash));
    (void)json_object_object_add(o, "written", json_object_new_uint64(a->written));
    (void)json_object_object_add(o, "lost", json_object_new_uint64(a->lost_ever));
    (void)json_object_object_add(o, "syncs", json_object_new_uint64(s.calls));
    (void)json_object_object_add(o, "sync_max_us", json_object_new_uint64(s.max_ns / 1000));
    return o;
}
