/* SPDX-License-Identifier: Apache-2.0
 *
 * What is added to a container, and what is not.
 */
#include "guard_world.h"

static const struct nri_adjust *
adjusted(struct world *w)
{
    world_run(w, CREATE);
    return guard_injection_adjust(w->inj);
}

static const char *
added(const struct nri_adjust *a, const char *key)
{
    for (size_t i = 0; i < a->n_annotations; i++)
        if (strcmp(a->annotations[i].key, key) == 0)
            return a->annotations[i].value;
    return NULL;
}

static void
a_missing_gpu_is_added_as_its_node(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    request_nothing(&w);
    const struct nri_adjust *a = adjusted(&w);
    assert_false(w.v.refused);
    assert_int_equal(a->n_cdi, 0);
    assert_int_equal(a->n_devices, 1);
    assert_string_equal(a->devices[0].path, "/dev/vfio/devices/vfio3");
    assert_int_equal(a->devices[0].type, 'c');
    assert_int_equal(a->devices[0].major, 511);
    assert_int_equal(a->devices[0].minor, 3);
    assert_int_equal(a->n_hooks + a->n_env + a->n_mounts, 0);
    world_fini(&w);
}

static void
a_missing_gpu_is_added_by_name_where_the_runtime_knows_names(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    request_nothing(&w);
    w.runtime_cdi = true;
    const struct nri_adjust *a = adjusted(&w);
    assert_int_equal(a->n_devices, 0);
    assert_int_equal(a->n_cdi, 1);
    assert_string_equal(a->cdi[0], KIND "=0000:41:00.0");
    world_fini(&w);
}

static void
the_way_of_injection_can_be_chosen(void **state)
{
    static const struct {
        enum guard_inject inject;
        bool runtime_cdi;
        size_t n_devices, n_cdi;
    } cases[] = {
        {GUARD_INJECT_AUTO, false, 1, 0},  {GUARD_INJECT_AUTO, true, 0, 1},
        {GUARD_INJECT_CDI, false, 0, 1},   {GUARD_INJECT_CDI, true, 0, 1},
        {GUARD_INJECT_NODES, false, 1, 0}, {GUARD_INJECT_NODES, true, 1, 0},
        {GUARD_INJECT_OFF, false, 0, 0},   {GUARD_INJECT_OFF, true, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct world w;

        world_init(&w);
        w.pod.handler = i % 2 ? SNP : PLAIN;
        request_nothing(&w);
        w.policy.inject = cases[i].inject;
        w.runtime_cdi = cases[i].runtime_cdi;
        const struct nri_adjust *a = adjusted(&w);
        assert_false(w.v.refused);
        assert_int_equal(a->n_devices, cases[i].n_devices);
        assert_int_equal(a->n_cdi, cases[i].n_cdi);
        world_fini(&w);
    }
}

static void
ask_by_node(struct world *w)
{
    request_device(w, MINE);
}
static void
ask_by_group(struct world *w)
{
    request_node(w, "/dev/vfio/17", 'c', 240, 1);
}
static void
ask_by_other_path(struct world *w)
{
    request_node(w, "/dev/gpu0", 'c', 511, MINE + 3);
}
static void
ask_by_cdi(struct world *w)
{
    request_cdi(w, KIND "=0000:41:00.0");
}
static void
ask_by_annotation(struct world *w)
{
    container_has(w, "cdi.k8s.io/x", "vendor.com/nic=1," KIND "=0000:41:00.0");
}

static void
nothing_is_added_twice(void **state)
{
    static void (*const asks[])(struct world *) = {ask_by_node, ask_by_group, ask_by_other_path,
                                                   ask_by_cdi, ask_by_annotation};

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(asks); i++) {
        struct world w;

        world_init(&w);
        give(&w, SECOND);
        request_nothing(&w);
        asks[i / 2](&w);
        w.runtime_cdi = i % 2;
        const struct nri_adjust *a = adjusted(&w);
        assert_false(w.v.refused);
        assert_int_equal(w.v.n_own, 2);
        /* only the other one */
        assert_int_equal(a->n_devices, w.runtime_cdi ? 0 : 1);
        assert_int_equal(a->n_cdi, w.runtime_cdi ? 1 : 0);
        if (w.runtime_cdi)
            assert_string_equal(a->cdi[0], KIND "=0000:42:00.0");
        else
            assert_string_equal(a->devices[0].path, "/dev/vfio/devices/vfio4");
        world_fini(&w);
    }
}

/* The pod's annotation reaches the container's, but no runtime injects by it. */
static void
a_copy_of_the_pods_annotation_is_no_device(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.pod.handler = OLD_SNP;
    request_nothing(&w);
    pod_has(&w, "cdi.k8s.io/x", KIND "=0000:41:00.0");
    container_has(&w, "cdi.k8s.io/x", KIND "=0000:41:00.0");
    assert_int_equal(adjusted(&w)->n_devices, 1);
    assert_false(w.v.refused);
    world_fini(&w);
}

static void
a_gpu_that_cannot_be_added_refuses_the_container_in_every_mode(void **state)
{
    (void)state;
    for (int mode = GUARD_ENFORCE; mode <= GUARD_OFF; mode++)
        for (int no_node = 0; no_node < 2; no_node++) {
            struct world w;

            world_init(&w);
            for (size_t r = 0; r < GUARD_RULES; r++)
                w.policy.mode[r] = (enum guard_mode)mode;
            give(&w, SECOND);
            request_nothing(&w);
            if (no_node)
                w.dev[SECOND].node = "";
            else
                w.dev[SECOND].major = 0;
            const struct nri_adjust *a = adjusted(&w);
            assert_true(w.v.refused);
            assert_has(w.v.v[0].text, "GPU 0000:42:00.0 is this container's");
            assert_has(w.v.v[0].text, no_node ? "its VFIO node is not known" : "the number of");
            /* not even the one that could be */
            assert_int_equal(a->n_devices + a->n_annotations, 0);
            /* by its name it can */
            w.runtime_cdi = true;
            assert_int_equal(adjusted(&w)->n_cdi, 2);
            assert_false(w.v.refused);
            world_fini(&w);
        }
}

static void
another_s_gpu_is_not_added_even_where_that_is_only_warned_about(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    request_nothing(&w);
    w.dev[MINE].sandbox = "sandbox-0";
    w.policy.mode[GUARD_RULE_OWNER] = GUARD_WARN;
    const struct nri_adjust *a = adjusted(&w);
    assert_false(w.v.refused);
    assert_int_equal(a->n_devices + a->n_annotations, 0);
    world_fini(&w);
}

static void
an_old_list_adds_nothing(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.pod.handler = PLAIN;
    request_nothing(&w);
    w.view.list_ok = false;
    assert_int_equal(adjusted(&w)->n_devices, 0);
    assert_false(w.v.refused);
    w.dev[MINE].sandbox = "sandbox-1"; /* but what we know ourselves */
    assert_int_equal(adjusted(&w)->n_devices, 1);
    world_fini(&w);
}

static void
the_default_annotations_tell_the_facts(void **state)
{
    static const struct nri_kv want[] = {
        {"nvidia.com/pgpu.devices", "0000:41:00.0,0000:42:00.0"},
        {"nvidia.com/pgpu.cc-mode", "on"},
        {"nvidia.com/pgpu.iommu-groups", "17,18"},
        {"nvidia.com/pgpu.iommu-backend", "iommufd"},
        {"nvidia.com/pgpu.numa-nodes", "0,1"},
        {"nvidia.com/pgpu.tee", "snp"},
        {"nvidia.com/pgpu.initdata-digest", initdata_plain_digest},
    };
    struct world w;

    (void)state;
    world_init(&w);
    give(&w, SECOND);
    pod_has(&w, INITDATA, initdata_plain);
    const struct nri_adjust *a = adjusted(&w);
    assert_int_equal(a->n_annotations, ARRAY_SIZE(want));
    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        assert_non_null(added(a, want[i].key));
        assert_string_equal(added(a, want[i].key), want[i].value);
    }
    assert_int_equal(w.v.held_back, 0);

    /* A plain pod has no TEE and no initdata: those two are left out. */
    w.pod.handler = PLAIN;
    w.pod.n_annotations = 0;
    a = adjusted(&w);
    assert_int_equal(a->n_annotations, ARRAY_SIZE(want) - 2);
    assert_null(added(a, "nvidia.com/pgpu.tee"));
    assert_null(added(a, "nvidia.com/pgpu.initdata-digest"));
    world_fini(&w);
}

static void
what_the_container_has_is_not_overridden(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    container_has(&w, "nvidia.com/pgpu.devices", "mine");
    const struct nri_adjust *a = adjusted(&w);
    assert_null(added(a, "nvidia.com/pgpu.devices"));
    assert_non_null(added(a, "nvidia.com/pgpu.cc-mode"));
    world_fini(&w);
}

static void
a_key_is_set_once_and_never_one_of_cdi(void **state)
{
    static const char *const list[] = {"example.com/a=1", "example.com/a=2", "cdi.k8s.io/x=3",
                                       "no template"};
    const struct guard_set set = {"default", ARRAY_SIZE(list), list};
    struct world w;

    (void)state;
    world_init(&w);
    w.policy.sets = &set;
    const struct nri_adjust *a = adjusted(&w);
    assert_int_equal(a->n_annotations, 1);
    assert_string_equal(added(a, "example.com/a"), "1");
    world_fini(&w);
}

static void
annotations_that_the_guests_policy_would_reject_are_held_back(void **state)
{
    static const struct {
        const char *key, *value;
        size_t added, held_back;
    } cases[] = {
        {AGENT_POLICY, "", 6, 0},
        {AGENT_POLICY, policy_open, 6, 0},
        {AGENT_POLICY, policy_closed, 0, 6},
        {AGENT_POLICY, "~~~", 0, 6},      /* nobody knows what it says */
        {INITDATA, initdata_plain, 7, 0}, /* has no policy, but a digest to tell */
        {INITDATA, initdata_policy, 0, 7},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct world w;

        world_init(&w);
        pod_has(&w, cases[i].key, cases[i].value);
        request_nothing(&w);
        const struct nri_adjust *a = adjusted(&w);
        assert_int_equal(a->n_annotations, cases[i].added);
        assert_int_equal(w.v.held_back, cases[i].held_back);
        assert_int_equal(a->n_devices, 1); /* devices are filtered by Kata, not by the policy */
        assert_false(w.v.refused);
        world_fini(&w);
    }
}

static void
both_policies_must_allow_it(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    pod_has(&w, AGENT_POLICY, policy_open);
    pod_has(&w, INITDATA, initdata_policy);
    assert_int_equal(adjusted(&w)->n_annotations, 0);
    assert_int_equal(w.v.held_back, 7);
    world_fini(&w);
}

static void
a_broken_initdata_may_hide_a_policy(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.pod.handler = PLAIN;
    pod_has(&w, INITDATA, "~~~");
    assert_int_equal(adjusted(&w)->n_annotations, 0);
    assert_int_equal(w.v.held_back, 5);
    world_fini(&w);
}

static void
too_long_values_are_left_out_and_said(void **state)
{
    static char big[5000], total[20][4090];
    const char *list[21];
    struct world w;
    size_t sum = 0;

    (void)state;
    world_init(&w);
    (void)snprintf(big, sizeof(big), "example.com/big=%0*d", 4097, 0);
    list[0] = big;
    for (size_t i = 0; i < 20; i++) {
        (void)snprintf(total[i], sizeof(total[i]), "example.com/%zu=%0*d", i, 4000, 0);
        list[i + 1] = total[i];
    }
    const struct guard_set set = {"default", ARRAY_SIZE(list), list};
    w.policy.sets = &set;
    const struct nri_adjust *a = adjusted(&w);
    assert_false(w.v.refused);
    assert_null(added(a, "example.com/big"));
    assert_has(w.v.v[0].text, "example.com/big");
    assert_int_equal(w.v.v[0].rule, GUARD_RULE_ANNOTATIONS);
    assert_in_range(a->n_annotations, 15, 19);
    assert_int_equal(w.v.n + w.v.dropped, 21 - a->n_annotations);
    for (size_t i = 0; i < a->n_annotations; i++)
        sum += strlen(a->annotations[i].key) + strlen(a->annotations[i].value);
    assert_in_range(sum, 1, 64 * 1024);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_gpu_is_added_as_its_node),
        cmocka_unit_test(a_missing_gpu_is_added_by_name_where_the_runtime_knows_names),
        cmocka_unit_test(the_way_of_injection_can_be_chosen),
        cmocka_unit_test(nothing_is_added_twice),
        cmocka_unit_test(a_copy_of_the_pods_annotation_is_no_device),
        cmocka_unit_test(a_gpu_that_cannot_be_added_refuses_the_container_in_every_mode),
        cmocka_unit_test(another_s_gpu_is_not_added_even_where_that_is_only_warned_about),
        cmocka_unit_test(an_old_list_adds_nothing),
        cmocka_unit_test(the_default_annotations_tell_the_facts),
        cmocka_unit_test(what_the_container_has_is_not_overridden),
        cmocka_unit_test(a_key_is_set_once_and_never_one_of_cdi),
        cmocka_unit_test(annotations_that_the_guests_policy_would_reject_are_held_back),
        cmocka_unit_test(both_policies_must_allow_it),
        cmocka_unit_test(a_broken_initdata_may_hide_a_policy),
        cmocka_unit_test(too_long_values_are_left_out_and_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
