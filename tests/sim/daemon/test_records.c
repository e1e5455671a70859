/* SPDX-License-Identifier: Apache-2.0
 *
 * Records that others have damaged: the journal of pgpud, and what pgpu-hwd remembers. They are
 * hints; with any of them the node ends as it would without.
 */
#include "tests/sim/daemon/harness.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"
#define LONG 5000 /* longer than either service takes */
#define DEEP 400

/* "BOOT" stands for this boot's ID. */
static const char *const damaged[] = {
    "",
    "{",
    "[]",
    "null",
    "\x01\xff\xfe{",
    "{\"boot_id\":\"BOOT\"}",
    "{\"boot_id\":\"BOOT\",\"device\":5,\"intent\":[],\"used\":\"x\",\"verified\":{}}",
    "{\"boot_id\":\"BOOT\",\"device\":\"0000:ff:00.0\",\"intent\":\"allocated\"}",
    "{\"boot_id\":\"BOOT\",\"device\":\"../../etc/passwd\",\"intent\":\"allocated\"}",
    "{\"boot_id\":\"BOOT\",\"device\":\"0000:18:00.0\",\"intent\":\"levitating\"}",
    "{\"boot_id\":\"elsewhere\",\"device\":\"0000:18:00.0\",\"intent\":\"allocated\"}",
    "boot=BOOT\ndriver=../../../etc\npower=on\nd3cold=9\n",
    "boot=BOOT\ndriver=\n",
    "LONG",
    "DEEP",
};

static const char *
boot_id(void)
{
    static char id[64];
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

    assert_non_null(f);
    assert_non_null(fgets(id, sizeof(id), f));
    (void)fclose(f);
    id[strcspn(id, "\n")] = '\0';
    return id;
}

static size_t
text_of(const char *row, char *buf, size_t size)
{
    const char *boot = strstr(row, "BOOT");

    if (strcmp(row, "LONG") == 0 || strcmp(row, "DEEP") == 0) {
        size_t n = row[0] == 'L' ? LONG : DEEP;

        memset(buf, row[0] == 'L' ? ' ' : '[', n);
        return n;
    }
    if (!boot)
        return (size_t)snprintf(buf, size, "%s", row);
    return (size_t)snprintf(buf, size, "%.*s%s%s", (int)(boot - row), row, boot_id(), boot + 4);
}

/* The same bytes as the record of each service, and a file that is nobody's. */
static void
put_records(struct harness *h, const char *row)
{
    static const char *const files[] = {"state/dev/" H_GPU0 ".json", "state/dev/zz.json",
                                        ("hwd/former/" H_GPU0)};
    char text[LONG + 1], path[256];
    size_t n = text_of(row, text, sizeof(text));

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", harness_dir(h), files[i]);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, n), n);
        (void)close(fd);
    }
}

static void
restart_with(struct harness *h, const char *row)
{
    harness_kill(h, H_PGPUD, SIGTERM);
    harness_kill(h, H_HWD, SIGTERM);
    put_records(h, row);
    harness_run(h, H_HWD);
    harness_run(h, H_PGPUD);
}

/* Has pgpud, in all its runs, ever taken a GPU for one that it had handed out before? */
static bool
believed(struct harness *h)
{
    char path[256], line[4096];
    bool ret = false;

    (void)snprintf(path, sizeof(path), "%s/pgpud.log", harness_dir(h));
    FILE *f = fopen(path, "re");

    assert_non_null(f);
    while (!ret && fgets(line, sizeof(line), f))
        ret = strstr(line, "event=\"found handed out\"") != NULL;
    (void)fclose(f);
    return ret;
}

static void
a_free_gpu_is_ready_again_whatever_its_records_say(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 1"});
    struct h_grant g;

    (void)state;
    harness_wait_healthy(h, RES, 1, 20000);
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        print_message("record: %.60s\n", damaged[i]);
        restart_with(h, damaged[i]);
        harness_wait_unit(h, H_GPU0, "state", "ready", 20000);
        assert_false(believed(h));
    }
    assert_true(h_is_on(h, H_GPU0));
    harness_wait_healthy(h, RES, 1, 20000);
    h_run(h, &g, "default/after nvidia.com/pgpu=1");
    assert_string_equal(g.id[0], H_GPU0);
    h_end(h, "default/after");
    h_no_violations(h);
    harness_stop(h);
}

static void
a_vm_keeps_its_gpu_whatever_its_records_say(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){.node_args = "--gpus 1"});
    struct h_grant g;
    int64_t resets;

    (void)state;
    harness_wait_healthy(h, RES, 1, 20000);
    h_run(h, &g, "default/model nvidia.com/pgpu=1");
    int vmm = h_vmm_open(h, g.node[0]);
    assert_true(vmm >= 0);
    harness_wait_unit(h, H_GPU0, "state", "in_use", 20000);
    resets = h_resets(h, H_GPU0);
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        print_message("record: %.60s\n", damaged[i]);
        restart_with(h, damaged[i]);
        harness_wait_unit(h, H_GPU0, "state", "in_use", 20000);
    }
    assert_int_equal(h_resets(h, H_GPU0), resets);
    h_end(h, "default/model");
    (void)close(vmm);
    harness_wait_unit(h, H_GPU0, "state", "ready", 30000);
    h_no_violations(h);
    harness_stop(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_gpu_is_ready_again_whatever_its_records_say),
        cmocka_unit_test(a_vm_keeps_its_gpu_whatever_its_records_say),
    };

    if (!harness_possible())
        return 77;
    return cmocka_run_group_tests_name("daemon.records", tests, NULL, NULL);
}
