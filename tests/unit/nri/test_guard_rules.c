/* SPDX-License-Identifier: Apache-2.0
 *
 * What a rule finds wrong. Each line of the table is judged three times: where the rule is enforced
 * it refuses, where it warns it only says so, where it is off it is silent; all other rules are off
 * then, so that it is this one that sees it.
 */
#include "guard_world.h"

#define HANDLER(h) w->pod.handler = (h)

static void
unverified(struct world *w)
{
    w->dev[MINE].unverified = "its CC mode was not read since the last reset";
}
static void
mode_off(struct world *w)
{
    w->dev[MINE].mode = CC_MODE_OFF;
}
static void
mode_off_as_wanted(struct world *w)
{
    w->dev[MINE].mode = w->dev[MINE].meant = w->policy.wanted = CC_MODE_OFF;
}
static void
mode_devtools(struct world *w)
{
    w->dev[MINE].mode = CC_MODE_DEVTOOLS;
}
static void
plain_other_mode(struct world *w)
{
    HANDLER(PLAIN);
    w->dev[MINE].meant = CC_MODE_OFF;
}
static void
plain_devtools(struct world *w)
{
    HANDLER(PLAIN);
    w->dev[MINE].mode = CC_MODE_DEVTOOLS;
}
static void
former_sandbox(struct world *w)
{
    w->dev[MINE].sandbox = "sandbox-0";
}
static void
plain_former_sandbox(struct world *w)
{
    HANDLER(PLAIN);
    former_sandbox(w);
}
static void
record_and_list_differ(struct world *w)
{
    list_for(w, MINE, "rivals", "infer", "main");
    w->dev[MINE].sandbox = "sandbox-1";
}
static void
same_name_other_namespace(struct world *w)
{
    list_for(w, MINE, "rivals", "train", "main");
}
static void
others_gpu(struct world *w)
{
    request_device(w, OTHERS);
}
static void
others_gpu_plain(struct world *w)
{
    HANDLER(PLAIN);
    request_device(w, OTHERS);
}
static void
sisters_gpu(struct world *w)
{
    give(w, SECOND);
    w->dev[SECOND].container = "sister";
    request_device(w, SECOND);
}
static void
list_old_and_gpu_loose(struct world *w)
{
    w->view.list_ok = false;
    list_for(w, MINE, "", "", "");
    request_nothing(w);
}
/* A VM may have used it since it was handed out, or its preparation failed: it is some pod's all
 * the same. */
static void
list_old_and_unverified_gpu_loose(struct world *w)
{
    w->view.list_ok = false;
    list_for(w, MINE, "", "", "");
    w->dev[MINE].unverified = "a VM has used it since";
    take_back(w, INIT);
    request_nothing(w);
}
/* The list may tell of the former pod of this name. */
static void
list_old_names_this_pod(struct world *w)
{
    w->view.list_ok = false;
    take_back(w, INIT);
    request_nothing(w);
}
static void
list_old_and_gpu_asked_for(struct world *w)
{
    w->view.list_ok = false;
    take_back(w, INIT);
    take_back(w, MINE);
}
static void
list_old_and_gpu_chosen(struct world *w)
{
    list_old_and_gpu_asked_for(w);
    request_nothing(w);
    HANDLER(OLD_SNP);
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0");
}
static void
tenant_chooses(struct world *w)
{
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0");
}
static void
tenant_chooses_in_a_list(struct world *w)
{
    pod_has(w, "cdi.k8s.io/x", "vendor.com/nic=1,vendor.com/nic=2, " KIND "=0000:41:00.0");
}
static void
tenant_chooses_what_is_not(struct world *w)
{
    pod_has(w, "cdi.k8s.io/x", KIND "=vfio3");
}
static void
old_kata_others(struct world *w)
{
    HANDLER(OLD_SNP);
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0," KIND "=0000:61:00.0");
}
static void
old_kata_idle(struct world *w)
{
    HANDLER(OLD_SNP);
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0," KIND "=0000:81:00.0");
}
static void
old_kata_too_few(struct world *w)
{
    HANDLER(OLD_SNP);
    give(w, SECOND);
    request_device(w, SECOND);
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0");
}
static void
old_kata_unknown(struct world *w)
{
    HANDLER(OLD_SNP);
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0," KIND "=0000:99:00.0");
}
static void
old_kata_other_kind_of_ours(struct world *w)
{
    HANDLER(OLD_SNP);
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0,nvidia.com/GH100=0000:41:00.0");
}
static void
plain_chooses_others(struct world *w)
{
    HANDLER(PLAIN);
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:61:00.0");
}
static void
old_plain_list_old_chooses_others(struct world *w)
{
    HANDLER(OLD_PLAIN);
    w->view.list_ok = false;
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:61:00.0");
}
static void
idle_by_node(struct world *w)
{
    request_device(w, IDLE);
}
static void
idle_by_alias(struct world *w)
{
    request_node(w, "/dev/null-like", 'c', 511, IDLE + 3);
}
static void
idle_by_crooked_path(struct world *w)
{
    request_node(w, "//dev/./vfio/x/../devices//vfio6", 'c', 0, 0);
}
static void
idle_by_group(struct world *w)
{
    request_node(w, "/dev/vfio/20", 'c', 240, 5);
}
static void
idle_by_cdi(struct world *w)
{
    request_cdi(w, KIND "=0000:81:00.0");
}
static void
idle_by_annotation(struct world *w)
{
    container_has(w, "cdi.k8s.io/x", "a.b/c=d," KIND "=0000:81:00.0");
}
/* The same key as the pod's, another value: not a copy. */
static void
idle_by_overwritten_annotation(struct world *w)
{
    HANDLER(OLD_SNP);
    pod_has(w, "cdi.k8s.io/x", KIND "=0000:41:00.0");
    container_has(w, "cdi.k8s.io/x", KIND "=0000:81:00.0");
}
static void
unknown_by_cdi(struct world *w)
{
    request_cdi(w, KIND "=all");
}
static void
unknown_by_annotation(struct world *w)
{
    container_has(w, "cdi.k8s.io/x", KIND "=");
}
static void
block_volume_at_gpu_path(struct world *w)
{
    request_nothing(w);
    request_node(w, "/dev/vfio/devices/vfio3", 'b', 8, 16);
}
static void
other_node_at_gpu_path(struct world *w)
{
    request_nothing(w);
    request_node(w, "/dev/vfio/devices/vfio3", 'c', 511, 77);
}
static void
initdata_no_base64(struct world *w)
{
    pod_has(w, INITDATA, "~~~");
}
static void
initdata_no_gzip(struct world *w)
{
    pod_has(w, INITDATA, "aGVsbG8gd29ybGQ=");
}
static void
initdata_last_counts(struct world *w)
{
    pod_has(w, INITDATA, initdata_plain);
    pod_has(w, INITDATA, "~~~");
}
static void
required_missing(struct world *w)
{
    HANDLER(STRICT);
    pod_has(w, "example.com/iommu", "on");
}
static void
required_differs(struct world *w)
{
    HANDLER(STRICT);
    pod_has(w, "example.com/iommu", "on ");
    pod_has(w, "example.com/sized", "");
}
static void
adds_hook(struct world *w)
{
    w->adjust.n_hooks = 1;
}
static void
add_node(struct world *w, const char *path, int64_t major, int64_t minor)
{
    w->adjust_nodes[w->adjust.n_devices++] = (struct nri_device){path, 'c', major, minor};
}
static void
adds_others_node(struct world *w)
{
    add_node(w, "/dev/vfio/devices/vfio5", 511, OTHERS + 3);
}
static void
adds_others_node_plain(struct world *w)
{
    HANDLER(PLAIN);
    adds_others_node(w);
}
static void
adds_alias(struct world *w)
{
    add_node(w, "/dev/harmless", 511, OTHERS + 3);
}
static void
adds_strange_vfio(struct world *w)
{
    add_node(w, "/dev/vfio/devices/vfio99", 511, 99);
}
static void
adds_strange_vfio_group(struct world *w)
{
    add_node(w, "/dev/vfio/99", 240, 99);
}
static void
adds_strange_vfio_alias(struct world *w)
{
    add_node(w, "/dev/harmless", 511, 99);
}
static void
adds_own_with_other_numbers(struct world *w)
{
    add_node(w, "/dev/vfio/devices/vfio3", 511, 99);
}
static void
adds_own_under_alias(struct world *w)
{
    add_node(w, "/dev/harmless", 511, MINE + 3);
}
static void
adds_cdi_of_others(struct world *w)
{
    w->adjust_cdi[w->adjust.n_cdi++] = KIND "=0000:61:00.0";
}
static void
adds_cdi_unknown(struct world *w)
{
    HANDLER(PLAIN);
    w->adjust_cdi[w->adjust.n_cdi++] = KIND "=all";
}
static void
adds_cdi_annotation(struct world *w)
{
    w->adjust_kv[w->adjust.n_annotations++] = (struct nri_kv){"cdi.k8s.io/x", KIND "=0000:41:00.0"};
}
static void
add_mount(struct world *w, const char *source)
{
    w->mounts[w->adjust.n_mounts++] = (struct nri_kv){"/mnt", source};
}
static void
mounts_vfio(struct world *w)
{
    add_mount(w, "/dev/vfio/devices");
}
static void
mounts_dev(struct world *w)
{
    add_mount(w, "/dev/vfio/..");
}
static void
mounts_root(struct world *w)
{
    add_mount(w, "/");
}

static const struct {
    const char *what;
    void (*set)(struct world *w);
    unsigned steps; /* bit for each step that must find it */
    enum guard_rule rule;
    const char *says;
} cases[] = {
#define ON_RUN (1u << RUN)
#define ON_CREATE (1u << CREATE | 1u << VALIDATE)
#define ON_VALIDATE (1u << VALIDATE)
#define ON_BOTH (ON_RUN | ON_CREATE)
    {"a GPU that is not verified", unverified, ON_BOTH, GUARD_RULE_CC,
     "0000:41:00.0 is not verified for this use: its CC mode was not read since the last reset"},
    {"CC off", mode_off, ON_BOTH, GUARD_RULE_CC, "CC mode off"},
    {"CC off for a confidential pod, as wanted", mode_off_as_wanted, ON_BOTH, GUARD_RULE_CC,
     "needs on or ppcie"},
    {"devtools that nobody wanted", mode_devtools, ON_BOTH, GUARD_RULE_CC, "devtools"},
    {"a plain pod's GPU in CC mode", plain_other_mode, ON_BOTH, GUARD_RULE_CC, "prepared for off"},
    {"a plain pod's GPU in devtools mode", plain_devtools, ON_BOTH, GUARD_RULE_CC, "devtools"},
    {"the former sandbox of the pod has the GPU", former_sandbox, ON_BOTH, GUARD_RULE_OWNER,
     "another sandbox's (sandbox-0)"},
    {"the same for a plain pod", plain_former_sandbox, ON_BOTH, GUARD_RULE_OWNER, "sandbox-0"},
    {"our record and the kubelet's list differ", record_and_list_differ, ON_BOTH, GUARD_RULE_OWNER,
     "belongs to pod rivals/infer"},
    {"a pod of the same name elsewhere", same_name_other_namespace, ON_CREATE, GUARD_RULE_OWNER,
     "belongs to pod rivals/train"},
    {"another pod's GPU", others_gpu, ON_CREATE, GUARD_RULE_OWNER, "sandbox-of-rivals"},
    {"another pod's GPU, plain", others_gpu_plain, ON_CREATE, GUARD_RULE_OWNER,
     "container team/train/main: GPU 0000:61:00.0"},
    {"another container's GPU", sisters_gpu, ON_CREATE, GUARD_RULE_OWNER,
     "belongs to container sister of its pod"},
    {"an old list and a GPU out of sight", list_old_and_gpu_loose, ON_BOTH, GUARD_RULE_OWNER,
     "not known: the kubelet does not answer"},
    {"an old list and a GPU out of sight that is not verified", list_old_and_unverified_gpu_loose,
     ON_BOTH, GUARD_RULE_OWNER, "which pod has GPU 0000:41:00.0 is not known"},
    {"an old list that may mean the former pod", list_old_names_this_pod, ON_BOTH, GUARD_RULE_OWNER,
     "which pod has GPU 0000:41:00.0 is not known"},
    {"an old list and a GPU asked for", list_old_and_gpu_asked_for, ON_CREATE, GUARD_RULE_OWNER,
     "which pod has GPU 0000:41:00.0 is not known"},
    {"an old list and a GPU chosen by annotation", list_old_and_gpu_chosen, ON_BOTH,
     GUARD_RULE_OWNER, "which pod has GPU 0000:41:00.0 is not known"},
    {"a tenant's choice", tenant_chooses, ON_BOTH, GUARD_RULE_DEVICES,
     "handler " SNP " does not allow"},
    {"a tenant's choice in a list", tenant_chooses_in_a_list, ON_BOTH, GUARD_RULE_DEVICES,
     "does not allow"},
    {"a tenant's choice of what is not", tenant_chooses_what_is_not, ON_BOTH, GUARD_RULE_DEVICES,
     "does not allow"},
    {"old Kata, another's GPU", old_kata_others, ON_BOTH, GUARD_RULE_DEVICES,
     "names GPU 0000:61:00.0, which the kubelet gave to rivals/infer"},
    {"old Kata, an idle GPU", old_kata_idle, ON_BOTH, GUARD_RULE_DEVICES, "gave to nobody"},
    {"old Kata, too few", old_kata_too_few, ON_BOTH, GUARD_RULE_DEVICES,
     "leaves out GPU 0000:42:00.0"},
    {"old Kata, an unknown ID", old_kata_unknown, ON_BOTH, GUARD_RULE_DEVICES,
     KIND "=0000:99:00.0 (and 0 more)"},
    {"old Kata, our ID under another kind of ours", old_kata_other_kind_of_ours, ON_BOTH,
     GUARD_RULE_DEVICES, "nvidia.com/GH100=0000:41:00.0"},
    {"a plain pod chooses another's GPU", plain_chooses_others, ON_BOTH, GUARD_RULE_DEVICES,
     "gave to rivals/infer"},
    {"the same with an old list", old_plain_list_old_chooses_others, ON_BOTH, GUARD_RULE_DEVICES,
     "gave to rivals/infer"},
    {"an idle GPU by node", idle_by_node, ON_CREATE, GUARD_RULE_DEVICES,
     "asks for GPU 0000:81:00.0"},
    {"an idle GPU under another name", idle_by_alias, ON_CREATE, GUARD_RULE_DEVICES,
     "asks for GPU 0000:81:00.0"},
    {"an idle GPU by a crooked path", idle_by_crooked_path, ON_CREATE, GUARD_RULE_DEVICES,
     "asks for GPU 0000:81:00.0"},
    {"an idle GPU by its group's node", idle_by_group, ON_CREATE, GUARD_RULE_DEVICES,
     "asks for GPU 0000:81:00.0"},
    {"an idle GPU by CDI name", idle_by_cdi, ON_CREATE, GUARD_RULE_DEVICES,
     "asks for GPU 0000:81:00.0"},
    {"an idle GPU by annotation", idle_by_annotation, ON_CREATE, GUARD_RULE_DEVICES,
     "asks for GPU 0000:81:00.0"},
    {"an annotation that is not the pod's", idle_by_overwritten_annotation, ON_CREATE,
     GUARD_RULE_DEVICES, "asks for GPU 0000:81:00.0"},
    {"an unknown CDI name", unknown_by_cdi, ON_CREATE, GUARD_RULE_DEVICES,
     "asks for " KIND "=all (and 0 more)"},
    {"an unknown name in an annotation", unknown_by_annotation, ON_CREATE, GUARD_RULE_DEVICES,
     "asks for " KIND "= (and 0 more)"},
    {"a block volume at a GPU's path", block_volume_at_gpu_path, ON_CREATE, GUARD_RULE_DEVICES,
     "another device under the path of GPU 0000:41:00.0"},
    {"another node at a GPU's path", other_node_at_gpu_path, ON_CREATE, GUARD_RULE_DEVICES,
     "another device under the path of GPU 0000:41:00.0"},
    {"initdata that is no base64", initdata_no_base64, ON_RUN, GUARD_RULE_INITDATA, "initdata: "},
    {"initdata that is no gzip", initdata_no_gzip, ON_RUN, GUARD_RULE_INITDATA, "initdata: "},
    {"initdata twice, the last one broken", initdata_last_counts, ON_RUN, GUARD_RULE_INITDATA,
     "initdata: "},
    {"a required annotation is missing", required_missing, ON_BOTH, GUARD_RULE_ANNOTATIONS,
     "example.com/sized is missing, not set"},
    {"a required annotation differs", required_differs, ON_BOTH, GUARD_RULE_ANNOTATIONS,
     "example.com/iommu is \"on \", not on"},
    {"a plugin's hook", adds_hook, ON_VALIDATE, GUARD_RULE_PLUGINS, "adds 1 OCI hooks"},
    {"a plugin's GPU of another pod", adds_others_node, ON_VALIDATE, GUARD_RULE_PLUGINS,
     "/dev/vfio/devices/vfio5"},
    {"the same in a plain pod", adds_others_node_plain, ON_VALIDATE, GUARD_RULE_PLUGINS,
     "/dev/vfio/devices/vfio5"},
    {"the same under another name", adds_alias, ON_VALIDATE, GUARD_RULE_PLUGINS, "/dev/harmless"},
    {"a plugin's VFIO node of unknown kind", adds_strange_vfio, ON_VALIDATE, GUARD_RULE_PLUGINS,
     "vfio99"},
    {"a plugin's VFIO group", adds_strange_vfio_group, ON_VALIDATE, GUARD_RULE_PLUGINS,
     "/dev/vfio/99"},
    {"a plugin's VFIO node under another name", adds_strange_vfio_alias, ON_VALIDATE,
     GUARD_RULE_PLUGINS, "/dev/harmless"},
    {"a plugin's other node at our path", adds_own_with_other_numbers, ON_VALIDATE,
     GUARD_RULE_PLUGINS, "vfio3"},
    {"a plugin's second name for our GPU", adds_own_under_alias, ON_VALIDATE, GUARD_RULE_PLUGINS,
     "/dev/harmless"},
    {"a plugin's CDI name", adds_cdi_of_others, ON_VALIDATE, GUARD_RULE_PLUGINS,
     "the CDI device " KIND "=0000:61:00.0"},
    {"a plugin's unknown CDI name", adds_cdi_unknown, ON_VALIDATE, GUARD_RULE_PLUGINS, "=all"},
    {"a plugin's CDI annotation", adds_cdi_annotation, ON_VALIDATE, GUARD_RULE_PLUGINS,
     "an annotation cdi.k8s.io/*"},
    {"a plugin mounts VFIO nodes", mounts_vfio, ON_VALIDATE, GUARD_RULE_PLUGINS,
     "mounts the host's /dev/vfio/devices"},
    {"a plugin mounts all nodes", mounts_dev, ON_VALIDATE, GUARD_RULE_PLUGINS, "/dev/vfio/.."},
    {"a plugin mounts the host", mounts_root, ON_VALIDATE, GUARD_RULE_PLUGINS, "mounts the host's"},
};

static void
judge_case(size_t i, enum step step, enum guard_mode mode)
{
    struct world w;

    world_init(&w);
    for (size_t r = 0; r < GUARD_RULES; r++)
        w.policy.mode[r] = GUARD_OFF;
    w.policy.mode[cases[i].rule] = mode;
    cases[i].set(&w);
    world_run(&w, step);

    const struct guard_finding *f = finding_of(&w, cases[i].rule);
    if (mode == GUARD_OFF) {
        if (w.v.n > 0 || w.v.refused)
            fail_msg("%s: the rule is off, but: %s", cases[i].what, w.v.v[0].text);
    } else if (!f) {
        fail_msg("%s: step %d does not find it", cases[i].what, step);
    } else {
        if (w.v.refused != (mode == GUARD_ENFORCE) || f->refuse != w.v.refused)
            fail_msg("%s: refused %d in mode %d", cases[i].what, w.v.refused, mode);
        assert_has(f->text, cases[i].says);
        assert_has(f->text, "team/train");
    }
    if (w.v.refused && step == CREATE) {
        const struct nri_adjust *a = guard_injection_adjust(w.inj);

        assert_int_equal(a->n_annotations + a->n_devices + a->n_cdi, 0);
    }
    world_fini(&w);
}

static void
each_rule_refuses_warns_or_is_silent(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (int step = RUN; step <= VALIDATE; step++)
            if (cases[i].steps & 1u << step) {
                judge_case(i, (enum step)step, GUARD_ENFORCE);
                judge_case(i, (enum step)step, GUARD_WARN);
                judge_case(i, (enum step)step, GUARD_OFF);
            }
}

/* With everything enforced, as by default. */
static void
each_case_is_refused_by_default(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct world w;

        world_init(&w);
        cases[i].set(&w);
        world_run(&w, cases[i].steps & ON_RUN ? RUN : VALIDATE);
        if (!w.v.refused)
            fail_msg("%s: accepted", cases[i].what);
        assert_true(w.v.n > 0 && w.v.v[0].refuse);
        world_fini(&w);
    }
}

static void
what_is_another_s_is_never_recorded_as_ours(void **state)
{
    static void (*const theirs[])(struct world *) = {former_sandbox, others_gpu,
                                                     record_and_list_differ};
    struct world w;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(theirs); i++)
        for (int step = RUN; step <= CREATE; step++) {
            world_init(&w);
            w.policy.mode[GUARD_RULE_OWNER] = GUARD_WARN;
            theirs[i](&w);
            world_run(&w, (enum step)step);
            assert_false(w.v.refused);
            assert_false(owns(&w, theirs[i] == others_gpu ? OTHERS : MINE));
            world_fini(&w);
        }
}

static void
a_refused_container_claims_nothing(void **state)
{
    struct world w;

    (void)state;
    for (int step = CREATE; step <= VALIDATE; step++) {
        world_init(&w);
        request_device(&w, INIT); /* nobody's that we know: goes to who comes first */
        world_run(&w, (enum step)step);
        assert_false(w.v.refused);
        assert_true(owns(&w, INIT));
        request_device(&w, OTHERS);
        world_run(&w, (enum step)step);
        assert_true(w.v.refused);
        assert_false(owns(&w, INIT));
        assert_true(owns(&w, MINE));
        world_fini(&w);
    }
}

static void
pods_that_are_not_guarded_are_not_looked_at(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (int step = RUN; step <= VALIDATE; step++) {
            struct world w;

            world_init(&w);
            cases[i].set(&w);
            w.pod.handler = i % 2 ? "runc" : "";
            world_run(&w, (enum step)step);
            if (w.v.refused || w.v.n > 0 || w.v.n_own > 0)
                fail_msg("%s: looked at", cases[i].what);
            world_fini(&w);
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_refuses_warns_or_is_silent),
        cmocka_unit_test(each_case_is_refused_by_default),
        cmocka_unit_test(what_is_another_s_is_never_recorded_as_ours),
        cmocka_unit_test(a_refused_container_claims_nothing),
        cmocka_unit_test(pods_that_are_not_guarded_are_not_looked_at),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
