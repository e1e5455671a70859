/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl why and support-dump on a whole node: the cause of what went wrong, in one command, also
 * when pgpud is down, and nothing of a tenant's in the archive.
 */
#include "tests/sim/daemon/ctl.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"
#define SNP "kata-qemu-nvidia-gpu-snp"
#define CONF "--config @/pgpud.yaml"
#define ARCHIVE_MAX (32u << 20)

/* Asks until the answer has all the words. */
static void
wait_why(struct harness *h, int status, const char *what, const char *words)
{
    uint64_t end = h_now_ms() + 30000;

    for (;;) {
        char copy[512], *save = NULL;
        int got;
        char *out = h_ctl(h, &got, "why %s " CONF, what);
        bool all = got == status;

        (void)snprintf(copy, sizeof(copy), "%s", words);
        for (char *w = strtok_r(copy, "&", &save); w && all; w = strtok_r(NULL, "&", &save)) {
            /* lines are wrapped */
            char *p = out;

            while ((p = strchr(p, '\n')))
                *p = ' ';
            all = strstr(out, w) != NULL;
        }
        if (all) {
            free(out);
            return;
        }
        if (h_now_ms() > end)
            fail_msg("why %s: status %d, expected %d with %s: %s", what, got, status, words, out);
        free(out);
        h_sleep_ms(50);
    }
}

static struct harness *
start(const struct harness_options *o, unsigned gpus)
{
    struct harness *h = harness_start(o);

    harness_run(h, H_RUNTIME);
    h_runtime_ready(h);
    harness_wait_healthy(h, RES, gpus, 10000);
    return h;
}

static void
a_device_is_explained_in_every_state_of_its_life(void **state)
{
    struct harness *h =
        start(&(struct harness_options){.node_args = "--gpus 1", .pod_poll = "100ms"}, 1);
    struct h_grant g;
    json_object *o;
    char *out;

    (void)state;
    wait_why(h, 0, "18:00.0", H_GPU0 "&is ready since&Healthy&It waits for a pod&mode active on");
    h_run(h, &g, "prod/secretive " RES "=1");
    wait_why(h, 0, H_GPU0, "is allocated since&prod/secretive&nobody has opened it");
    h_runtime_ok(h, "run-pod prod secretive " SNP " kata");
    wait_why(h, 0, H_GPU0, "is in_use since&a VM has it&prod/secretive&sandbox&audit log");
    h_runtime_ok(h, "stop-pod prod/secretive keep-vmm");
    wait_why(h, 0, H_GPU0, "is releasing since&WAIT_RELEASE");
    h_end(h, "prod/secretive");
    h_runtime_ok(h, "end-vmm prod/secretive");
    wait_why(h, 0, H_GPU0, "is ready since&releasing -> ready");
    out = h_ctl_expect(h, 0, "why " H_GPU0 " --json " CONF);
    o = json_tokener_parse(out);
    assert_non_null(o);
    assert_true(jbool(o, "found"));
    assert_string_equal(jstr(o, "state"), "ready");
    assert_string_equal(jstr(o, "waits_for"), "a pod");
    (void)json_object_put(o);
    free(out);
    wait_why(h, 1, "0000:ee:00.0", "No device 0000:ee:00.0 is known&pgpuctl devices");
    harness_stop(h);
}

static void
a_quarantined_device_names_reason_and_cure_with_and_without_pgpud(void **state)
{
    struct harness *h = start(
        &(struct harness_options){.node_args = "--gpus 2 --fault " H_GPU0 ":write-refused=8"}, 1);

    (void)state;
    wait_why(h, 0, H_GPU0, "is quarantined since&The reason is&What to do:&VBIOS");
    harness_kill(h, H_PGPUD, SIGTERM);
    wait_why(h, 0, H_GPU0,
             "pgpud does not answer&By its audit log it was last&On the bus it is&start pgpud");
    /* and without the log: from the journal and the hardware */
    wait_why(h, 0, H_GPU1, "Its journal has it as ready");
    harness_stop(h);
}

static void
pods_are_explained_running_refused_gone_and_unknown(void **state)
{
    struct harness *h =
        start(&(struct harness_options){.node_args = "--gpus 2", .pod_poll = "100ms"}, 2);
    struct h_grant g;

    (void)state;
    h_run(h, &g, "prod/secretive " RES "=1");
    h_runtime_ok(h, "run-pod prod secretive " SNP " kata");
    wait_why(h, 0, "prod/secretive", "has GPUs&in_use since&sandbox&confidential");
    wait_why(h, 0, "secretive", "(prod/secretive)&has GPUs");
    h_runtime_refused(h, "cdi.k8s.io",
                      "run-pod prod thief " SNP " annotation=cdi.k8s.io/x=" RES "=" H_GPU1);
    wait_why(h, 0, "prod/thief", "was refused at RunPodSandbox&by the guard's rule&What to do:");
    /* of a refused Allocate nobody knows the pod */
    h_run_fails(h, "prod/greedy nvidia.com/nosuch=1", "unknown");
    wait_why(h, 1, "prod/greedy",
             "Nobody here knows prod/greedy&1 of this node's 2 GPUs are free&"
             "kubectl describe pod");
    h_end(h, "prod/secretive");
    h_runtime_ok(h, "stop-pod prod/secretive");
    h_runtime_ok(h, "remove-pod prod/secretive");
    harness_wait_unit(h, g.id[0], "state", "ready", 5000);
    wait_why(h, 0, "prod/secretive", "has no GPU now&The last that is known of it");
    harness_kill(h, H_PGPUD, SIGTERM);
    wait_why(h, 0, "prod/thief", "was refused at&start pgpud");
    wait_why(h, 0, "prod/secretive", "the last that is known of it");
    harness_stop(h);
}

static void
an_allocate_that_failed_is_shown_for_a_pod_that_is_unknown(void **state)
{
    /* the log cannot be made: a file stands where its directory should be */
    struct harness *h = harness_start(&(struct harness_options){
        .node_args = "--gpus 1", .no_pgpud = true, .audit_yaml = "  required: true\n"});
    char path[128];
    int fd;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/audit", harness_dir(h));
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, RES, 1, 10000);
    h_run_fails(h, "prod/greedy " RES "=1", "audit log cannot be written");
    wait_why(h, 1, "prod/greedy", "Nobody here knows prod/greedy&refused lately&AUDIT_WRITE");
    assert_int_equal(unlink(path), 0);
    /* it is written again, and says what is missing; handing out goes on */
    h_run(h, &(struct h_grant){0}, "prod/next " RES "=1");
    free(h_ctl_expect(h, 0, "audit verify --dir @/audit"));
    {
        char *out = h_ctl_expect(h, 0, "audit tail --dir @/audit --kind gap");

        h_expect_words(out, "records are missing since");
        free(out);
    }
    harness_stop(h);
}

/* ---- support-dump ---- */

static char *
unpack(const char *path, size_t *ret_len)
{
    gzFile f = gzopen(path, "rb");
    char *all = calloc(1, ARCHIVE_MAX);
    int n;

    assert_non_null(f);
    assert_non_null(all);
    n = gzread(f, all, ARCHIVE_MAX - 1);
    assert_true(n > 0);
    assert_int_equal(gzclose(f), Z_OK);
    *ret_len = (size_t)n;
    return all;
}

static bool
has(const char *all, size_t len, const char *word)
{
    return memmem(all, len, word, strlen(word)) != NULL;
}

static void
a_support_archive_has_everything_but_the_tenants_names(void **state)
{
    static const char *const files[] = {"MANIFEST.json",     "status.json",
                                        "events.jsonl",      "devices.json",
                                        "doctor.json",       "audit/tail.jsonl",
                                        "audit/verify.json", "config/pgpud.yaml",
                                        "config/in-force",   "journal/0000:18:00.0.json",
                                        "cdi/list.txt",      "cdi/nvidia.com-pgpu.json",
                                        "versions.txt",      "sysfs/0000:18:00.0.txt"};
    static const char *const secrets[] = {"secretive", "verysecretns", "thief", "cdi.k8s.io/x"};
    struct harness *h =
        start(&(struct harness_options){.node_args = "--gpus 2", .pod_poll = "100ms"}, 2);
    struct h_grant g;
    char path[128], *all;
    struct stat st;
    size_t len;

    (void)state;
    h_run(h, &g, "verysecretns/secretive " RES "=1");
    h_runtime_ok(h, "run-pod verysecretns secretive " SNP " kata");
    h_runtime_refused(h, "cdi.k8s.io",
                      "run-pod verysecretns thief " SNP " annotation=cdi.k8s.io/x=" RES "=" H_GPU1);
    harness_wait_unit(h, g.id[0], "pod", "secretive", 10000);
    (void)snprintf(path, sizeof(path), "%s/dump.tar.gz", harness_dir(h));
    free(h_ctl_expect(h, 0, "support-dump -o @/dump.tar.gz " CONF));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    all = unpack(path, &len);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char name[96];

        (void)snprintf(name, sizeof(name), "pgpu-support/%s", files[i]);
        if (!has(all, len, name))
            fail_msg("%s is not in the archive", name);
    }
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
        if (has(all, len, secrets[i]))
            fail_msg("\"%s\" is in the archive", secrets[i]);
    /* the same word for the same pod in status, audit log and journal */
    assert_true(has(all, len, "\"pod\":\"pod-"));
    assert_true(has(all, len, "\"namespace\":\"ns-"));
    assert_true(has(all, len, H_GPU0));
    assert_true(has(all, len, "\"ok\":true"));
    free(all);
    /* an archive is never overwritten */
    free(h_ctl_expect(h, 1, "support-dump -o @/dump.tar.gz " CONF));
    free(h_ctl_expect(h, 0, "support-dump --with-names -o @/names.tar.gz " CONF));
    (void)snprintf(path, sizeof(path), "%s/names.tar.gz", harness_dir(h));
    all = unpack(path, &len);
    assert_true(has(all, len, "verysecretns"));
    assert_false(has(all, len, "cdi.k8s.io/x"));
    free(all);
    /* without pgpud it has what is left */
    harness_kill(h, H_PGPUD, SIGTERM);
    free(h_ctl_expect(h, 0, "support-dump -o @/down.tar.gz " CONF));
    (void)snprintf(path, sizeof(path), "%s/down.tar.gz", harness_dir(h));
    all = unpack(path, &len);
    assert_true(has(all, len, "pgpu-support/audit/tail.jsonl"));
    assert_false(has(all, len, "secretive"));
    free(all);
    harness_stop(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_is_explained_in_every_state_of_its_life),
        cmocka_unit_test(a_quarantined_device_names_reason_and_cure_with_and_without_pgpud),
        cmocka_unit_test(pods_are_explained_running_refused_gone_and_unknown),
        cmocka_unit_test(an_allocate_that_failed_is_shown_for_a_pod_that_is_unknown),
        cmocka_unit_test(a_support_archive_has_everything_but_the_tenants_names),
    };

    if (!harness_possible())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
