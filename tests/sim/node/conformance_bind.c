/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows about drivers: override, probe, bind and unbind, bridges, dynamic IDs, modules. Every
 * section leaves the devices as it found them: unbound, no override.
 */
#include "conformance_rows.h"

#include <string.h>

static void
rows_override(struct rows *r)
{
    static char page[4200], fits[4100];

    R(r, "gpu/driver_override");
    W(r, "gpu/driver_override", "vfio-pci\n");
    R(r, "gpu/driver_override");
    driver_of(r, "gpu");
    W(r, "gpu/driver_override", "no-such-driver");
    R(r, "gpu/driver_override");
    W(r, "gpu/driver_override", "a b");
    R(r, "gpu/driver_override");
    W(r, "gpu/driver_override", "");
    R(r, "gpu/driver_override");
    memset(page, 'x', 4095);
    say(r, "write gpu/driver_override, 4095 bytes -> %s",
        row_result(quiet(r, "gpu/driver_override", page)));
    memset(fits, 'x', 4094);
    say(r, "write gpu/driver_override, 4094 bytes -> %s",
        row_result(quiet(r, "gpu/driver_override", fits)));
    W(r, "gpu/driver_override", "\n");
    R(r, "gpu/driver_override");
}

static void
rows_probe(struct rows *r)
{
    W(r, "bus/drivers_probe", "$gpu");
    driver_of(r, "gpu");
    W(r, "gpu/driver_override", "no-such-driver");
    W(r, "bus/drivers_probe", "$gpu");
    driver_of(r, "gpu");
    W(r, "bus/drivers_probe", "ffff:ff:1f.7");
    W(r, "bus/drivers_probe", "01:00.0");
    W(r, "bus/drivers_probe", "garbage");
    W(r, "gpu/driver_override", "vfio-pci");
    W(r, "bus/drivers_probe", "$gpu");
    driver_of(r, "gpu");
    W(r, "bus/drivers_probe", "$gpu");
    driver_of(r, "gpu");
    release(r, "gpu");
}

static void
rows_bind(struct rows *r)
{
    char node[64];

    W(r, "vfio/bind", "$gpu");
    W(r, "gpu/driver_override", "no-such-driver");
    W(r, "vfio/bind", "$gpu");
    W(r, "vfio/bind", "ffff:ff:1f.7");
    W(r, "vfio/bind", "01:00.0");
    W(r, "vfio/bind", "garbage");
    W(r, "/sys/bus/pci/drivers/no-such-driver/bind", "$gpu");
    W(r, "gpu/driver/unbind", "$gpu");
    W(r, "vfio/unbind", "$gpu");
    W(r, "gpu/driver_override", "vfio-pci");
    mode_of(r, "group node", group_node(r, "gpu", node, sizeof(node)));
    W(r, "vfio/bind", "$gpu\n");
    W(r, "vfio/bind", "$gpu");
    driver_of(r, "gpu");
    mode_of(r, "group node", group_node(r, "gpu", node, sizeof(node)));
    mode_of(r, "container", "/dev/vfio/vfio");
    W(r, "vfio/bind", "$gpu");
    W(r, "gpu/driver_override", "no-such-driver");
    driver_of(r, "gpu");
    W(r, "vfio/bind", "$gpu");
    W(r, "gpu/driver_override", "\n");
    W(r, "gpu/driver/unbind", "$gpu");
    driver_of(r, "gpu");
    mode_of(r, "group node", group_node(r, "gpu", node, sizeof(node)));
    W(r, "gpu/driver/unbind", "$gpu");
}

static void
rows_bridge(struct rows *r)
{
    driver_of(r, "bridge");
    W(r, "bridge/driver/unbind", "$bridge");
    W(r, "bridge/driver_override", "vfio-pci");
    W(r, "vfio/bind", "$bridge");
    driver_of(r, "bridge");
    W(r, "bus/drivers_probe", "$bridge");
    driver_of(r, "bridge");
    W(r, "bridge/driver_override", "\n");
    W(r, "bus/drivers_probe", "$bridge");
    driver_of(r, "bridge");
    R(r, "bridge/reset");
}

static void
rows_new_id(struct rows *r)
{
    char vendor[32] = "", device[32] = "", path[512], id[80];

    (void)r->b->read(r->b->ctx, row_path(r, "gpu/vendor", path, sizeof(path)), vendor,
                     sizeof(vendor));
    (void)r->b->read(r->b->ctx, row_path(r, "gpu/device", path, sizeof(path)), device,
                     sizeof(device));
    (void)snprintf(id, sizeof(id), "%s %s", vendor + 2, device + 2);
    W(r, "vfio/new_id", "nonsense");
    say(r, "write vfio/new_id ID -> %s", row_result(quiet(r, "vfio/new_id", id)));
    driver_of(r, "gpu");
    driver_of(r, "twin");
    say(r, "write vfio/new_id ID -> %s", row_result(quiet(r, "vfio/new_id", id)));
    say(r, "write vfio/remove_id ID -> %s", row_result(quiet(r, "vfio/remove_id", id)));
    driver_of(r, "gpu");
    say(r, "write vfio/remove_id ID -> %s", row_result(quiet(r, "vfio/remove_id", id)));
    release(r, "gpu");
    release(r, "twin");
    release(r, "pair");
}

static void
rows_module(struct rows *r)
{
    modprobe(r, "vfio-pci", false);
    W(r, "vfio/bind", "$gpu");
    mode_of(r, "container", "/dev/vfio/vfio");
    W(r, "gpu/driver_override", "vfio-pci");
    driver_of(r, "gpu");
    modprobe(r, "vfio-pci", true);
    driver_of(r, "gpu");
    driver_of(r, "twin");
    R(r, "/sys/module/vfio_pci/parameters/ids");
    release(r, "gpu");
    driver_of(r, "gpu");
}

static void
rows_events(struct rows *r)
{
    W(r, "gpu/uevent", "nonsense");
    events_drop(r);
    W(r, "gpu/driver_override", "vfio-pci");
    events(r, "driver_override");
    W(r, "vfio/bind", "$gpu");
    events(r, "bind");
    W(r, "gpu/reset", "1");
    events(r, "reset");
    W(r, "gpu/power/control", "on");
    events(r, "power/control");
    W(r, "gpu/driver/unbind", "$gpu");
    events(r, "unbind");
    W(r, "gpu/enable", "1");
    W(r, "gpu/enable", "0");
    events(r, "enable");
    W(r, "bus/drivers_probe", "$gpu");
    events(r, "drivers_probe");
    W(r, "gpu/remove", "1");
    events(r, "remove of a bound device");
    W(r, "bus/rescan", "1");
    events(r, "rescan");
}

const struct row_section sections_of_binding[] = {
    {"driver_override", NULL, rows_override},    {"drivers_probe", NULL, rows_probe},
    {"bind and unbind", NULL, rows_bind},        {"a bridge", NULL, rows_bridge},
    {"new_id and remove_id", NULL, rows_new_id}, {"modules", NULL, rows_module},
    {"kernel events", NULL, rows_events},        {NULL, NULL, NULL},
};
