/* SPDX-License-Identifier: Apache-2.0
 *
 * Which handlers are guarded; and that verdicts stay bounded and readable whatever a pod is called
 * and carries.
 */
#include "guard_world.h"

static void
handlers_are_found_by_their_names(void **state)
{
    static const struct {
        const char *name;
        enum guard_class cls;
        enum guard_tee tee;
    } cases[] = {
        {"kata-qemu-nvidia-gpu-snp", GUARD_CONFIDENTIAL, GUARD_TEE_SNP},
        {"kata-qemu-nvidia-gpu-snp-runtime-rs", GUARD_CONFIDENTIAL, GUARD_TEE_SNP},
        {"kata-qemu-nvidia-gpu-snp-blue", GUARD_CONFIDENTIAL, GUARD_TEE_SNP},
        {"kata-qemu-nvidia-gpu-tdx", GUARD_CONFIDENTIAL, GUARD_TEE_TDX},
        {"kata-qemu-nvidia-gpu-tdx-runtime-rs", GUARD_CONFIDENTIAL, GUARD_TEE_TDX},
        {"kata-snp-nvidia-gpu", GUARD_CONFIDENTIAL, GUARD_TEE_SNP},
        {"kata-tdx-nvidia-gpu", GUARD_CONFIDENTIAL, GUARD_TEE_TDX},
        {"kata-qemu-nvidiagpu-confidential", GUARD_CONFIDENTIAL, GUARD_TEE_NONE},
        {"kata-cc", GUARD_CONFIDENTIAL, GUARD_TEE_NONE},
        {"kata-cc-nvidia-gpu", GUARD_CONFIDENTIAL, GUARD_TEE_NONE},
        {"kata-cc-amd", GUARD_CONFIDENTIAL, GUARD_TEE_SNP},
        {"kata-cc-intel", GUARD_CONFIDENTIAL, GUARD_TEE_TDX},
        {"kata-qemu-nvidia-gpu", GUARD_PLAIN, GUARD_TEE_NONE},
        {"kata-qemu-nvidia-gpu-runtime-rs", GUARD_PLAIN, GUARD_TEE_NONE},
        {"kata-qemu-nvidia-cpu", GUARD_NONE, GUARD_TEE_NONE},
        {"kata-qemu", GUARD_NONE, GUARD_TEE_NONE},
        {"kata-qemu-snp", GUARD_NONE, GUARD_TEE_NONE},
        {"my-kata-cc", GUARD_NONE, GUARD_TEE_NONE},
        {"runc", GUARD_NONE, GUARD_TEE_NONE},
        {"nvidia", GUARD_NONE, GUARD_TEE_NONE},
        {"", GUARD_NONE, GUARD_TEE_NONE},
    };
    struct guard_policy p = {.handlers = NULL};

    (void)state;
    assert_int_equal(guard_handler_of(&p, "kata-cc")->cls, GUARD_NONE);
    p.handlers = guard_default_handlers(&p.n_handlers);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct guard_handler *h = guard_handler_of(&p, cases[i].name);

        if (h->cls != cases[i].cls || h->tee != cases[i].tee)
            fail_msg("%s: class %d, TEE %d", cases[i].name, h->cls, h->tee);
    }
}

static void
the_first_match_counts(void **state)
{
    static const struct guard_handler table[] = {
        {"a?", GUARD_PLAIN, GUARD_TEE_NONE, "", 0, 0, NULL},
        {"a*", GUARD_CONFIDENTIAL, GUARD_TEE_NONE, "", 0, 0, NULL},
    };
    const struct guard_policy p = {.n_handlers = 2, .handlers = table};

    (void)state;
    assert_ptr_equal(guard_handler_of(&p, "ab"), &table[0]);
    assert_ptr_equal(guard_handler_of(&p, "abc"), &table[1]);
    assert_int_equal(guard_handler_of(&p, "b")->cls, GUARD_NONE);
}

static void
rules_have_names(void **state)
{
    static const char *const names[] = {"cc",       "owner",       "devices",
                                        "initdata", "annotations", "plugins"};

    (void)state;
    assert_int_equal(ARRAY_SIZE(names), GUARD_RULES);
    for (size_t i = 0; i < GUARD_RULES; i++)
        assert_string_equal(guard_rule_name((enum guard_rule)i), names[i]);
}

static void
check_texts(const struct world *w)
{
    bool warnings = false;

    assert_true(w->v.n <= GUARD_FINDINGS_MAX);
    for (size_t i = 0; i < w->v.n; i++) {
        const char *t = w->v.v[i].text;

        assert_non_null(memchr(t, '\0', sizeof(w->v.v[i].text)));
        for (; *t; t++)
            if (*t < 0x20 || *t > 0x7e)
                fail_msg("not plain: %s", w->v.v[i].text);
        assert_false(warnings && w->v.v[i].refuse);
        warnings = !w->v.v[i].refuse;
    }
}

static void
messages_are_plain_short_and_one_line(void **state)
{
    static char huge[8192];
    static const char nasty[] = "a\nb\x1b[31m\"\\\xe2\x80\xae\xff c";
    struct world w;

    (void)state;
    memset(huge, '\n', sizeof(huge) - 1);
    for (int i = 0; i < 2; i++)
        for (int step = RUN; step <= VALIDATE; step++) {
            const char *bad = i ? huge : nasty;

            world_init(&w);
            list_for(&w, MINE, bad, bad, bad);
            w.pod.ns = w.pod.name = w.c.name = bad;
            w.dev[MINE].unverified = bad;
            w.dev[MINE].sandbox = "x\n";
            pod_has(&w, "cdi.k8s.io/x", KIND "=\n\n\n,");
            request_cdi(&w, KIND "=\xff\n");
            pod_has(&w, INITDATA, bad);
            w.adjust_cdi[w.adjust.n_cdi++] = KIND "=\x01";
            w.mounts[w.adjust.n_mounts++] = (struct nri_kv){"/x", "/dev/vfio/\n"};
            world_run(&w, (enum step)step);
            assert_true(w.v.refused);
            assert_true(w.v.n >= 3);
            check_texts(&w);
            if (!i)
                assert_has(w.v.v[0].text, "a\\x0ab\\x1b[31m\\x22\\x5c\\xe2\\x80\\xae\\xff c");
            else
                assert_has(w.v.v[0].text, "\\x0a\\x0a..");
            world_fini(&w);
        }
}

static void
names_that_fit_are_not_cut(void **state)
{
    struct world w;
    char name[64];

    (void)state;
    world_init(&w);
    (void)snprintf(name, sizeof(name), "%063d", 7);
    w.pod.name = name;
    list_for(&w, MINE, "team", name, "main");
    w.dev[MINE].unverified = "why";
    world_run(&w, RUN);
    assert_has(w.v.v[0].text, name);
    world_fini(&w);
}

/* 60 GPUs that each break two rules. */
static void
findings_are_bounded_and_refusals_come_first(void **state)
{
    static struct guard_device many[60];
    static char ids[60][16];
    struct world w;

    (void)state;
    world_init(&w);
    w.policy.mode[GUARD_RULE_CC] = GUARD_WARN;
    for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
        (void)snprintf(ids[i], sizeof(ids[i]), "0000:%02zx:00.0", i);
        many[i] = w.dev[MINE];
        many[i].id = ids[i];
        many[i].unverified = "no";
    }
    w.view.devices = many;
    w.view.n_devices = ARRAY_SIZE(many);
    world_run(&w, RUN); /* only warnings */
    assert_false(w.v.refused);
    assert_int_equal(w.v.n, GUARD_FINDINGS_MAX);
    assert_int_equal(w.v.n + w.v.dropped, ARRAY_SIZE(many));
    check_texts(&w);

    pod_has(&w, INITDATA, "~~~"); /* one refusal, after all the warnings */
    world_run(&w, RUN);
    assert_true(w.v.refused);
    assert_int_equal(w.v.n, GUARD_FINDINGS_MAX);
    assert_int_equal(w.v.v[0].rule, GUARD_RULE_INITDATA);
    assert_true(w.v.v[0].refuse);
    assert_false(w.v.v[1].refuse);
    assert_int_equal(w.v.n + w.v.dropped, ARRAY_SIZE(many) + 1);
    check_texts(&w);

    w.policy.mode[GUARD_RULE_CC] = GUARD_ENFORCE;
    world_run(&w, RUN);
    assert_true(w.v.refused);
    assert_int_equal(w.v.n + w.v.dropped, ARRAY_SIZE(many) + 1);
    check_texts(&w);
    world_fini(&w);
}

static void
more_than_can_be_judged_is_refused_in_every_mode(void **state)
{
    static struct guard_device many[257];
    static char ids[257][16];
    struct world w;

    (void)state;
    for (size_t n = 64; n <= 257; n += n == 64 ? 1 : 192) { /* 64, 65, 257 */
        world_init(&w);
        for (size_t r = 0; r < GUARD_RULES; r++)
            w.policy.mode[r] = GUARD_OFF;
        for (size_t i = 0; i < n; i++) {
            (void)snprintf(ids[i], sizeof(ids[i]), "%04zx:00:00.0", i);
            many[i] = w.dev[MINE];
            many[i].id = ids[i];
        }
        w.view.devices = many;
        w.view.n_devices = n;
        for (int step = RUN; step <= VALIDATE; step++) {
            world_run(&w, (enum step)step);
            assert_int_equal(w.v.refused, n > 64);
            assert_true(w.v.n_own <= 64);
        }
        w.pod.handler = "runc";
        world_run(&w, CREATE);
        assert_false(w.v.refused);
        world_fini(&w);
    }
}

/* Also where the pod has none of them. */
static void
a_node_with_too_many_gpus_refuses_what_is_guarded(void **state)
{
    static struct guard_device many[257];
    struct world w;

    (void)state;
    world_init(&w);
    request_nothing(&w);
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = w.dev[IDLE];
    w.view.devices = many;
    for (int step = RUN; step <= VALIDATE; step++) {
        w.view.n_devices = 256;
        world_run(&w, (enum step)step);
        assert_false(w.v.refused);
        w.view.n_devices = 257;
        world_run(&w, (enum step)step);
        assert_true(w.v.refused);
        assert_has(w.v.v[0].text, "257 GPUs");
    }
    world_fini(&w);
}

static void
too_many_choices_are_refused_and_not_searched(void **state)
{
    static char keys[LIST_MAX][32];
    struct world w;

    (void)state;
    world_init(&w);
    w.pod.handler = OLD_SNP;
    for (size_t i = 0; i < 64; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "cdi.k8s.io/%zu", i);
        pod_has(&w, keys[i], KIND "=0000:41:00.0");
    }
    world_run(&w, RUN);
    assert_false(w.v.refused);
    w.policy.mode[GUARD_RULE_DEVICES] = GUARD_OFF;
    pod_has(&w, "cdi.k8s.io/64", KIND "=0000:41:00.0");
    for (int step = RUN; step <= VALIDATE; step++) {
        world_run(&w, (enum step)step);
        assert_true(w.v.refused);
        assert_has(w.v.v[0].text, "more than 64 annotations");
    }
    world_fini(&w);
}

static void
a_request_without_a_pod_is_taken_by_its_sandbox_id(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.pod.id = "";
    w.dev[MINE].sandbox = "sandbox-1"; /* what the container says */
    world_run(&w, CREATE);
    assert_false(w.v.refused);
    w.c.pod_id = "sandbox-2";
    world_run(&w, CREATE);
    assert_true(w.v.refused);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handlers_are_found_by_their_names),
        cmocka_unit_test(the_first_match_counts),
        cmocka_unit_test(rules_have_names),
        cmocka_unit_test(messages_are_plain_short_and_one_line),
        cmocka_unit_test(names_that_fit_are_not_cut),
        cmocka_unit_test(findings_are_bounded_and_refusals_come_first),
        cmocka_unit_test(more_than_can_be_judged_is_refused_in_every_mode),
        cmocka_unit_test(a_node_with_too_many_gpus_refuses_what_is_guarded),
        cmocka_unit_test(too_many_choices_are_refused_and_not_searched),
        cmocka_unit_test(a_request_without_a_pod_is_taken_by_its_sandbox_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
