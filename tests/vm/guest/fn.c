/* SPDX-License-Identifier: Apache-2.0
 */
#include "tests/vm/guest/fn.h"

#include "tests/vm/guest/host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DEVICES "/sys/bus/pci/devices"
#define LONG_MS 120000
#define TEXTS 4

static struct fs_root root;

int
fn_setup(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* what comes before a hang is to be seen */
    return fs_root_open(&root, "/", &e);
}

const struct fs_root *
fn_root(void)
{
    return &root;
}

struct pci_addr
fn_addr(const char *name)
{
    struct pci_addr a = {0};

    assert_true(pci_addr_parse(vm_addr(name), &a));
    return a;
}

static char *
text_buffer(void)
{
    static char buf[TEXTS][512];
    static unsigned next;

    return buf[next++ % TEXTS];
}

const char *
fn_attr(const char *addr, const char *attr)
{
    return vm_read(text_buffer(), 512, DEVICES "/%s/%s", addr, attr);
}

const char *
fn_driver(const char *addr)
{
    return vm_link(text_buffer(), 512, DEVICES "/%s/driver", addr);
}

bool
fn_present(const char *addr)
{
    char path[128];

    (void)snprintf(path, sizeof(path), DEVICES "/%s/vendor", addr);
    return access(path, F_OK) == 0;
}

void
fn_write(const char *addr, const char *attr, const char *text)
{
    char path[128];
    int num;

    (void)snprintf(path, sizeof(path), DEVICES "/%s/%s", addr, attr);
    num = vm_write(path, text);
    if (num)
        fail_msg("write \"%s\" to %s: %s", text, path, strerror(num));
}

void
fn_bus_write(const char *file, const char *text)
{
    char path[128];
    int num;

    (void)snprintf(path, sizeof(path), "/sys/bus/pci/%s", file);
    num = vm_write(path, text);
    if (num)
        fail_msg("write \"%s\" to %s: %s", text, path, strerror(num));
}

void
fn_wait_attr(const char *addr, const char *attr, const char *want)
{
    uint64_t end = vm_now_ms() + LONG_MS;

    while (strcmp(fn_attr(addr, attr), want) != 0) {
        if (vm_now_ms() > end)
            fail_msg("%s of %s is \"%s\", not \"%s\" (power/control %s, runtime_status %s)", attr,
                     addr, fn_attr(addr, attr), want, fn_attr(addr, "power/control"),
                     fn_attr(addr, "power/runtime_status"));
        vm_sleep_ms(10);
    }
}

void
fn_wait_present(const char *addr, bool want)
{
    uint64_t end = vm_now_ms() + LONG_MS;

    while (fn_present(addr) != want) {
        if (vm_now_ms() > end)
            fail_msg("%s does not %s", addr, want ? "come" : "go");
        vm_sleep_ms(20);
    }
}

void
fn_release(const char *addr)
{
    if (fn_driver(addr)[0])
        fn_write(addr, "driver/unbind", addr);
    if (strcmp(fn_attr(addr, "driver_override"), "(null)") != 0)
        fn_write(addr, "driver_override", "\n");
}
