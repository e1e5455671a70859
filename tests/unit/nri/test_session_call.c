/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests in a session that is up: how they arrive, how they are answered, and by when.
 */
#include "wire_runtime.h"

#include "nri/pb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef Nri__Pkg__Api__V1alpha1__PodSandbox Pod;
typedef Nri__Pkg__Api__V1alpha1__PodSandbox__AnnotationsEntry Annotation;
typedef Nri__Pkg__Api__V1alpha1__Container Container;

static void
world_up(struct world *w, const char *version)
{
    world_init(w);
    runtime_listen(&w->rt[0]);
    world_plugin(w, 1, false);
    assert_true(runtime_hello(w, &w->rt[0], "containerd", version, ""));
    assert_true(is_up(w));
}

/* A pod with annotations b, a, b again. */
struct pod {
    Pod m;
    Annotation a[3];
    Annotation *list[3];
};

static void
make_pod(struct pod *p)
{
    static const char *const text[3][2] = {{"b", "old"}, {"a", "1"}, {"b", "new"}};

    nri__pkg__api__v1alpha1__pod_sandbox__init(&p->m);
    p->m.id = pb_str("id0");
    p->m.name = pb_str("model");
    p->m.namespace_ = pb_str("ml");
    p->m.uid = pb_str("u-1");
    p->m.runtime_handler = pb_str("kata-qemu-nvidia-gpu-snp");
    for (int i = 0; i < 3; i++) {
        nri__pkg__api__v1alpha1__pod_sandbox__annotations_entry__init(&p->a[i]);
        p->a[i].key = pb_str(text[i][0]);
        p->a[i].value = pb_str(text[i][1]);
        p->list[i] = &p->a[i];
    }
    p->m.n_annotations = 3;
    p->m.annotations = p->list;
}

#define POD_SEEN "pod=id0/ml/model/u-1/kata-qemu-nvidia-gpu-snp a=1 b=new"

static const struct answer *
call(struct world *w, const char *method, const ProtobufCMessage *m)
{
    const struct answer *a =
        runtime_wait(w, &w->rt[0], runtime_call(&w->rt[0], method, m, UINT64_C(2000000000)));

    assert_non_null(a);
    return a;
}

static const struct answer *
run_pod(struct world *w)
{
    Nri__Pkg__Api__V1alpha1__RunPodSandboxRequest m =
        NRI__PKG__API__V1ALPHA1__RUN_POD_SANDBOX_REQUEST__INIT;
    struct pod pod;

    make_pod(&pod);
    m.pod = &pod.m;
    return call(w, "RunPodSandbox", &m.base);
}

static void
events_come_by_their_own_methods_and_as_state_change(void **state)
{
    static const struct {
        const char *method;
        Nri__Pkg__Api__V1alpha1__Event wire;
        enum nri_event event;
    } table[] = {
        {"RunPodSandbox", NRI__PKG__API__V1ALPHA1__EVENT__RUN_POD_SANDBOX, NRI_RUN_POD},
        {"StopPodSandbox", NRI__PKG__API__V1ALPHA1__EVENT__STOP_POD_SANDBOX, NRI_STOP_POD},
        {"RemovePodSandbox", NRI__PKG__API__V1ALPHA1__EVENT__REMOVE_POD_SANDBOX, NRI_REMOVE_POD},
    };
    struct world w;
    struct pod pod;
    char want[256];

    (void)state;
    world_up(&w, "2.0.0");
    make_pod(&pod);
    for (int old = 0; old < 2; old++)
        for (int i = 0; i < 3; i++) {
            /* All three requests have the pod as field 1. */
            Nri__Pkg__Api__V1alpha1__RunPodSandboxRequest m =
                NRI__PKG__API__V1ALPHA1__RUN_POD_SANDBOX_REQUEST__INIT;
            Nri__Pkg__Api__V1alpha1__StateChangeEvent ev =
                NRI__PKG__API__V1ALPHA1__STATE_CHANGE_EVENT__INIT;

            m.pod = &pod.m;
            ev.pod = &pod.m;
            ev.event = table[i].wire;
            const struct answer *a =
                old ? call(&w, "StateChange", &ev.base) : call(&w, table[i].method, &m.base);

            assert_int_equal(a->code, TTRPC_OK);
            assert_int_equal(a->len, 0);
            assert_int_equal(w.last, table[i].event);
            (void)snprintf(want, sizeof(want), "%s %s", table[i].method, POD_SEEN);
            assert_string_equal(w.seen, want);
            assert_int_equal(nri_session(w.nri, 0)->state_change, old);
            assert_int_equal(nri_session(w.nri, 0)->events[table[i].event], old + 1);
            assert_int_equal(nri_session(w.nri, 0)->last_event, table[i].event);
        }
    assert_int_equal(w.requests, 6);

    /* Of no concern, or not known: fine. */
    Nri__Pkg__Api__V1alpha1__StateChangeEvent ev =
        NRI__PKG__API__V1ALPHA1__STATE_CHANGE_EVENT__INIT;

    ev.event = NRI__PKG__API__V1ALPHA1__EVENT__START_CONTAINER;
    assert_int_equal(call(&w, "StateChange", &ev.base)->code, TTRPC_OK);
    ev.event = (Nri__Pkg__Api__V1alpha1__Event)99;
    assert_int_equal(call(&w, "StateChange", &ev.base)->code, TTRPC_OK);
    assert_int_equal(w.requests, 6);
    world_fini(&w);
}

static void
a_request_without_a_pod_has_empty_strings(void **state)
{
    struct world w;

    (void)state;
    world_up(&w, "2.0.0");
    assert_int_equal(call(&w, "RemovePodSandbox", NULL)->code, TTRPC_OK);
    assert_string_equal(w.seen, "RemovePodSandbox pod=////");
    assert_int_equal(call(&w, "CreateContainer", NULL)->code, TTRPC_OK);
    assert_string_equal(w.seen, "CreateContainer pod=//// container=// hooks=0");
    world_fini(&w);
}

static void
a_refusal_reaches_the_runtime_with_its_text(void **state)
{
    const struct answer *a;
    struct world w;

    (void)state;
    world_up(&w, "2.0.0");
    w.behave = REFUSE;
    a = run_pod(&w);
    assert_int_equal(a->code, TTRPC_FAILED_PRECONDITION);
    assert_string_equal(a->text, "GPU 0000:41:00.0 is not verified");
    assert_int_equal(nri_session(w.nri, 0)->refusals, 1);
    assert_true(is_up(&w));
    world_fini(&w);
}

static void
unknown_methods_and_services_are_unimplemented(void **state)
{
    struct world w;
    struct runtime *r = &w.rt[0];

    (void)state;
    world_up(&w, "2.0.0");
    assert_int_equal(call(&w, "TurnIntoAFrog", NULL)->code, TTRPC_UNIMPLEMENTED);
    assert_int_equal(
        runtime_wait(&w, r, runtime_call_bytes(r, "other.Service", "Configure", "", 0, 0))->code,
        TTRPC_UNIMPLEMENTED);
    /* Known, and nothing to do. */
    assert_int_equal(call(&w, "UpdateContainer", NULL)->code, TTRPC_OK);
    assert_int_equal(call(&w, "PostCreateContainer", NULL)->code, TTRPC_OK);
    assert_int_equal(w.requests, 0);
    world_fini(&w);
}

static void
bad_requests_are_refused_and_the_session_stays(void **state)
{
    static const uint8_t bad[][6] = {
        {0x0a, 0x7f, 0, 0, 0, 0},             /* longer than the message */
        {0x0a, 0x04, 0x0a, 0x02, 0xc3, 0x28}, /* pod.id is not UTF-8 */
        {0x0a, 0x00, 0x0a, 0x00, 0, 0},       /* two pods, then field 0 */
        {0x0b, 0x0c, 0, 0, 0, 0},             /* a group */
        {0x08, 0x01, 0, 0, 0, 0},             /* pod is a number */
    };
    struct world w;
    struct runtime *r = &w.rt[0];

    (void)state;
    world_up(&w, "2.0.0");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const struct answer *a = runtime_wait(
            &w, r,
            runtime_call_bytes(r, NRI_PLUGIN_SERVICE, "RunPodSandbox", bad[i], sizeof(bad[i]), 0));

        assert_non_null(a);
        assert_int_equal(a->code, TTRPC_INVALID_ARGUMENT);
    }
    assert_int_equal(w.requests, 0);
    assert_int_equal(run_pod(&w)->code, TTRPC_OK);
    world_fini(&w);
}

/* ---- CreateContainer ---- */

static void
a_container_is_told_whole(void **state)
{
    Nri__Pkg__Api__V1alpha1__CreateContainerRequest m =
        NRI__PKG__API__V1ALPHA1__CREATE_CONTAINER_REQUEST__INIT;
    Nri__Pkg__Api__V1alpha1__LinuxContainer lc = NRI__PKG__API__V1ALPHA1__LINUX_CONTAINER__INIT;
    Nri__Pkg__Api__V1alpha1__LinuxDevice dev[3], *devs[3] = {&dev[0], &dev[1], &dev[2]};
    Nri__Pkg__Api__V1alpha1__CDIDevice cdi, *cdis[] = {&cdi};
    Nri__Pkg__Api__V1alpha1__Hooks hooks = NRI__PKG__API__V1ALPHA1__HOOKS__INIT;
    Nri__Pkg__Api__V1alpha1__Hook hook, *hooklist[] = {&hook};
    static const char *const types[3] = {"c", "u", "weird"};
    char *env[] = {pb_str("A=1"), pb_str("B=")};
    Container c;
    struct pod pod;
    struct world w;

    nri__pkg__api__v1alpha1__hook__init(&hook);
    nri__pkg__api__v1alpha1__cdidevice__init(&cdi);
    (void)state;
    world_up(&w, "2.0.0");
    make_pod(&pod);
    nri__pkg__api__v1alpha1__container__init(&c);
    c.id = pb_str("c0");
    c.pod_sandbox_id = pb_str("id0");
    c.name = pb_str("main");
    c.env = env;
    c.n_env = 2;
    for (int i = 0; i < 3; i++) {
        nri__pkg__api__v1alpha1__linux_device__init(&dev[i]);
        dev[i].path = pb_str("/dev/vfio/7");
        dev[i].type = pb_str(types[i]);
        dev[i].major = 511;
        dev[i].minor = i;
    }
    lc.devices = devs;
    lc.n_devices = 3;
    c.linux = &lc;
    cdi.name = pb_str("nvidia.com/pgpu=0000:41:00.0");
    c.cdi_devices = cdis;
    c.n_cdi_devices = 1;
    hooks.n_prestart = hooks.n_poststop = 1;
    hooks.prestart = hooks.poststop = hooklist;
    c.hooks = &hooks;
    m.pod = &pod.m;
    m.container = &c;
    assert_int_equal(call(&w, "CreateContainer", &m.base)->len, 0);
    assert_string_equal(w.seen,
                        "CreateContainer " POD_SEEN " container=c0/id0/main hooks=2 env:A=1 "
                        "env:B= cdi:nvidia.com/pgpu=0000:41:00.0 dev:/dev/vfio/7:c:511:0 "
                        "dev:/dev/vfio/7:c:511:1 dev:/dev/vfio/7:0:511:2");
    world_fini(&w);
}

static void
an_adjustment_is_sent_whole(void **state)
{
    static const struct nri_kv notes[] = {{"nvidia.com/pgpu.cc_mode", "on"}, {"x", "\xc3\xa4"}};
    static const struct nri_device dev[] = {{"/dev/vfio/devices/vfio3", 'c', 511, 3}};
    static const char *const cdi[] = {"nvidia.com/pgpu=0000:41:00.0"};
    static const struct nri_adjust adjust = {.n_annotations = 2,
                                             .annotations = notes,
                                             .n_devices = 1,
                                             .devices = dev,
                                             .n_cdi = 1,
                                             .cdi = cdi};
    Nri__Pkg__Api__V1alpha1__CreateContainerResponse *m;
    const struct answer *a;
    struct world w;

    (void)state;
    world_up(&w, "2.1.0");
    w.behave = ADJUST;
    w.adjust = &adjust;
    a = call(&w, "CreateContainer", NULL);
    assert_int_equal(a->code, TTRPC_OK);
    m = nri__pkg__api__v1alpha1__create_container_response__unpack(NULL, a->len, a->payload);
    assert_non_null(m);
    assert_int_equal(m->adjust->n_annotations, 2);
    assert_string_equal(m->adjust->annotations[0]->key, "nvidia.com/pgpu.cc_mode");
    assert_string_equal(m->adjust->annotations[1]->value, "\xc3\xa4");
    assert_int_equal(m->adjust->linux->n_devices, 1);
    assert_string_equal(m->adjust->linux->devices[0]->path, "/dev/vfio/devices/vfio3");
    assert_string_equal(m->adjust->linux->devices[0]->type, "c");
    assert_int_equal(m->adjust->linux->devices[0]->major, 511);
    assert_int_equal(m->adjust->linux->devices[0]->minor, 3);
    assert_int_equal(m->adjust->n_cdi_devices, 1);
    assert_string_equal(m->adjust->cdi_devices[0]->name, cdi[0]);
    nri__pkg__api__v1alpha1__create_container_response__free_unpacked(m, NULL);
    world_fini(&w);
}

static void
what_cannot_be_sent_is_refused(void **state)
{
    static const struct nri_kv bad[] = {{"x", "\xc3("}};
    struct nri_adjust adjust = {.n_annotations = 1, .annotations = bad};
    struct nri_kv big = {"x", NULL};
    char *text = malloc(5u << 20);
    const struct answer *a;
    struct world w;

    (void)state;
    world_up(&w, "2.1.0");
    w.behave = ADJUST;
    w.adjust = &adjust;
    a = call(&w, "CreateContainer", NULL);
    assert_int_equal(a->code, TTRPC_INTERNAL);
    assert_non_null(strstr(a->text, "UTF-8"));

    assert_non_null(text);
    memset(text, 'a', 5u << 20);
    text[(5u << 20) - 1] = '\0';
    big.value = text;
    adjust.annotations = &big;
    a = call(&w, "CreateContainer", NULL);
    assert_int_equal(a->code, TTRPC_INTERNAL);
    assert_non_null(strstr(a->text, "too many"));

    /* Just within. */
    text[(4u << 20) - 64] = '\0';
    a = call(&w, "CreateContainer", NULL);
    assert_int_equal(a->code, TTRPC_OK);
    assert_true(a->len > (4u << 20) - 64);
    free(text);
    world_fini(&w);
}

/* ---- VALIDATE ---- */

static void
an_adjustment_of_others_can_be_rejected(void **state)
{
    Nri__Pkg__Api__V1alpha1__ValidateContainerAdjustmentRequest m =
        NRI__PKG__API__V1ALPHA1__VALIDATE_CONTAINER_ADJUSTMENT_REQUEST__INIT;
    Nri__Pkg__Api__V1alpha1__ContainerAdjustment adj =
        NRI__PKG__API__V1ALPHA1__CONTAINER_ADJUSTMENT__INIT;
    Nri__Pkg__Api__V1alpha1__Mount mount, *mounts[] = {&mount};
    Nri__Pkg__Api__V1alpha1__KeyValue env, *envs[] = {&env};
    Nri__Pkg__Api__V1alpha1__ValidateContainerAdjustmentResponse *out;
    struct pod pod;
    const struct answer *a;
    struct world w;

    nri__pkg__api__v1alpha1__key_value__init(&env);
    nri__pkg__api__v1alpha1__mount__init(&mount);
    (void)state;
    world_up(&w, "2.2.0");
    assert_true(nri_session(w.nri, 0)->validates);
    make_pod(&pod);
    mount.destination = pb_str("/dev/vfio");
    mount.source = pb_str("/dev/vfio");
    adj.n_mounts = 1;
    adj.mounts = mounts;
    adj.n_env = 1;
    adj.env = envs;
    m.pod = &pod.m;
    m.adjust = &adj;
    assert_int_equal(call(&w, "ValidateContainerAdjustment", &m.base)->len, 0);
    assert_string_equal(w.seen, "ValidateContainerAdjustment " POD_SEEN
                                " container=// hooks=0 adjust=0,0,0,0,1,1 /dev/vfio /dev/vfio");
    w.behave = REFUSE;
    a = call(&w, "ValidateContainerAdjustment", &m.base);
    assert_int_equal(a->code, TTRPC_OK);
    out = nri__pkg__api__v1alpha1__validate_container_adjustment_response__unpack(NULL, a->len,
                                                                                  a->payload);
    assert_non_null(out);
    assert_true(out->reject);
    assert_string_equal(out->reason, "GPU 0000:41:00.0 is not verified");
    nri__pkg__api__v1alpha1__validate_container_adjustment_response__free_unpacked(out, NULL);
    world_fini(&w);
}

/* ---- time ---- */

static bool
held(struct world *w)
{
    return w->held != NULL;
}

static void
an_answer_may_come_later(void **state)
{
    struct world w;
    uint32_t stream = 0;
    unsigned cancelled = 0;

    (void)state;
    world_up(&w, "2.0.0");
    w.behave = HOLD;
    /* Again where a machine under load lets the half second pass. */
    for (int tries = 0; tries < 20 && !w.held; tries++) {
        stream = runtime_call(&w.rt[0], "RunPodSandbox", NULL, 0);
        assert_true(world_until(&w, held));
        /* Others are served meanwhile. */
        assert_int_equal(call(&w, "UpdateContainer", NULL)->code, TTRPC_OK);
        cancelled = w.cancelled;
    }
    assert_non_null(w.held);
    nri_refuse(w.held, "line one\nline two\xff");
    const struct answer *a = runtime_wait(&w, &w.rt[0], stream);

    assert_non_null(a);
    assert_string_equal(a->text, "line one line two?");
    assert_int_equal(w.cancelled, cancelled);
    world_fini(&w);
}

static void
a_late_answer_is_given_as_an_error_in_time(void **state)
{
    static const struct {
        uint64_t timeout_ms, within_ms;
    } table[] = {{2000, 500}, {0, 500}, {100, 80}, {1, 0}, {100000, 500}};
    struct world w;

    (void)state;
    world_up(&w, "2.0.0");
    w.behave = HOLD;
    for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const uint64_t start = nri_now();
        const struct answer *a = runtime_wait(
            &w, &w.rt[0],
            runtime_call(&w.rt[0], "RunPodSandbox", NULL, table[i].timeout_ms * 1000000));

        assert_non_null(a);
        assert_int_equal(a->code, TTRPC_DEADLINE_EXCEEDED);
        assert_true(nri_now() - start >= table[i].within_ms * 1000000);
        assert_true(w.deadline - start >= table[i].within_ms * 1000000);
        assert_true(w.deadline <= w.seen_at + table[i].within_ms * 1000000 + 1000000);
        assert_int_equal(w.cancelled, i + 1);
        assert_null(w.held);
        assert_int_equal(nri_session(w.nri, 0)->timeouts, i + 1);
    }
    assert_true(is_up(&w));
    w.behave = ACCEPT;
    assert_int_equal(run_pod(&w)->code, TTRPC_OK);
    world_fini(&w);
}

static void
events_before_synchronize_fail_closed(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    runtime_listen(&w.rt[0]);
    world_plugin(&w, 1, false);
    assert_true(world_until(&w, has_registered));
    assert_true(runtime_configure(&w, &w.rt[0], "containerd", "2.0.0", "") > 0);
    assert_int_equal(run_pod(&w)->code, TTRPC_FAILED_PRECONDITION);
    assert_int_equal(w.requests, 0);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_by_their_own_methods_and_as_state_change),
        cmocka_unit_test(a_request_without_a_pod_has_empty_strings),
        cmocka_unit_test(a_refusal_reaches_the_runtime_with_its_text),
        cmocka_unit_test(unknown_methods_and_services_are_unimplemented),
        cmocka_unit_test(bad_requests_are_refused_and_the_session_stays),
        cmocka_unit_test(a_container_is_told_whole),
        cmocka_unit_test(an_adjustment_is_sent_whole),
        cmocka_unit_test(what_cannot_be_sent_is_refused),
        cmocka_unit_test(an_adjustment_of_others_can_be_rejected),
        cmocka_unit_test(an_answer_may_come_later),
        cmocka_unit_test(a_late_answer_is_given_as_an_error_in_time),
        cmocka_unit_test(events_before_synchronize_fail_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
