/* SPDX-License-Identifier: Apache-2.0
 *
 * Life of the kubelet side: resources and their lists, and the watch on the plugin directory. The
 * watch is inotify with a slow poll behind it, since events get lost on overlays and bind mounts.
 */
#include "deviceplugin/dp.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "deviceplugin/dp_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The period of the poll, and how exact it is: the looser, the fewer wake-ups of its own. */
#define POLL_USEC ((uint64_t)5 * 1000 * 1000)
#define POLL_SLACK_USEC ((uint64_t)1000 * 1000)
#define RESOURCES_MAX 64
#define SWEEP_MAX 256 /* old sockets looked at */

/* ---- files ---- */

struct dp_file_id
dp_file_id(const char *path)
{
    struct dp_file_id id = {0};
    struct statx st;

    if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &st) < 0)
        return id;
    id.dev = ((dev_t)st.stx_dev_major << 32) | st.stx_dev_minor;
    id.ino = st.stx_ino;
    if (st.stx_mask & STATX_BTIME)
        id.born_ns = st.stx_btime.tv_sec * 1000000000 + st.stx_btime.tv_nsec;
    return id;
}

bool
dp_file_same(const struct dp_file_id *a, const struct dp_file_id *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->born_ns == b->born_ns;
}

bool
dp_file_none(const struct dp_file_id *a)
{
    return a->ino == 0;
}

uint64_t
dp_now_usec(const struct dp *d)
{
    uint64_t usec = 0;

    (void)sd_event_now(d->loop, CLOCK_MONOTONIC, &usec);
    return usec;
}

/* ---- the plugin directory ---- */

/* Whether somebody listens on the socket. Unsure counts as yes. */
static bool
alive(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd, r;

    if (!str_copy(a.sun_path, sizeof(a.sun_path), path))
        return true;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true;
    r = connect(fd, (struct sockaddr *)(void *)&a, sizeof(a)) < 0 ? errno : 0;
    fd_close(&fd);
    return r != ECONNREFUSED;
}

/* Removes what instances that were killed left behind; a kubelet would only at its next start. */
static void
sweep(const struct dp *d)
{
    size_t n = strlen(d->prefix), left = SWEEP_MAX;
    DIR *dir = opendir(d->dir);
    struct dirent *de;
    struct stat st;

    while (dir && left > 0 && (de = readdir(dir))) {
        char path[GIO_PATH_MAX + 1];
        int len = snprintf(path, sizeof(path), "%s/%s", d->dir, de->d_name);

        if (strncmp(de->d_name, d->prefix, n) != 0 || de->d_name[n] != '-' || len < 0 ||
            (size_t)len >= sizeof(path))
            continue;
        left--;
        if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && !alive(path))
            (void)unlink(path);
    }
    if (dir)
        (void)closedir(dir);
}

/* (Re-)sets the watch when the directory is another than the one watched. */
static void
watch_directory(struct dp *d)
{
    struct dp_file_id now = dp_file_id(d->dir);

    if (d->inotify < 0 || dp_file_none(&now) || dp_file_same(&now, &d->watched))
        return;
    if (inotify_add_watch(d->inotify, d->dir,
                          IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF |
                              IN_MOVE_SELF | IN_ONLYDIR) >= 0)
        d->watched = now;
}

static void
check_all(struct dp *d)
{
    watch_directory(d);
    for (struct dp_resource *r = d->resources; r; r = r->next)
        dp_register_check(r);
}

/* Events are hints: what they say is thrown away and the directory looked at. */
static int
on_inotify(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
    char buf[4096] __attribute__((aligned(8)));
    ssize_t n;

    (void)s;
    (void)revents;
    do
        n = read(fd, buf, sizeof(buf));
    while (n > 0 || (n < 0 && errno == EINTR));
    check_all(userdata);
    return 0;
}

static int
on_poll(sd_event_source *s, uint64_t usec, void *userdata)
{
    (void)usec;
    check_all(userdata);
    (void)sd_event_source_set_time_relative(s, POLL_USEC);
    (void)sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
    return 0;
}

static int
watch_begin(struct dp *d, struct err *e)
{
    int r;

    d->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (d->inotify < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "watch %s: inotify", d->dir);
    r = sd_event_add_io(d->loop, &d->watch_source, d->inotify, POLLIN, on_inotify, d);
    if (r >= 0)
        r = sd_event_add_time_relative(d->loop, &d->poll_timer, CLOCK_MONOTONIC, POLL_USEC,
                                       POLL_SLACK_USEC, on_poll, d);
    if (r < 0)
        return err_errno(e, -r, ERR_CLASS_FATAL, "watch %s: event source", d->dir);
    watch_directory(d);
    return 0;
}

/* ---- resources ---- */

static int
on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
    (void)s;
    (void)usec;
    dp_register_timer(userdata);
    return 0;
}

void
dp_timer(struct dp_resource *r, uint64_t usec)
{
    if (usec == UINT64_MAX) {
        (void)sd_event_source_set_enabled(r->timer, SD_EVENT_OFF);
        return;
    }
    (void)sd_event_source_set_time_relative(r->timer, usec);
    (void)sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT);
}

static struct dp_resource *
find(const struct dp *d, const char *resource)
{
    for (struct dp_resource *r = d->resources; r; r = r->next)
        if (strcmp(r->name, resource) == 0)
            return r;
    return NULL;
}

static void
resource_free(struct dp_resource *r)
{
    if (!r)
        return;
    sd_event_source_disable_unref(r->timer);
    for (size_t i = 0; i < DP_STREAMS_MAX; i++)
        buf_fini(&r->streams[i].last);
    buf_fini(&r->list);
    free(r);
}

static uint32_t
jitter_seed(const char *name)
{
    uint32_t seed = (uint32_t)getpid();
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    seed ^= (uint32_t)ts.tv_nsec;
    for (; *name; name++)
        seed = seed * 31 + (unsigned char)*name;
    return seed;
}

static int
resource_new(struct dp *d, const char *name, struct dp_resource **ret, struct err *e)
{
    struct dp_resource *r = calloc(1, sizeof(*r));
    int rc;

    if (!r)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "add resource %s: out of memory", name);
    r->d = d;
    r->generation = 1;
    r->backoff.seed = jitter_seed(name);
    (void)str_copy(r->name, sizeof(r->name), name);
    buf_init(&r->list, GIO_MESSAGE_MAX);
    rc = sd_event_add_time_relative(d->loop, &r->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, r);
    if (rc >= 0)
        rc = sd_event_source_set_enabled(r->timer, SD_EVENT_OFF);
    if (rc < 0) {
        resource_free(r);
        return err_errno(e, -rc, ERR_CLASS_FATAL, "add resource %s: timer", name);
    }
    *ret = r;
    return 0;
}

int
dp_add_resource(struct dp *d, const char *resource, struct err *e)
{
    const char *slash = strchr(resource, '/');
    struct dp_resource *r = NULL, **p;
    size_t n = 0;
    int rc;

    if (!slash || slash == resource || !slash[1] || strchr(slash + 1, '/') ||
        strlen(resource) >= DP_RESOURCE_MAX)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "add resource %s: not of the form <domain>/<name>", resource);
    if (find(d, resource))
        return err_set(e, EEXIST, ERR_CLASS_INVALID, "add resource %s: it is there already",
                       resource);
    for (p = &d->resources; *p; p = &(*p)->next)
        n++;
    if (n >= RESOURCES_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "add resource %s: more than %d resources",
                       resource, RESOURCES_MAX);
    rc = resource_new(d, resource, &r, e);
    if (rc < 0)
        return rc;
    *p = r;
    dp_register_begin(r);
    return 0;
}

static int
cmp_device(const void *a, const void *b)
{
    const struct dp_device *x = a, *y = b;

    return strcmp(x->id, y->id);
}

static int
encode_sorted(const struct dp_device *dev, size_t n, struct buf *out, struct err *e)
{
    struct dp_device *sorted = calloc(n + 1, sizeof(*sorted));
    int r;

    if (!sorted)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "out of memory");
    if (n > 0) {
        memcpy(sorted, dev, n * sizeof(*sorted));
        qsort(sorted, n, sizeof(*sorted), cmp_device);
    }
    r = dp_encode_list(sorted, n, out, e);
    free(sorted);
    return r;
}

int
dp_set_devices(struct dp *d, const char *resource, const struct dp_device *dev, size_t n,
               struct err *e)
{
    struct dp_resource *r = find(d, resource);
    struct buf list;

    if (!r)
        return err_set(e, ENOENT, ERR_CLASS_INVALID, "set devices of %s: no such resource",
                       resource);
    if (n > DP_IDS_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "set devices of %s: %zu devices, at most %d",
                       resource, n, DP_IDS_MAX);
    buf_init(&list, GIO_MESSAGE_MAX);
    if (encode_sorted(dev, n, &list, e) < 0) {
        buf_fini(&list);
        return err_prefix(e, "set devices of %s", resource);
    }
    if (list.len == r->list.len && (list.len == 0 || !memcmp(list.data, r->list.data, list.len))) {
        buf_fini(&list);
    } else {
        buf_fini(&r->list);
        r->list = list;
        r->generation++;
        dp_server_flush(r);
    }
    r->listed = true;
    dp_register_listed(r);
    return 0;
}

enum dp_link
dp_link(const struct dp *d, const char *resource)
{
    const struct dp_resource *r = find(d, resource);

    return r ? r->link : DP_LINK_DOWN;
}

/* ---- the whole ---- */

/* In a container the process ID is the same at every start: begin with the time of day, so that a
 * socket name never comes twice. */
static unsigned
first_number(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (unsigned)((uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000) & 0x7fffffff;
}

static int
paths_init(struct dp *d, const struct dp_options *opt, struct err *e)
{
    int n;

    if (opt->plugin_dir[0] != '/' || !str_copy(d->dir, sizeof(d->dir), opt->plugin_dir))
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "plugin directory %s: not an absolute path of at most %d bytes",
                       opt->plugin_dir, GIO_PATH_MAX);
    n = snprintf(d->kubelet, sizeof(d->kubelet), "%s/kubelet.sock", d->dir);
    if (n < 0 || (size_t)n >= sizeof(d->kubelet))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID,
                       "plugin directory %s: too long for a socket path", opt->plugin_dir);
    if (!opt->socket_prefix[0] || strchr(opt->socket_prefix, '/') ||
        !str_copy(d->prefix, sizeof(d->prefix), opt->socket_prefix))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "socket prefix %s: not a short file name",
                       opt->socket_prefix);
    return 0;
}

int
dp_new(sd_event *loop, const struct dp_options *opt, const struct dp_handler *h, struct dp **ret,
       struct err *e)
{
    struct dp *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "start the device plugin: out of memory");
    d->inotify = -1;
    d->h = *h;
    d->loop = sd_event_ref(loop);
    d->sequence = first_number();
    r = paths_init(d, opt, e);
    if (r == 0)
        r = gio_new(loop, &d->io, e);
    if (r == 0)
        r = watch_begin(d, e);
    if (r == 0)
        sweep(d);
    if (r < 0) {
        dp_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

void
dp_free(struct dp *d)
{
    if (!d)
        return;
    for (struct dp_resource *r = d->resources; r; r = r->next)
        dp_server_fail_calls(r);
    gio_free(d->io);
    dp_pods_free(d->pods);
    for (struct dp_resource *r = d->resources, *next; r; r = next) {
        next = r->next;
        resource_free(r);
    }
    sd_event_source_disable_unref(d->watch_source);
    sd_event_source_disable_unref(d->poll_timer);
    fd_close(&d->inotify);
    sd_event_unref(d->loop);
    free(d);
}
