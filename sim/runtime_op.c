/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: an operation is a list of steps, done one after the other; where one fails, its
 * undoing takes the place of the rest. Operations come one at a time, as the runtimes' NRI lock has
 * it, and so do the plugins within a step.
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rt_op *
rt_op_new(struct sim_runtime *rt, sim_runtime_done done, void *ctx)
{
    struct rt_op *op = calloc(1, sizeof(*op));

    if (!op)
        return NULL;
    op->rt = rt;
    op->done = done;
    op->ctx = ctx;
    op->answer = rt_ok();
    op->calls = json_object_new_array();
    return op;
}

void
rt_op_free(struct rt_op *op)
{
    rt_edits_fini(&op->merged);
    rt_edits_fini(&op->view);
    rt_edits_fini(&op->foreign);
    rt_edits_fini(&op->wish);
    json_object_put(op->answer);
    json_object_put(op->calls);
    json_object_put(op->vmm);
    free(op);
}

static struct rt_step *
add_step(struct rt_op *op, enum rt_step_kind kind, struct rt_container *c)
{
    struct rt_step *s = &op->step[op->n < RT_STEPS_MAX ? op->n++ : RT_STEPS_MAX - 1];

    *s = (struct rt_step){.kind = kind, .c = c};
    return s;
}

void
rt_op_step(struct rt_op *op, enum rt_step_kind kind, enum rt_event ev, struct rt_container *c)
{
    add_step(op, kind, c)->event = ev;
}

void
rt_op_call(struct rt_op *op, rt_call_fn call, struct rt_container *c)
{
    add_step(op, RT_STEP_CALL, c)->call = call;
}

void
rt_op_queue(struct rt_op *op)
{
    *op->rt->ops_tail = op;
    op->rt->ops_tail = &op->next;
    rt_pump(op->rt);
}

/* ---- asking the plugins ---- */

struct rt_plugin *
rt_op_visit(struct rt_op *op, enum rt_event ev)
{
    for (struct rt_plugin *p = op->rt->plugins; p && p->state == RT_READY; p = p->next)
        if (p->visited != op->serial && p->mask & 1u << (ev - 1)) {
            p->visited = op->serial;
            return p;
        }
    return NULL;
}

void
rt_op_note(struct rt_op *op, const char *what, const struct rt_plugin *p, const struct rt_answer *a)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "event", json_object_new_string(what));
    json_object_object_add(o, "plugin", json_object_new_string(p->name));
    json_object_object_add(o, "outcome", json_object_new_string(rt_outcome_name(a->outcome)));
    if (a->outcome != RT_ANSWERED)
        json_object_object_add(o, "text", json_object_new_string(a->text ? a->text : ""));
    json_object_object_add(o, "usec", json_object_new_int64((int64_t)a->usec));
    json_object_array_add(op->calls, o);
}

static void ask(struct rt_op *op);

static void
on_event(void *ctx, struct rt_plugin *p, const struct rt_answer *a)
{
    struct rt_op *op = ctx;
    enum rt_event ev;
    char text[1200];

    if (op->rt->freeing)
        return;
    ev = op->step[op->at].event;
    rt_op_note(op, rt_event_name(ev), p, a);
    if (a->outcome != RT_ERROR && a->outcome != RT_TOO_BIG) {
        ask(op);
        return;
    }
    p->errors++;
    rt_answer_text(a, text, sizeof(text));
    (void)snprintf(p->why, sizeof(p->why), "%s", a->text);
    /* Only these two fail what the runtime is doing; the rest it logs. The plugins that come after
     * are not asked either way. */
    if (ev == RT_RUN_POD)
        rt_op_fail(op, "RunPodSandbox", p, a, "%s%s",
                   op->rt->traits.crio ? "" : "NRI RunPodSandbox failed: ", text);
    else if (ev == RT_START)
        rt_op_fail(op, "StartContainer", p, a, "NRI container start failed: %s", text);
    else
        rt_op_next(op);
}

static void
ask(struct rt_op *op)
{
    const struct rt_step *s = &op->step[op->at];
    struct rt_plugin *p = rt_op_visit(op, s->event);

    if (p)
        rt_plugin_event(p, s->event, op->pod, s->c, s->c ? &s->c->has : NULL, on_event, op);
    else
        rt_op_next(op);
}

/* ---- steps ---- */

static void
finish(struct rt_op *op)
{
    struct sim_runtime *rt = op->rt;
    sim_runtime_done done = op->done;
    struct json_object *answer = op->answer;
    void *ctx = op->ctx;

    rt->ops = op->next;
    if (!rt->ops)
        rt->ops_tail = &rt->ops;
    rt->op_runs = false;
    json_object_object_add(answer, "calls", json_object_get(op->calls));
    if (op->vmm)
        json_object_object_add(answer, "vmm", json_object_get(op->vmm));
    op->answer = NULL;
    rt_op_free(op);
    rt_answer(done, ctx, answer);
    rt_pump_later(rt);
}

static void
begin(struct rt_op *op)
{
    const struct rt_step *s = &op->step[op->at];

    if (op->at == op->n) {
        finish(op);
        return;
    }
    op->serial = ++op->rt->steps;
    switch (s->kind) {
    case RT_STEP_EVENT:
        ask(op);
        break;
    case RT_STEP_VMM_START:
        rt_vmm_start(op);
        break;
    case RT_STEP_VMM_STOP:
        rt_vmm_stop(op, 0);
        break;
    case RT_STEP_VMM_KILL:
        rt_vmm_stop(op, SIGKILL);
        break;
    case RT_STEP_CREATE:
        rt_create_ask(op);
        break;
    case RT_STEP_VALIDATE:
        rt_create_validate(op);
        break;
    case RT_STEP_APPLY:
        rt_create_apply(op);
        break;
    case RT_STEP_CALL:
        if (s->call(op, s->c))
            rt_op_next(op);
        break;
    }
}

void
rt_op_next(struct rt_op *op)
{
    op->at++;
    begin(op);
}

void
rt_op_run(struct sim_runtime *rt)
{
    if (rt->op_runs || !rt->ops)
        return;
    rt->op_runs = true;
    begin(rt->ops);
}

void
rt_op_fail(struct rt_op *op, const char *stage, const struct rt_plugin *plugin,
           const struct rt_answer *a, const char *fmt, ...)
{
    void (*undo)(struct rt_op *) = op->undo;
    struct json_object *o = op->answer;
    _cleanup_free_ char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    if (!op->failed) {
        op->failed = true;
        json_object_object_add(o, "ok", json_object_new_boolean(false));
        json_object_object_add(o, "error", json_object_new_string(text ? text : "out of memory"));
        json_object_object_add(o, "stage", json_object_new_string(stage));
        if (plugin)
            json_object_object_add(o, "plugin", json_object_new_string(plugin->name));
        if (a && a->outcome == RT_ERROR) {
            json_object_object_add(o, "code", json_object_new_int(a->code));
            json_object_object_add(o, "text", json_object_new_string(a->text));
        }
    }
    if (!undo) {
        rt_op_next(op);
        return;
    }
    op->undo = NULL;
    op->n = op->at = 0;
    undo(op);
    begin(op);
}
