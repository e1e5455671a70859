/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl switches modes on the real kernel, without the services: sysfs, resource0 mapped, real
 * resets. The device's own account says in which mode it is and how often it was reset.
 */
#include "tests/vm/guest/fn.h"
#include "tests/vm/guest/host.h"
#include "tests/vm/guest/vmm.h"

#include "vfio/bind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define VFIO "vfio-pci"
#define CTL "/opt/pgpu/cli/pgpuctl --hwd /tmp/no-service/hwd.sock "

static char out[32768];

#define ctl(status, ...)                                                                           \
    do {                                                                                           \
        int st_ = vm_run(out, sizeof(out), CTL __VA_ARGS__);                                       \
        if (st_ != (status))                                                                       \
            fail_msg("exit status %d: %s", st_, out);                                              \
    } while (0)
#define has(s)                                                                                     \
    do {                                                                                           \
        if (!strstr(out, (s)))                                                                     \
            fail_msg("no \"%s\" in: %s", (s), out);                                                \
    } while (0)

/* The row of `show`: name, model, client, power, active, configured, resets. */
static void
device_is(const char *name, const char *active, const char *configured)
{
    char *text = vm_host("ctl show"), *save = NULL, col[6][32];
    bool found = false;

    for (char *line = strtok_r(text, "\n", &save); line && !found;
         line = strtok_r(NULL, "\n", &save))
        found = sscanf(line, "%31s %31s %31s %31s %31s %31s", col[0], col[1], col[2], col[3],
                       col[4], col[5]) == 6 &&
                strcmp(col[0], name) == 0;
    assert_true(found);
    if (strcmp(col[4], active) != 0 || strcmp(col[5], configured) != 0)
        fail_msg("%s is %s/%s, not %s/%s", name, col[4], col[5], active, configured);
    free(text);
}

static void
every_mode_is_set_and_verified(const char *name)
{
    static const char *const modes[] = {"on", "devtools", "off", "ppcie", "on", "off"};
    const char *gpu = vm_addr(name);

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        uint64_t resets = vm_count(name, "resets");

        ctl(0, "cc set %s --mode %s --yes", gpu, modes[i]);
        device_is(name, modes[i], modes[i]);
        if (vm_count(name, "resets") < resets + 1)
            fail_msg("%s: mode %s without a reset", name, modes[i]);
        ctl(0, "cc query %s", gpu);
        has(modes[i]);
    }
}

static void
an_unbound_gpu_takes_every_mode(void **state)
{
    (void)state;
    every_mode_is_set_and_verified("gpu1");
    assert_string_equal(fn_driver(vm_addr("gpu1")), "");
}

static void
a_gpu_that_sleeps_under_vfio_pci_takes_every_mode_and_sleeps_again(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    fn_wait_attr(vm_addr("gpu1"), "power_state", "D3hot");
    every_mode_is_set_and_verified("gpu1");
    assert_string_equal(fn_driver(vm_addr("gpu1")), VFIO);
    fn_wait_attr(vm_addr("gpu1"), "power_state", "D3hot");
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu1"), "", &e), &e);
}

static void
looking_and_planning_reset_nothing(void **state)
{
    const char *gpu = vm_addr("gpu1");
    uint64_t resets = vm_count("gpu1", "resets");

    (void)state;
    ctl(0, "cc query %s", gpu);
    ctl(0, "cc plan %s --mode on", gpu);
    has("knob");
    ctl(0, "devices --offline");
    has("gh100");
    device_is("gpu1", "off", "off");
    assert_int_equal(vm_count("gpu1", "resets"), resets);
}

static void
a_vmms_open_makes_the_configured_mode_the_active_one(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct err e = ERR_INIT;
    struct vmm v;

    (void)state;
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    ctl(0, "cc set %s --mode off --yes", gpu);
    free(vm_host("ctl knob gpu1 8 1")); /* as a tool would that sets and does not reset */
    free(vm_host("ctl knob gpu1 10 2"));
    device_is("gpu1", "off", "on");
    vmm_open(&v, gpu);
    device_is("gpu1", "on", "on");
    vmm_close(&v);
    ctl(0, "cc set %s --mode off --yes", gpu);
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu1"), "", &e), &e);
}

static void
a_gpu_that_a_vmm_has_is_refused_and_not_reset(void **state)
{
    const char *gpu = vm_addr("gpu1");
    struct err e = ERR_INIT;
    uint64_t resets;
    struct vmm v;

    (void)state;
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu1"), VFIO, &e), &e);
    vmm_open(&v, gpu);
    resets = vm_count("gpu1", "resets");
    ctl(1, "cc set %s --mode on --yes", gpu);
    has("IN_USE");
    has("test_cc"); /* who has it */
    ctl(1, "cc reset %s --yes", gpu);
    has("IN_USE");
    assert_int_equal(vm_count("gpu1", "resets"), resets);
    device_is("gpu1", "off", "off");
    vmm_close(&v);
    ctl(0, "cc set %s --mode on --yes", gpu);
    ctl(0, "cc set %s --mode off --yes", gpu);
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu1"), "", &e), &e);
}

static void
every_rung_of_reset_works_from_the_command_line(void **state)
{
    const char *gpu = vm_addr("gpu1");
    uint64_t bus = vm_count("gpu1", "bus-resets");

    (void)state;
    ctl(0, "cc reset %s --method function --yes", gpu);
    assert_int_equal(vm_count("gpu1", "bus-resets"), bus);
    ctl(0, "cc reset %s --method bus --yes", gpu);
    assert_int_equal(vm_count("gpu1", "bus-resets"), bus + 1);
    ctl(0, "cc reset %s --method remove-rescan --yes", gpu);
    fn_wait_present(gpu, true);
    ctl(0, "cc set %s --mode on --yes", gpu);
    ctl(0, "cc set %s --mode off --yes", gpu);
}

static void
a_gpu_with_a_companion_is_switched_as_well(void **state)
{
    const char *gpu = vm_addr("gpu0");
    struct err e = ERR_INIT;

    (void)state;
    fn_release("0000:01:00.1");
    ctl(0, "cc set %s --mode on --yes", gpu);
    device_is("gpu0", "on", "on");
    fn_ok(vfio_bind(fn_root(), fn_addr("gpu0"), VFIO, &e), &e);
    fn_ok(vfio_bind(fn_root(), fn_addr("audio0"), VFIO, &e), &e);
    ctl(0, "cc set %s --mode off --yes", gpu);
    device_is("gpu0", "off", "off");
    fn_ok(vfio_give_back(fn_root(), fn_addr("gpu0"), "", &e), &e);
    fn_ok(vfio_give_back(fn_root(), fn_addr("audio0"), "", &e), &e);
}

static void
a_firmware_that_refuses_is_told_with_its_reason(void **state)
{
    const char *gpu = vm_addr("gpu1");

    (void)state;
    free(vm_host("ctl fault gpu1 write-refused=8"));
    ctl(1, "cc set %s --mode on --yes", gpu);
    has("FSP_ERROR");
    free(vm_host("ctl fault gpu1 clear"));
    free(vm_host("ctl fault gpu1 all-ones"));
    ctl(1, "cc set %s --mode on --yes", gpu);
    has("BAR_DEAD");
    free(vm_host("ctl fault gpu1 clear"));
    ctl(0, "cc set %s --mode off --yes", gpu);
    device_is("gpu1", "off", "off");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unbound_gpu_takes_every_mode),
        cmocka_unit_test(a_gpu_that_sleeps_under_vfio_pci_takes_every_mode_and_sleeps_again),
        cmocka_unit_test(looking_and_planning_reset_nothing),
        cmocka_unit_test(a_vmms_open_makes_the_configured_mode_the_active_one),
        cmocka_unit_test(a_gpu_that_a_vmm_has_is_refused_and_not_reset),
        cmocka_unit_test(every_rung_of_reset_works_from_the_command_line),
        cmocka_unit_test(a_gpu_with_a_companion_is_switched_as_well),
        cmocka_unit_test(a_firmware_that_refuses_is_told_with_its_reason),
    };

    return cmocka_run_group_tests_name("vm.cc", tests, fn_setup, NULL);
}
