/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl devices and cc on a simulated node, without and beside pgpu-hwd.
 */
#include "tests/sim/hwd/kit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GPU0 "0000:18:00.0"
#define GPU1 "0000:2a:00.0"
#define FAST "--time-scale 0.02 "

static char out[65536];

#define has(s)                                                                                     \
    do {                                                                                           \
        if (!strstr(out, (s)))                                                                     \
            fail_msg("no \"%s\" in: %s", (s), out);                                                \
    } while (0)
#define ctl(k, status, ...)                                                                        \
    do {                                                                                           \
        int st_ = kit_pgpuctl((k), out, sizeof(out), __VA_ARGS__);                                 \
        if (st_ != (status))                                                                       \
            fail_msg("exit status %d: %s", st_, out);                                              \
    } while (0)

static void
devices_are_listed_with_and_without_the_service(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2 --nvswitches 1 --numa -1", "");
    struct client *c = client_open(k);

    (void)state;
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    ctl(k, 0, "devices");
    has(GPU0);
    has("ours+armed");
    has("on/on");
    has("nvswitch");
    ctl(k, 0, "devices --json");
    has("\"use\":\"ours+armed\"");
    ctl(k, 0, "devices --offline");
    has("held:pgpu-hwd");
    client_close(c);
    (void)kit_end_hwd(k, SIGTERM);
    ctl(k, 0, "devices");
    has(GPU1);
    has("gh100");
    kit_stop(k);
}

static void
the_mode_can_be_queried_planned_and_set_unbound_and_bound(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2", "");
    struct client *c;

    (void)state;
    ctl(k, 0, "cc query all");
    has("cc=0");
    ctl(k, 0, "cc plan " GPU0 " --mode on");
    has("knob 8");
    ctl(k, 0, "cc query " GPU0);
    has("off");
    ctl(k, 0, "cc set " GPU0 " --mode on --yes --progress");
    has("verify");
    has(" on ");
    ctl(k, 0, "cc set all --mode devtools --yes --json");
    has("\"active\":\"devtools\"");
    ctl(k, 0, "cc reset " GPU0 " --method bus --yes");
    ctl(k, 0, "cc set " GPU0 " --mode off --yes");
    /* a bound, idle device */
    c = client_open(k);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, HWD_REQ_HANDOVER));
    ctl(k, 0, "cc query " GPU1);
    has("on");
    client_close(c);
    kit_stop(k);
}

static void
what_the_service_holds_or_works_on_is_refused(void **state)
{
    struct kit *k = kit_start("--time-scale 0.3 --gpus 2", "");
    struct client *c = client_open(k);
    uint64_t seq;

    (void)state;
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    ctl(k, 1, "cc set " GPU0 " --mode off --yes");
    has("IN_USE");
    has("held by pgpu-hwd");
    has("stop pgpu-hwd");
    assert_null(strstr(out, "stop the VM"));
    ctl(k, 1, "cc query " GPU0);
    has("pgpuctl status");
    seq = client_send(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, 0, 0, 0);
    kit_sleep_ms(150);
    ctl(k, 1, "cc reset " GPU1 " --yes");
    has("OP_PENDING");
    assert_ok(client_result(c, seq, 20000));
    client_close(c);
    kit_stop(k);
}

static void
wrong_usage_is_told_from_failure(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1 --driver nvidia", "");

    (void)state;
    ctl(k, 2, "cc");
    ctl(k, 2, "cc set " GPU0 " --mode purple --yes");
    ctl(k, 2, "cc set " GPU0 " --yes");
    ctl(k, 2, "cc query 18:00.0");
    ctl(k, 2, "frobnicate");
    ctl(k, 2, "devices surplus");
    ctl(k, 0, "cc --help");
    ctl(k, 0, "devices --help");
    ctl(k, 1, "cc query 0000:77:00.0");
    ctl(k, 1, "cc query " GPU0);
    has("DRIVER_IN_USE");
    ctl(k, 1, "cc query all");
    has("left out");
    kit_stop(k);
}

/* The simulated node has no VFIO devices that can be opened for registers: what is asked before,
 * and how it ends, can be seen here all the same. The rest is in tests/vm. */
static void
the_way_through_vfio_says_what_it_costs_and_asks(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1 --lockdown --driver vfio-pci", "");
    struct client *c = client_open(k);

    (void)state;
    client_wait(c, GPU0, 0, 0, HWD_USE_FREE, 20000); /* the service has had its look */
    client_close(c);
    ctl(k, 1, "cc query " GPU0);
    has("LOCKDOWN");
    has("--via vfio");
    if (strstr(out, "resets it again"))
        fail_msg("a cost that is not taken: %s", out);
    ctl(k, 2, "cc query " GPU0 " --via vfio");
    has("resets it again");
    has("--yes");
    ctl(k, 1, "cc query " GPU0 " --via vfio --yes --json");
    has("resets it again");
    has("\"result\":\"NODE_MISSING\"");
    ctl(k, 1, "cc set " GPU0 " --mode on --yes");
    has("LOCKDOWN");
    ctl(k, 2, "cc query " GPU0 " --via magic");
    ctl(k, 2, "cc reset " GPU0 " --via vfio --yes");
    kit_stop(k);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_listed_with_and_without_the_service),
        cmocka_unit_test(the_mode_can_be_queried_planned_and_set_unbound_and_bound),
        cmocka_unit_test(what_the_service_holds_or_works_on_is_refused),
        cmocka_unit_test(the_way_through_vfio_says_what_it_costs_and_asks),
        cmocka_unit_test(wrong_usage_is_told_from_failure),
    };

    if (!kit_possible())
        return 77;
    return cmocka_run_group_tests_name("pgpuctl", tests, NULL, NULL);
}
