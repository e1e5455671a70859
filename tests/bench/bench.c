/* SPDX-License-Identifier: Apache-2.0
 *
 * Speed and size on the simulated node, each number beside a baseline that was run on the same
 * machine a moment before, because absolute numbers say little about another machine.
 */
#include "base/cleanup.h"
#include "tests/sim/daemon/harness.h"

#include <dirent.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"
#define GPUS 8
#define STARTS 15
#define ALLOC_ROUNDS 15

static double
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int
cmp_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double
quantile(double *v, size_t n, double q)
{
    size_t i = (size_t)(q * (double)n);

    qsort(v, n, sizeof(*v), cmp_double);
    return v[i < n ? i : n - 1];
}

static void
row(const char *what, double value, const char *unit, const char *baseline, double base)
{
    (void)printf("%-46s %9.2f %-4s %6.2fx of %s (%.2f %s)\n", what, value, unit,
                 base > 0 ? value / base : 0.0, baseline, base, unit);
    (void)fflush(stdout);
}

/* What it costs to load the program and its libraries and to leave again. */
static double
exec_ms(void)
{
    char path[512];
    char *argv[] = {path, (char *)(uintptr_t) "--version", NULL};
    double v[STARTS];
    const char *bin = getenv("PGPU_BIN_DIR");

    (void)snprintf(path, sizeof(path), "%s/daemon/pgpud", bin ? bin : ".");
    for (size_t i = 0; i < STARTS; i++) {
        posix_spawn_file_actions_t fa;
        double t = now_ms();
        int status;
        pid_t pid;

        (void)posix_spawn_file_actions_init(&fa);
        (void)posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", 1, 0);
        if (posix_spawn(&pid, path, &fa, NULL, argv, environ) == 0)
            (void)waitpid(pid, &status, 0);
        (void)posix_spawn_file_actions_destroy(&fa);
        v[i] = now_ms() - t;
    }
    return quantile(v, STARTS, 0.5);
}

static void
bench_start(void)
{
    struct harness *h = harness_start(
        &(struct harness_options){.node_args = "--gpus 8 --time-scale 0", .no_pgpud = true});
    double base = exec_ms();
    double v[STARTS];

    for (size_t i = 0; i < STARTS; i++) {
        struct harness_call *c;
        double t;

        (void)json_object_put(harness_kubelet(h, "restart"));
        c = harness_kubelet_async(h, "wait " RES " capacity=8 20000");
        h_sleep_ms(50);
        t = now_ms();
        harness_run(h, H_PGPUD);
        (void)json_object_put(harness_join(c));
        v[i] = now_ms() - t;
        harness_kill(h, H_PGPUD, SIGTERM);
    }
    row("start -> registered, 8 devices listed (p50)", quantile(v, STARTS, 0.5), "ms",
        "pgpud --version", base);
    harness_stop(h);
}

static double
arm_ms(const char *args, unsigned n)
{
    struct harness *h =
        harness_start(&(struct harness_options){.node_args = args, .no_pgpud = true});
    double t = now_ms();

    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, RES, n, 60000);
    t = now_ms() - t;
    harness_stop(h);
    return t;
}

static void
bench_arming(void)
{
    double one = arm_ms("--gpus 1 --time-scale 1", 1);

    row("arming 8 GPUs in parallel", arm_ms("--gpus 8 --time-scale 1", 8), "ms", "arming one", one);
}

static int64_t
sim_delay_us(struct harness *h, const char *id)
{
    char *text = harness_node(h, "show json");
    json_object *o = json_tokener_parse(text);
    int64_t us = 0;

    for (size_t i = 0; i < json_object_array_length(o); i++)
        if (strcmp(jstr(json_object_array_get_idx(o, i), "address"), id) == 0)
            us = jint(json_object_array_get_idx(o, i), "delay_us");
    (void)json_object_put(o);
    free(text);
    return us;
}

static void
bench_lazy_allocate(void)
{
    struct harness *h = harness_start(&(struct harness_options){
        .node_args = "--gpus 1 --time-scale 1", .pgpud_yaml = "prepare: allocate\n"});
    json_object *reply;
    double delay;

    harness_wait_healthy(h, RES, 1, 10000);
    delay = (double)sim_delay_us(h, H_GPU0);
    reply = harness_kubelet(h, "run default/a " RES "=1");
    delay = ((double)sim_delay_us(h, H_GPU0) - delay) / 1e3;
    row("Allocate with everything still to do",
        json_object_get_double(json_object_object_get(reply, "allocate_ms")), "ms",
        "the emulated GPU's own delays", delay);
    (void)json_object_put(reply);
    harness_stop(h);
}

static void
bench_allocate(void)
{
    struct harness *h =
        harness_start(&(struct harness_options){.node_args = "--gpus 8 --time-scale 0"});
    static double v[ALLOC_ROUNDS * GPUS];
    double base = exec_ms();
    size_t n = 0;

    for (int r = 0; r < ALLOC_ROUNDS; r++) {
        harness_wait_healthy(h, RES, GPUS, 20000);
        for (int i = 0; i < GPUS; i++) {
            json_object *reply = harness_kubelet(h, "run default/p%d " RES "=1", i);

            if (jbool(reply, "ok"))
                v[n++] = json_object_get_double(json_object_object_get(reply, "allocate_ms"));
            (void)json_object_put(reply);
        }
        for (int i = 0; i < GPUS; i++)
            (void)json_object_put(harness_kubelet(h, "end default/p%d", i));
        h_sleep_ms(800); /* absence from two lists, then the scrub */
    }
    row("Allocate of an armed GPU, p50", quantile(v, n, 0.5), "ms", "pgpud --version", base);
    row("Allocate of an armed GPU, p99", quantile(v, n, 0.99), "ms", "pgpud --version", base);
    harness_stop(h);
}

static long
proc_kb(pid_t pid, const char *file, const char *key)
{
    char path[64], line[256];
    long kb = -1;
    FILE *f;

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0)
            kb = strtol(line + strlen(key), NULL, 10);
    if (f)
        (void)fclose(f);
    return kb;
}

static void
size_of(struct harness *h, enum harness_program p, const char *name)
{
    pid_t pid = harness_pid(h, p);

    (void)printf("%-46s RSS %.1f MiB, anonymous %.1f MiB, threads %ld\n", name,
                 (double)proc_kb(pid, "smaps_rollup", "Rss:") / 1024,
                 (double)proc_kb(pid, "smaps_rollup", "Anonymous:") / 1024,
                 proc_kb(pid, "status", "Threads:"));
}

/* Voluntary context switches of one thread, or of all others. */
static long
wakeups(pid_t pid, bool others)
{
    char path[64];
    struct dirent *d;
    long sum = 0;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    dir = opendir(path);
    while (dir && (d = readdir(dir))) {
        pid_t tid = (pid_t)strtol(d->d_name, NULL, 10);

        if (tid > 0 && (tid == pid) != others)
            sum += proc_kb(tid, "status", "voluntary_ctxt_switches:");
    }
    if (dir)
        (void)closedir(dir);
    return sum;
}

static void
bench_idle(void)
{
    struct harness *h =
        harness_start(&(struct harness_options){.node_args = "--gpus 8 --time-scale 0"});
    const unsigned seconds = 20;
    long d0, g0, w0;

    harness_wait_healthy(h, RES, GPUS, 20000);
    h_sleep_ms(2000);
    size_of(h, H_PGPUD, "pgpud, 8 GPUs ready");
    size_of(h, H_HWD, "pgpu-hwd, 8 GPUs ready");
    d0 = wakeups(harness_pid(h, H_PGPUD), false);
    g0 = wakeups(harness_pid(h, H_PGPUD), true);
    w0 = wakeups(harness_pid(h, H_HWD), false);
    h_sleep_ms(seconds * 1000);
    (void)printf("%-46s pgpud %.2f/s, pgpu-hwd %.2f/s, gRPC's own threads %.2f/s\n",
                 "idle wake-ups", (double)(wakeups(harness_pid(h, H_PGPUD), false) - d0) / seconds,
                 (double)(wakeups(harness_pid(h, H_HWD), false) - w0) / seconds,
                 (double)(wakeups(harness_pid(h, H_PGPUD), true) - g0) / seconds);
    harness_stop(h);
}

static void
all(void **state)
{
    (void)state;
    bench_start();
    bench_allocate();
    bench_arming();
    bench_lazy_allocate();
    bench_idle();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all)};

    if (!harness_possible())
        return 77;
    /* The journal lives on a tmpfs (/run) on a node: measure with one, in a mount namespace of our
     * own. */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0)
        (void)puts("note: no tmpfs of our own, fsync of this disk is in the numbers");
    return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}
