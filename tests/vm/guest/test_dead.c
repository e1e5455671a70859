/* SPDX-License-Identifier: Apache-2.0
 *
 * A GPU that fell off the bus, for real: every access is all-ones, and the kernel takes more than a
 * minute over its reset. Runs beside the other programs, which must not notice.
 */
#include "tests/sim/hwd/kit.h"
#include "tests/vm/guest/fn.h"
#include "tests/vm/guest/host.h"

#include "vfio/scan.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LONG_MS 120000
#define RESET_MS 60000 /* PCIE_RESET_READY_POLL_MS, Linux 6.12 drivers/pci/pci.h */

/* Nothing but gpu2: the others belong to the programs beside. */
#define YAML "vfio_node: group\nrescan: 1h\nclaim: [\"0000:03:00.0\"]\ndeadlines:\n  reset: 10s\n"

static struct kit *k;
static struct client *c;

static int
setup(void **state)
{
    (void)state;
    k = kit_start_real(YAML);
    c = client_open(k);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    client_close(c);
    kit_stop(k);
    return 0;
}

static void
preparing_a_dead_gpu_is_refused_soon_and_nothing_is_written(void **state)
{
    const char *gpu = vm_addr("gpu2");
    uint64_t resets, t0;
    struct hwd_message m;

    (void)state;
    assert_ok(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0));
    resets = vm_count("gpu2", "resets");
    free(vm_host("ctl fault gpu2 off-bus"));
    assert_string_equal(fn_attr(gpu, "vendor"),
                        "0x10de"); /* the kernel does not notice by itself */
    t0 = kit_now_ms();
    m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
    assert_refused(m, REASON_DEVICE_GONE);
    assert_true(kit_now_ms() - t0 < RESET_MS); /* nothing waited for the GPU */
    m = client_do(c, HWD_OP_VERIFY, gpu, CC_MODE_ON, 0);
    assert_refused(m, REASON_DEVICE_GONE);
    assert_int_equal(vm_count("gpu2", "resets"), resets);
    (void)client_wait(c, gpu, HWD_FACT_ARMED, 0, -1, LONG_MS);
}

/* A scan of the bus in a process of its own; what it waits for if it does not end. */
static void
a_scan_ends_before(uint64_t end)
{
    char path[64], text[4096];
    pid_t pid = fork();
    int st = 0;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct vfio_inventory *inv = NULL;
        struct err e = ERR_INIT;

        _exit(vfio_scan(fn_root(), &inv, &e) == 0 ? 0 : 1);
    }
    while (waitpid(pid, &st, WNOHANG) == 0) {
        int fd;
        ssize_t n;

        if (kit_now_ms() < end) {
            kit_sleep_ms(20);
            continue;
        }
        (void)snprintf(path, sizeof(path), "/proc/%d/stack", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        text[n > 0 ? n : 0] = '\0';
        fail_msg("the scan hangs:\n%s", text);
    }
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

static void
its_reset_is_stuck_at_its_deadline_and_over_when_the_kernel_gives_up(void **state)
{
    const char *gpu = vm_addr("gpu2");
    uint64_t t0 = kit_now_ms(), took;
    struct hwd_message m;
    char out[8192];

    (void)state;
    m = client_result(c, client_send(c, HWD_OP_RESET, gpu, 0, 0, HWD_RUNG_FUNCTION, 0), LONG_MS);
    took = kit_now_ms() - t0;
    assert_refused(m, REASON_STUCK);
    assert_int_equal(m.facts.state, HWD_STATE_STUCK);
    assert_int_equal(m.facts.phase, HWD_PHASE_RESET);
    assert_true(took >= 10000 && took < RESET_MS);
    assert_refused(client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0), REASON_STUCK);
    /* looking at the others does not wait for it */
    a_scan_ends_before(t0 + RESET_MS);
    m = client_result(c, client_send(c, HWD_OP_RESCAN, NULL, 0, 0, 0, 0), 0);
    assert_ok(m);
    assert_int_equal(client_facts(c, gpu)->state, HWD_STATE_STUCK);
    assert_int_equal(
        vm_run(out, sizeof(out),
               "/opt/pgpu/cli/pgpuctl --hwd /tmp/none/hwd.sock devices --offline | cat"),
        0);
    if (!strstr(out, gpu) || !strstr(out, vm_addr("gpu1")))
        fail_msg("not listed: %s", out);
    assert_true(kit_now_ms() - t0 < RESET_MS);
    while (client_facts(c, gpu)->state != HWD_STATE_IDLE && kit_now_ms() - t0 < 300000)
        (void)client_pump(c, 100);
    took = kit_now_ms() - t0;
    (void)printf("the kernel came back after %u ms\n", (unsigned)took);
    assert_int_equal(client_facts(c, gpu)->state, HWD_STATE_IDLE);
    assert_true(took > RESET_MS);
}

/* Its configuration was lost while it was away; the ladder ends with a rung that makes it anew. */
static void
once_it_answers_again_the_ladder_brings_it_back(void **state)
{
    const char *gpu = vm_addr("gpu2");
    struct hwd_message m;

    (void)state;
    free(vm_host("ctl fault gpu2 clear"));
    for (uint32_t rung = HWD_RUNG_FUNCTION; rung <= HWD_RUNG_REMOVE_RESCAN; rung++) {
        m = client_result(c, client_send(c, HWD_OP_RESET, gpu, 0, 0, rung, 0), LONG_MS);
        (void)printf("%s: %s: %s\n", hwd_rung_name((enum hwd_rung)rung),
                     reason_name((enum reason)m.reason), m.text);
        m = client_do(c, HWD_OP_PREPARE, gpu, CC_MODE_ON, 0);
        (void)printf("prepare: %s: %s\n", reason_name((enum reason)m.reason), m.text);
        if (m.err_class == ERR_CLASS_NONE)
            break;
    }
    assert_ok(m);
    assert_ok(client_do(c, HWD_OP_GIVE_BACK, gpu, 0, 0));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preparing_a_dead_gpu_is_refused_soon_and_nothing_is_written),
        cmocka_unit_test(its_reset_is_stuck_at_its_deadline_and_over_when_the_kernel_gives_up),
        cmocka_unit_test(once_it_answers_again_the_ladder_brings_it_back),
    };

    if (fn_setup(NULL) < 0)
        return 1;
    return cmocka_run_group_tests_name("vm.dead", tests, setup, teardown);
}
