/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of the conformance program on the running kernel. What they print has to be what the
 * simulated node prints, line by line (tests/sim/node/conformance.expected).
 */
#include "tests/sim/node/conformance.h"
#include "tests/vm/guest/host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define EXPECTED "/vm/conformance.expected"

/* Modules are loaded as a host does it, and unloaded alone: what they need stays. */
static int
vm_modprobe(void *ctx, const char *module, bool load)
{
    char out[512], name[64];

    (void)ctx;
    if (load) {
        if (vm_run(out, sizeof(out), "modprobe %s", module) == 0)
            return 0;
        print_message("modprobe %s: %s\n", module, out);
        return -EIO;
    }
    (void)snprintf(name, sizeof(name), "%s", module);
    for (char *p = name; *p; p++)
        if (*p == '-')
            *p = '_';
    return syscall(SYS_delete_module, name, O_NONBLOCK) < 0 ? -errno : 0;
}

static int
vm_hardware(void *ctx, const char *verb, const char *who, const char *addr, const char *arg)
{
    char why[512] = "", *text;

    (void)ctx;
    (void)addr;
    if (strcmp(verb, "plug") == 0)
        text = vm_host_try(why, sizeof(why), "plug %s", who);
    else
        text = vm_host_try(why, sizeof(why), "ctl %s %s %s", verb, who, arg);
    if (!text) {
        print_message("%s %s %s: %s\n", verb, who, arg, why);
        return -EIO;
    }
    free(text);
    return 0;
}

/* ---- events ---- */

static int events_fd = -1;

static void
open_events(void)
{
    struct sockaddr_nl nl = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int big = 4 << 20;

    events_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    assert_true(events_fd >= 0);
    /* nobody reads while the other sections run */
    assert_int_equal(setsockopt(events_fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big)), 0);
    assert_int_equal(bind(events_fd, (struct sockaddr *)&nl, sizeof(nl)), 0);
}

static int
vm_event(void *ctx, char *payload, size_t size, size_t *ret_len, unsigned ms)
{
    struct pollfd p = {.fd = events_fd, .events = POLLIN};
    ssize_t n;

    (void)ctx;
    if (poll(&p, 1, (int)ms) <= 0)
        return -EAGAIN;
    n = recv(events_fd, payload, size, 0);
    if (n < 0)
        return -errno;
    *ret_len = (size_t)n;
    return 0;
}

/* Devices lie in the directory of the bridge above them. */
static const char *
port_above(const char *addr, char ret[static 16])
{
    char link[64], path[PATH_MAX], *end;

    (void)snprintf(link, sizeof(link), "/sys/bus/pci/devices/%s", addr);
    assert_non_null(realpath(link, path));
    end = strrchr(path, '/');
    assert_non_null(end);
    *end = '\0';
    end = strrchr(path, '/');
    assert_non_null(end);
    (void)snprintf(ret, 16, "%.15s", end + 1);
    return ret;
}

/* The boot's devices that have a part to play; those that are missing leave their sections out. */
static const char *
address(const char *name, char ret[static 16])
{
    char line[128], buf[4096] = "", *rest = buf, *at;
    FILE *f = fopen("/etc/vm/devices", "re");

    assert_non_null(f);
    (void)!fread(buf, 1, sizeof(buf) - 1, f);
    (void)fclose(f);
    while ((at = strsep(&rest, "\n"))) {
        (void)snprintf(line, sizeof(line), "%s ", name);
        if (strncmp(at, line, strlen(line)) == 0) {
            (void)snprintf(ret, 16, "%.12s", at + strlen(line));
            return ret;
        }
    }
    return NULL;
}

/* From the command line: see main(). */
static const char *only;
static char **needs;

static void
the_kernel_does_what_the_model_does(void **state)
{
    static char addr[6][16], port[16], bridge[16];
    const struct subjects s = {
        .gpu = address("gpu", addr[0]),
        .twin = address("twin", addr[1]),
        .pair = address("pair", addr[2]),
        .audio = address("audio", addr[3]),
        .lame = address("lame", addr[4]),
        .spare = address("spare", addr[5]),
        .port = *addr[2] ? port_above(addr[2], port) : NULL,
        .bridge = *addr[1] ? port_above(addr[1], bridge) : NULL,
        .dma_driver = "pci-pf-stub",
    };
    struct backend b = conformance_dir("/");
    char *text = NULL;
    int bad;

    (void)state;
    b.modprobe = vm_modprobe;
    b.hardware = vm_hardware;
    b.event = vm_event;
    b.blocked_ms = 2000;
    b.patience_ms = 120000;
    open_events();
    conformance_run(&b, &s, only, &text);
    assert_non_null(text);
    for (char **n = needs; *n; n++)
        if (!conformance_has(text, *n + 1))
            fail_msg("the boot is to have %s", *n + 1);
    bad = conformance_compare(text, EXPECTED, only != NULL);
    if (bad != 0) {
        (void)fputs(text, stdout);
        (void)fflush(stdout);
    }
    free(text);
    assert_int_equal(bad, 0);
}

/* test_conformance [+NEED...] [WORD]: sections of these needs ("+spare", "+no_iommufd") have to be
 * among those that are performed; only sections with WORD in their names are. */
int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_does_what_the_model_does),
    };

    needs = argv + 1;
    while (*needs && **needs != '+')
        needs++;
    only = argc > 1 && *argv[argc - 1] != '+' ? argv[argc - 1] : NULL;
    if (only)
        argv[argc - 1] = NULL;
    for (char **n = needs; *n; n++)
        for (char *p = *n; *p; p++)
            if (*p == '_')
                *p = ' ';
    return cmocka_run_group_tests(tests, NULL, NULL);
}
