/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: plugins that the runtime starts: every executable NN-NAME of a directory, with
 * a socket as descriptor 3, three variables as its whole environment, and nothing else.
 * (containerd/nri pkg/adaptation/adaptation.go discoverPlugins, plugin.go newLaunchedPlugin)
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define FILES_MAX 256
#define CONFIG_MAX ((size_t)1 << 20)

void
rt_launch_forget(struct sim_runtime *rt)
{
    for (size_t i = 0; i < rt->n_candidates; i++)
        free(rt->candidates[i].config);
    free(rt->candidates);
    rt->candidates = NULL;
    rt->n_candidates = rt->candidate = 0;
}

/* NN-NAME.conf, else NAME.conf, else nothing. */
static int
read_config(const struct sim_runtime *rt, struct rt_candidate *c, struct err *e)
{
    const char *dir = rt->opt.plugin_config_path;

    for (int own = 1; dir && own >= 0; own--) {
        struct err missing = ERR_INIT;
        char path[4096 + RT_NAME_MAX];
        size_t len;

        (void)snprintf(path, sizeof(path), "%s/%s%s%s.conf", dir, own ? c->index : "",
                       own ? "-" : "", c->base);
        if (fs_read_file(AT_FDCWD, path, CONFIG_MAX, &c->config, &len, &missing) == 0)
            return 0;
        if (missing.num != ENOENT) {
            *e = missing;
            return -e->num;
        }
    }
    return 0;
}

static bool
parse_name(const char *name, struct rt_candidate *c)
{
    if (!isdigit((unsigned char)name[0]) || !isdigit((unsigned char)name[1]) || name[2] != '-' ||
        !name[3])
        return false;
    (void)snprintf(c->index, sizeof(c->index), "%.2s", name);
    return str_copy(c->base, sizeof(c->base), name + 3);
}

static int
consider(struct sim_runtime *rt, const struct fs_root *dir, const char *name, struct err *e)
{
    struct rt_candidate *v, c = {0};
    struct err gone = ERR_INIT;
    _cleanup_fd_ int fd = fs_open(dir, name, O_PATH | O_NOFOLLOW, 0, &gone);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || S_ISDIR(st.st_mode) || !(st.st_mode & 0111))
        return 0;
    if (!parse_name(name, &c))
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "failed to discover plugins in %s: invalid plugin name \"%s\"",
                       rt->opt.plugin_path, name);
    if (read_config(rt, &c, e) < 0)
        return -e->num;
    v = realloc(rt->candidates, (rt->n_candidates + 1) * sizeof(*v));
    if (!v) {
        free(c.config);
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "discover plugins: out of memory");
    }
    rt->candidates = v;
    v[rt->n_candidates++] = c;
    return 0;
}

int
rt_launch_discover(struct sim_runtime *rt, struct err *e)
{
    struct err missing = ERR_INIT;
    struct fs_root dir;
    char **names;
    int n, r = 0;

    if (!rt->opt.plugin_path)
        return 0;
    if (fs_root_open(&dir, rt->opt.plugin_path, &missing) < 0) {
        if (missing.num == ENOENT)
            return 0;
        *e = missing;
        return -e->num;
    }
    n = fs_list(&dir, "/", FILES_MAX, &names, e);
    for (int i = 0; i < n && r == 0; i++)
        r = consider(rt, &dir, names[i], e);
    if (n >= 0)
        fs_names_free(names);
    fs_root_close(&dir);
    return n < 0 ? n : r;
}

/* ---- start ---- */

static int
on_child(sd_event_source *s, const siginfo_t *si, void *userdata)
{
    struct rt_plugin *p = userdata;

    (void)s;
    (void)si;
    /* Its connection says the same; but a plugin may have handed that to somebody else. */
    p->child = sd_event_source_disable_unref(p->child);
    return 0;
}

static int
run(struct sim_runtime *rt, const struct rt_candidate *c, int fd, pid_t *ret_pid, struct err *e)
{
    char path[4096 + RT_NAME_MAX], name[RT_NAME_MAX + 32], index[32];
    char socket[] = "NRI_PLUGIN_SOCKET=3";
    char *env[] = {name, index, socket, NULL};
    char *argv[] = {path, NULL};

    (void)snprintf(path, sizeof(path), "%s/%s-%s", rt->opt.plugin_path, c->index, c->base);
    (void)snprintf(name, sizeof(name), "NRI_PLUGIN_NAME=%s", c->base);
    (void)snprintf(index, sizeof(index), "NRI_PLUGIN_IDX=%s", c->index);
    return rt_spawn(path, argv, env, (const int[]){-1, -1, -1, fd}, ret_pid, e);
}

static int
launch(struct sim_runtime *rt, struct rt_candidate *c, struct err *e)
{
    struct rt_plugin *p;
    pid_t pid = 0;
    int fd[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "socket pair for a plugin");
    r = run(rt, c, fd[1], &pid, e);
    fd_close(&fd[1]);
    if (r < 0) {
        fd_close(&fd[0]);
        return r;
    }
    p = rt_plugin_new(rt, fd[0], e);
    if (!p)
        return -e->num;
    p->pid = pid;
    p->config = TAKE_PTR(char, c->config);
    (void)str_copy(p->index, sizeof(p->index), c->index);
    (void)str_copy(p->base, sizeof(p->base), c->base);
    (void)snprintf(p->name, sizeof(p->name), "%s-%s", c->index, c->base);
    (void)sd_event_add_child(rt->loop, &p->child, pid, WEXITED, on_child, p);
    rt_plugin_begin(p);
    return 0;
}

void
rt_launch_next(struct sim_runtime *rt)
{
    while (rt->starting && rt->candidate < rt->n_candidates) {
        struct rt_candidate *c = &rt->candidates[rt->candidate++];
        struct err e = ERR_INIT;

        if (launch(rt, c, &e) == 0)
            return;
        rt_launch_failed(rt, c->base, e.msg);
    }
    rt_pump_later(rt);
}

void
rt_launch_failed(struct sim_runtime *rt, const char *plugin, const char *why)
{
    if (rt->release->skips_bad) {
        log_warn("failed to start a pre-installed plugin", "plugin", plugin, "error", why);
        rt_launch_next(rt);
        return;
    }
    (void)snprintf(rt->failure, sizeof(rt->failure), "failed to start plugin %s: %s", plugin, why);
    log_error("NRI does not start", "error", rt->failure);
    rt->starting = false;
    (void)sd_event_exit(rt->loop, EXIT_FAILURE);
}
