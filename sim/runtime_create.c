/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: what is special in CreateContainer. Every plugin adjusts what those before it
 * left (pkg/adaptation/adaptation.go CreateContainer, result.go); from NRI 0.10 on validators see
 * the sum of it and who wanted what; then it is applied in the order of
 * pkg/runtime-tools/generate/generate.go.
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOREIGN "99-foreign"

static const char *
prefix(const struct rt_op *op)
{
    return op->rt->traits.crio ? "" : "failed to get NRI adjustment for container: ";
}

/* ---- adjustments ---- */

static bool
take_adjustment(struct rt_op *op, struct rt_plugin *p, const struct rt_answer *a, struct err *e)
{
    struct spb m = spb_open(a->data, a->len);
    struct rt_edits got = {0};
    struct spb_field f;
    bool ok = true;

    while (ok && spb_next(&m, &f))
        if (f.number == 1)
            ok = rt_msg_read_adjustment(&f, op->rt->release, &got);
    if (!ok || m.bad)
        (void)err_set(e, EBADMSG, ERR_CLASS_INVALID,
                      "rpc error: code = Internal desc = failed to unmarshal response");
    else
        (void)rt_edits_merge(&op->merged, &op->view, &got, p->name, e);
    rt_edits_fini(&got);
    return e->num == 0;
}

static void
on_adjustment(void *ctx, struct rt_plugin *p, const struct rt_answer *a)
{
    struct err e = ERR_INIT;
    struct rt_op *op = ctx;
    char text[1200];

    if (op->rt->freeing)
        return;
    rt_op_note(op, rt_event_name(RT_CREATE), p, a);
    if (a->outcome == RT_ERROR || a->outcome == RT_TOO_BIG) {
        p->errors++;
        (void)snprintf(p->why, sizeof(p->why), "%s", a->text);
        rt_answer_text(a, text, sizeof(text));
        rt_op_fail(op, "CreateContainer", p, a, "%s%s", prefix(op), text);
    } else if (a->outcome == RT_ANSWERED && !take_adjustment(op, p, a, &e)) {
        rt_op_fail(op, "merge", p, NULL, "%s%s", prefix(op), e.msg);
    } else {
        rt_create_ask(op); /* a plugin that was closed has said nothing */
    }
}

void
rt_create_ask(struct rt_op *op)
{
    struct rt_plugin *p = rt_op_visit(op, RT_CREATE);
    struct err e = ERR_INIT;

    if (p)
        rt_plugin_event(p, RT_CREATE, op->pod, op->c, &op->view, on_adjustment, op);
    else if (rt_edits_merge(&op->merged, &op->view, &op->foreign, FOREIGN, &e) < 0)
        rt_op_fail(op, "merge", NULL, NULL, "%s%s", prefix(op), e.msg);
    else
        rt_op_next(op);
}

/* ---- validation ---- */

static void
put_instance(struct buf *b, const char *name)
{
    struct buf m;

    buf_init(&m, 1024);
    spb_put_string(&m, 1, name + 3);
    spb_put_bytes(&m, 2, name, 2);
    spb_put_message(b, 6, &m);
}

static bool
is_empty(const struct rt_edits *x)
{
    for (size_t l = 0; l < RT_LISTS; l++)
        if (x->list[l].n > 0)
            return false;
    return true;
}

static void
put_validate(const struct rt_op *op, struct buf *q)
{
    rt_msg_pod(q, 1, op->pod);
    rt_msg_container(op->rt, q, 2, op->c, &op->c->has); /* as before all adjustments */
    rt_msg_adjustment(q, 3, &op->merged);
    rt_msg_owners(q, 5, op->c->id, &op->merged);
    for (const struct rt_plugin *p = op->rt->plugins; p && p->state == RT_READY; p = p->next)
        put_instance(q, p->name);
    if (!is_empty(&op->foreign))
        put_instance(q, FOREIGN);
}

static void
on_validated(void *ctx, struct rt_plugin *p, const struct rt_answer *a)
{
    struct spb m = spb_open(a->data, a->len);
    _cleanup_free_ char *reason = NULL;
    struct rt_op *op = ctx;
    bool reject = false;
    struct spb_field f;
    char text[1200];

    if (op->rt->freeing)
        return;
    rt_op_note(op, rt_event_name(RT_VALIDATE), p, a);
    while (a->outcome == RT_ANSWERED && spb_next(&m, &f)) {
        if (f.number == 1)
            reject = f.varint != 0;
        if (f.number == 2) {
            free(reason);
            reason = spb_text(&f);
        }
    }
    rt_answer_text(a, text, sizeof(text));
    if (a->outcome != RT_ANSWERED || m.bad) {
        /* Here silence is no consent. */
        p->errors += a->outcome == RT_ERROR;
        rt_op_fail(op, rt_event_name(RT_VALIDATE), p, a, "%svalidator plugin %s failed: %s",
                   prefix(op), p->name, text);
    } else if (reject) {
        rt_op_fail(op, rt_event_name(RT_VALIDATE), p, NULL,
                   "%svalidator \"%s\" rejected container adjustment, reason: %s", prefix(op),
                   p->name, reason && *reason ? reason : "unknown rejection reason");
    } else {
        rt_create_validate(op);
    }
}

void
rt_create_validate(struct rt_op *op)
{
    /* A release without validation knows no such event to subscribe to. */
    struct rt_plugin *p = rt_op_visit(op, RT_VALIDATE);
    struct buf q;

    if (!p) {
        rt_op_next(op);
        return;
    }
    buf_init(&q, RT_PAYLOAD_MAX);
    put_validate(op, &q);
    p->calls[RT_VALIDATE]++;
    rt_plugin_call(p, rt_event_name(RT_VALIDATE), &q, 0, on_validated, op);
    buf_fini(&q);
}

/* ---- application ---- */

static int
inject_cdi(struct rt_op *op, struct err *e)
{
    const struct sim_runtime *rt = op->rt;
    struct rt_edits *has = &op->c->has;
    size_t n = op->merged.list[RT_CDI].n;
    struct json_object *dropped;
    bool on = rt->opt.cdi_enabled > 0;

    if (n == 0)
        return 0;
    if (rt->traits.cdi == RT_CDI_IF_ENABLED && !on)
        return err_set(e, EPERM, ERR_CLASS_INVALID,
                       "can't inject CDI devices ([%s]): CDI is disabled by configuration",
                       op->merged.list[RT_CDI].v[0].key);
    if (rt->traits.cdi != RT_CDI_DROPS) {
        for (size_t i = 0; i < n; i++)
            if (rt_cdi_inject(rt, op->merged.list[RT_CDI].v[i].key, has, e) < 0)
                return -e->num;
        return 0;
    }
    dropped = json_object_new_array();
    for (size_t i = 0; i < n; i++)
        json_object_array_add(dropped, json_object_new_string(op->merged.list[RT_CDI].v[i].key));
    json_object_object_add(op->answer, "cdi_dropped", dropped);
    return 0;
}

void
rt_create_apply(struct rt_op *op)
{
    static const enum rt_list before[] = {RT_ANNOTATIONS, RT_ENV, RT_HOOKS};
    static const enum rt_list after[] = {RT_DEVICES, RT_MOUNTS};
    struct err e = ERR_INIT;

    for (size_t l = 0; l < ARRAY_SIZE(before); l++)
        for (size_t i = 0; i < op->merged.list[before[l]].n; i++)
            (void)rt_edits_copy(&op->c->has, before[l], &op->merged.list[before[l]].v[i]);
    if (inject_cdi(op, &e) < 0) {
        rt_op_fail(op, "apply", NULL, NULL, "%s%s",
                   op->rt->traits.crio ? "failed to adjust container: "
                                       : "failed to NRI-adjust container Spec: ",
                   e.msg);
        return;
    }
    for (size_t l = 0; l < ARRAY_SIZE(after); l++)
        for (size_t i = 0; i < op->merged.list[after[l]].n; i++)
            (void)rt_edits_copy(&op->c->has, after[l], &op->merged.list[after[l]].v[i]);
    rt_op_next(op);
}
