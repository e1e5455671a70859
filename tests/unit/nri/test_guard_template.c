/* SPDX-License-Identifier: Apache-2.0
 *
 * Templates of annotations: which are legal, and what they become.
 */
#include "guard_world.h"

static void
templates_are_checked(void **state)
{
    static char long_name[200], long_prefix[400], long_text[1200];
    const struct {
        const char *text, *why; /* NULL: legal */
    } cases[] = {
        {"example.com/a={devices}", NULL},
        {"a=", NULL},
        {"A_b.c-9=x{{y}}{cc_mode}{iommu_groups}{iommu_backend}{numa_nodes}", NULL},
        {"x.y-z.9/k={tee}{count}{initdata_digest} and text", NULL},
        {"io.katacontainers.container.x=1", NULL},
        {"cdi.k8s.iox/a=1", NULL},
        {"no equals sign", "KEY=TEMPLATE"},
        {"=x", "name"},
        {"/a=x", "prefix"},
        {"a/=x", "name"},
        {"a/b/c=x", "characters"},
        {"-a=x", "name"},
        {"a_=x", "name"},
        {"a b=x", "characters"},
        {"\xc3\xa4=x", "name"},
        {"a\xc3\xa4z=x", "characters"},
        {"Example.com/a=x", "prefix"},
        {"-x.com/a=x", "prefix"},
        {"x-.com/a=x", "prefix"},
        {"x..com/a=x", "prefix"},
        {"x.com./a=x", "prefix"},
        {"x_y/a=x", "prefix"},
        {"cdi.k8s.io/gpu={devices}", "CDI"},
        {"io.kubernetes.cri.container-type=sandbox", "containerd"},
        {"io.kubernetes.cri-o.TTY=1", "CRI-O"},
        {"a={gpu}", "unknown fact"},
        {"a={}", "unknown fact"},
        {"a={Devices}", "unknown fact"},
        {"a={devices", "{ without }"},
        {"a={devices{tee}}", "{ without }"},
        {"a={", "{ without }"},
        {"a=}", "} without {"},
        {"a=x}y", "} without {"},
        {"a={{devices}", "} without {"},
        {"a=x\ny", "ASCII"},
        {"a=\xc3\xa4", "ASCII"},
        {"a=\x7f", "ASCII"},
        {long_name, "name"},
        {long_prefix, "prefix"},
        {long_text, "1024"},
    };

    (void)state;
    (void)snprintf(long_name, sizeof(long_name), "%064d=x", 0);
    (void)snprintf(long_prefix, sizeof(long_prefix), "%0254d/a=x", 0);
    (void)snprintf(long_text, sizeof(long_text), "a=%01025d", 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *why = NULL;
        bool ok = guard_template_valid(cases[i].text, &why);

        if (ok != (cases[i].why == NULL) || ok != (why == NULL))
            fail_msg("\"%s\": %s", cases[i].text, why ? why : "accepted");
        if (!ok)
            assert_has(why, cases[i].why);
    }
    /* at the limits */
    const char *why = NULL;
    assert_true(guard_template_valid(long_name + 1, &why));
    assert_true(guard_template_valid(long_prefix + 1, &why));
    memmove(long_text + 2, long_text + 3, strlen(long_text + 2));
    assert_true(guard_template_valid(long_text, &why));
}

static void
the_default_set_is_legal(void **state)
{
    size_t n = 0;
    const struct guard_set *sets = guard_default_sets(&n);

    (void)state;
    assert_int_equal(n, 1);
    for (size_t i = 0; i < sets[0].n; i++) {
        const char *why = NULL;

        if (!guard_template_valid(sets[0].annotations[i], &why))
            fail_msg("%s: %s", sets[0].annotations[i], why);
        assert_int_equal(strncmp(sets[0].annotations[i], "nvidia.com/pgpu.", 16), 0);
    }
}

static void
mixed(struct world *w)
{
    give(w, SECOND);
    w->dev[SECOND].mode = CC_MODE_PPCIE;
    w->dev[SECOND].iommufd = false;
    w->dev[MINE].iommu_group = -1;
}
static void
no_numa(struct world *w)
{
    give(w, SECOND);
    w->dev[MINE].numa_node = w->dev[SECOND].numa_node = -1;
}
static void
same(struct world *w)
{
    give(w, SECOND);
}

/* Handed out all the same, since the rule does not refuse it. */
static void
one_unverified(struct world *w)
{
    give(w, SECOND);
    w->policy.mode[GUARD_RULE_CC] = GUARD_OFF;
    w->dev[SECOND].unverified = "its CC mode was not read since the last reset";
}
static void
all_unverified(struct world *w)
{
    one_unverified(w);
    w->dev[MINE].unverified = w->dev[SECOND].unverified;
}

static void
templates_are_filled_in(void **state)
{
    static const struct {
        const char *text, *value; /* NULL: left out */
        void (*set)(struct world *w);
    } cases[] = {
        {"k=", "", same},
        {"k=plain text, {{devices}}", "plain text, {devices}", same},
        {"k={{{devices}}}", "{0000:41:00.0,0000:42:00.0}", same},
        {"k={count} of {tee}", "2 of snp", same},
        {"k={cc_mode}", "on", same},
        {"k={cc_mode}", "on,ppcie", mixed},
        {"k={cc_mode}", NULL, one_unverified},
        {"k={cc_mode}", NULL, all_unverified},
        {"k={count} in mode {cc_mode}.", "2 in mode .", one_unverified},
        {"k={devices}", "0000:41:00.0,0000:42:00.0", one_unverified},
        {"k={iommu_backend}", "iommufd,legacy", mixed},
        {"k={iommu_backend}", "iommufd", same},
        {"k={iommu_groups}", ",18", mixed},
        {"k={numa_nodes}", "0,1", same},
        {"k={numa_nodes}", NULL, no_numa},
        {"k=nodes {numa_nodes}", NULL, no_numa},
        {"k={initdata_digest}", NULL, same},
        {"k={numa_nodes}{tee}", ",snp", no_numa},
        {"k={cc_mode}{cc_mode}", "onon", same},
        /* what no configuration lets through ends at what is wrong */
        {"k=a{gpu}b", "a", same},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct guard_set set = {"default", 1, &cases[i].text};
        struct world w;

        world_init(&w);
        w.policy.sets = &set;
        cases[i].set(&w);
        world_run(&w, CREATE);
        const struct nri_adjust *a = guard_injection_adjust(w.inj);
        assert_int_equal(a->n_annotations, cases[i].value ? 1 : 0);
        if (cases[i].value) {
            assert_string_equal(a->annotations[0].key, "k");
            assert_string_equal(a->annotations[0].value, cases[i].value);
        }
        assert_int_equal(w.v.n, 0);
        world_fini(&w);
    }
}

static void
the_handler_chooses_the_set(void **state)
{
    static const char *const one[] = {"a=1"}, *const two[] = {"b=2"};
    const struct guard_set sets[] = {{"one", 1, one}, {"two", 1, two}};
    const struct {
        const char *set, *key;
    } cases[] = {{"one", "a"}, {"two", "b"}, {"", NULL}, {"three", NULL}};
    struct world w;

    (void)state;
    world_init(&w);
    w.policy.sets = sets;
    w.policy.n_sets = ARRAY_SIZE(sets);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct guard_handler h = {SNP, GUARD_CONFIDENTIAL, GUARD_TEE_SNP, cases[i].set, 0, 0,
                                        NULL};

        w.policy.handlers = &h;
        w.policy.n_handlers = 1;
        world_run(&w, CREATE);
        const struct nri_adjust *a = guard_injection_adjust(w.inj);
        assert_int_equal(a->n_annotations, cases[i].key ? 1 : 0);
        if (cases[i].key)
            assert_string_equal(a->annotations[0].key, cases[i].key);
    }
    world_fini(&w);
}

static void
containers_without_gpus_get_none(void **state)
{
    static const char *const list[] = {"a=1", "b={count}", "c={tee}"};
    const struct guard_set set = {"default", ARRAY_SIZE(list), list};
    struct world w;

    (void)state;
    world_init(&w);
    w.policy.sets = &set;
    w.c.name = "sidecar";
    request_nothing(&w);
    world_run(&w, CREATE);
    assert_int_equal(guard_injection_adjust(w.inj)->n_annotations, 0);
    world_fini(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_are_checked),
        cmocka_unit_test(the_default_set_is_legal),
        cmocka_unit_test(templates_are_filled_in),
        cmocka_unit_test(containers_without_gpus_get_none),
        cmocka_unit_test(the_handler_chooses_the_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
