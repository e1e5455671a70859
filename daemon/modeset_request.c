/* SPDX-License-Identifier: Apache-2.0
 *
 * The node's mode on the control socket, and in the status.
 */
#include "base/fs.h"
#include "daemon/json.h"
#include "daemon/modeset.h"
#include "daemon/node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *
stand_name(enum modeset_stand s)
{
    static const char *const names[] = {"apart", "done", "in_use", "under_way", "failed"};

    return names[s];
}

static json_object *
unit_json(const struct unit *u)
{
    json_object *o = json_object_new_object();

    put_str(o, "id", u->id);
    put_str(o, "stand", stand_name(modeset_stand_of(u)));
    put_str(o, "state", unit_state_info(u->state)->name);
    put_str(o, "phase", u->op_seq && u->phase != HWD_PHASE_NONE ? hwd_phase_name(u->phase) : "");
    put_bool(o, "waits", modeset_holds(u));
    put_str(o, "namespace", u->owner.ns);
    put_str(o, "pod", u->owner.pod);
    put_str(o, "reason", reason_name(u->reason));
    put_str(o, "why", u->why);
    /* the ladder is at work: it may still succeed */
    put_bool(o, "recovering", ladder_at_work(u));
    return o;
}

json_object *
modeset_json(const struct node *n)
{
    unsigned stands[MODESET_FAILED + 1] = {0};
    json_object *o = json_object_new_object();
    json_object *units = json_object_new_array();
    struct buf text;
    const char *s;

    for (size_t i = 0; i < n->n_units; i++) {
        enum modeset_stand st = modeset_stand_of(n->unit[i]);

        stands[st]++;
        if (st != MODESET_APART)
            (void)json_object_array_add(units, unit_json(n->unit[i]));
    }
    buf_init(&text, 8192);
    modeset_text(n, &text);
    s = buf_cstr(&text);
    put_str(o, "mode", cc_mode_name(n->mode.wanted));
    put_str(o, "config", cc_mode_name((enum cc_mode)n->conf->mode));
    put_bool(o, "changing", n->mode.changing);
    put_str(o, "from", cc_mode_name(n->mode.from));
    put_str(o, "since", n->mode.since);
    put_str(o, "progress", s ? s : "");
    put_int(o, "done", stands[MODESET_DONE]);
    put_int(o, "in_use", stands[MODESET_USED]);
    put_int(o, "under_way", stands[MODESET_UNDER]);
    put_int(o, "failed", stands[MODESET_FAILED]);
    put_int(o, "of", (int64_t)json_object_array_length(units));
    (void)json_object_object_add(o, "units", units);
    buf_fini(&text);
    return o;
}

/* ---- what a change would do ---- */

static const char *
plan_of(const struct unit *u)
{
    if (unit_state_info(u->state)->allocated)
        return "when it is given back";
    if (u->state == UNIT_QUARANTINED || u->state == UNIT_STUCK)
        return "when it has recovered";
    if (u->state == UNIT_FOUND && u->node->conf->prepare == PREPARE_ALLOCATE)
        return "when it is next asked for";
    return "now";
}

/* By looking at the node as if it were in that mode. Nothing acts meanwhile: one thread. */
static json_object *
plan_json(struct node *n, enum cc_mode mode)
{
    const enum cc_mode wanted = n->mode.wanted, from = n->mode.from;
    json_object *o = json_object_new_object();
    json_object *units = json_object_new_array();

    n->mode.from = wanted;
    n->mode.wanted = mode;
    for (size_t i = 0; i < n->n_units && mode != wanted; i++) {
        const struct unit *u = n->unit[i];
        json_object *one;

        if (modeset_stand_of(u) == MODESET_APART)
            continue;
        one = json_object_new_object();
        put_str(one, "id", u->id);
        put_str(one, "state", unit_state_info(u->state)->name);
        put_str(one, "namespace", u->owner.ns);
        put_str(one, "pod", u->owner.pod);
        put_str(one, "when", plan_of(u));
        (void)json_object_array_add(units, one);
    }
    n->mode.wanted = wanted;
    n->mode.from = from;
    put_bool(o, "dry_run", true);
    put_str(o, "mode", cc_mode_name(mode));
    put_str(o, "from", cc_mode_name(wanted));
    put_str(o, "config", cc_mode_name((enum cc_mode)n->conf->mode));
    (void)json_object_object_add(o, "units", units);
    return o;
}

/* ---- requests ---- */

static int
answer(json_object *o, struct buf *out, struct err *e)
{
    bool ok = buf_put_str(out, json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE)) &&
              buf_put_str(out, "\n");

    (void)json_object_put(o);
    return ok ? 0 : err_set(e, EMSGSIZE, ERR_CLASS_FATAL, "the answer is too large");
}

static int
run_get(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    (void)call;
    return answer(modeset_json(ctx), out, e);
}

static int
run_set(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    bool dry_run = call->argc == 2 && strcmp(call->argv[1], "dry-run") == 0;
    enum cc_mode mode;
    int r;

    if (call->argc < 1 || call->argc > 2 || (call->argc == 2 && !dry_run) ||
        !cc_mode_parse(call->argv[0], &mode))
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "mode set takes on, off, ppcie or devtools, and may be dry-run");
    r = modeset_set(ctx, mode, dry_run, e);
    if (r < 0)
        return r;
    return answer(dry_run ? plan_json(ctx, mode) : modeset_json(ctx), out, e);
}

static int
run_cancel(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    int r = modeset_cancel(ctx, e);

    (void)call;
    return r < 0 ? r : answer(modeset_json(ctx), out, e);
}

const struct request mode_requests[] = {
    {.name = "mode get", .args = "", .run = run_get},
    {.name = "mode set", .args = "MODE [dry-run]", .changes = true, .run = run_set},
    {.name = "mode cancel", .args = "", .changes = true, .run = run_cancel},
    {.name = NULL},
};
