/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl doctor on a whole simulated node, with its services and without: green, broken, the right
 * code, cured, green.
 */
#include "tests/sim/daemon/harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"
#define WAIT_MS 20000
#define WORDS_MAX 32

static char out[1 << 18];

static const char *
bin(void)
{
    const char *b = getenv("PGPU_BIN_DIR");

    return b ? b : ".";
}

/* A program of ours and its words, separated by blanks: exit status, both streams in `out`. */
__attribute__((format(printf, 1, 2))) static int
program(const char *fmt, ...)
{
    char line[2048], *argv[WORDS_MAX + 1] = {0}, *save = NULL;
    size_t n = 0, len = 0;
    ssize_t got;
    int back[2], st = 0;
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        assert_true(n < WORDS_MAX);
        argv[n++] = w;
    }
    assert_int_equal(pipe2(back, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (dup2(back[1], 1) >= 0 && dup2(back[1], 2) >= 0)
            (void)execv(argv[0], argv);
        _exit(127);
    }
    assert_true(pid > 0);
    (void)close(back[1]);
    while (len < sizeof(out) - 1 && (got = read(back[0], out + len, sizeof(out) - 1 - len)) > 0)
        len += (size_t)got;
    out[len] = '\0';
    (void)close(back[0]);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFEXITED(st));
    return WEXITSTATUS(st);
}

static int
doctor(struct harness *h, const char *args)
{
    const char *d = harness_dir(h);

    return program("%s/cli/pgpuctl --root %s/root --hwd %s/hwd/hwd.sock --control "
                   "%s/state/control.sock doctor --host %s --config %s/pgpud.yaml %s",
                   bin(), d, d, d, d, d, args);
}

/* The node, and the files of a healthy host around it. */
static struct harness *
start(const char *node_args)
{
    struct harness *h =
        harness_start(&(struct harness_options){.node_args = node_args, .no_pgpud = true});
    const char *d = harness_dir(h);

    if (program("%s/sim/pgpu-sim host --dir %s --kubelet-root %s/kubelet --nri %s/nri.sock", bin(),
                d, d, d) != 0)
        fail_msg("%s", out);
    return h;
}

static void
run_services(struct harness *h, unsigned gpus)
{
    harness_run(h, H_RUNTIME);
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, RES, gpus, WAIT_MS);
    h_runtime_ready(h);
}

/* What is being armed or recovered becomes green; it need not be at once. */
static void
wait_green(struct harness *h)
{
    uint64_t end = h_now_ms() + WAIT_MS + 10000;
    int rc;

    while ((rc = doctor(h, "")) != 0) {
        if (h_now_ms() > end)
            fail_msg("not green (exit %d): %s", rc, out);
        h_sleep_ms(200);
    }
}

static void
expect(struct harness *h, const char *args, int status, const char *word)
{
    int rc = doctor(h, args);

    if (rc != status || !strstr(out, word))
        fail_msg("wanted %s and exit %d, got %d: %s", word, status, rc, out);
}

/* The same, once what is under way allows it. */
static void
wait_for(struct harness *h, const char *args, int status, const char *word)
{
    uint64_t end = h_now_ms() + WAIT_MS + 10000;

    while (doctor(h, args) != status || !strstr(out, word)) {
        if (h_now_ms() > end)
            fail_msg("no %s: %s", word, out);
        h_sleep_ms(20);
    }
}

static void
put_file(const struct harness *h, const char *name, const char *text, const char *how)
{
    char path[256];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", harness_dir(h), name);
    f = fopen(path, how);
    assert_non_null(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

static void
write_file(const struct harness *h, const char *name, const char *text)
{
    put_file(h, name, text, "we");
}

static void
append_file(const struct harness *h, const char *name, const char *text)
{
    put_file(h, name, text, "ae");
}

static void
remove_file(const struct harness *h, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", harness_dir(h), name);
    assert_int_equal(unlink(path), 0);
}

static void
green_then_broken_then_named_then_cured_then_green(void **state)
{
    struct harness *h = start("--gpus 2");

    (void)state;
    run_services(h, 2);
    wait_green(h);
    assert_non_null(strstr(out, "0 errors, 0 warnings"));
    assert_non_null(strstr(out, "2 devices, 2 of them can be prepared (says pgpu-hwd)"));
    assert_non_null(strstr(out, "as in the file"));

    /* somebody else's broken file */
    write_file(h, "cdi/vendor.json", "{\"cdiVersion\": \"1.0.0\"");
    expect(h, "", 2, "CDI_POISON");
    assert_non_null(strstr(out, "/cdi/vendor.json.bad"));
    remove_file(h, "cdi/vendor.json");
    wait_green(h);

    /* a host setting that forbids SEV-SNP */
    write_file(h, "proc/cmdline", "ro quiet iommu=pt\n");
    expect(h, "", 2, "IOMMU_PASSTHROUGH");
    write_file(h, "proc/cmdline", "ro quiet amd_iommu=on\n");
    wait_green(h);

    /* the daemon is gone */
    harness_kill(h, H_PGPUD, SIGTERM);
    expect(h, "", 2, "PGPUD_DOWN");
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, RES, 2, WAIT_MS);
    h_runtime_ready(h);
    wait_green(h);

    /* the configuration changes under it */
    append_file(h, "pgpud.yaml", "health_interval: 61s\n");
    expect(h, "", 1, "CONFIG_CHANGED");
    harness_kill(h, H_PGPUD, SIGTERM);
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, RES, 2, WAIT_MS);
    h_runtime_ready(h);
    wait_green(h);
    harness_stop(h);
}

static void
a_gpu_in_quarantine_is_named_with_its_cure(void **state)
{
    struct harness *h = start("--gpus 2");

    (void)state;
    free(harness_node(h, "fault " H_GPU1 " boot-never"));
    run_services(h, 1);
    /* between two attempts to recover it */
    wait_for(h, "--only services", 1, "BOOT_TIMEOUT");
    assert_non_null(strstr(out, "DEVICE_NOT_OFFERED"));
    assert_non_null(strstr(out, H_GPU1));
    free(harness_node(h, "fault " H_GPU1 " clear"));
    harness_wait_healthy(h, RES, 2, WAIT_MS + 20000);
    wait_green(h);
    harness_stop(h);
}

static void
without_services_modes_are_read_and_nothing_is_touched(void **state)
{
    struct harness *h = start("--gpus 3");
    int64_t resets;

    (void)state;
    harness_kill(h, H_HWD, SIGTERM);
    /* firmware's knobs: 6 is the devtools switch, without 8, CC itself */
    free(harness_node(h, "knob " H_GPU0 " 6 1"));
    h_reset(h, H_GPU0);
    free(harness_node(h, "fault " H_GPU1 " all-ones"));
    resets = h_resets(h, H_GPU0) + h_resets(h, H_GPU1);
    /* its firmware boots after the reset */
    wait_for(h, "--offline --only modes,devices", 2, "MODE_INVALID");
    assert_non_null(strstr(out, "pgpuctl cc set " H_GPU0 " --mode on"));
    assert_non_null(strstr(out, "BAR_DEAD"));
    assert_int_equal(h_resets(h, H_GPU0) + h_resets(h, H_GPU1), resets);
    harness_stop(h);
}

static void
a_gpu_that_a_vm_holds_is_left_alone(void **state)
{
    struct harness *h = start("--gpus 1 --driver vfio-pci");
    int64_t resets;
    int fd;

    (void)state;
    harness_kill(h, H_HWD, SIGTERM);
    fd = h_vmm_open(h, "/dev/vfio/devices/vfio0");
    assert_true(fd >= 0);
    resets = h_resets(h, H_GPU0);
    assert_int_equal(doctor(h, "--offline --only modes,devices"), 0);
    assert_non_null(strstr(out, "IN_USE"));
    assert_non_null(strstr(out, "MODE_UNKNOWN"));
    assert_int_equal(h_resets(h, H_GPU0), resets);
    (void)close(fd);
    harness_stop(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(green_then_broken_then_named_then_cured_then_green),
        cmocka_unit_test(a_gpu_in_quarantine_is_named_with_its_cure),
        cmocka_unit_test(without_services_modes_are_read_and_nothing_is_touched),
        cmocka_unit_test(a_gpu_that_a_vm_holds_is_left_alone),
    };

    if (!harness_possible())
        return 77;
    return cmocka_run_group_tests_name("doctor on a node", tests, NULL, NULL);
}
