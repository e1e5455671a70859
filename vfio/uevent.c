/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel uevents as a hint to rescan. One object, one thread; never blocks.
 */
#include "vfio/uevent.h"

#include "base/cleanup.h"
#include "vfio/parse.h"

#include <errno.h>
#include <libudev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The kernel's limit is 2 KiB (UEVENT_BUFFER_SIZE); eight times that is certainly enough. */
#define PAYLOAD_MAX 16384
/* Per call, so that a storm of events cannot keep the caller here. */
#define DRAIN_MAX 1024
/* Room for the burst when a whole machine's functions appear. Best effort. */
#define RECEIVE_BUFFER (8 << 20)

struct vfio_uevents {
    int fd; /* simulated node's socket, or -1 */
    struct udev *udev;
    struct udev_monitor *monitor;
};

static int
open_socket(struct vfio_uevents *u, const char *path, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(sa.sun_path))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID,
                       "connect to the event socket %s: path too long", path);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    u->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (u->fd < 0 || connect(u->fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "connect to the event socket %s", path);
    return 0;
}

static int
open_udev(struct vfio_uevents *u, struct err *e)
{
    static const char *const subsystems[] = {"pci", "vfio", "vfio-dev"};
    int r = 0;

    errno = 0;
    u->udev = udev_new();
    /* "kernel", not "udev": the latter never delivers where no udevd runs, as in a container. */
    if (u->udev)
        u->monitor = udev_monitor_new_from_netlink(u->udev, "kernel");
    if (!u->monitor)
        return err_errno(e, errno ? errno : ENOMEM, ERR_CLASS_RETRY, "open the uevent monitor");
    for (size_t i = 0; i < ARRAY_SIZE(subsystems) && r >= 0; i++)
        r = udev_monitor_filter_add_match_subsystem_devtype(u->monitor, subsystems[i], NULL);
    (void)udev_monitor_set_receive_buffer_size(u->monitor, RECEIVE_BUFFER);
    if (r >= 0)
        r = udev_monitor_enable_receiving(u->monitor);
    if (r < 0)
        return err_errno(e, -r, ERR_CLASS_RETRY, "enable the uevent monitor");
    return 0;
}

static void
close_p(struct vfio_uevents **u)
{
    vfio_uevents_close(*u);
}

int
vfio_uevents_open(const char *socket, struct vfio_uevents **ret, struct err *e)
{
    _cleanup_(close_p) struct vfio_uevents *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "open the uevent monitor");
    u->fd = -1;
    r = socket ? open_socket(u, socket, e) : open_udev(u, e);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(struct vfio_uevents, u);
    return 0;
}

void
vfio_uevents_close(struct vfio_uevents *u)
{
    if (!u)
        return;
    fd_close(&u->fd);
    (void)udev_monitor_unref(u->monitor);
    (void)udev_unref(u->udev);
    free(u);
}

int
vfio_uevents_fd(const struct vfio_uevents *u)
{
    return u->monitor ? udev_monitor_get_fd(u->monitor) : u->fd;
}

/* One message. 1 and *relevant set, 0 nothing queued, or an error. */
static int
receive(struct vfio_uevents *u, bool *relevant, struct err *e)
{
    char payload[PAYLOAD_MAX];
    struct iovec iov = {.iov_base = payload, .iov_len = sizeof(payload)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n = recvmsg(u->fd, &msg, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0 && errno != ECONNRESET)
        return err_errno(e, errno, ERR_CLASS_RETRY, "read the event socket");
    if (n <= 0)
        return err_set(e, ENOTCONN, ERR_CLASS_RETRY, "read the event socket: the peer is gone");
    /* Too long to be a uevent, or not shaped like one: still "something happened". */
    if ((msg.msg_flags & MSG_TRUNC) || !vfio_parse_uevent(payload, (size_t)n, relevant))
        *relevant = true;
    return 1;
}

static int
receive_udev(struct vfio_uevents *u, bool *relevant)
{
    struct udev_device *d;

    errno = 0;
    d = udev_monitor_receive_device(u->monitor);
    if (d) {
        (void)udev_device_unref(d);
        *relevant = true; /* the monitor filters by subsystem */
        return 1;
    }
    /* The kernel dropped events because we were slow: what they said is unknown. */
    if (errno == ENOBUFS) {
        *relevant = true;
        return 1;
    }
    return 0;
}

int
vfio_uevents_drain(struct vfio_uevents *u, bool *ret_relevant, struct err *e)
{
    bool any = false;

    for (unsigned i = 0; i < DRAIN_MAX; i++) {
        bool relevant = false;
        int r = u->monitor ? receive_udev(u, &relevant) : receive(u, &relevant, e);

        if (r < 0)
            return r;
        if (r == 0)
            break;
        any |= relevant;
    }
    *ret_relevant = any;
    return 0;
}
