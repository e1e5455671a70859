/* SPDX-License-Identifier: Apache-2.0
 *
 * Binding, power and reset where plain files suffice: decisions made before or after the kernel
 * acts. Its actions are tested on the simulated node.
 */
#include "vfio/bind.h"

#include "base/cleanup.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ADDR "0000:41:00.0"
#define P "/sys/bus/pci/devices/" ADDR "/"

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct fixture_fn fn = {ADDR, 0x10de, 0x2330, 0x030200, NULL, 41};

    assert_non_null(f);
    fixture_init(f);
    fixture_add(f, &fn);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    fixture_fini(*state);
    free(*state);
    return 0;
}

static void
bind_to_an_absent_driver_touches_nothing(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;

    assert_true(vfio_bind(&f->root, fixture_addr(ADDR), "nvgrace_gpu_vfio_pci", &e) < 0);
    assert_int_equal(e.reason, REASON_VFIO_PCI_NOT_LOADED);
    assert_non_null(strstr(e.msg, ADDR));
    assert_string_equal(fixture_text(f, P "driver_override"), "(null)");
    static const char *const bad[] = {"", "..", ".", "a/b", "/"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err_clear(&e);
        assert_true(vfio_bind(&f->root, fixture_addr(ADDR), bad[i], &e) < 0);
        assert_int_equal(e.cls, ERR_CLASS_INVALID);
    }
}

static void
bind_believes_only_the_driver_link(void **state)
{
    struct fixture *f = *state;
    struct err e = ERR_INIT;

    /* Writes to plain files succeed, and no driver appears. Either spelling finds the driver. */
    assert_true(vfio_bind(&f->root, fixture_addr(ADDR), "vfio_pci", &e) < 0);
    assert_int_equal(e.reason, REASON_BIND_FAILED);
    assert_int_equal(e.cls, ERR_CLASS_HW);
    assert_string_equal(fixture_text(f, "/sys/bus/pci/drivers/vfio-pci/bind"), ADDR);
}

static void
bind_of_a_bound_function_is_nothing(void **state)
{
    struct fixture *f = *state;
    const struct fixture_fn fn = {"0000:42:00.0", 0x10de, 0x2330, 0x030200, "vfio-pci", 42};
    struct err e = ERR_INIT;

    fixture_add(f, &fn);
    assert_int_equal(vfio_bind(&f->root, fixture_addr(fn.addr), "vfio-pci", &e), 0);
    assert_string_equal(fixture_text(f, "/sys/bus/pci/drivers/vfio-pci/bind"), "");
    assert_string_equal(fixture_text(f, "/sys/bus/pci/drivers/vfio-pci/unbind"), "");
}

static void
operations_on_a_missing_function_say_so(void **state)
{
    struct fixture *f = *state;
    const struct pci_addr gone = fixture_addr("0000:99:00.0");
    struct vfio_power_saved saved;
    struct err e = ERR_INIT;

    assert_true(vfio_bind(&f->root, gone, "vfio-pci", &e) < 0);
    assert_int_equal(e.reason, REASON_DEVICE_GONE);
    err_clear(&e);
    assert_true(vfio_give_back(&f->root, gone, "", &e) < 0);
    assert_int_equal(e.reason, REASON_DEVICE_GONE);
    err_clear(&e);
    assert_true(vfio_power_wake(&f->root, gone, &saved, &e) < 0);
    assert_int_equal(e.reason, REASON_DEVICE_GONE);
    for (int how = VFIO_RESET_FUNCTION; how <= VFIO_RESET_REMOVE_RESCAN; how++) {
        err_clear(&e);
        assert_true(vfio_reset_dev(&f->root, gone, (enum vfio_reset)how, &e) < 0);
        assert_int_equal(e.reason, REASON_DEVICE_GONE);
        assert_non_null(strstr(e.msg, vfio_reset_name((enum vfio_reset)how)));
    }
}

static void
give_back_leaves_a_foreign_driver_alone(void **state)
{
    struct fixture *f = *state;
    const struct fixture_fn fn = {"0000:42:00.0", 0x10de, 0x2330, 0x030200, "nouveau", 42};
    struct err e = ERR_INIT;

    fixture_add(f, &fn);
    assert_int_equal(vfio_give_back(&f->root, fixture_addr(fn.addr), "", &e), 0);
    assert_int_equal(vfio_give_back(&f->root, fixture_addr(fn.addr), "nouveau", &e), 0);
    assert_true(vfio_give_back(&f->root, fixture_addr(fn.addr), "nvidia", &e) < 0);
    assert_int_equal(e.reason, REASON_DRIVER_IN_USE);
    assert_string_equal(fixture_text(f, "/sys/bus/pci/drivers/nouveau/unbind"), "");
}

static void
wake_saves_what_it_changes_and_restore_puts_it_back(void **state)
{
    struct fixture *f = *state;
    const struct pci_addr a = fixture_addr(ADDR);
    struct vfio_power_saved saved;
    struct err e = ERR_INIT;

    fixture_attr_text(f, ADDR, "power/control", "auto");
    fixture_attr_text(f, ADDR, "d3cold_allowed", "1");
    assert_int_equal(vfio_power_wake(&f->root, a, &saved, &e), 0);
    assert_string_equal(saved.control, "auto");
    assert_string_equal(saved.d3cold_allowed, "1");
    assert_string_equal(fixture_text(f, P "power/control"), "onto"); /* "on" over "auto" */
    assert_string_equal(fixture_text(f, P "d3cold_allowed"), "0");
    assert_int_equal(vfio_power_restore(&f->root, a, &saved, &e), 0);
    assert_string_equal(fixture_text(f, P "power/control"), "auto");
    assert_string_equal(fixture_text(f, P "d3cold_allowed"), "1");

    fixture_attr_text(f, ADDR, "power/control", "on");
    fixture_attr_text(f, ADDR, "d3cold_allowed", "0");
    assert_int_equal(vfio_power_wake(&f->root, a, &saved, &e), 0);
    assert_string_equal(saved.control, "");
    assert_string_equal(saved.d3cold_allowed, "");
}

static void
wake_turns_memory_decode_on(void **state)
{
    static const uint8_t off[64] = {0xde, 0x10, 0x30, 0x23, 0x04, 0x05};
    struct fixture *f = *state;
    const struct pci_addr a = fixture_addr(ADDR);
    struct vfio_power_saved saved;
    struct err e = ERR_INIT;
    char *data = NULL;
    size_t len = 0;
    int fd;

    fixture_attr_text(f, ADDR, "power_state", "unknown\n"); /* as an unbound function says */
    fixture_attr(f, ADDR, "config", off, sizeof(off));
    assert_int_equal(vfio_power_wake(&f->root, a, &saved, &e), 0);
    fd = fs_open(&f->root, P, O_RDONLY | O_DIRECTORY, 0, &e);
    assert_true(fd >= 0);
    assert_int_equal(fs_read_file(fd, "config", 4096, &data, &len, &e), 0);
    fd_close(&fd);
    assert_int_equal(data[4], 0x06);
    assert_int_equal(data[5], 0x05);
    assert_int_equal(data[6], 0);
    free(data);
}

static void
wake_names_what_is_wrong(void **state)
{
    struct fixture *f = *state;
    const struct pci_addr a = fixture_addr(ADDR);
    struct vfio_power_saved saved;
    struct err e = ERR_INIT;
    uint8_t ones[64];

    memset(ones, 0xff, sizeof(ones));
    fixture_attr(f, ADDR, "config", ones, sizeof(ones));
    assert_true(vfio_power_wake(&f->root, a, &saved, &e) < 0);
    assert_int_equal(e.reason, REASON_DEVICE_GONE);
    err_clear(&e);
    fixture_attr(f, ADDR, "config", ones, 3);
    assert_true(vfio_power_wake(&f->root, a, &saved, &e) < 0);
    assert_int_equal(e.reason, REASON_POWER_STATE);
    err_clear(&e);
    fixture_attr_text(f, ADDR, "power/control", "auto");
    fixture_attr_text(f, ADDR, "power_state", "D3cold\n");
    assert_true(vfio_power_wake(&f->root, a, &saved, &e) < 0);
    assert_int_equal(e.reason, REASON_POWER_STATE);
    assert_non_null(strstr(e.msg, "D3cold"));
    assert_string_equal(saved.control, "auto"); /* filled for the restore */
}

static void
reset_without_a_choice_of_methods(void **state)
{
    struct fixture *f = *state;
    const struct pci_addr a = fixture_addr(ADDR);
    struct err e = ERR_INIT;

    /* no reset file: the kernel found no method at boot */
    assert_true(vfio_reset_dev(&f->root, a, VFIO_RESET_FUNCTION, &e) < 0);
    assert_int_equal(e.reason, REASON_RESET_FAILED);
    err_clear(&e);
    fixture_attr_text(f, ADDR, "reset", "");
    assert_int_equal(vfio_reset_dev(&f->root, a, VFIO_RESET_FUNCTION, &e), 0);
    assert_string_equal(fixture_text(f, P "reset"), "1");
    fixture_attr_text(f, ADDR, "reset", "");
    assert_true(vfio_reset_dev(&f->root, a, VFIO_RESET_BUS, &e) < 0);
    assert_int_equal(e.reason, REASON_RESET_FAILED);
    assert_string_equal(fixture_text(f, P "reset"), "");
    /* all methods disabled by the operator stays so */
    fixture_attr_text(f, ADDR, "reset_method", "\n");
    err_clear(&e);
    assert_true(vfio_reset_dev(&f->root, a, VFIO_RESET_FUNCTION, &e) < 0);
    assert_int_equal(e.reason, REASON_RESET_FAILED);
    assert_string_equal(fixture_text(f, P "reset"), "");
    assert_string_equal(fixture_text(f, P "reset_method"), "");
}

static void
reset_restores_the_list_of_methods(void **state)
{
    struct fixture *f = *state;
    const struct pci_addr a = fixture_addr(ADDR);
    struct err e = ERR_INIT;

    fixture_attr_text(f, ADDR, "reset", "");
    fixture_attr_text(f, ADDR, "reset_method", "flr bus\n");
    assert_int_equal(vfio_reset_dev(&f->root, a, VFIO_RESET_BUS, &e), 0);
    assert_string_equal(fixture_text(f, P "reset"), "1");
    assert_string_equal(fixture_text(f, P "reset_method"), "flr bus");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
        T(bind_to_an_absent_driver_touches_nothing),
        T(bind_believes_only_the_driver_link),
        T(bind_of_a_bound_function_is_nothing),
        T(operations_on_a_missing_function_say_so),
        T(give_back_leaves_a_foreign_driver_alone),
        T(wake_saves_what_it_changes_and_restore_puts_it_back),
        T(wake_turns_memory_decode_on),
        T(wake_names_what_is_wrong),
        T(reset_without_a_choice_of_methods),
        T(reset_restores_the_list_of_methods),
#undef T
    };

    return cmocka_run_group_tests_name("vfio.bind", tests, NULL, NULL);
}
