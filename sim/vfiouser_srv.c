/* SPDX-License-Identifier: Apache-2.0
 *
 * The set of vfio-user servers: making devices, starting, ending. See sim/vfiouser_srv.h.
 */
#include "sim/vfiouser_priv.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "sim/ctlsock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t
clock_now(void *ctx)
{
    struct timespec ts;

    (void)ctx;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int
vfu_srv_new(const struct vfu_srv_params *p, struct vfu_srv **ret, struct err *e)
{
    struct vfu_srv *s = calloc(1, sizeof(*s));

    if (!s)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "make a vfio-user server: out of memory");
    s->params = *p;
    s->control_fd = -1;
    (void)pthread_mutex_init(&s->trace_lock, NULL);
    for (size_t i = 0; i < VFU_TRACES_MAX; i++)
        s->trace[i].fd = -1;
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (s->stop_fd < 0) {
        int num = errno;

        vfu_srv_free(s);
        return err_errno(e, num, ERR_CLASS_FATAL, "make a vfio-user server");
    }
    *ret = s;
    return 0;
}

struct vfu_port *
vfu_port_find(const struct vfu_srv *s, const char *name)
{
    for (size_t i = 0; i < s->n_port; i++)
        if (strcmp(s->port[i]->name, name) == 0)
            return s->port[i];
    return NULL;
}

/* ---- a device from its text ---- */

static int
set_name(struct vfu_port *p, const char *path, size_t len, struct err *e)
{
    const char *slash = memrchr(path, '/', len);
    const char *base = slash ? slash + 1 : path;
    size_t n = len - (size_t)(base - path);

    if (len >= sizeof(p->path))
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID, "device %.40s...: the path is too long",
                       path);
    memcpy(p->path, path, len);
    if (n >= 5 && memcmp(base + n - 5, ".sock", 5) == 0)
        n -= 5;
    if (n == 0 || n >= sizeof(p->name))
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "device %s: the name of its socket has to have 1 to %zu characters", p->path,
                       sizeof(p->name) - 1);
    memcpy(p->name, base, n);
    if (strcspn(p->name, " \t\n,") < n || strcmp(p->name, "all") == 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "device %s: \"%s\" can't be a name", p->path,
                       p->name);
    if (vfu_port_find(p->srv, p->name))
        return err_set(e, EEXIST, ERR_CLASS_INVALID, "device %s: there are two of the name %s",
                       p->path, p->name);
    return 0;
}

/* Words of a device's text that are nothing to be done to it, but decide how it is made. */
static const char *const build_words[] = {"booting", "no-msix"};

static bool
has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == '\0'))
            return true;
    return false;
}

/* `options`: the rest of the device's text, or NULL. */
static int
make_device(struct vfu_port *p, const char *model, const char *options, struct err *e)
{
    const struct vfu_srv_params *sp = &p->srv->params;
    struct sim_gpu_params gp = {.model = sim_model_find(model),
                                .now_ns = clock_now,
                                .time_scale = sp->time_scale,
                                .booted = !has_word(options, build_words[0]),
                                .no_msix = has_word(options, build_words[1])};
    _cleanup_free_ char *nvram = NULL;
    struct sim_gpu *g = NULL;
    int r;

    if (!gp.model)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "device %s: no model \"%s\"", p->name, model);
    if (sp->state_dir && asprintf(&nvram, "%s/%s.nvram", sp->state_dir, p->name) < 0)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "device %s: out of memory", p->name);
    gp.nvram_path = nvram;
    r = sim_gpu_new(&gp, &g, e);
    if (r == 0)
        r = vfu_dev_new(g, &p->dev, e);
    if (r < 0)
        sim_gpu_free(g);
    return r;
}

static int
apply_option(struct vfu_port *p, char *word, struct err *e)
{
    char *value;

    if (strncmp(word, "fault=", 6) == 0)
        return vfu_port_fault(p, word + 6, e);
    value = strchr(word, ':');
    if (strncmp(word, "knob=", 5) == 0 && value) {
        *value = '\0';
        return vfu_port_knob(p, word + 5, value + 1, e);
    }
    for (size_t i = 0; i < ARRAY_SIZE(build_words); i++)
        if (strcmp(word, build_words[i]) == 0)
            return 0;
    return err_set(e, EINVAL, ERR_CLASS_INVALID,
                   "\"%s\" is none of fault=SPEC, knob=N:VALUE, booting, no-msix", word);
}

static int
configure(struct vfu_port *p, const char *spec, struct err *e)
{
    const char *eq = strchr(spec, '=');
    _cleanup_free_ char *text = NULL;
    char *rest, *word;
    int r;

    if (!eq || eq == spec)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "device \"%s\": want SOCKET=MODEL[,OPTION...]",
                       spec);
    r = set_name(p, spec, (size_t)(eq - spec), e);
    if (r < 0)
        return r;
    rest = text = strdup(eq + 1);
    if (!text)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "device %s: out of memory", p->name);
    word = strsep(&rest, ",");
    r = make_device(p, word, rest, e);
    while (r == 0 && (word = strsep(&rest, ","))) {
        r = apply_option(p, word, e);
        if (r < 0)
            (void)err_prefix(e, "device %s", p->name);
    }
    return r;
}

static void
port_free(struct vfu_port *p)
{
    if (p->listen_fd >= 0)
        (void)unlink(p->path);
    fd_close(&p->listen_fd);
    vfu_dev_free(p->dev);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

int
vfu_srv_add(struct vfu_srv *s, const char *spec, struct err *e)
{
    struct vfu_port *p;
    int r;

    if (s->n_port == VFU_PORTS_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "more than %u devices", VFU_PORTS_MAX);
    p = calloc(1, sizeof(*p));
    if (!p)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "device %s: out of memory", spec);
    p->srv = s;
    p->listen_fd = p->client_fd = -1;
    (void)pthread_mutex_init(&p->lock, NULL);
    r = configure(p, spec, e);
    if (r < 0)
        port_free(p);
    else
        s->port[s->n_port++] = p;
    return r;
}

/* ---- start, end ---- */

int
vfu_srv_start(struct vfu_srv *s, const char *control_path, struct err *e)
{
    size_t i;
    int r;

    for (i = 0; i < s->n_port; i++) {
        r = s->port[i]->listen_fd = ctlsock_listen(s->port[i]->path, SOCK_STREAM, e);
        if (r < 0)
            return r;
    }
    if (control_path) {
        r = s->control_fd = ctlsock_listen(control_path, SOCK_STREAM, e);
        if (r < 0)
            return r;
        (void)str_copy(s->control_path, sizeof(s->control_path), control_path);
        r = pthread_create(&s->control_thread, NULL, vfu_control_thread, s);
        if (r != 0)
            return err_errno(e, r, ERR_CLASS_FATAL, "start the control thread");
        s->control_started = true;
    }
    for (i = 0; i < s->n_port; i++) {
        r = pthread_create(&s->port[i]->thread, NULL, vfu_port_thread, s->port[i]);
        if (r != 0)
            return err_errno(e, r, ERR_CLASS_FATAL, "start device %s", s->port[i]->name);
        s->port[i]->started = true;
    }
    return 0;
}

void
vfu_srv_free(struct vfu_srv *s)
{
    uint64_t one = 1;
    size_t i;

    if (!s)
        return;
    if (s->stop_fd >= 0)
        (void)!write(s->stop_fd, &one, sizeof(one));
    if (s->control_started)
        (void)pthread_join(s->control_thread, NULL);
    for (i = 0; i < s->n_port; i++)
        if (s->port[i]->started)
            (void)pthread_join(s->port[i]->thread, NULL);
    for (i = 0; i < s->n_port; i++)
        port_free(s->port[i]);
    for (i = 0; i < VFU_TRACES_MAX; i++)
        fd_close(&s->trace[i].fd);
    if (s->control_fd >= 0)
        (void)unlink(s->control_path);
    fd_close(&s->control_fd);
    fd_close(&s->stop_fd);
    (void)pthread_mutex_destroy(&s->trace_lock);
    free(s);
}
