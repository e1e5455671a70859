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
};

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
    log_error("the audit log was tampered with, or damaged: a new chain begins", "found",
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
    if (s.error) {
        log_error("the audit log does not reach the disk", "file", a->file.path, "why",
                  strerror(s.error));
        tell(a, false, REASON_AUDIT_WRITE, "the disk does not take the audit log");
    }
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
    a->failing = false;
    a->lost = 0;
    a->why[0] = '\0';
    tell(a, true, REASON_NONE, NULL);
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
    if (a->failing && (now_ns() - a->tried_at < RETRY_EVERY || put_gap(a, &e) < 0)) {
        lose(a);
        if (e.num)
            failed(a, e.msg);
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
audit_ready(struct audit *a, struct err *e)
{
    if (!a || !a->required || !a->failing)
        return true;
    if (put_gap(a, e) >= 0)
        return true;
    failed(a, e->msg);
    (void)err_prefix(e, "the audit log cannot be written, and it is required");
    e->reason = REASON_AUDIT_WRITE;
    return false;
}

/* ---- life ---- */

int
audit_new(const struct audit_conf *conf, const char *state_dir, const struct act_bus *acts,
          struct audit **ret, struct err *e)
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
    r = syncer_new(&a->sync, e);
    if (r < 0) {
        free(a);
        return r;
    }
    a->acts = acts;
    a->required = conf->required;
    audit_file_init(&a->file, conf, state_dir, a->sync);
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
    syncer_free(a->sync);
    a->file.sync = NULL;
    audit_file_close(&a->file);
    free(a);
}

json_object *
audit_json(const struct audit *a)
{
    json_object *o = json_object_new_object();
    struct syncer_state s;

    (void)json_object_object_add(o, "file", json_object_new_string(a ? a->file.path : ""));
    if (!a)
        return o;
    syncer_state(a->sync, &s);
    (void)json_object_object_add(o, "ok", json_object_new_boolean(!a->failing && !s.error));
    (void)json_object_object_add(o, "why",
                                 json_object_new_string(a->failing ? a->why
                                                        : s.error  ? strerror(s.error)
                                                                   : ""));
    (void)json_object_object_add(o, "required", json_object_new_boolean(a->required));
    (void)json_object_object_add(o, "seq", json_object_new_uint64(a->file.head.seq));
    (void)json_object_object_add(o, "hash", json_object_new_string(a->file.head.hash));
    (void)json_object_object_add(o, "written", json_object_new_uint64(a->written));
    (void)json_object_object_add(o, "lost", json_object_new_uint64(a->lost_ever));
    (void)json_object_object_add(o, "syncs", json_object_new_uint64(s.calls));
    (void)json_object_object_add(o, "sync_max_us", json_object_new_uint64(s.max_ns / 1000));
    return o;
}
