/* SPDX-License-Identifier: Apache-2.0
 *
 * What the labels say of a node, for every mix of device states; whose they are; how a device
 * stands in a change of the mode.
 */
#include "base/cleanup.h"
#include "daemon/node.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GPUS 4

static struct unit units[GPUS + 1]; /* and a switch */
static struct config conf;
static struct node node;

/* Four GPUs that are ready in mode on, and a switch. No hardware service: see view(). */
static void
make(void)
{
    memset(&node, 0, sizeof(node));
    memset(&conf, 0, sizeof(conf));
    memset(units, 0, sizeof(units));
    conf.mode = CC_MODE_ON;
    node.conf = &conf;
    node.mode.wanted = node.mode.from = CC_MODE_ON;
    for (size_t i = 0; i < GPUS + 1; i++) {
        struct unit *u = &units[i];

        (void)snprintf(u->id, sizeof(u->id), "0000:%zx1:00.0", i + 1);
        u->node = &node;
        u->facts.kind = i < GPUS ? HWD_KIND_GPU : HWD_KIND_NVSWITCH;
        u->facts.flags = HWD_FACT_CLAIMED | HWD_FACT_ARMED | HWD_FACT_BOUND;
        u->facts.mode_active = u->facts.mode_configured = CC_MODE_ON;
        u->state = UNIT_READY;
        u->verified = u->classified = true;
        u->prepared_for = CC_MODE_ON;
        node.unit[i] = u;
    }
    node.n_units = GPUS + 1;
    node.settled = true;
}

static struct hwclient *
fake_up(void)
{
    return (struct hwclient *)&node; /* never looked into: see the wrapper */
}

/* The library's own would look into the client. */
bool __wrap_hwclient_is_up(const struct hwclient *c);
bool
__wrap_hwclient_is_up(const struct hwclient *c)
{
    return c != NULL;
}

static void
expect(const char *mode, const char *ready)
{
    struct labels_view v;

    node.hw = fake_up();
    labels_view_of(&node, &v);
    if (strcmp(v.mode, mode) != 0 || strcmp(v.ready, ready) != 0)
        fail_msg("mode.state \"%s\", ready.state \"%s\"; wanted \"%s\", \"%s\"", v.mode, v.ready,
                 mode, ready);
}

static void
ready_is_said_when_every_gpu_is(void **state)
{
    static const struct {
        enum unit_state state;
        const char *mode, *ready;
    } rows[] = {
        {UNIT_READY, "on", "true"},       {UNIT_ALLOCATED, "on", "true"},
        {UNIT_IN_USE, "on", "true"},      {UNIT_RELEASING, "on", "true"},
        {UNIT_FOUND, "", "false"},        {UNIT_ARMING, "", "false"},
        {UNIT_QUARANTINED, "failed", ""}, {UNIT_STUCK, "failed", ""},
        {UNIT_GONE, "failed", ""}, /* the node has one less than it should have */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        make();
        units[2].state = rows[i].state;
        expect(rows[i].mode, rows[i].ready);
    }
}

static void
a_gpu_that_was_used_in_another_mode_is_not_ready(void **state)
{
    (void)state;
    make();
    units[1].state = UNIT_IN_USE;
    units[1].prepared_for = CC_MODE_OFF;
    expect("", "false");
    make();
    units[1].state = UNIT_RELEASING;
    units[1].facts.mode_configured = CC_MODE_OFF; /* what the reset will make of it */
    expect("", "false");
    make();
    units[1].prepared_for = CC_MODE_UNKNOWN;
    expect("", "false");
}

static void
the_values_are_those_of_cc_manager(void **state)
{
    static const struct {
        enum cc_mode mode;
        const char *ready;
    } rows[] = {{CC_MODE_ON, "true"},
                {CC_MODE_PPCIE, "true"},
                {CC_MODE_OFF, "false"},
                {CC_MODE_DEVTOOLS, ""}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        make();
        node.mode.wanted = node.mode.from = rows[i].mode;
        for (size_t k = 0; k < GPUS + 1; k++)
            units[k].prepared_for = rows[i].mode;
        expect(cc_mode_name(rows[i].mode), rows[i].ready);
    }
}

static void
a_change_and_a_missing_service_make_it_not_ready(void **state)
{
    struct labels_view v;

    (void)state;
    make();
    node.mode.changing = true;
    expect("", "false");
    make();
    node.hw = NULL;
    labels_view_of(&node, &v);
    assert_string_equal(v.ready, "false");
    assert_string_equal(v.mode, "");
    /* no GPU at all is not a node that is ready */
    make();
    node.n_units = 0;
    expect("", "false");
}

static void
gpus_of_others_do_not_count(void **state)
{
    (void)state;
    make();
    units[3].facts.flags = 0; /* left to the nvidia driver */
    units[3].state = UNIT_FOUND;
    expect("on", "true");
}

static void
one_ready_gpu_is_enough_where_that_is_asked_for(void **state)
{
    (void)state;
    make();
    conf.nfd.ready = NFD_READY_ANY;
    units[0].state = UNIT_QUARANTINED;
    units[1].state = UNIT_ARMING;
    expect("on", "true");
    node.mode.changing = true;
    expect("", "false");
}

/* With `prepare: allocate`: nobody has looked at it. */
static void
a_gpu_at_rest_is_not_verified(void **state)
{
    struct labels_view v;

    (void)state;
    make();
    conf.prepare = PREPARE_ALLOCATE;
    units[0].state = UNIT_FOUND;
    units[0].verified = false;
    units[0].prepared_for = CC_MODE_UNKNOWN;
    expect("", "false");
    labels_view_of(&node, &v);
    assert_int_equal(v.gpus, GPUS);
    assert_int_equal(v.ready_gpus, GPUS - 1);
    assert_int_equal(v.failed_gpus, 0);
    /* a change of the mode has nothing to do there all the same */
    assert_int_equal(modeset_stand_of(&units[0]), MODESET_DONE);
}

static void
a_gpu_that_left_the_bus_counts_as_failed_until_it_is_dropped(void **state)
{
    struct labels_view v;

    (void)state;
    make();
    units[0].state = UNIT_GONE;
    expect("failed", "");
    labels_view_of(&node, &v);
    assert_int_equal(v.gpus, GPUS);
    assert_int_equal(v.failed_gpus, 1);
    units[0].facts.flags = 0; /* it was not ours */
    expect("on", "true");
}

static void
the_file_is_what_nfd_reads(void **state)
{
    struct labels_view v = {.cc = true,
                            .mode = "on",
                            .ready = "true",
                            .tee = "snp",
                            .gpus = 8,
                            .ready_gpus = 7,
                            .failed_gpus = 1,
                            .switches = 4};
    struct buf body, file;

    (void)state;
    buf_init(&body, LABELS_SIZE_MAX);
    buf_init(&file, LABELS_SIZE_MAX);
    labels_body(&v, &body);
    assert_true(labels_text(&body, 1785323753, &file));
    assert_string_equal(buf_cstr(&file),
                        "# Written by pgpud, which keeps it up to date: do not edit.\n"
                        "# +expiry-time=2026-07-29T11:15:53Z\n"
                        "nvidia.com/cc.mode.state=on\n"
                        "nvidia.com/cc.ready.state=true\n"
                        "pgpu.feature.node.kubernetes.io/gpus=8\n"
                        "pgpu.feature.node.kubernetes.io/gpus-verified=7\n"
                        "pgpu.feature.node.kubernetes.io/gpus-failed=1\n"
                        "pgpu.feature.node.kubernetes.io/nvswitches=4\n"
                        "pgpu.feature.node.kubernetes.io/tee=snp\n");
    v.cc = false;
    v.tee = "";
    buf_clear(&body);
    labels_body(&v, &body);
    assert_null(strstr(buf_cstr(&body), "nvidia.com/"));
    assert_null(strstr(buf_cstr(&body), "tee"));
    buf_fini(&body);
    buf_fini(&file);
}

static void
put(const char *dir, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "we");
    assert_non_null(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

static void
the_tee_is_what_kvm_says(void **state)
{
    static const char *const dirs[] = {"module", "module/kvm_amd", "module/kvm_amd/parameters",
                                       "module/kvm_intel", "module/kvm_intel/parameters"};
    static const char snp[] = "module/kvm_amd/parameters/sev_snp";
    static const char tdx[] = "module/kvm_intel/parameters/tdx";
    char dir[] = "/tmp/pgpu-tee-XXXXXX", path[128];

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_string_equal(labels_tee(dir), "");
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    assert_string_equal(labels_tee(dir), "none");
    put(dir, snp, "N\n");
    assert_string_equal(labels_tee(dir), "none");
    put(dir, snp, "Y\n");
    assert_string_equal(labels_tee(dir), "snp");
    put(dir, snp, "0\n");
    put(dir, tdx, "Y\n");
    assert_string_equal(labels_tee(dir), "tdx");
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, i ? tdx : snp);
        assert_int_equal(unlink(path), 0);
    }
    for (size_t i = ARRAY_SIZE(dirs); i-- > 0;) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
        assert_int_equal(rmdir(path), 0);
    }
    assert_int_equal(rmdir(dir), 0);
}

/* ---- a change of the mode ---- */

static void
every_state_has_its_stand_in_a_change(void **state)
{
    static const struct {
        enum unit_state state;
        enum cc_mode prepared_for;
        enum modeset_stand stand;
    } rows[] = {
        {UNIT_READY, CC_MODE_ON, MODESET_UNDER},
        {UNIT_READY, CC_MODE_OFF, MODESET_DONE},
        {UNIT_ARMING, CC_MODE_UNKNOWN, MODESET_UNDER},
        {UNIT_ALLOCATED, CC_MODE_ON, MODESET_USED},
        {UNIT_IN_USE, CC_MODE_ON, MODESET_USED},
        {UNIT_IN_USE, CC_MODE_OFF, MODESET_DONE},
        {UNIT_RELEASING, CC_MODE_ON, MODESET_UNDER},
        {UNIT_FOUND, CC_MODE_UNKNOWN, MODESET_UNDER},
        {UNIT_QUARANTINED, CC_MODE_UNKNOWN, MODESET_FAILED},
        {UNIT_STUCK, CC_MODE_UNKNOWN, MODESET_FAILED},
        {UNIT_GONE, CC_MODE_UNKNOWN, MODESET_APART},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        make();
        node.mode.wanted = CC_MODE_OFF;
        node.mode.changing = true;
        units[0].state = rows[i].state;
        units[0].prepared_for = rows[i].prepared_for;
        assert_int_equal(modeset_stand_of(&units[0]), rows[i].stand);
        /* a switch is off beside GPUs in either mode */
        assert_int_equal(modeset_stand_of(&units[GPUS]), MODESET_APART);
        assert_false(modeset_holds(&units[0]));
    }
}

static void
the_progress_names_who_is_waited_for(void **state)
{
    struct buf text;

    (void)state;
    make();
    node.mode.wanted = CC_MODE_OFF;
    node.mode.changing = true;
    units[0].prepared_for = CC_MODE_OFF;
    units[1].state = units[2].state = UNIT_IN_USE;
    (void)snprintf(units[1].owner.ns, sizeof(units[1].owner.ns), "default");
    (void)snprintf(units[1].owner.pod, sizeof(units[1].owner.pod), "model");
    units[2].owner = units[1].owner;
    units[3].state = UNIT_ARMING;
    units[3].op_seq = 7;
    units[3].phase = HWD_PHASE_RESET;
    buf_init(&text, 1024);
    modeset_text(&node, &text);
    assert_string_equal(buf_cstr(&text), "1 of 4 switched, 2 in use by default/model, "
                                         "0000:41:00.0 arming: reset");
    /* asked for, and its turn has not come */
    units[3].phase = HWD_PHASE_NONE;
    buf_clear(&text);
    modeset_text(&node, &text);
    assert_string_equal(buf_cstr(&text), "1 of 4 switched, 2 in use by default/model, "
                                         "0000:41:00.0 arming");
    buf_fini(&text);
}

/* Between two rungs the change is not over; when nothing but slow retries is left, it is. */
static void
a_device_whose_recovery_is_at_work_is_waited_for(void **state)
{
    static const struct {
        enum err_class cls;
        unsigned rung, retries;
        uint64_t op;
        bool unfit;
        enum modeset_stand stand;
    } rows[] = {
        {ERR_CLASS_HW, 0, 0, 0, false, MODESET_UNDER},
        {ERR_CLASS_HW, 3, 0, 0, false, MODESET_UNDER},
        {ERR_CLASS_HW, 4, 0, 7, false, MODESET_UNDER}, /* the last rung is under way */
        {ERR_CLASS_HW, 4, 0, 0, false, MODESET_FAILED},
        {ERR_CLASS_HW, 0, 0, 0, true, MODESET_FAILED},
        {ERR_CLASS_INVALID, 0, 1, 0, false, MODESET_FAILED},
        {ERR_CLASS_BUSY, 0, 1, 0, false, MODESET_UNDER},
        {ERR_CLASS_BUSY, 0, 9, 0, false, MODESET_FAILED},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        make();
        node.mode.wanted = CC_MODE_OFF;
        node.mode.changing = true;
        units[0].state = UNIT_QUARANTINED;
        units[0].prepared_for = CC_MODE_UNKNOWN;
        units[0].fail_class = rows[i].cls;
        units[0].rung = rows[i].rung;
        units[0].retries = rows[i].retries;
        units[0].op_seq = rows[i].op;
        units[0].unfit = rows[i].unfit;
        if (modeset_stand_of(&units[0]) != rows[i].stand)
            fail_msg("row %zu: %d", i, modeset_stand_of(&units[0]));
        node.mode.changing = false;
        assert_int_equal(modeset_stand_of(&units[0]), MODESET_FAILED);
    }
}

static void
protected_pcie_waits_until_all_are_free(void **state)
{
    (void)state;
    make();
    node.mode.wanted = CC_MODE_PPCIE;
    node.mode.changing = true;
    units[1].state = UNIT_IN_USE;
    assert_true(modeset_holds(&units[0]));
    assert_true(modeset_holds(&units[GPUS])); /* the switch as well */
    assert_false(modeset_holds(&units[1]));
    units[1].state = UNIT_RELEASING;
    units[1].facts.use = HWD_USE_HELD; /* given back, and still open */
    assert_true(modeset_holds(&units[0]));
    units[1].facts.use = HWD_USE_FREE;
    assert_false(modeset_holds(&units[0]));
}

/* Whatever has been wanted since, and whether that was a change: a configuration and a restart can
 * bring it about as well. */
static void
the_board_is_held_by_what_its_users_were_prepared_for(void **state)
{
    (void)state;
    make();
    for (size_t i = 0; i < GPUS + 1; i++)
        units[i].prepared_for = CC_MODE_PPCIE;
    units[1].state = UNIT_IN_USE;
    units[2].state = UNIT_ARMING;
    units[2].prepared_for = CC_MODE_UNKNOWN;
    for (size_t i = 0; i < 2; i++) {
        node.mode.wanted = i ? CC_MODE_OFF : CC_MODE_ON;
        node.mode.from = CC_MODE_ON;
        node.mode.changing = i > 0;
        assert_true(modeset_holds(&units[0]));
        assert_true(modeset_holds(&units[2]));
        assert_true(modeset_holds(&units[GPUS]));
        assert_false(modeset_holds(&units[1]));
    }
    /* back to what they are in: nothing is to be held */
    node.mode.wanted = CC_MODE_PPCIE;
    assert_false(modeset_holds(&units[0]));
    assert_false(modeset_holds(&units[2]));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ready_is_said_when_every_gpu_is),
        cmocka_unit_test(a_gpu_that_was_used_in_another_mode_is_not_ready),
        cmocka_unit_test(the_values_are_those_of_cc_manager),
        cmocka_unit_test(a_change_and_a_missing_service_make_it_not_ready),
        cmocka_unit_test(gpus_of_others_do_not_count),
        cmocka_unit_test(one_ready_gpu_is_enough_where_that_is_asked_for),
        cmocka_unit_test(a_gpu_at_rest_is_not_verified),
        cmocka_unit_test(a_gpu_that_left_the_bus_counts_as_failed_until_it_is_dropped),
        cmocka_unit_test(the_file_is_what_nfd_reads),
        cmocka_unit_test(the_tee_is_what_kvm_says),
        cmocka_unit_test(every_state_has_its_stand_in_a_change),
        cmocka_unit_test(the_progress_names_who_is_waited_for),
        cmocka_unit_test(a_device_whose_recovery_is_at_work_is_waited_for),
        cmocka_unit_test(protected_pcie_waits_until_all_are_free),
        cmocka_unit_test(the_board_is_held_by_what_its_users_were_prepared_for),
    };

    return cmocka_run_group_tests_name("daemon.labels", tests, NULL, NULL);
}
