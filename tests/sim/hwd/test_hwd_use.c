/* SPDX-License-Identifier: Apache-2.0
 *
 * Who uses what: gangs that share one group node, nodes that are replaced under us, lost events,
 * requests whose unit leaves.
 */
#include "tests/sim/hwd/kit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GPU0 "0000:18:00.0"
#define GPU1 "0000:2a:00.0"
#define FAST "--time-scale 0.02 "
#define GANG 4
#define OURS (HWD_FACT_ARMED | HWD_FACT_HANDED_OVER | HWD_FACT_OPENED)

static const char *const sw[GANG] = {"0000:05:00.0", "0000:06:00.0", "0000:07:00.0",
                                     "0000:08:00.0"};

static void
all_do(struct client *c, enum hwd_op op)
{
    for (unsigned i = 0; i < GANG; i++)
        (void)client_send(c, op, sw[i], CC_MODE_PPCIE, 0, 0, 0);
    for (unsigned i = 0; i < GANG; i++)
        client_wait(c, sw[i], OURS, op == HWD_OP_PREPARE ? HWD_FACT_ARMED : HWD_FACT_HANDED_OVER,
                    -1, 20000);
}

static int
open_soon(const struct kit *k, const char *node)
{
    int fd = -1;

    for (int i = 0; i < 200 && fd < 0; i++) {
        fd = kit_open(k, node, O_RDWR);
        if (fd < 0)
            kit_sleep_ms(5);
    }
    if (fd < 0)
        fail_msg("open %s: %s", node, strerror(errno));
    return fd;
}

/* Nothing said about them for a while, and then they are as they should be. */
static void
settled(struct client *c, uint32_t flags, int use)
{
    uint64_t end = kit_now_ms() + 1500;

    while (kit_now_ms() < end)
        (void)client_pump(c, 100);
    for (unsigned i = 0; i < GANG; i++)
        client_wait(c, sw[i], OURS, flags, use, 0);
}

static void
a_gang_is_free_again_soon_after_its_vmm_closed_it(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1 --nvswitches 4 --switch-groups shared", "");
    struct client *c = client_open(k);
    int fd[GANG];

    (void)state;
    for (unsigned round = 0; round < 4; round++) {
        unsigned n = round == 0 ? GANG : 1;

        all_do(c, HWD_OP_PREPARE);
        all_do(c, HWD_OP_HANDOVER);
        settled(c, HWD_FACT_HANDED_OVER, HWD_USE_FREE);
        for (unsigned i = 0; i < n; i++) {
            char group[32];

            (void)snprintf(group, sizeof(group), "/dev/vfio/%d",
                           client_facts(c, sw[i])->iommu_group);
            fd[i] = open_soon(k, round == 2 ? group : client_facts(c, sw[i])->node);
        }
        for (unsigned i = 0; i < (round == 2 ? GANG : n); i++)
            client_wait(c, sw[i], HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_HELD, 2000);
        kit_sleep_ms(300);
        for (unsigned i = 0; i < n; i++)
            (void)close(fd[i]);
        for (unsigned i = 0; i < GANG; i++)
            client_wait(c, sw[i], 0, 0, HWD_USE_FREE, 3000);
        for (unsigned i = 0; i < 10; i++)
            (void)client_pump(c, 50);
        for (unsigned i = 0; i < GANG; i++)
            client_wait(c, sw[i], 0, 0, HWD_USE_FREE, 0);
    }
    client_close(c);
    kit_stop(k);
}

static void
a_switch_that_fails_does_not_make_its_siblings_look_used(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1 --nvswitches 4 --switch-groups shared", "");
    struct client *c = client_open(k);

    (void)state;
    all_do(c, HWD_OP_PREPARE);
    all_do(c, HWD_OP_HANDOVER);
    /* alone, beside siblings that wait for their VMM */
    kit_ctl(k, "fault %s all-ones", sw[3]);
    assert_refused(client_do(c, HWD_OP_PREPARE, sw[3], CC_MODE_PPCIE, 0), REASON_BAR_DEAD);
    for (unsigned i = 0; i < 20; i++)
        (void)client_pump(c, 50);
    for (unsigned i = 0; i < 3; i++)
        client_wait(c, sw[i], OURS, HWD_FACT_HANDED_OVER, HWD_USE_FREE, 0);
    client_wait(c, sw[3], OURS, 0, HWD_USE_FREE, 0);
    /* together with siblings that are prepared */
    for (unsigned i = 0; i < GANG; i++)
        (void)client_send(c, HWD_OP_PREPARE, sw[i], CC_MODE_PPCIE, 0, 0, 0);
    for (unsigned i = 0; i < 3; i++)
        client_wait(c, sw[i], OURS, HWD_FACT_ARMED, HWD_USE_OURS, 20000);
    for (unsigned i = 0; i < 20; i++)
        (void)client_pump(c, 50);
    client_wait(c, sw[3], OURS, 0, HWD_USE_FREE, 2000);
    assert_ok(client_do(c, HWD_OP_PROBE_USE, sw[3], 0, 0)); /* our own hold is no user */
    client_wait(c, sw[3], OURS, 0, HWD_USE_FREE, 0);
    kit_ctl(k, "fault %s clear", sw[3]);
    all_do(c, HWD_OP_PREPARE);
    client_close(c);
    kit_stop(k);
}

static void
write_to(const struct kit *k, const char *path, const char *text)
{
    int fd = kit_open(k, path, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static void
rebind(const struct kit *k, const char *addr)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver/unbind", addr);
    write_to(k, path, addr);
    write_to(k, "/sys/bus/pci/drivers/vfio-pci/bind", addr);
}

static void
a_hold_does_not_outlive_its_node(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2", "");
    struct client *c = client_open(k);
    struct hwd_message m;
    char group[32];

    (void)state;
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, HWD_REQ_HANDOVER));
    kit_sleep_ms(400);
    while (client_pump(c, 100))
        ;
    /* faster than any scan: bound before, bound after */
    (void)kill(k->hwd, SIGSTOP);
    rebind(k, GPU0);
    rebind(k, GPU1);
    (void)kill(k->hwd, SIGCONT);
    client_wait(c, GPU0, OURS, 0, HWD_USE_FREE, 5000);
    client_wait(c, GPU1, OURS, 0, HWD_USE_FREE, 5000);
    assert_refused(client_do(c, HWD_OP_HANDOVER, GPU0, CC_MODE_ON, 0), REASON_HWD_REFUSED);
    m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
    assert_ok(m);
    assert_true(m.facts.flags & HWD_FACT_ARMED);
    (void)snprintf(group, sizeof(group), "/dev/vfio/%d", m.facts.iommu_group);
    assert_int_equal(kit_open(k, group, O_RDWR), -1);
    assert_int_equal(errno, EBUSY);
    client_close(c);
    kit_stop(k);
}

static void
lost_events_are_taken_for_opens(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2", "");
    struct client *c = client_open(k);
    struct hwd_message m, other;
    char limit[32] = "";
    long max = 0;
    int fd = open("/proc/sys/fs/inotify/max_queued_events", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_true(read(fd, limit, sizeof(limit) - 1) > 0);
    (void)close(fd);
    max = strtol(limit, NULL, 10);
    if (max > 65536) {
        client_close(c);
        kit_stop(k);
        skip();
    }
    m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, HWD_REQ_HANDOVER);
    other = client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, HWD_REQ_HANDOVER);
    assert_ok(m);
    assert_ok(other);
    (void)open_soon(k, other.facts.node);
    (void)kill(k->hwd, SIGSTOP);
    for (long i = 0; i <= max / 2; i++) {
        fd = kit_open(k, other.facts.node, O_RDWR);
        assert_true(fd >= 0);
        (void)close(fd);
    }
    (void)kill(k->hwd, SIGCONT);
    client_wait(c, GPU0, OURS, HWD_FACT_HANDED_OVER | HWD_FACT_OPENED, -1, 10000);
    client_wait(c, GPU0, OURS, HWD_FACT_HANDED_OVER | HWD_FACT_OPENED, HWD_USE_FREE, 10000);
    client_close(c);
    kit_stop(k);
}

static void
a_request_that_waits_is_answered_when_its_unit_leaves(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 2 --driver vfio-pci", "rescan: 300ms\n");
    struct client *c = client_open(k);
    struct hwd_message m;
    uint64_t seq;
    int fd;

    (void)state;
    client_wait(c, GPU0, 0, 0, HWD_USE_FREE, 3000);
    fd = open_soon(k, client_facts(c, GPU0)->node);
    client_wait(c, GPU0, 0, 0, HWD_USE_HELD, 3000);
    kit_sleep_ms(300); /* the look for its name is over */
    kit_ctl(k, "hang open:/dev/vfio/%d 1500 1", client_facts(c, GPU0)->iommu_group);
    (void)close(fd);
    kit_sleep_ms(300); /* the service is looking now */
    seq = client_send(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0, 0, 0);
    kit_sleep_ms(50);
    kit_ctl(k, "unplug " GPU0);
    m = client_result(c, seq, 10000);
    assert_refused(m, REASON_DEVICE_GONE);
    client_close(c);
    kit_stop(k);
}

static void
a_user_is_not_robbed_of_a_companion(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1 --companions audio --driver vfio-pci", "");
    struct client *c = client_open(k);
    const char *audio = "0000:18:00.1";

    (void)state;
    write_to(k, "/sys/bus/pci/drivers/vfio-pci/unbind", audio);
    client_wait(c, GPU0, HWD_FACT_BOUND, 0, -1, 5000);
    /* by a user that /proc does not show */
    kit_ctl(k, "vmm-open " GPU0 " group");
    assert_refused(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0), REASON_IN_USE);
    assert_refused(client_do(c, HWD_OP_RESET, GPU0, 0, 0), REASON_IN_USE);
    assert_refused(client_do(c, HWD_OP_GIVE_BACK, GPU0, 0, 0), REASON_IN_USE);
    assert_int_equal(kit_open(k, "/sys/bus/pci/devices/0000:18:00.1/driver", O_PATH), -1);
    kit_ctl(k, "vmm-close " GPU0);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    client_close(c);
    kit_stop(k);
}

/* While the group is held a cdev can be opened, and bound as soon as it is let go of. */
static void
who_has_the_cdev_open_at_the_hand_over_is_its_user(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1", "");
    struct client *c = client_open(k);
    struct hwd_message m = client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0);
    int fd;

    (void)state;
    assert_ok(m);
    fd = open_soon(k, m.facts.node);
    (void)close(fd);
    assert_ok(client_do(c, HWD_OP_HANDOVER, GPU0, CC_MODE_ON, 0));
    client_wait(c, GPU0, OURS, HWD_FACT_HANDED_OVER, HWD_USE_FREE, 5000);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    fd = open_soon(k, m.facts.node);
    assert_ok(client_do(c, HWD_OP_HANDOVER, GPU0, CC_MODE_ON, 0));
    client_wait(c, GPU0, OURS, HWD_FACT_HANDED_OVER | HWD_FACT_OPENED, HWD_USE_HELD, 5000);
    (void)close(fd);
    client_wait(c, GPU0, OURS, HWD_FACT_HANDED_OVER | HWD_FACT_OPENED, HWD_USE_FREE, 5000);
    client_close(c);
    kit_stop(k);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gang_is_free_again_soon_after_its_vmm_closed_it),
        cmocka_unit_test(a_switch_that_fails_does_not_make_its_siblings_look_used),
        cmocka_unit_test(a_hold_does_not_outlive_its_node),
        cmocka_unit_test(lost_events_are_taken_for_opens),
        cmocka_unit_test(a_request_that_waits_is_answered_when_its_unit_leaves),
        cmocka_unit_test(a_user_is_not_robbed_of_a_companion),
        cmocka_unit_test(who_has_the_cdev_open_at_the_hand_over_is_its_user),
    };

    if (!kit_possible())
        return 77;
    return cmocka_run_group_tests_name("hwd.use", tests, NULL, NULL);
}
