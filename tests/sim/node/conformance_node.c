/* SPDX-License-Identifier: Apache-2.0
 *
 * Conformance on a simulated node.
 */
#include "conformance_node.h"

#include "sim/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char *control_path;
static int event_fd = -1;

static int
command(const char *line)
{
    static char reply[SIM_REPLY_MAX];
    struct err e = ERR_INIT;

    if (sim_ctl_call(control_path, line, reply, sizeof(reply), &e) >= 0)
        return 0;
    (void)fprintf(stderr, "conformance: %s: %s\n", line, e.msg);
    return -e.num;
}

static int
node_modprobe(void *ctx, const char *module, bool load)
{
    char line[128];

    (void)ctx;
    (void)snprintf(line, sizeof(line), "%s %s", load ? "load" : "unload", module);
    return command(line);
}

static int
node_hardware(void *ctx, const char *verb, const char *who, const char *addr, const char *arg)
{
    char line[128];

    (void)ctx;
    (void)who;
    (void)snprintf(line, sizeof(line), "%s %s %s", verb, addr, arg);
    return command(line);
}

static int
node_event(void *ctx, char *payload, size_t size, size_t *ret_len, unsigned ms)
{
    struct pollfd p = {.fd = event_fd, .events = POLLIN};
    ssize_t n;

    (void)ctx;
    if (poll(&p, 1, (int)ms) <= 0)
        return -EAGAIN;
    n = recv(event_fd, payload, size, 0);
    if (n <= 0)
        return n < 0 ? -errno : -ECONNRESET;
    *ret_len = (size_t)n;
    return 0;
}

int
conformance_node(const char *root, const char *control, const char *uevents, struct backend *ret)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(uevents) >= sizeof(sun.sun_path))
        return -ENAMETOOLONG;
    memcpy(sun.sun_path, uevents, strlen(uevents) + 1);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
        int num = errno;

        (void)close(fd);
        return -num;
    }
    event_fd = fd;
    control_path = control;
    *ret = conformance_dir(root);
    ret->modprobe = node_modprobe;
    ret->hardware = node_hardware;
    ret->event = node_event;
    return command("rules"); /* it answers */
}
