/* SPDX-License-Identifier: Apache-2.0
 *
 * See held.h.
 */
#include "tests/vm/guest/held.h"

#include "tests/vm/guest/host.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LONG_MS 120000

/* The row of `show`: name, model, client, power, active, configured, resets. */
void
held_mode(const char *name, const char *active, const char *configured)
{
    char *text = vm_host("ctl show"), *save = NULL, col[6][32];
    bool found = false;

    for (char *line = strtok_r(text, "\n", &save); line && !found;
         line = strtok_r(NULL, "\n", &save))
        found = sscanf(line, "%31s %31s %31s %31s %31s %31s", col[0], col[1], col[2], col[3],
                       col[4], col[5]) == 6 &&
                strcmp(col[0], name) == 0;
    free(text);
    assert_true(found);
    if (strcmp(col[4], active) != 0 || strcmp(col[5], configured) != 0)
        fail_msg("%s is %s/%s, not %s/%s", name, col[4], col[5], active, configured);
}

static unsigned
devices_of(const char *pid)
{
    char path[64], name[320], target[64];
    const struct dirent *d;
    unsigned n = 0;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    dir = opendir(path);
    while (dir && (d = readdir(dir))) {
        ssize_t len;

        (void)snprintf(name, sizeof(name), "%s/%s", path, d->d_name);
        len = readlink(name, target, sizeof(target) - 1);
        target[len > 0 ? len : 0] = '\0';
        n += strstr(target, "vfio-device") || strstr(target, "/dev/vfio/devices/vfio");
    }
    if (dir)
        (void)closedir(dir);
    return n;
}

/* VFIO devices that any process has open. */
unsigned
held_devices(void)
{
    DIR *dir = opendir("/proc");
    const struct dirent *d;
    unsigned n = 0;

    assert_non_null(dir);
    while ((d = readdir(dir)))
        if (d->d_name[0] >= '1' && d->d_name[0] <= '9')
            n += devices_of(d->d_name);
    (void)closedir(dir);
    return n;
}

void
held_wait_none(void)
{
    uint64_t end = vm_now_ms() + LONG_MS;

    while (held_devices() > 0) {
        if (vm_now_ms() > end)
            fail_msg("%u devices are still open", held_devices());
        vm_sleep_ms(20);
    }
}

uint64_t
held_resets(const char *name)
{
    return vm_count(name, "resets");
}
