/* SPDX-License-Identifier: Apache-2.0
 *
 * The Kata stand-in: PodResources Get, names, strict CDI. (That it really opens a VFIO node is
 * tested on the simulated node.) It is a program with a loop of its own, so the kubelet stand-in's
 * loop runs on another thread.
 */
#include "tests/sim/deviceplugin/rig.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SPEC(version, kind, name, more)                                                            \
    "{\"cdiVersion\":\"" version "\",\"kind\":\"" kind "\",\"devices\":[{\"name\":\"" name         \
    "\",\"containerEdits\":{\"deviceNodes\":[{\"path\":\"/dev/vfio/devices/vfio0\"}]}}]" more "}"

struct sandbox {
    pthread_t thread;
    char *argv[16];
    int argc, status;
    volatile bool over;
};

static void *
kata_thread(void *arg)
{
    struct sandbox *s = arg;

    s->status = sim_kata_usage.run(NULL, s->argc, s->argv);
    __atomic_store_n(&s->over, true, __ATOMIC_RELEASE);
    return NULL;
}

static int
setup(void **state)
{
    struct rig *t = calloc(1, sizeof(*t));
    struct err e = ERR_INIT;
    char path[160];

    rig_init(t);
    rig_kubelet(t, true);
    rig_plugin(t);
    rig_resource(t, GPU, 1);
    rig_ok(t, "wait %s healthy=1", GPU);
    rig_ok(t, "run ns/p %s=1", GPU);
    (void)snprintf(path, sizeof(path), "%s/cdi", t->dir);
    assert_int_equal(fs_mkdirs(path, 0755, &e), 0);
    (void)snprintf(path, sizeof(path), "%s/root/dev/vfio/devices", t->dir);
    assert_int_equal(fs_mkdirs(path, 0755, &e), 0);
    *state = t;
    return 0;
}

static int
teardown(void **state)
{
    rig_fini(*state);
    free(*state);
    return 0;
}

static void
put(const struct rig *t, const char *name, const char *text)
{
    struct err e = ERR_INIT;
    char path[160];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", t->dir, name);
    fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, text, strlen(text), &e), 0);
    fd_close(&fd);
}

/* Runs the stand-in; its report in `out`. */
static int
sandbox(struct rig *t, const char *pod, char *out, size_t size)
{
    char cdi[96], root[96], name[96], file[128], verb[] = "kata";
    char o1[] = "--pod-resources", o2[] = "--cdi", o3[] = "--root", o4[] = "--pod";
    struct sandbox s = {.argv = {verb, o1, t->pods_sock, o2, cdi, o3, root, o4, name}, .argc = 9};
    int keep = dup(STDOUT_FILENO), fd;
    ssize_t n;

    (void)snprintf(cdi, sizeof(cdi), "%s/cdi", t->dir);
    (void)snprintf(root, sizeof(root), "%s/root", t->dir);
    (void)str_copy(name, sizeof(name), pod);
    (void)snprintf(file, sizeof(file), "%s/out", t->dir);
    fd = open(file, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && keep >= 0);
    (void)fflush(stdout);
    assert_int_equal(dup2(fd, STDOUT_FILENO), STDOUT_FILENO);
    assert_int_equal(pthread_create(&s.thread, NULL, kata_thread, &s), 0);
    while (!__atomic_load_n(&s.over, __ATOMIC_ACQUIRE))
        (void)sd_event_run(t->loop, 10000);
    pthread_join(s.thread, NULL);
    (void)fflush(stdout);
    (void)dup2(keep, STDOUT_FILENO);
    n = pread(fd, out, size - 1, 0);
    out[n > 0 ? n : 0] = '\0';
    fd_close(&keep);
    fd_close(&fd);
    return s.status;
}

static void
expect(struct rig *t, const char *pod, const char *text)
{
    char out[4096];

    assert_int_equal(sandbox(t, pod, out, sizeof(out)), 1);
    if (!strstr(out, text))
        fail_msg("\"%s\" is not in %s", text, out);
}

static void
names_are_resolved(void **state)
{
    struct rig *t = *state;
    char out[4096];

    expect(t, "ns/p", "unresolvable CDI devices nvidia.com/pgpu=0000:40:00.0");
    put(t, "cdi/nvidia.com-pgpu.json", SPEC("0.5.0", "nvidia.com/pgpu", "0000:40:00.0", ""));
    put(t, "cdi/.half.json.tmp", "{\"cdi");
    expect(t, "ns/p", "No such file"); /* the node is not there */
    put(t, "root/dev/vfio/devices/vfio0", "");
    put(t, "root/dev/iommu", "");
    expect(t, "ns/p", "bind /dev/vfio/devices/vfio0 to iommufd"); /* no VFIO behind it */
    expect(t, "ns/other", "pod not found");
    /* A pod without devices boots without a GPU. */
    rig_ok(t, "end ns/p");
    rig_ok(t, "run ns/q %s=1", GPU);
    expect(t, "ns/q", "\"opened\":false");
    assert_int_equal(sandbox(t, "ns/p", out, sizeof(out)), 1);
}

static void
one_bad_file_fails_all(void **state)
{
    static const struct {
        const char *text, *why;
    } poison[] = {
        {"", "cannot be parsed"},
        {"{\"cdiVersion\":\"0.5.0\"", "cannot be parsed"},
        {SPEC("0.7.0", "other.com/net", "x", ""), "invalid version"},
        {SPEC("0.5.0", "other.com/n", "x", ""), "PANIC"},
        {SPEC("0.5.0", "net", "x", ""), "invalid kind"},
        {SPEC("0.5.0", "other.com/net", "x/y", ""), "invalid device name"},
        {SPEC("0.5.0", "other.com/net", "x", ",\"unknown\":1"), "unknown field"},
        {SPEC("0.5.0", "other.com/net", "x", ",\"annotations\":{}"), "annotations need"},
        {SPEC("0.5.0", "nvidia.com/pgpu", "0000:40:00.0", ""), "conflicting device"},
        {"{\"cdiVersion\":\"0.5.0\",\"kind\":\"other.com/net\",\"devices\":[]}", "no devices"},
        {"{\"cdiVersion\":\"0.5.0\",\"kind\":\"other.com/net\",\"devices\":[{\"name\":\"x\","
         "\"containerEdits\":{}}]}",
         "empty device edits"},
    };
    struct rig *t = *state;

    put(t, "cdi/nvidia.com-pgpu.json", SPEC("0.5.0", "nvidia.com/pgpu", "0000:40:00.0", ""));
    put(t, "root/dev/vfio/devices/vfio0", "");
    for (size_t i = 0; i < ARRAY_SIZE(poison); i++) {
        put(t, "cdi/other.json", poison[i].text);
        expect(t, "ns/p", poison[i].why);
    }
    put(t, "cdi/other.json", SPEC("0.6.0", "other.com/net", "x", ",\"annotations\":{}"));
    expect(t, "ns/p", "/dev/iommu"); /* resolved, and as far as one gets without VFIO */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_are_resolved, setup, teardown),
        cmocka_unit_test_setup_teardown(one_bad_file_fails_all, setup, teardown),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("sim.kata", tests, NULL, NULL);
}
