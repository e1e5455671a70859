/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows about VFIO: the group node, what opening and closing a device does, groups of several
 * functions, what blocks while a VMM holds a device, iommufd.
 */
#include "conformance_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void
rows_group_open(struct rows *r)
{
    char node[64];
    struct node *a, *b;
    struct user u;

    bind_vfio(r, "gpu");
    group_node(r, "gpu", node, sizeof(node));
    eventually(r, "gpu/power_state", "D3hot");
    open_node(r, "group", node, &a);
    R(r, "gpu/power_state");
    open_node(r, "group again", node, &b);
    r->b->close(r->b->ctx, b);
    r->b->close(r->b->ctx, a);
    open_node(r, "group after close", node, &a);
    r->b->close(r->b->ctx, a);
    say(r, "open the device as a VMM does -> %s", row_result(user_open(r, "gpu", true, &u)));
    R(r, "gpu/power_state");
    open_node(r, "group while held", node, &b);
    r->b->close(r->b->ctx, b);
    bar_of(r, "gpu");
    if (u.device) {
        uint32_t v = 0;

        say(r, "read BAR0 by VFIO -> %s", row_result(r->b->vfio_bar0(r->b->ctx, u.device, &v)));
        bar_of(r, "gpu");
    }
    user_close(r, &u);
    eventually(r, "gpu/power_state", "D3hot");
    W(r, "gpu/power/control", "on");
    bar_of(r, "gpu");
    release(r, "gpu");
}

/* Opening the device and closing it reset it, opening its group does not. */
static void
rows_resets(struct rows *r)
{
    struct node *group;
    struct user u;
    char node[64];

    bind_vfio(r, "gpu");
    W(r, "gpu/power/control", "on");
    mark(r, "gpu");
    open_node(r, "group", group_node(r, "gpu", node, sizeof(node)), &group);
    r->b->close(r->b->ctx, group);
    mark_of(r, "gpu");
    say(r, "open the device as a VMM does -> %s", row_result(user_open(r, "gpu", true, &u)));
    mark_of(r, "gpu");
    mark(r, "gpu");
    user_close(r, &u);
    mark_of(r, "gpu");
    mark(r, "gpu");
    say(r, "container without device -> %s", row_result(user_open(r, "gpu", false, &u)));
    user_close(r, &u);
    mark_of(r, "gpu");
    W(r, "gpu/reset", "1");
    mark_of(r, "gpu");
    W(r, "gpu/reset_method", "bus");
    mark(r, "gpu");
    W(r, "gpu/reset", "1");
    mark_of(r, "gpu");
    W(r, "gpu/reset_method", "default");
    release(r, "gpu");
}

static void
rows_viable(struct rows *r)
{
    struct user u;
    char a[64], b[64];

    say(r, "group of the port and of its device -> %s",
        strcmp(group_node(r, "port", a, sizeof(a)), group_node(r, "pair", b, sizeof(b))) == 0
            ? "one"
            : "two");
    driver_of(r, "port");
    W(r, "audio/driver_override", "$dma");
    W(r, "dma/bind", "$audio");
    driver_of(r, "audio");
    W(r, "audio/driver_override", "vfio-pci");
    W(r, "vfio/bind", "$audio");
    W(r, "vfio/unbind", "$audio");
    bind_vfio(r, "pair");
    say(r, "open the device as a VMM does -> %s", row_result(user_open(r, "pair", true, &u)));
    user_close(r, &u);
    W(r, "audio/driver/unbind", "$audio");
    say(r, "open the device as a VMM does -> %s", row_result(user_open(r, "pair", true, &u)));
    W(r, "audio/driver_override", "$dma");
    W(r, "dma/bind", "$audio");
    W(r, "bus/drivers_probe", "$audio");
    driver_of(r, "audio");
    user_close(r, &u);
    W(r, "dma/bind", "$audio");
    (void)quiet(r, "dma/unbind", "$audio");
    modprobe(r, "pci-stub", true);
    W(r, "audio/driver_override", "pci-stub");
    W(r, "bus/drivers_probe", "$audio");
    driver_of(r, "audio");
    say(r, "open the device as a VMM does -> %s", row_result(user_open(r, "pair", true, &u)));
    user_close(r, &u);
    W(r, "audio/driver/unbind", "$audio");
    (void)quiet(r, "audio/driver_override", "\n");
    release(r, "pair");
}

static void
rows_pending_unbind(struct rows *r)
{
    struct pending *unbind, *reset, *enable, *control;
    struct node *n;
    struct user u;
    char node[64];

    bind_vfio(r, "gpu");
    say(r, "container without device -> %s", row_result(user_open(r, "gpu", false, &u)));
    W(r, "vfio/unbind", "$gpu");
    user_close(r, &u);
    bind_vfio(r, "gpu");
    group_node(r, "gpu", node, sizeof(node));
    say(r, "open the device as a VMM does -> %s", row_result(user_open(r, "gpu", true, &u)));
    unbind = begin(r, "gpu/driver/unbind", "$gpu");
    driver_of(r, "gpu");
    mode_of(r, "group node", node);
    open_node(r, "group", node, &n);
    R(r, "gpu/vendor");
    W(r, "gpu/driver_override", "\n");
    W(r, "bus/drivers_probe", "$gpu");
    bind_vfio(r, "twin");
    driver_of(r, "twin");
    W(r, "twin/reset", "1");
    release(r, "twin");
    driver_of(r, "twin");
    reset = begin(r, "gpu/reset", "1");
    kill_writer(r, reset, "reset");
    enable = begin(r, "gpu/enable", "1");
    kill_writer(r, enable, "enable");
    control = begin(r, "gpu/power/control", "auto");
    kill_writer(r, control, "power/control");
    user_close(r, &u);
    finish(r, unbind, "unbind");
    eventually(r, "gpu/enable", "1");
    eventually(r, "gpu/power/control", "auto");
    W(r, "gpu/power/control", "on");
    W(r, "gpu/enable", "0");
}

static void
rows_killed_unbind(struct rows *r)
{
    struct pending *unbind;
    struct user u;
    char node[64];

    bind_vfio(r, "gpu");
    group_node(r, "gpu", node, sizeof(node));
    say(r, "open the device as a VMM does -> %s", row_result(user_open(r, "gpu", true, &u)));
    unbind = begin(r, "gpu/driver/unbind", "$gpu");
    kill_writer(r, unbind, "unbind");
    mode_of(r, "group node", node);
    (void)quiet(r, "gpu/driver_override", "\n");
    user_close(r, &u);
    W(r, "gpu/reset", "1");
    driver_of(r, "gpu");
    mode_of(r, "group node", node);
}

static void
rows_pending_remove(struct rows *r)
{
    struct pending *remove;
    struct user u;

    bind_vfio(r, "gpu");
    say(r, "open the device as a VMM does -> %s", row_result(user_open(r, "gpu", true, &u)));
    remove = begin(r, "gpu/remove", "1");
    R(r, "gpu/vendor");
    W(r, "gpu/remove", "1");
    user_close(r, &u);
    finish(r, remove, "remove");
    R(r, "gpu/vendor");
    W(r, "bus/rescan", "1");
    driver_of(r, "gpu");
}

static void
rows_no_iommufd(struct rows *r)
{
    struct node *group;
    char node[64];

    bind_vfio(r, "gpu");
    mode_of(r, "iommufd", "/dev/iommu");
    mode_of(r, "vfio-dev", "gpu/vfio-dev");
    mode_of(r, "cdev", cdev_node(r, "gpu", node, sizeof(node)));
    mode_of(r, "cdev directory", "/dev/vfio/devices");
    open_node(r, "group", group_node(r, "gpu", node, sizeof(node)), &group);
    r->b->close(r->b->ctx, group);
    release(r, "gpu");
}

static void
bind_cdev(struct rows *r, const char *label, struct node *cdev, struct node *iommufd)
{
    say(r, "bind %s to iommufd -> %s", label,
        row_result(cdev && iommufd ? r->b->bind_iommufd(r->b->ctx, cdev, iommufd) : -EBADF));
}

static void
rows_cdev(struct rows *r)
{
    const struct backend *b = r->b;
    struct node *first, *second, *group, *iommufd;
    char cdev[64], node[64];
    struct user u;

    bind_vfio(r, "gpu");
    W(r, "gpu/power/control", "on");
    (void)cdev_node(r, "gpu", cdev, sizeof(cdev));
    (void)group_node(r, "gpu", node, sizeof(node));
    mode_of(r, "iommufd", "/dev/iommu");
    open_node(r, "iommufd", "/dev/iommu", &iommufd);
    mode_of(r, "cdev", cdev);
    mark(r, "gpu");
    open_node(r, "cdev", cdev, &first);
    mark_of(r, "gpu");
    open_node(r, "cdev again", cdev, &second);
    bind_cdev(r, "the first", first, iommufd);
    mark_of(r, "gpu");
    bind_cdev(r, "the first again", first, iommufd);
    bind_cdev(r, "the second", second, iommufd);
    open_node(r, "group while the cdev is bound", node, &group);
    b->close(b->ctx, group);
    mark(r, "gpu");
    b->close(b->ctx, first);
    mark_of(r, "gpu");
    W(r, "gpu/power/control", "auto");
    eventually(r, "gpu/power_state", "D3hot");
    open_node(r, "group", node, &group);
    bind_cdev(r, "the second while the group is open", second, iommufd);
    b->close(b->ctx, group);
    say(r, "open the device as a VMM does -> %s", row_result(user_open(r, "gpu", true, &u)));
    bind_cdev(r, "the second while the device is open", second, iommufd);
    user_close(r, &u);
    bind_cdev(r, "the second", second, iommufd);
    R(r, "gpu/power_state");
    b->close(b->ctx, second);
    eventually(r, "gpu/power_state", "D3hot");
    b->close(b->ctx, iommufd);
    release(r, "gpu");
}

/* A cdev that is merely open is enough to block. */
static void
rows_cdev_pending(struct rows *r)
{
    struct pending *unbind;
    struct node *n, *iommufd;
    char cdev[64];

    bind_vfio(r, "gpu");
    open_node(r, "iommufd", "/dev/iommu", &iommufd);
    open_node(r, "cdev", cdev_node(r, "gpu", cdev, sizeof(cdev)), &n);
    unbind = begin(r, "gpu/driver/unbind", "$gpu");
    mode_of(r, "cdev", cdev);
    bind_cdev(r, "it", n, iommufd);
    r->b->close(r->b->ctx, n);
    finish(r, unbind, "unbind");
    r->b->close(r->b->ctx, iommufd);
    (void)quiet(r, "gpu/driver_override", "\n");
}

const struct row_section sections_of_vfio[] = {
    {"a group node", NULL, rows_group_open},
    {"what resets a device", NULL, rows_resets},
    {"a group with a sibling on a host driver", "pair", rows_viable},
    {"unbind while a VMM holds the device", NULL, rows_pending_unbind},
    {"unbind whose writer is killed", NULL, rows_killed_unbind},
    {"remove while a VMM holds the device", NULL, rows_pending_remove},
    {"no cdev", "no iommufd", rows_no_iommufd},
    {"the cdev", "iommufd", rows_cdev},
    {"unbind while a cdev is open", "iommufd", rows_cdev_pending},
    {NULL, NULL, NULL},
};
