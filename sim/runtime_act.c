/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: what each operation consists of. Order as in containerd's internal/cri/server
 * (sandbox_run.go, sandbox_stop.go, sandbox_remove.go, container_create.go) and internal/cri/nri.
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
fail(struct rt_op *op, const char *what, const char *name)
{
    rt_op_fail(op, "request", NULL, NULL, "%s \"%s\"", what, name);
    return false;
}

static bool
find_pod(struct rt_op *op)
{
    op->pod = rt_pod_find(op->rt, op->pod_word);
    return op->pod || fail(op, "no such pod", op->pod_word);
}

static bool
find_container(struct rt_op *op)
{
    if (!find_pod(op))
        return false;
    op->c = rt_container_find(op->pod, op->name);
    return op->c || fail(op, "no such container", op->name);
}

/* ---- steps ---- */

static bool
drop_pod(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    rt_pod_drop(op->rt, op->pod);
    op->pod = NULL;
    return true;
}

static bool
drop_container(struct rt_op *op, struct rt_container *c)
{
    rt_container_drop(c);
    if (op->c == c)
        op->c = NULL;
    return true;
}

static bool
mark_pod_stopped(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    op->pod->stopped = true;
    return true;
}

static bool
mark_stopped(struct rt_op *op, struct rt_container *c)
{
    (void)op;
    c->state = RT_STOPPED;
    return true;
}

static bool
mark_running(struct rt_op *op, struct rt_container *c)
{
    (void)op;
    c->state = RT_RUNNING;
    return true;
}

static bool
show_pod(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    json_object_object_add(op->answer, "pod", rt_pod_json(op->pod));
    return true;
}

static bool
show_container(struct rt_op *op, struct rt_container *c)
{
    json_object_object_add(op->answer, "container", rt_container_json(c));
    json_object_object_add(op->answer, "adjusted", rt_edits_json(&op->merged, true));
    return true;
}

/* ---- pods ---- */

/* A VM that did not start leaves nothing that plugins know of. Where a plugin refused, they are
 * told of the end before the VM ends. */
static void
undo_run_pod(struct rt_op *op)
{
    struct json_object *stage = json_object_object_get(op->answer, "stage");

    if (strcmp(json_object_get_string(stage), "vmm") != 0) {
        rt_op_step(op, RT_STEP_EVENT, RT_STOP_POD, NULL);
        rt_op_step(op, RT_STEP_EVENT, RT_REMOVE_POD, NULL);
    }
    rt_op_step(op, RT_STEP_VMM_STOP, 0, NULL);
    rt_op_call(op, drop_pod, NULL);
}

/* pod_word: the namespace. */
bool
rt_act_run_pod(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    op->pod = rt_pod_add(op->rt, op->pod_word, op->name, op->handler);
    if (!op->pod)
        return fail(op, "cannot be made: pod", op->name);
    for (size_t i = 0; i < op->wish.list[RT_ANNOTATIONS].n; i++)
        (void)rt_edits_copy(&op->pod->has, RT_ANNOTATIONS, &op->wish.list[RT_ANNOTATIONS].v[i]);
    op->undo = undo_run_pod;
    if (op->with_vmm)
        rt_op_step(op, RT_STEP_VMM_START, 0, NULL);
    rt_op_step(op, RT_STEP_EVENT, RT_RUN_POD, NULL);
    rt_op_call(op, show_pod, NULL);
    return true;
}

static void
plan_stop_pod(struct rt_op *op)
{
    for (struct rt_container *c = op->pod->containers; c; c = c->next)
        if (c->state != RT_STOPPED) {
            rt_op_step(op, RT_STEP_EVENT, RT_STOP, c);
            rt_op_call(op, mark_stopped, c);
        }
    if (!op->keep_vmm)
        rt_op_step(op, RT_STEP_VMM_STOP, 0, NULL);
    rt_op_call(op, mark_pod_stopped, NULL);
    rt_op_step(op, RT_STEP_EVENT, RT_STOP_POD, NULL);
}

bool
rt_act_stop_pod(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    if (!find_pod(op))
        return false;
    plan_stop_pod(op); /* again for a stopped one, as CRI allows */
    rt_op_call(op, show_pod, NULL);
    return true;
}

bool
rt_act_remove_pod(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    if (!find_pod(op))
        return false;
    if (!op->pod->stopped)
        plan_stop_pod(op);
    for (struct rt_container *x = op->pod->containers; x; x = x->next) {
        rt_op_step(op, RT_STEP_EVENT, RT_REMOVE, x);
        rt_op_call(op, drop_container, x);
    }
    rt_op_step(op, RT_STEP_EVENT, RT_REMOVE_POD, NULL);
    rt_op_step(op, RT_STEP_VMM_STOP, 0, NULL);
    rt_op_call(op, drop_pod, NULL);
    return true;
}

bool
rt_act_end_vmm(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    if (!find_pod(op))
        return false;
    rt_op_step(op, RT_STEP_VMM_STOP, 0, NULL);
    rt_op_call(op, show_pod, NULL);
    return true;
}

bool
rt_act_kill_vmm(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    if (!find_pod(op))
        return false;
    rt_op_step(op, RT_STEP_VMM_KILL, 0, NULL);
    rt_op_call(op, show_pod, NULL);
    return true;
}

/* ---- containers ---- */

static void
undo_create(struct rt_op *op)
{
    rt_op_step(op, RT_STEP_EVENT, RT_STOP, op->c);
    rt_op_step(op, RT_STEP_EVENT, RT_REMOVE, op->c);
    rt_op_call(op, drop_container, op->c);
}

/* A container that could not be started stays. */
static void
undo_start(struct rt_op *op)
{
    rt_op_call(op, show_container, op->c);
}

static bool
mark_created(struct rt_op *op, struct rt_container *c)
{
    c->state = RT_CREATED;
    op->undo = undo_start;
    return true;
}

static bool
inject(struct rt_op *op, const char *name)
{
    struct err e = ERR_INIT;

    if (rt_cdi_inject(op->rt, name, &op->c->has, &e) == 0)
        return true;
    rt_op_fail(op, "spec", NULL, NULL, "failed to generate spec: %s", e.msg);
    return false;
}

/* What the kubelet asks for by CDI: names in the request, and in annotations. */
static bool
kubelet_cdi(struct rt_op *op)
{
    const struct rt_edits *w = &op->wish;

    for (size_t i = 0; i < w->list[RT_CDI].n; i++)
        if (!inject(op, w->list[RT_CDI].v[i].key))
            return false;
    for (size_t i = 0; i < w->list[RT_ANNOTATIONS].n; i++) {
        _cleanup_free_ char *copy = NULL;
        char *rest, *name;

        if (strncmp(w->list[RT_ANNOTATIONS].v[i].key, "cdi.k8s.io/", 11) != 0)
            continue;
        rest = copy = strdup(w->list[RT_ANNOTATIONS].v[i].value);
        while (copy && (name = strsep(&rest, ",")))
            if (!inject(op, name))
                return false;
    }
    return true;
}

/* The OCI spec as it is before plugins see it. */
static bool
make_spec(struct rt_op *op)
{
    static const enum rt_list plain[] = {RT_ANNOTATIONS, RT_ENV, RT_MOUNTS};

    for (size_t l = 0; l < ARRAY_SIZE(plain); l++)
        for (size_t i = 0; i < op->wish.list[plain[l]].n; i++)
            (void)rt_edits_copy(&op->c->has, plain[l], &op->wish.list[plain[l]].v[i]);
    for (size_t i = 0; i < op->wish.list[RT_DEVICES].n; i++) {
        struct rt_item *d = rt_edits_copy(&op->c->has, RT_DEVICES, &op->wish.list[RT_DEVICES].v[i]);
        struct err e = ERR_INIT;

        if (d && rt_device_numbers(op->rt, d->key, d, &e) < 0) {
            rt_op_fail(op, "spec", NULL, NULL, "failed to generate spec: %s", e.msg);
            return false;
        }
    }
    return op->rt->opt.cdi_enabled <= 0 || kubelet_cdi(op);
}

static void
drop_unseen(struct rt_op *op)
{
    rt_op_call(op, drop_container, op->c);
}

bool
rt_act_create(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    if (!find_pod(op))
        return false;
    if (op->pod->stopped)
        return fail(op, "not running: sandbox of pod", op->pod_word);
    if (rt_container_find(op->pod, op->name))
        return fail(op, "is there already: container", op->name);
    op->c = rt_container_add(op->rt, op->pod, op->name);
    if (!op->c)
        return fail(op, "cannot be made: container", op->name);
    op->undo = drop_unseen;
    if (!make_spec(op))
        return false;
    op->undo = undo_create;
    if (!rt_edits_dup(&op->view, &op->c->has))
        return fail(op, "out of memory: container", op->name);
    rt_op_step(op, RT_STEP_CREATE, 0, op->c);
    rt_op_step(op, RT_STEP_VALIDATE, 0, op->c);
    rt_op_step(op, RT_STEP_APPLY, 0, op->c);
    rt_op_call(op, mark_created, op->c);
    rt_op_step(op, RT_STEP_EVENT, RT_POST_CREATE, op->c);
    rt_op_step(op, RT_STEP_EVENT, RT_START, op->c);
    rt_op_call(op, mark_running, op->c);
    rt_op_step(op, RT_STEP_EVENT, RT_POST_START, op->c);
    rt_op_call(op, show_container, op->c);
    return true;
}

bool
rt_act_stop_container(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    if (!find_container(op))
        return false;
    rt_op_step(op, RT_STEP_EVENT, RT_STOP, op->c);
    rt_op_call(op, mark_stopped, op->c);
    return true;
}

bool
rt_act_remove_container(struct rt_op *op, struct rt_container *c)
{
    (void)c;
    if (!find_container(op))
        return false;
    if (op->c->state != RT_STOPPED) {
        rt_op_step(op, RT_STEP_EVENT, RT_STOP, op->c);
        rt_op_call(op, mark_stopped, op->c);
    }
    rt_op_step(op, RT_STEP_EVENT, RT_REMOVE, op->c);
    rt_op_call(op, drop_container, op->c);
    return true;
}
