/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows about a device's state: reset, enable, power and BAR0, remove and rescan, hot-plug, a device
 * that fell off the bus, the type of its IOMMU group.
 */
#include "conformance_rows.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static void
rows_start(struct rows *r)
{
    R(r, "pair/enable");
    R(r, "pair/power_state");
    decode_of(r, "pair");
    bar_of(r, "pair");
}

static void
rows_reset(struct rows *r)
{
    struct user u;

    R(r, "gpu/reset_method");
    W(r, "gpu/reset", "1");
    W(r, "gpu/reset", "0");
    W(r, "gpu/reset", "x");
    W(r, "gpu/reset_method", "flr");
    R(r, "gpu/reset_method");
    W(r, "gpu/reset", "1\n");
    W(r, "gpu/reset_method", "bus flr");
    R(r, "gpu/reset_method");
    W(r, "gpu/reset", "1");
    W(r, "gpu/reset_method", "no-such-method");
    W(r, "gpu/reset_method", "pm");
    W(r, "gpu/reset_method", "");
    R(r, "gpu/reset_method");
    W(r, "gpu/reset_method", "\n");
    R(r, "gpu/reset_method");
    W(r, "gpu/reset", "1");
    W(r, "gpu/reset_method", "default");
    R(r, "gpu/reset_method");
    bind_vfio(r, "gpu");
    W(r, "gpu/reset", "1");
    eventually(r, "gpu/power_state", "D3hot");
    say(r, "open the device as a VMM does -> %s", row_result(user_open(r, "gpu", true, &u)));
    W(r, "gpu/reset", "1");
    user_close(r, &u);
    release(r, "gpu");
}

static void
rows_enable(struct rows *r)
{
    W(r, "gpu/enable", "0");
    W(r, "gpu/enable", "1");
    R(r, "gpu/enable");
    R(r, "gpu/power_state");
    W(r, "gpu/enable", "1");
    R(r, "gpu/enable");
    W(r, "gpu/enable", "0");
    W(r, "gpu/enable", "0");
    W(r, "gpu/enable", "0");
    R(r, "gpu/enable");
    bind_vfio(r, "gpu");
    W(r, "gpu/enable", "1");
    W(r, "gpu/enable", "0");
    release(r, "gpu");
}

static void
rows_power(struct rows *r)
{
    static const char param[] = "/sys/module/vfio_pci/parameters/disable_idle_d3";

    bar_of(r, "gpu");
    bind_vfio(r, "gpu");
    R(r, "gpu/power/control");
    eventually(r, "gpu/power/runtime_status", "suspended");
    R(r, "gpu/power_state");
    decode_of(r, "gpu");
    bar_of(r, "gpu");
    W(r, "gpu/power/control", "on");
    R(r, "gpu/power_state");
    bar_of(r, "gpu");
    W(r, "gpu/power/control", "auto");
    eventually(r, "gpu/power_state", "D3hot");
    bar_of(r, "gpu");
    W(r, "gpu/power/control", "sometimes");
    release(r, "gpu");
    bar_of(r, "gpu");
    W(r, "gpu/reset", "1");
    bar_of(r, "gpu");
    W(r, "gpu/enable", "1");
    W(r, "gpu/enable", "0");
    bar_of(r, "gpu");
    W(r, param, "1");
    R(r, param);
    bind_vfio(r, "gpu");
    eventually(r, "gpu/power_state", "D3hot"); /* it is read when the module is loaded */
    release(r, "gpu");
    modprobe(r, "vfio-pci", false);
    modprobe(r, "vfio-pci disable_idle_d3=1", true);
    R(r, param);
    bind_vfio(r, "gpu");
    R(r, "gpu/power_state");
    R(r, "gpu/power/runtime_status");
    bar_of(r, "gpu");
    release(r, "gpu");
    modprobe(r, "vfio-pci", false);
    modprobe(r, "vfio-pci", true);
    R(r, param);
    W(r, "gpu/d3cold_allowed", "0");
    R(r, "gpu/d3cold_allowed");
    W(r, "gpu/d3cold_allowed", "1");
}

static bool
assigned(struct rows *r, const char *who)
{
    char path[512], name[64], text[4096] = "";

    (void)snprintf(name, sizeof(name), "%s/resource", who);
    return r->b->read(r->b->ctx, row_path(r, name, path, sizeof(path)), text, sizeof(text)) >= 0 &&
           strncmp(text, "0x0000000000000000 ", 19) != 0;
}

static void
rows_remove(struct rows *r)
{
    W(r, "gpu/driver_override", "vfio-pci");
    W(r, "gpu/remove", "0");
    R(r, "gpu/driver_override");
    W(r, "gpu/remove", "1");
    R(r, "gpu/vendor");
    W(r, "gpu/remove", "1");
    W(r, "bus/drivers_probe", "$gpu");
    W(r, "bus/rescan", "1");
    driver_of(r, "gpu");
    R(r, "gpu/driver_override");
    say(r, "BARs of gpu -> %s", assigned(r, "gpu") ? "assigned" : "not assigned");
    bar_of(r, "gpu");
}

static void
rows_group_type(struct rows *r)
{
    W(r, "gpu/iommu_group/type", "no-such-type");
    W(r, "gpu/iommu_group/type", "identity");
    R(r, "gpu/iommu_group/type");
    W(r, "gpu/iommu_group/type", "auto");
}

/* A device is there before it has its addresses, and those before the files to map them. */
static void
until_assigned(struct rows *r, const char *who)
{
    struct timespec nap = {.tv_nsec = 10000000};
    char path[512], name[64];
    unsigned ms;

    (void)snprintf(name, sizeof(name), "%s/resource0", who);
    (void)row_path(r, name, path, sizeof(path));
    for (ms = 0; ms < r->b->patience_ms; ms += 10) {
        if (assigned(r, who) && r->b->mode(r->b->ctx, path) >= 0)
            break;
        (void)nanosleep(&nap, NULL);
    }
    say(r, "BARs of %s -> %s", who, assigned(r, who) ? "assigned" : "not assigned");
}

static void
rows_plug(struct rows *r)
{
    mode_of(r, "spare", "spare/vendor");
    events_drop(r);
    hardware(r, "plug", "spare", "h100-pcie");
    until_assigned(r, "spare");
    events(r, "plug");
    driver_of(r, "spare");
    decode_of(r, "spare");
    bar_of(r, "spare");
    W(r, "spare/enable", "1");
    decode_of(r, "spare");
    bar_of(r, "spare");
    W(r, "spare/enable", "0");
    decode_of(r, "spare");
    bar_of(r, "spare");
}

/* What a bus reset that fails costs, and one of a device that does not answer. */
static void
rows_no_reset(struct rows *r)
{
    R(r, "lame/reset_method");
    W(r, "lame/reset_method", "bus");
    late(r, "lame/reset", "1", 0.9);
    W(r, "lame/reset_method", "default");
    W(r, "lame/reset", "1");
}

static void
rows_off_bus(struct rows *r)
{
    W(r, "gpu/reset_method", "flr");
    hardware(r, "fault", "gpu", "off-bus");
    R(r, "gpu/vendor");
    decode_of(r, "gpu");
    bar_of(r, "gpu");
    late(r, "gpu/reset", "1", 60);
    bar_of(r, "gpu");
    hardware(r, "fault", "gpu", "clear");
    W(r, "gpu/remove", "1");
    W(r, "bus/rescan", "1");
    R(r, "gpu/reset_method");
    W(r, "gpu/reset", "1");
    bar_of(r, "gpu");
}

const struct row_section sections_of_state[] = {
    {"as the firmware left it", "pair", rows_start},
    {"reset and reset_method", NULL, rows_reset},
    {"enable", NULL, rows_enable},
    {"power and BAR0", NULL, rows_power},
    {"remove and rescan", NULL, rows_remove},
    {"type of an IOMMU group", NULL, rows_group_type},
    {"a hot-plugged device", "spare", rows_plug},
    {"a bus reset that fails", "lame", rows_no_reset},
    {"a device that fell off the bus", NULL, rows_off_bus},
    {NULL, NULL, NULL},
};
