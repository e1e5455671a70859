/* SPDX-License-Identifier: Apache-2.0
 *
 * Control commands, faults of operations, uevents and register traffic, on the in-memory kernel.
 */
#include "kernel_kit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static int
start(void **state)
{
    static struct kit t;

    kit_init(&t);
    kit_start(&t);
    *state = &t;
    return 0;
}

static int
stop(void **state)
{
    kit_stop(*state);
    return 0;
}

static uint64_t
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void
operations_fail_by_pattern(void **state)
{
    struct kit *t = *state;

    ctl(t, "fail */" GPU0 "/reset EIO 1");
    assert_int_equal(put(t, DEV GPU1 "/reset", "1"), 0);
    assert_int_equal(put(t, DEV GPU0 "/reset", "1"), -EIO);
    assert_int_equal(put(t, DEV GPU0 "/reset", "1"), 0);
    /* one device at a file that all share */
    ctl(t, "fail */vfio-pci/bind=" GPU1 " ENOMEM");
    bind_vfio(t, GPU0);
    assert_int_equal(put(t, DEV GPU1 "/driver_override", "vfio-pci"), 0);
    assert_int_equal(put(t, VFIO "bind", GPU1), -ENOMEM);
    assert_non_null(strstr(ctl(t, "rules"), "ENOMEM"));
    ctl(t, "rules clear");
    assert_int_equal(put(t, VFIO "bind", GPU1), 0);
}

static void
operations_are_ignored_or_fail_by_count(void **state)
{
    struct kit *t = *state;

    ctl(t, "ignore */vfio-pci/bind 1");
    assert_int_equal(put(t, DEV GPU0 "/driver_override", "vfio-pci"), 0);
    assert_int_equal(put(t, VFIO "bind", GPU0), 0);
    assert_string_equal(link_name(t, DEV GPU0 "/driver"), "");
    ctl(t, "fail-op 2 ENOSPC");
    assert_int_equal(put(t, VFIO "bind", GPU0), 0);
    assert_int_equal(put(t, DEV GPU0 "/driver/unbind", GPU0), -ENOSPC);
    assert_int_equal(put(t, DEV GPU0 "/driver/unbind", GPU0), 0);
    ctl(t, "fail read:*/" GPU0 "/vendor EACCES 1");
    assert_int_equal(get_err(t, DEV GPU0 "/vendor"), -EACCES);
    assert_int_equal(get_err(t, DEV GPU0 "/vendor"), 0);
}

static void
operations_hang_and_then_happen(void **state)
{
    struct kit *t = *state;
    uint64_t t0 = now_ms();

    ctl(t, "hang */" GPU0 "/driver_override 60 1");
    assert_int_equal(put(t, DEV GPU0 "/driver_override", "vfio-pci"), 0);
    assert_true(now_ms() - t0 >= 60);
    assert_string_equal(get(t, DEV GPU0 "/driver_override"), "vfio-pci");
}

static void *
writer(void *arg)
{
    struct kit *t = arg;

    return (void *)(intptr_t)put(t, DEV GPU0 "/reset", "1");
}

static void
a_reset_that_hangs_for_ever_is_let_go_by_clear(void **state)
{
    struct kit *t = *state;
    struct timespec ts = {.tv_nsec = 50000000};
    pthread_t th;
    void *r;

    ctl(t, "fault " GPU0 " reset-hang");
    assert_int_equal(pthread_create(&th, NULL, writer, t), 0);
    (void)nanosleep(&ts, NULL);
    assert_int_equal(pthread_tryjoin_np(th, &r), EBUSY);
    assert_int_equal(put(t, DEV GPU1 "/reset", "1"), 0); /* nobody else waits */
    ctl(t, "fault " GPU0 " clear");
    assert_int_equal(pthread_join(th, &r), 0);
}

static void
a_vmm_holds_the_device_and_resets_it(void **state)
{
    struct kit *t = *state;

    bind_vfio(t, GPU0);
    assert_non_null(strstr(ctl_fails(t, "vmm-close " GPU0), "No such"));
    ctl(t, "knob " GPU0 " 8 1");
    assert_non_null(strstr(ctl(t, "show"), "off      on"));
    ctl(t, "vmm-open " GPU0);
    assert_non_null(strstr(ctl(t, "show"), "on       on"));
    assert_non_null(strstr(ctl(t, "show json"), "\"holder\": \"vmm\""));
    assert_string_equal(get(t, DEV GPU0 "/power_state"), "D0");
    /* what the VMM has mapped cannot be mapped again, unless the kernel is lenient */
    assert_int_equal(get_err(t, DEV GPU0 "/resource0"), -EINVAL);
    ctl(t, "set strict-devmem off");
    assert_int_equal(get_err(t, DEV GPU0 "/resource0"), 0);
    assert_non_null(strstr(ctl_fails(t, "vmm-open " GPU0), "Invalid"));
    assert_non_null(strstr(ctl_fails(t, "vmm-open " GPU0 " group"), "busy"));
    ctl(t, "vmm-close " GPU0);
    assert_string_equal(get(t, DEV GPU0 "/power_state"), "D3hot");
}

static void
lockdown_forbids_registers(void **state)
{
    struct kit *t = *state;

    assert_string_equal(get(t, "/sys/kernel/security/lockdown"),
                        "[none] integrity confidentiality");
    ctl(t, "set lockdown on");
    assert_string_equal(get(t, "/sys/kernel/security/lockdown"),
                        "none [integrity] confidentiality");
    assert_int_equal(get_err(t, DEV GPU0 "/resource0"), -EPERM);
    assert_int_equal(get_err(t, DEV GPU0 "/config"), 0);
    assert_int_equal(put(t, DEV GPU0 "/config", "\xde\x10"), -EPERM);
}

static void
a_pulled_device_is_all_ones_and_then_gone(void **state)
{
    struct kit *t = *state;
    struct sim_file *f;
    uint32_t v = 0;
    int i;

    bind_vfio(t, GPU0);
    ctl(t, "vmm-open " GPU0 " untouched");
    assert_int_equal(sim_k_open(t->k, DEV GPU0 "/resource0", O_RDWR, &f), 0);
    ctl(t, "unplug " GPU0);
    assert_int_equal(sim_k_pread(f, &v, 4, 0), 4);
    assert_int_equal(v, 0xffffffff);
    assert_string_equal(get(t, DEV GPU0 "/vendor"), "0x10de"); /* the VMM keeps it */
    ctl(t, "vmm-close " GPU0);
    for (i = 0; i < 500 && there(t, DEV GPU0); i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    assert_false(there(t, DEV GPU0));
    assert_int_equal(put(t, "/sys/bus/pci/rescan", "1"), 0);
    assert_false(there(t, DEV GPU0));
    ctl(t, "plug " GPU0);
    assert_true(there(t, DEV GPU0));
    /* memory decode is off until it is enabled */
    assert_int_equal(bar0(t, GPU0), 0xffffffff);
    assert_int_equal(put(t, DEV GPU0 "/enable", "1"), 0);
    assert_int_not_equal(bar0(t, GPU0), 0xffffffff);
    assert_int_equal(sim_k_pread(f, &v, 4, 0), 4); /* an old descriptor still reaches the slot */
    sim_k_close(f);
}

static void
the_vfio_file_reaches_registers(void **state)
{
    struct kit *t = *state;
    struct sim_file *f;
    uint32_t v = 0;

    bind_vfio(t, GPU0);
    assert_int_equal(sim_k_open(t->k, "/dev/vfio/devices/vfio0", O_RDWR, &f), 0);
    assert_int_equal(sim_k_pread(f, &v, 4, 0), -EINVAL);
    assert_int_equal(sim_k_ioctl(f, _IO(VFIO_TYPE, VFIO_BASE + 18)), 0);
    assert_int_equal(sim_k_ioctl(f, _IO(VFIO_TYPE, VFIO_BASE + 18)), -EINVAL);
    assert_int_equal(sim_k_pread(f, &v, 4, (off_t)7 << 40), 4);
    assert_int_equal(v, 0x233010de);
    assert_int_equal(sim_k_pread(f, &v, 4, 0), 4);
    assert_int_equal(v, 0x180000a1);
    assert_int_equal(sim_k_pread(f, &v, 3, 0), -EINVAL);
    assert_int_equal(sim_k_ioctl(f, VFIO_DEVICE_RESET), 0);
    sim_k_close(f);
}

static void
attributes_can_be_broken_at_run_time(void **state)
{
    struct kit *t = *state;

    ctl(t, "attr " GPU0 " class garbage");
    assert_non_null(strstr(get(t, DEV GPU0 "/class"), "garbage"));
    ctl(t, "attr " GPU0 " class good");
    assert_string_equal(get(t, DEV GPU0 "/class"), "0x030200");
    ctl(t, "attr " GPU0 " numa_node missing");
    assert_false(there(t, DEV GPU0 "/numa_node"));
}

static void
nonsense_gets_one_clear_line(void **state)
{
    static const char *const bad[] = {"",
                                      "frobnicate",
                                      "fault",
                                      "fault x y",
                                      "fault " GPU0 " q",
                                      "knob " GPU0 " 99",
                                      "plug x h200",
                                      "fail x NOTANERR",
                                      "hang x -5",
                                      "set x on",
                                      "attr " GPU0 " a b",
                                      "vmm-open 0000:ff:00.0",
                                      "fail-op 0 EIO"};
    struct kit *t = *state;
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *msg = ctl_fails(t, bad[i]);

        assert_true(strlen(msg) > 5);
        assert_null(strchr(msg, '\n'));
    }
    assert_non_null(strstr(ctl(t, "help"), "vmm-open"));
    assert_non_null(strstr(ctl(t, "faults"), "reset-hang"));
}

/* ---- uevents and traffic ---- */

struct heard {
    char text[8192];
    size_t used;
};

static void
hear(void *ctx, const char *payload, size_t len)
{
    struct heard *h = ctx;
    size_t i;

    for (i = 0; i < len && h->used < sizeof(h->text) - 2; i++)
        h->text[h->used++] = payload[i] ? payload[i] : ' ';
    h->text[h->used++] = '\n';
    h->text[h->used] = '\0';
}

static void
uevents_are_the_kernels(void **state)
{
    static const char dev[] = "/devices/pci0000:17/0000:17:01.0/" GPU0;
    struct kit *t = *state;
    static struct heard h;
    char want[256];
    const char *vfio, *cdev, *bind;

    memset(&h, 0, sizeof(h));
    sim_k_on_uevent(t->k, hear, &h);
    assert_int_equal(put(t, DEV GPU0 "/driver_override", "vfio-pci"), 0);
    assert_int_equal(h.used, 0);
    assert_int_equal(put(t, VFIO "bind", GPU0), 0);
    vfio = strstr(h.text, "add@/devices/virtual/vfio/");
    (void)snprintf(want, sizeof(want), "add@%s/vfio-dev/vfio0 ACTION=add", dev);
    cdev = strstr(h.text, want);
    (void)snprintf(want, sizeof(want),
                   "bind@%s ACTION=bind DEVPATH=%s SUBSYSTEM=pci DRIVER=vfio-pci", dev, dev);
    bind = strstr(h.text, want);
    assert_non_null(vfio);
    assert_non_null(cdev);
    assert_non_null(bind);
    assert_true(vfio < cdev && cdev < bind);
    assert_non_null(strstr(bind, "PCI_ID=10DE:2330"));
    assert_non_null(strstr(bind, "PCI_SLOT_NAME=" GPU0));
    assert_non_null(strstr(bind, "SEQNUM=3"));
    h.used = 0;
    assert_int_equal(put(t, DEV GPU0 "/remove", "1"), 0);
    assert_non_null(strstr(h.text, "remove@/devices/virtual/vfio/"));
    assert_non_null(strstr(h.text, "unbind@"));
    assert_null(strstr(strstr(h.text, "unbind@"), "DRIVER="));
    assert_non_null(strstr(h.text, "SUBSYSTEM=pci"));
    h.used = 0;
    assert_int_equal(put(t, "/sys/bus/pci/rescan", "1"), 0);
    assert_int_equal(strncmp(h.text, "add@", 4), 0);
    h.used = 0;
    h.text[0] = '\0';
    assert_int_equal(put(t, DEV GPU0 "/reset", "1"), 0);
    assert_int_equal(put(t, DEV GPU0 "/enable", "1"), 0);
    assert_int_equal(h.used, 0);
    sim_k_on_uevent(t->k, NULL, NULL);
}

static void
count_access(void *ctx, struct pci_addr a, const struct sim_access *acc)
{
    (void)a;
    if (strcmp(acc->space, "bar0") == 0 && !acc->write && acc->off == 0)
        (*(int *)ctx)++;
}

static void
register_traffic_can_be_watched(void **state)
{
    struct kit *t = *state;
    int n = 0;

    sim_k_on_access(t->k, count_access, &n);
    (void)bar0(t, GPU0);
    (void)bar0(t, GPU1);
    assert_int_equal(n, 2);
    sim_k_on_access(t->k, NULL, NULL);
    (void)bar0(t, GPU0);
    assert_int_equal(n, 2);
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
    const struct CMUnitTest tests[] = {
        T(operations_fail_by_pattern),
        T(operations_are_ignored_or_fail_by_count),
        T(operations_hang_and_then_happen),
        T(a_reset_that_hangs_for_ever_is_let_go_by_clear),
        T(a_vmm_holds_the_device_and_resets_it),
        T(lockdown_forbids_registers),
        T(a_pulled_device_is_all_ones_and_then_gone),
        T(the_vfio_file_reaches_registers),
        T(attributes_can_be_broken_at_run_time),
        T(nonsense_gets_one_clear_line),
        T(uevents_are_the_kernels),
        T(register_traffic_can_be_watched),
    };

    return cmocka_run_group_tests_name("sim.control", tests, NULL, NULL);
}
