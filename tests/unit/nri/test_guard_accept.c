/* SPDX-License-Identifier: Apache-2.0
 *
 * What is in order must pass without a word: a guard that refuses good pods is switched off.
 */
#include "guard_world.h"

static void
as_it_is(struct world *w)
{
    (void)w;
}
static void
plain(struct world *w)
{
    w->pod.handler = PLAIN;
}
static void
ppcie(struct world *w)
{
    w->dev[MINE].mode = w->dev[MINE].meant = w->policy.wanted = CC_MODE_PPCIE;
}
static void
plain_off(struct world *w)
{
    w->pod.handler = PLAIN;
    w->dev[MINE].mode = w->dev[MINE].meant = w->policy.wanted = CC_MODE_OFF;
}
/* Handed out before the node's mode was changed: as good as it was. */
static void
plain_of_the_former_mode(struct world *w)
{
    w->pod.handler = PLAIN;
    w->policy.wanted = CC_MODE_OFF;
}
static void
plain_of_the_new_mode(struct world *w)
{
    w->pod.handler = PLAIN;
    w->dev[MINE].mode = w->dev[MINE].meant = CC_MODE_OFF;
}
static void
recorded(struct world *w)
{
    w->dev[MINE].sandbox = "sandbox-1";
}
static void
by_group_node(struct world *w)
{
    request_nothing(w);
    request_node(w, "/dev/vfio/17", 'c', 240, 9);
}
static void
by_cdi_field(struct world *w)
{
    request_nothing(w);
    request_cdi(w, KIND "=0000:41:00.0");
}
static void
by_plugins_annotation(struct world *w)
{
    request_nothing(w);
    container_has(w, "cdi.k8s.io/pgpu_123", KIND "=0000:41:00.0");
}
static void
node_without_numbers(struct world *w)
{
    request_nothing(w);
    request_node(w, "/dev/vfio/devices/vfio3", 0, 0, 0);
}
static void
other_vendors_things(struct world *w)
{
    pod_has(w, "cdi.k8s.io/nic", "vendor.com/nic=eth0");
    container_has(w, "cdi.k8s.io/nic", "vendor.com/nic=eth0");
    container_has(w, "cdi.k8s.io/more", ",,=,nvidia.com/pgpux=1,nvidia.com=2");
    request_cdi(w, "vendor.com/nic=eth0");
    request_cdi(w, "");
    request_node(w, "/dev/vfio/devices/vfio40", 'c', 511, 40); /* a network card */
    request_node(w, "/dev/vfio/77", 'c', 240, 77);
    request_node(w, "/dev/vfio/vfio", 'c', 10, 196);
    request_node(w, "/dev/iommu", 'c', 10, 62);
    request_node(w, "", 'b', 511, 3);
}
static void
old_kata(struct world *w)
{
    w->pod.handler = OLD_SNP;
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0");
    container_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0"); /* copied by the runtime */
}
static void
old_plain_kata(struct world *w)
{
    w->pod.handler = OLD_PLAIN;
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0");
}
static void
plain_names_its_own(struct world *w)
{
    w->pod.handler = PLAIN;
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0");
}
static void
plain_list_old(struct world *w)
{
    w->pod.handler = PLAIN;
    w->view.list_ok = false;
}
static void
list_old_but_all_known(struct world *w)
{
    w->view.list_ok = false;
    w->dev[MINE].sandbox = "sandbox-1";
    w->dev[INIT].sandbox = "sandbox-9";
}
static void
initdata(struct world *w)
{
    pod_has(w, INITDATA, initdata_plain);
}
static void
initdata_empty(struct world *w)
{
    pod_has(w, INITDATA, "");
}
static void
initdata_of_a_plain_pod(struct world *w)
{
    w->pod.handler = PLAIN;
    pod_has(w, INITDATA, "~~~"); /* not measured: Kata's own affair */
}
static void
required_are_there(struct world *w)
{
    w->pod.handler = STRICT;
    pod_has(w, "example.com/iommu", "off");
    pod_has(w, "example.com/iommu", "on"); /* the last one counts */
    pod_has(w, "example.com/sized", "8");
}

static const struct {
    const char *what;
    void (*set)(struct world *w);
} cases[] = {
    {"as it is", as_it_is},
    {"plain", plain},
    {"ppcie", ppcie},
    {"plain with CC off", plain_off},
    {"plain, handed out before the mode was changed", plain_of_the_former_mode},
    {"plain, in a mode that an operator has set", plain_of_the_new_mode},
    {"recorded", recorded},
    {"by group node", by_group_node},
    {"by CDI field", by_cdi_field},
    {"by a device plugin's annotation", by_plugins_annotation},
    {"a node without numbers", node_without_numbers},
    {"other vendors' things", other_vendors_things},
    {"old Kata", old_kata},
    {"old plain Kata", old_plain_kata},
    {"plain names its own", plain_names_its_own},
    {"plain with an old list", plain_list_old},
    {"an old list, but all is known", list_old_but_all_known},
    {"initdata", initdata},
    {"empty initdata", initdata_empty},
    {"initdata of a plain pod", initdata_of_a_plain_pod},
    {"required annotations", required_are_there},
};

static void
good_pods_pass_in_silence(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (int step = RUN; step <= VALIDATE; step++) {
            struct world w;

            world_init(&w);
            cases[i].set(&w);
            world_run(&w, (enum step)step);
            if (w.v.refused || w.v.n > 0)
                fail_msg("%s, step %d: %s", cases[i].what, step, w.v.v[0].text);
            /* An old list tells a plain pod's sandbox nothing; its container's request does. */
            if (!(cases[i].set == plain_list_old && step == RUN))
                assert_true(owns(&w, MINE));
            assert_int_equal(w.v.n_own, cases[i].set == plain_list_old && step == RUN ? 0 : 1);
            world_fini(&w);
        }
}

static void
an_init_container_may_have_what_the_kubelet_does_not_list_for_it(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.c.name = "prepare";
    request_device(&w, INIT); /* handed out, listed for nobody */
    world_run(&w, CREATE);
    assert_false(w.v.refused);
    assert_int_equal(w.v.n, 0);
    assert_true(owns(&w, INIT));
    assert_true(owns(&w, MINE)); /* that of container main, which gets it afterwards */
    world_fini(&w);
}

static void
a_container_without_gpus_has_nothing_to_do_with_us(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.pod.handler = STRICT; /* whose annotations are missing */
    w.c.name = "sidecar";
    request_nothing(&w);
    world_run(&w, CREATE);
    assert_false(w.v.refused);
    assert_int_equal(w.v.n, 0);
    assert_int_equal(w.v.n_own, 0);
    const struct nri_adjust *a = guard_injection_adjust(w.inj);
    assert_int_equal(a->n_annotations + a->n_devices + a->n_cdi, 0);
    world_fini(&w);
}

static void
a_pod_without_gpus_needs_no_annotations_but_sound_initdata(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.pod.handler = STRICT;
    w.pod.name = "web";
    world_run(&w, RUN);
    assert_false(w.v.refused);
    assert_int_equal(w.v.n, 0);
    pod_has(&w, INITDATA, "~~~");
    world_run(&w, RUN);
    assert_true(w.v.refused);
    world_fini(&w);
}

static void
wanted_devtools_is_said_every_time_but_not_refused(void **state)
{
    struct world w;

    (void)state;
    for (int step = RUN; step <= VALIDATE; step++) {
        world_init(&w);
        w.dev[MINE].mode = w.policy.wanted = CC_MODE_DEVTOOLS;
        world_run(&w, (enum step)step);
        assert_false(w.v.refused);
        const struct guard_finding *f = finding_of(&w, GUARD_RULE_CC);
        assert_non_null(f);
        assert_false(f->refuse);
        assert_has(f->text, "devtools");
        world_fini(&w);
    }
}

static void
the_digest_of_initdata_is_recorded(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    world_run(&w, RUN);
    assert_string_equal(w.v.initdata_digest, "");
    pod_has(&w, INITDATA, initdata_plain);
    world_run(&w, RUN);
    assert_string_equal(w.v.initdata_algorithm, "sha256");
    assert_string_equal(w.v.initdata_digest, initdata_plain_digest);
    pod_has(&w, INITDATA, initdata_policy);
    world_run(&w, RUN);
    assert_string_equal(w.v.initdata_algorithm, "sha384");
    assert_string_equal(w.v.initdata_digest, initdata_policy_digest);
    pod_has(&w, INITDATA, "~~~");
    world_run(&w, RUN);
    assert_string_equal(w.v.initdata_algorithm, "");
    assert_string_equal(w.v.initdata_digest, "");
    world_fini(&w);
}

static void
other_plugins_may_do_what_is_not_ours(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.adjust_nodes[w.adjust.n_devices++] = (struct nri_device){"/dev/fuse", 'c', 10, 229};
    w.adjust_nodes[w.adjust.n_devices++] = (struct nri_device){"/dev/vfio/vfio", 'c', 10, 196};
    w.adjust_nodes[w.adjust.n_devices++] =
        (struct nri_device){"-/dev/vfio/devices/vfio5", 'c', 511, 5};
    w.adjust_nodes[w.adjust.n_devices++] = (struct nri_device){"/dev/sdx", 'b', 511, 5};
    /* what we added ourselves, in both ways */
    w.adjust_nodes[w.adjust.n_devices++] =
        (struct nri_device){"/dev/vfio/devices/vfio3", 'c', 511, 3};
    w.adjust_cdi[w.adjust.n_cdi++] = KIND "=0000:41:00.0";
    w.adjust_cdi[w.adjust.n_cdi++] = "vendor.com/nic=eth0";
    w.adjust_kv[w.adjust.n_annotations++] = (struct nri_kv){"cdi.k8s.io/n", "vendor.com/nic=eth0"};
    w.adjust_kv[w.adjust.n_annotations++] = (struct nri_kv){"-cdi.k8s.io/x", KIND "=0000:61:00.0"};
    w.mounts[w.adjust.n_mounts++] = (struct nri_kv){"/mnt", "/dev/shm"};
    w.mounts[w.adjust.n_mounts++] = (struct nri_kv){"/tmp", "tmpfs"};
    w.mounts[w.adjust.n_mounts++] = (struct nri_kv){"/none", ""};
    w.mounts[w.adjust.n_mounts++] = (struct nri_kv){"/named", "dev"};
    w.mounts[w.adjust.n_mounts++] = (struct nri_kv){"-/dev/vfio", "/dev/vfio"};
    w.mounts[w.adjust.n_mounts++] = (struct nri_kv){"/etc/x", "/etc/../var/x"};
    world_run(&w, VALIDATE);
    if (w.v.n > 0)
        fail_msg("%s", w.v.v[0].text);
    assert_false(w.v.refused);

    /* In a plain pod also hooks, others' VFIO nodes and mounts. */
    w.pod.handler = PLAIN;
    w.adjust.n_hooks = 3;
    w.adjust_nodes[w.adjust.n_devices++] =
        (struct nri_device){"/dev/vfio/devices/vfio99", 'c', 511, 99};
    w.mounts[w.adjust.n_mounts++] = (struct nri_kv){"/mnt", "/dev"};
    world_run(&w, VALIDATE);
    assert_int_equal(w.v.n, 0);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_pods_pass_in_silence),
        cmocka_unit_test(an_init_container_may_have_what_the_kubelet_does_not_list_for_it),
        cmocka_unit_test(a_container_without_gpus_has_nothing_to_do_with_us),
        cmocka_unit_test(a_pod_without_gpus_needs_no_annotations_but_sound_initdata),
        cmocka_unit_test(wanted_devtools_is_said_every_time_but_not_refused),
        cmocka_unit_test(the_digest_of_initdata_is_recorded),
        cmocka_unit_test(other_plugins_may_do_what_is_not_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
