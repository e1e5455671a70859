/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-sim kata: what Kata's Go shim (4.1) does with GPUs when it creates a sandbox, and then what
 * its VMM does to the nodes. Exit status 0; 1 when the sandbox would fail; 2 for wrong usage.
 *
 *   1. PodResources Get(pod, namespace).
 *   2. Every device of every resource of every container becomes "<resource>=<id>".
 *   3. All CDI directories are read, strictly; any bad file ends it.
 *   4. Every name must resolve to a device with a VFIO node.
 *   5. Each node is opened as the VMM does: a cdev is bound to an iommufd; a group is put into the
 *      VM's one container, and the device taken from it by its address. A real kernel resets the
 *      device then. On the simulated node these ioctls carry no data.
 *   6. One JSON object says what came of it. With --hold the nodes stay open until SIGTERM or the
 *      end of standard input.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "deviceplugin/codec.h"
#include "deviceplugin/grpc_io.h"
#include "sim/kata_cdi.h"
#include "sim/kubelet.h"

#include <systemd/sd-event.h>

#include <json-c/json.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEVICES_MAX 64
#define CDI_DIRS_MAX 8
#define GET_NSEC UINT64_C(10000000000)

/* include/uapi/linux/vfio.h (6.6); Debian 12's headers are older. */
#ifndef VFIO_DEVICE_BIND_IOMMUFD
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#endif
struct bind_iommufd {
    uint32_t argsz;
    uint32_t flags;
    int32_t iommufd;
    uint32_t out_devid;
};

struct device {
    char name[512]; /* CDI name */
    char id[DP_ID_MAX];
    char node[256];
    int fd, extra; /* extra: iommufd or device descriptor */
    char error[256];
};

struct kata {
    const char *socket, *root, *pod;
    const char *cdi[CDI_DIRS_MAX];
    size_t n_cdi;
    bool hold, confidential;
    sd_event *loop;
    size_t n;
    struct device dev[DEVICES_MAX];
    int container; /* of all groups; -1 before the first */
    struct err get_err;
};

/* ---- steps 1 and 2 ---- */

static void
take_container(struct kata *k, const V1__ContainerResources *c)
{
    for (size_t i = 0; i < c->n_devices; i++)
        for (size_t j = 0; j < c->devices[i]->n_device_ids; j++) {
            const char *id = c->devices[i]->device_ids[j];
            struct device *d = &k->dev[k->n];

            if (k->n == DEVICES_MAX || !str_copy(d->id, sizeof(d->id), id))
                return;
            (void)snprintf(d->name, sizeof(d->name), "%s=%s", c->devices[i]->resource_name, id);
            d->fd = d->extra = -1;
            k->n++;
        }
}

static void
on_get(void *ctx, int status, const char *text, const uint8_t *data, size_t len)
{
    V1__GetPodResourcesResponse *m = NULL;
    struct kata *k = ctx;

    if (status == GIO_OK)
        m = (V1__GetPodResourcesResponse *)(void *)dp_unpack(
            &v1__get_pod_resources_response__descriptor, data, len, DP_PARSE_PODS_MAX);
    if (!m)
        (void)err_set(&k->get_err, ECOMM, ERR_CLASS_RETRY, "PodResources Get %s at %s: %s: %s",
                      k->pod, k->socket, gio_status_name(status), text);
    for (size_t i = 0; m && m->pod_resources && i < m->pod_resources->n_containers; i++)
        take_container(k, m->pod_resources->containers[i]);
    dp_unpack_free(m);
    (void)sd_event_exit(k->loop, 0);
}

static int
get_devices(struct kata *k, struct err *e)
{
    const struct gio_req_options o = {.timeout_ns = GET_NSEC, .done = on_get, .ctx = k};
    V1__GetPodResourcesRequest q;
    const char *slash = strchr(k->pod, '/');
    _cleanup_free_ char *ns = strndup(k->pod, (size_t)(slash - k->pod));
    _cleanup_free_ char *name = strdup(slash + 1);
    struct gio_channel *ch = NULL;
    struct gio *io = NULL;
    struct buf msg;

    v1__get_pod_resources_request__init(&q);
    q.pod_namespace = ns;
    q.pod_name = name;
    buf_init(&msg, 4096);
    if (dp_pack(&q.base, &msg, e) == 0 && gio_new(k->loop, &io, e) == 0 &&
        gio_channel_new(io, k->socket, DP_PODS_MESSAGE_MAX, &ch, e) == 0 &&
        gio_request(ch, DP_RPC_PODS_GET, msg.data, msg.len, &o, NULL, e) == 0) {
        (void)sd_event_loop(k->loop);
        if (k->get_err.num)
            *e = k->get_err;
    }
    buf_fini(&msg);
    gio_free(io);
    return -e->num;
}

/* ---- steps 3 and 4 ---- */

static int
resolve(struct kata *k, struct err *e)
{
    struct kata_cdi cdi = {0};
    int r = 0;

    if (kata_cdi_load(k->cdi, k->n_cdi, &cdi, e) < 0)
        return -e->num;
    for (size_t i = 0; i < k->n && r == 0; i++) {
        const struct kata_cdi_node *n = kata_cdi_find(&cdi, k->dev[i].name);

        if (!n)
            r = err_set(e, ENOENT, ERR_CLASS_INVALID, "unresolvable CDI devices %s",
                        k->dev[i].name);
        else if (!n->path || !str_copy(k->dev[i].node, sizeof(k->dev[i].node), n->path))
            r = err_set(e, ENOENT, ERR_CLASS_INVALID, "CDI device %s has no VFIO node", n->device);
        else if (k->confidential && strncmp(n->path, "/dev/vfio/devices/", 18) != 0)
            r = err_set(e, EINVAL, ERR_CLASS_INVALID,
                        "ConfidentialGuest needs IOMMUFD - cannot use %s", n->path);
    }
    kata_cdi_free(&cdi);
    return r;
}

/* ---- step 5 ---- */

static int
open_cdev(const struct fs_root *root, struct device *d, struct err *e)
{
    struct bind_iommufd bind = {.argsz = sizeof(bind)};

    d->extra = fs_open(root, "/dev/iommu", O_RDWR, 0, e);
    if (d->extra < 0)
        return d->extra;
    bind.iommufd = d->extra;
    if (ioctl(d->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind) < 0)
        return err_errno(e, errno, ERR_CLASS_BUSY, "bind %s to iommufd", d->node);
    return 0;
}

static int
join_container(struct kata *k, const struct fs_root *root, struct device *d, struct err *e)
{
    bool first = k->container < 0;

    if (first)
        k->container = fs_open(root, "/dev/vfio/vfio", O_RDWR, 0, e);
    if (k->container < 0)
        return k->container;
    if (ioctl(d->fd, VFIO_GROUP_SET_CONTAINER, &k->container) < 0)
        return err_errno(e, errno, ERR_CLASS_BUSY, "put %s into the container", d->node);
    if (first && ioctl(k->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
        return err_errno(e, errno, ERR_CLASS_BUSY, "set the container's IOMMU for %s", d->node);
    return 0;
}

/* A group can be opened once: its other devices come through the same descriptor. */
static int
open_group(struct kata *k, const struct fs_root *root, struct device *d, struct err *e)
{
    int r = 0;

    for (const struct device *o = k->dev; o < d && d->fd < 0; o++)
        if (o->fd >= 0 && strcmp(o->node, d->node) == 0)
            d->fd = fcntl(o->fd, F_DUPFD_CLOEXEC, 0);
    if (d->fd < 0) {
        d->fd = fs_open(root, d->node, O_RDWR, 0, e);
        r = d->fd < 0 ? d->fd : join_container(k, root, d, e);
    }
    if (r < 0)
        return r;
    r = ioctl(d->fd, VFIO_GROUP_GET_DEVICE_FD, d->id);
    if (r < 0)
        return err_errno(e, errno, ERR_CLASS_BUSY, "take %s from %s", d->id, d->node);
    d->extra = r > 0 ? r : -1; /* the simulated node opens it without a descriptor */
    return 0;
}

static int
open_node(struct kata *k, const struct fs_root *root, struct device *d, struct err *e)
{
    if (strncmp(d->node, "/dev/vfio/devices/", 18) != 0)
        return open_group(k, root, d, e);
    d->fd = fs_open(root, d->node, O_RDWR, 0, e);
    return d->fd < 0 ? d->fd : open_cdev(root, d, e);
}

static int
open_all(struct kata *k, struct err *e)
{
    struct fs_root root;

    if (fs_root_open(&root, k->root, e) < 0)
        return -e->num;
    for (size_t i = 0; i < k->n; i++) {
        struct err one = ERR_INIT;

        if (open_node(k, &root, &k->dev[i], &one) < 0) {
            (void)str_copy(k->dev[i].error, sizeof(k->dev[i].error), one.msg);
            if (!e->num)
                *e = one;
        }
    }
    fs_root_close(&root);
    return -e->num;
}

/* ---- step 6 ---- */

static void
report(const struct kata *k, const struct err *e)
{
    struct json_object *o = json_object_new_object(), *list = json_object_new_array();

    json_object_object_add(o, "ok", json_object_new_boolean(e->num == 0));
    json_object_object_add(o, "pod", json_object_new_string(k->pod));
    if (e->num)
        json_object_object_add(o, "error", json_object_new_string(e->msg));
    for (size_t i = 0; i < k->n; i++) {
        const struct device *d = &k->dev[i];
        struct json_object *x = json_object_new_object();

        json_object_object_add(x, "device", json_object_new_string(d->name));
        json_object_object_add(x, "node", json_object_new_string(d->node));
        json_object_object_add(x, "opened", json_object_new_boolean(d->fd >= 0 && !d->error[0]));
        if (d->error[0])
            json_object_object_add(x, "error", json_object_new_string(d->error));
        json_object_array_add(list, x);
    }
    json_object_object_add(o, "devices", list);
    (void)printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)fflush(stdout);
    json_object_put(o);
}

static int
on_stdin(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    char buf[256];
    ssize_t n = read(fd, buf, sizeof(buf));

    (void)revents;
    (void)userdata;
    if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)))
        return 0;
    return sd_event_exit(sd_event_source_get_event(s), 0);
}

static void
hold(void)
{
    sd_event *loop = NULL;

    if (sd_event_new(&loop) >= 0 && sd_event_add_signal(loop, NULL, SIGTERM, NULL, NULL) >= 0 &&
        sd_event_add_signal(loop, NULL, SIGINT, NULL, NULL) >= 0) {
        /* EPERM: a file or /dev/null, which never ends and cannot be waited for. */
        (void)sd_event_add_io(loop, NULL, STDIN_FILENO, EPOLLIN, on_stdin, NULL);
        (void)sd_event_loop(loop);
    }
    sd_event_unref(loop);
}

/* ---- the program ---- */

static const struct usage_opt options[] = {
    {"--pod-resources", "SOCKET", "the kubelet's PodResources socket", "file", 0},
    {"--cdi", "DIR", "CDI directory; may be repeated", "dir", 0},
    {"--root", "DIR", "the simulated node", "dir", 0},
    {"--pod", "NS/NAME", "the pod", NULL, 0},
    {"--confidential", NULL, "refuse group nodes, as confidential guests do", NULL, 0},
    {"--hold", NULL, "keep the nodes open until SIGTERM or the end of standard input", NULL, 0},
    {NULL, NULL, NULL, NULL, 0},
};

/* -1: go on; else the exit status. */
static int
parse(int argc, char **argv, struct kata *k)
{
    struct usage_args a;
    int rc = usage_parse(&sim_kata_usage, argc, argv, &a);
    const char *dir;

    if (rc >= 0)
        return rc;
    k->socket = usage_value(&a, "--pod-resources", NULL);
    k->root = usage_value(&a, "--root", NULL);
    k->pod = usage_value(&a, "--pod", NULL);
    k->hold = usage_flag(&a, "--hold");
    k->confidential = usage_flag(&a, "--confidential");
    while ((dir = usage_nth(&a, "--cdi", (unsigned)k->n_cdi)) != NULL) {
        if (k->n_cdi == CDI_DIRS_MAX)
            return usage_wrong(&a, "--cdi: at most %d", CDI_DIRS_MAX);
        k->cdi[k->n_cdi++] = dir;
    }
    if (!k->socket || !k->n_cdi || !k->root || !k->pod || !strchr(k->pod, '/'))
        return usage_wrong(&a, "--pod-resources, --cdi, --root and --pod NS/NAME are needed");
    return -1;
}

static int
sandbox(struct kata *k, struct err *e)
{
    int r = sd_event_new(&k->loop);

    if (r < 0)
        return err_errno(e, -r, ERR_CLASS_FATAL, "event loop");
    r = get_devices(k, e);
    if (r == 0)
        r = resolve(k, e);
    if (r == 0)
        r = open_all(k, e);
    return r;
}

static int
run(const void *ctx, int argc, char **argv)
{
    struct kata *k = calloc(1, sizeof(*k));
    struct err e = ERR_INIT;
    sigset_t set;
    int status;

    (void)ctx;
    if (!k)
        return EXIT_FAILURE;
    k->container = -1;
    status = parse(argc, argv, k);
    if (status >= 0) {
        free(k);
        return status;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    status = sandbox(k, &e) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    report(k, &e);
    if (k->hold && status == EXIT_SUCCESS)
        hold();
    for (size_t i = 0; i < k->n; i++) {
        fd_close(&k->dev[i].extra);
        fd_close(&k->dev[i].fd);
    }
    fd_close(&k->container);
    sd_event_unref(k->loop);
    free(k);
    return status;
}

const struct usage sim_kata_usage = {
    .name = "kata",
    .args = "--pod-resources SOCKET --cdi DIR --root DIR --pod NS/NAME",
    .summary = "a Kata stand-in: PodResources, CDI, opens the device",
    .text =
        "What Kata's shim and its VMM do for one pod: ask PodResources, look each device up in "
        "CDI, open its node. Prints one JSON object; exit status 1 when the sandbox would fail.",
    .opts = options,
    .run = run,
};
