/* SPDX-License-Identifier: Apache-2.0
 *
 * Fixture of the failure tests. See faults.h.
 */
#include "tests/sim/daemon/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Newer than the kernel headers of the build host may be: linux/vfio.h of Linux 6.6. */
#ifndef VFIO_DEVICE_BIND_IOMMUFD
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#endif
struct bind_iommufd {
    uint32_t argsz, flags;
    int32_t iommufd;
    uint32_t out_devid;
};

#define LANES_MAX 32
#define LANES_AT_ONCE 5

/* ---- a VMM ---- */

void
f_vmm_open(struct harness *h, struct f_vmm *v, const char *id)
{
    char node[128], path[256];
    struct bind_iommufd b = {.argsz = sizeof(b)};

    harness_cdi_node(h, id, node, sizeof(node));
    (void)snprintf(path, sizeof(path), "%s/root%s", harness_dir(h), node);
    v->cdev = open(path, O_RDWR | O_CLOEXEC);
    if (v->cdev < 0)
        fail_msg("VMM: open %s: %s", path, strerror(errno));
    (void)snprintf(path, sizeof(path), "%s/root/dev/iommu", harness_dir(h));
    v->iommu = open(path, O_RDWR | O_CLOEXEC);
    if (v->iommu < 0)
        fail_msg("VMM: open %s: %s", path, strerror(errno));
    b.iommufd = v->iommu;
    if (ioctl(v->cdev, VFIO_DEVICE_BIND_IOMMUFD, &b) < 0)
        fail_msg("VMM: bind %s to iommufd: %s", id, strerror(errno));
}

void
f_vmm_close(struct f_vmm *v)
{
    if (v->cdev >= 0)
        (void)close(v->cdev);
    if (v->iommu >= 0)
        (void)close(v->iommu);
    v->cdev = v->iommu = -1;
}

/* ---- what the kubelet saw ---- */

static json_object *
history(struct harness *h, json_object **ret_lists)
{
    json_object *o = harness_kubelet(h, "history %s", F_RES);

    if (!json_object_object_get_ex(o, "history", ret_lists))
        *ret_lists = NULL; /* the resource is not known yet */
    return o;
}

size_t
f_lists(struct harness *h)
{
    json_object *lists;
    json_object *o = history(h, &lists);
    size_t n = lists ? json_object_array_length(lists) : 0;

    (void)json_object_put(o);
    return n;
}

static bool
shown_healthy(json_object *list, const char *id)
{
    json_object *devices;

    if (!json_object_object_get_ex(list, "devices", &devices))
        return false;
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        json_object *d = json_object_array_get_idx(devices, i);

        if (strcmp(jstr(d, "id"), id) == 0 && jbool(d, "healthy"))
            return true;
    }
    return false;
}

int
f_healthy_since(struct harness *h, const char *id, size_t n)
{
    json_object *lists;
    json_object *o = history(h, &lists);
    int count = 0;

    for (size_t i = n; lists && i < json_object_array_length(lists); i++)
        count += shown_healthy(json_object_array_get_idx(lists, i), id);
    (void)json_object_put(o);
    return count;
}

void
f_capacity(struct harness *h, int capacity, int allocatable)
{
    uint64_t end = h_now_ms() + 3000;
    int64_t c = -1, a = -1;

    while (c != capacity || a != allocatable) {
        json_object *o = harness_kubelet(h, "status");
        json_object *list, *r = NULL;

        assert_true(json_object_object_get_ex(o, "resources", &list));
        for (size_t i = 0; i < json_object_array_length(list); i++)
            if (strcmp(jstr(json_object_array_get_idx(list, i), "name"), F_RES) == 0)
                r = json_object_array_get_idx(list, i);
        c = jint(r, "capacity");
        a = jint(r, "allocatable");
        (void)json_object_put(o);
        if (h_now_ms() > end)
            fail_msg("the kubelet has capacity %lld and %lld allocatable, expected %d and %d",
                     (long long)c, (long long)a, capacity, allocatable);
        h_sleep_ms(5);
    }
}

/* ---- what the hardware says itself ---- */

static bool
modes_are(struct harness *h, const char *id, const char *mode)
{
    char *text = harness_node(h, "show json");
    json_object *o = json_tokener_parse(text);
    bool is = false;

    free(text);
    assert_true(json_object_is_type(o, json_type_array));
    for (size_t i = 0; i < json_object_array_length(o); i++) {
        json_object *f = json_object_array_get_idx(o, i);

        if (strcmp(jstr(f, "address"), id) == 0)
            is = strcmp(jstr(f, "active"), mode) == 0 && strcmp(jstr(f, "configured"), mode) == 0;
    }
    (void)json_object_put(o);
    return is;
}

bool
f_is_verified(struct harness *h, const char *id)
{
    return modes_are(h, id, "on");
}

void
f_check_grant(struct harness *h, const struct h_grant *g)
{
    char node[128];

    for (size_t i = 0; i < g->n; i++) {
        if (!f_is_verified(h, g->id[i]))
            fail_msg("%s was handed out, but is not in CC mode", g->id[i]);
        harness_cdi_node(h, g->id[i], node, sizeof(node));
        if (strcmp(node, g->node[i]) != 0)
            fail_msg("%s was handed out as %s, but the CDI file has \"%s\"", g->id[i], g->node[i],
                     node);
    }
}

void
f_check_ready(struct harness *h, const char *id)
{
    char node[128];

    harness_wait_unit(h, id, "state", "ready", 10000);
    harness_wait_healthy(h, F_RES, 1, 3000);
    if (!f_is_verified(h, id))
        fail_msg("%s is ready, but not in CC mode", id);
    harness_cdi_node(h, id, node, sizeof(node));
    if (node[0] == '\0')
        fail_msg("%s is ready, but not in the CDI file", id);
}

void
f_check_withdrawn(struct harness *h, const char *id)
{
    char node[128];

    harness_cdi_node(h, id, node, sizeof(node));
    if (node[0])
        fail_msg("%s is withdrawn, but in the CDI file as %s", id, node);
    harness_wait_healthy(h, F_RES, 0, 2000);
    f_capacity(h, 1, 0);
}

/* ---- states ---- */

void
f_make_raw(struct harness *h, const char *id, bool bound)
{
    harness_kill(h, H_PGPUD, SIGKILL);
    harness_kill(h, H_HWD, SIGKILL);
    h_unbind(h, id);
    free(harness_node(h, "knob %s 8 0", id));
    free(harness_node(h, "knob %s 10 0", id));
    h_reset(h, id);
    if (!modes_are(h, id, "off"))
        fail_msg("%s could not be brought back to CC off", id);
    if (bound)
        h_bind_vfio(h, id);
    h_forget(h);
}

bool
f_has_word(const char *text, const char *words)
{
    char copy[256], *save = NULL;

    (void)snprintf(copy, sizeof(copy), "%s", words);
    for (char *w = strtok_r(copy, "|", &save); w; w = strtok_r(NULL, "|", &save))
        if (strstr(text, w))
            return true;
    return false;
}

/* As f_has_word, but whole words: reasons. */
static bool
is_one_of(const char *reason, const char *words)
{
    char copy[256], *save = NULL;

    (void)snprintf(copy, sizeof(copy), "%s", words);
    for (char *w = strtok_r(copy, "|", &save); w; w = strtok_r(NULL, "|", &save))
        if (strcmp(reason, w) == 0)
            return true;
    return false;
}

void
f_wait_state(struct harness *h, const char *id, const char *state, const char *reasons, unsigned ms)
{
    uint64_t end = h_now_ms() + ms;
    char last[512] = "no answer", other[256] = "";

    do {
        json_object *s = harness_status(h);
        json_object *u = s ? harness_unit(s, id) : NULL;
        bool there = u && strcmp(jstr(u, "state"), state) == 0;
        bool right = there && (!reasons || is_one_of(jstr(u, "reason"), reasons));

        if (u)
            (void)snprintf(last, sizeof(last), "%s, %s: %s", jstr(u, "state"), jstr(u, "reason"),
                           jstr(u, "why"));
        if (there && !right)
            (void)snprintf(other, sizeof(other), "; it was so for %s: %s", jstr(u, "reason"),
                           jstr(u, "why"));
        (void)json_object_put(s);
        if (right)
            return;
        h_sleep_ms(4);
    } while (h_now_ms() < end);
    fail_msg("%s is not %s (%s) within %u ms; it is %s%s (logs in %s)", id, state,
             reasons ? reasons : "any reason", ms, last, other, harness_dir(h));
}

int64_t
f_unit_int(struct harness *h, const char *id, const char *object, const char *key)
{
    json_object *s = harness_status(h);
    json_object *o = s ? harness_unit(s, id) : NULL;
    int64_t v = -1;

    if (o && (!object || json_object_object_get_ex(o, object, &o)))
        v = jint(o, key);
    (void)json_object_put(s);
    return v;
}

bool
f_log_has(struct harness *h, const char *program, const char *text)
{
    char path[128], line[4096];
    bool found = false;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s.log", harness_dir(h), program);
    f = fopen(path, "re");
    if (!f)
        return false;
    while (!found && fgets(line, sizeof(line), f))
        found = strstr(line, text) != NULL;
    (void)fclose(f);
    return found;
}

void
f_abandon(struct harness *h)
{
    char path[128];
    int status;

    for (int p = H_PROGRAMS; p-- > 0;) {
        pid_t pid = harness_pid(h, (enum harness_program)p);

        if (pid > 0 && kill(pid, SIGKILL) == 0)
            (void)waitpid(pid, &status, 0);
    }
    (void)snprintf(path, sizeof(path), "%s/root", harness_dir(h));
    (void)umount2(path, MNT_DETACH);
}

/* ---- lanes ---- */

static struct {
    const char *const *name;
    size_t n, started, running;
    char dir[64];
    struct {
        pid_t pid;
        int status;
        bool done;
        uint64_t from, to;
    } lane[LANES_MAX];
} pool;

static void
lane_log(size_t i, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%s/%zu.log", pool.dir, i);
}

static void
lane_start(size_t i)
{
    char log[192], self[] = "/proc/self/exe", name[64];
    char *argv[] = {self, name, NULL};
    posix_spawn_file_actions_t fa;

    (void)snprintf(name, sizeof(name), "%s", pool.name[i]);
    lane_log(i, log, sizeof(log));
    (void)posix_spawn_file_actions_init(&fa);
    (void)posix_spawn_file_actions_addopen(&fa, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)posix_spawn_file_actions_adddup2(&fa, 1, 2);
    pool.lane[i].from = h_now_ms();
    assert_int_equal(posix_spawn(&pool.lane[i].pid, self, &fa, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&fa);
    pool.running++;
}

static void
lane_reap(void)
{
    int status;
    pid_t pid = waitpid(-1, &status, 0);

    for (size_t i = 0; i < pool.started; i++)
        if (pool.lane[i].pid == pid) {
            pool.lane[i].status = status;
            pool.lane[i].done = true;
            pool.lane[i].to = h_now_ms();
            pool.running--;
        }
}

static void
print_log(size_t i, bool all)
{
    char path[192], line[2048];
    FILE *f;

    lane_log(i, path, sizeof(path));
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (all || strncmp(line, "[  PASSED", 9) == 0)
            (void)fputs(line, stdout);
    if (f)
        (void)fclose(f);
    (void)unlink(path);
}

static void
lane_test(void **state)
{
    size_t i = (size_t)(uintptr_t)*state;
    bool good;

    while (!pool.lane[i].done) {
        while (pool.started < pool.n && pool.running < LANES_AT_ONCE)
            lane_start(pool.started++);
        lane_reap();
    }
    good = WIFEXITED(pool.lane[i].status) && WEXITSTATUS(pool.lane[i].status) == 0;
    (void)printf("lane %s: %llu ms\n", pool.name[i],
                 (unsigned long long)(pool.lane[i].to - pool.lane[i].from));
    print_log(i, !good);
    if (!good)
        fail_msg("lane %s failed", pool.name[i]);
}

int
f_run_lanes(const char *group, const char *const *lanes, size_t n)
{
    struct CMUnitTest tests[LANES_MAX];
    int r;

    if (n > LANES_MAX)
        return 2;
    pool.name = lanes;
    pool.n = n;
    (void)snprintf(pool.dir, sizeof(pool.dir), "/tmp/pgpu-lanes-XXXXXX");
    if (!mkdtemp(pool.dir))
        return 2;
    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){
            .name = lanes[i], .test_func = lane_test, .initial_state = (void *)(uintptr_t)i};
    r = _cmocka_run_group_tests(group, tests, n, NULL, NULL);
    (void)rmdir(pool.dir);
    return r;
}
