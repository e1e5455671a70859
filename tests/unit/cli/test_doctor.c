/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl doctor on a tree of files: green when healthy, each code when it is broken in one way,
 * its document, and what it does with what it may not or cannot read.
 */
#include "base/fs.h"
#include "cli/doctor.h"
#include "tests/unit/cli/doctor_cases.h"
#include "tests/unit/cli/doctor_kit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BEGIN "<!-- doctor: printed by print_doctor -->\n"
#define END "<!-- end of doctor -->"
#define CODES_MAX 256

static void
apply(const struct doctor_edit *t)
{
    switch (t->kind) {
    case DE_NONE:
        break;
    case DE_WRITE:
        doctor_write(t->path, t->a);
        break;
    case DE_SUB:
        doctor_replace(t->path, t->a, t->b);
        break;
    case DE_REMOVE:
        doctor_remove(t->path);
        break;
    case DE_DIR:
        doctor_mkdir(t->path);
        break;
    case DE_LINK:
        doctor_link(t->path, t->a);
        break;
    case DE_OPEN:
        doctor_chmod(t->path, 0777);
        break;
    case DE_LATER:
        doctor_later(t->path);
        break;
    case DE_SOCKET:
        doctor_socket(t->path, true);
        break;
    case DE_STALE:
        doctor_socket(t->path, false);
        break;
    case DE_PROCESS:
        doctor_process(4000, t->path, t->a);
        break;
    case DE_STATUS:
        doctor_status(t->a, t->b);
        break;
    case DE_FORCE:
        doctor_in_force(t->a);
        break;
    case DE_AUDIT:
        doctor_audit_log(3);
        break;
    case DE_NO_GPUS:
        doctor_n_facts = 0;
        break;
    case DE_REASON:
        doctor_facts[0].reason = (uint32_t)reason_from_name(t->a);
        assert_int_not_equal(doctor_facts[0].reason, REASON_NONE);
        (void)snprintf(doctor_facts[0].text, sizeof(doctor_facts[0].text), "as the test says");
        break;
    case DE_MODE:
        doctor_facts[0].mode_active = (uint32_t)(t->a[0] - '0');
        doctor_facts[0].mode_configured = (uint32_t)(t->b[0] - '0');
        break;
    case DE_HELD:
        doctor_facts[0].use = HWD_USE_HELD;
        doctor_facts[0].holder_pid = 4711;
        (void)snprintf(doctor_facts[0].holder_comm, sizeof(doctor_facts[0].holder_comm), "qemu");
        break;
    case DE_STUCK:
        doctor_facts[0].state = HWD_STATE_STUCK;
        doctor_facts[0].op = HWD_OP_RESET;
        break;
    }
}

static void
a_healthy_host_is_fine(void **state)
{
    static const char *const hosts[] = {"", "--runtime crio", "--runtime-version 1.7.28",
                                        "--kubelet 1.33.0 --kata 3.29.0"};

    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        doctor_host(hosts[i]);
        if (doctor_run("") != 0)
            fail_msg("\"%s\": %s", hosts[i], doctor_bad_codes());
    }
}

static int
status_of(const char *severity)
{
    return strcmp(severity, "error") == 0 ? 2 : strcmp(severity, "warning") == 0 ? 1 : 0;
}

/* A case with --only CODE, so that the exit status is that of this finding. */
static void
provoke(const struct doctor_case *c)
{
    char only[64];
    int rc;

    doctor_host(c->sim);
    for (size_t i = 0; i < sizeof(c->edit) / sizeof(c->edit[0]); i++)
        apply(&c->edit[i]);
    (void)snprintf(only, sizeof(only), "--only %s", c->code);
    rc = doctor_run(only);
    if (!doctor_severity_of(c->code))
        fail_msg("%s is not reported", c->code);
    if (strcmp(doctor_severity_of(c->code), c->severity) != 0 || rc != status_of(c->severity))
        fail_msg("%s: wanted %s, got %s (exit %d): %s", c->code, c->severity,
                 doctor_severity_of(c->code), rc, doctor_out);
    if (c->text && !strstr(doctor_text_of(c->code, "seen"), c->text) &&
        !strstr(doctor_text_of(c->code, "object"), c->text) &&
        !strstr(doctor_text_of(c->code, "cure"), c->text))
        fail_msg("%s: no \"%s\" in %s", c->code, c->text, doctor_out);
    if (status_of(c->severity) > 0)
        assert_true(doctor_text_of(c->code, "cure")[0] && doctor_text_of(c->code, "why")[0]);
}

static void
every_condition_is_found_where_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < doctor_n_cases; i++)
        provoke(&doctor_cases[i]);
}

/* Room cannot be taken away from a temporary directory: /proc says that it has none. */
static void
a_full_file_system_is_found(void **state)
{
    char args[256];

    (void)state;
    doctor_host("");
    doctor_write("/etc/full.yaml", "state_dir: /proc/self\n");
    (void)snprintf(args, sizeof(args),
                   "doctor --offline --config %s/etc/full.yaml --only space_low", doctor_dir());
    assert_int_equal(doctor_ctl(args), 1);
    assert_non_null(strstr(doctor_out, "SPACE_LOW"));
    assert_non_null(strstr(doctor_out, "/proc/self: 0 KiB"));
}

static bool
provoked(const char *code)
{
    for (size_t i = 0; i < doctor_n_cases; i++)
        if (strcmp(doctor_cases[i].code, code) == 0 && strcmp(doctor_cases[i].severity, "ok") != 0)
            return true;
    return strcmp(code, "SPACE_LOW") == 0;
}

static void
no_code_is_without_a_test_and_none_stands_twice(void **state)
{
    const char *seen[CODES_MAX];
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < doctor_area_count(); i++)
        for (size_t k = 0; k < doctor_areas[i]->n; k++) {
            const struct doctor_check *c = &doctor_areas[i]->checks[k];

            if (!c->code)
                fail_msg("area %s: row %zu is empty", doctor_areas[i]->name, k);
            if (!provoked(c->code))
                fail_msg("no test provokes %s", c->code);
            assert_true(c->title[0] && c->why[0] && doctor_cure_of(c)[0]);
            for (size_t j = 0; j < n; j++)
                assert_string_not_equal(seen[j], c->code);
            assert_true(n < CODES_MAX);
            seen[n++] = c->code;
        }
}

static void
the_document_prints_the_table(void **state)
{
    const char *src = getenv("PGPU_SOURCE_DIR");
    struct err e = ERR_INIT;
    struct buf want;
    char path[512];
    char *text = NULL, *begin, *end;
    size_t len;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/docs/doctor.md", src ? src : ".");
    assert_int_equal(fs_read_file(AT_FDCWD, path, 1u << 20, &text, &len, &e), 0);
    begin = strstr(text, BEGIN);
    end = begin ? strstr(begin, END) : NULL;
    assert_non_null(end);
    begin += strlen(BEGIN);
    *end = '\0';
    buf_init(&want, 1u << 18);
    doctor_markdown(&want);
    assert_string_equal(begin, buf_cstr(&want));
    buf_fini(&want);
    free(text);
}

static void
what_may_not_be_read_is_unknown_and_not_fine(void **state)
{
    (void)state;
    doctor_host("");
    doctor_chmod("/var/lib/kubelet/pod-resources", 0);
    doctor_chmod("/var/lib/kubelet/device-plugins", 0);
    doctor_chmod("/run/cdi", 0);
    assert_int_equal(doctor_run_as_nobody("--only POD_RESOURCES_DOWN,KUBELET_DOWN"), 0);
    assert_string_equal(doctor_severity_of("POD_RESOURCES_DOWN"), "unknown");
    assert_string_equal(doctor_severity_of("KUBELET_DOWN"), "unknown");
    (void)doctor_run_as_nobody("--only CDI_POISON,PLUGIN_COMPETES");
    assert_string_equal(doctor_severity_of("CDI_POISON"), "unknown");
    assert_string_equal(doctor_severity_of("PLUGIN_COMPETES"), "unknown");
    doctor_chmod("/run/cdi", 0755);
}

static void
expect_as_nobody(const char *const *codes)
{
    char only[64];

    for (; *codes; codes++) {
        (void)snprintf(only, sizeof(only), "--only %s", *codes);
        if (doctor_run_as_nobody(only) != 0 || !doctor_severity_of(*codes) ||
            strcmp(doctor_severity_of(*codes), "unknown") != 0)
            fail_msg("%s is not unknown: %s", *codes, doctor_out);
    }
}

static void
a_configuration_that_may_not_be_read_is_not_called_broken_or_short(void **state)
{
    static const char *const kubelet[] = {"KUBELET_CONFIG", "POD_RESOURCES_GET_OFF",
                                          "REQUEST_TIMEOUT_SHORT", "IMAGE_PER_CLASS_OFF", NULL};
    static const char *const runtime[] = {"RUNTIME_CONFIG", "NRI_OFF", "KATA_MISSING", NULL};

    (void)state;
    doctor_host("");
    doctor_chmod("/var/lib/kubelet/config.yaml", 0);
    expect_as_nobody(kubelet);
    doctor_chmod("/etc/containerd/config.toml", 0);
    expect_as_nobody(runtime);
    doctor_host("--runtime crio");
    doctor_chmod("/etc/crio/crio.conf.d", 0);
    expect_as_nobody(runtime);
    doctor_chmod("/etc/crio/crio.conf.d", 0755);
}

static void
services_that_are_not_asked_are_unknown(void **state)
{
    (void)state;
    doctor_host("");
    assert_int_equal(doctor_run("--offline"), 0);
    assert_string_equal(doctor_severity_of("HWD_DOWN"), "unknown");
    assert_string_equal(doctor_severity_of("PGPUD_DOWN"), "unknown");
    doctor_remove("/run/pgpu/control.sock");
    doctor_remove("/run/pgpu-hwd");
    assert_int_equal(doctor_run("--offline"), 0);
}

/* Most build machines are containers: there, the programs of this one must not be judged. */
static void
a_containers_own_processes_are_not_the_hosts(void **state)
{
    struct stat st;

    (void)state;
    assert_false(doctor_procs_whole("/", 4026532999u));
    assert_true(doctor_procs_whole("/", 4026531836u));
    assert_true(doctor_procs_whole("/host", 4026532999u));
    assert_int_equal(stat("/proc/self/ns/pid", &st), 0);
    (void)doctor_ctl("--json doctor --offline --only OPERAND_RUNNING");
    assert_true((strstr(doctor_out, "processes are not visible") != NULL) ==
                !doctor_procs_whole("/", st.st_ino));
}

static void
files_that_are_huge_or_no_files_stop_nothing(void **state)
{
    char *big = malloc((2u << 20) + 1), fifo[128];

    (void)state;
    assert_non_null(big);
    memset(big, '[', 2u << 20);
    big[2u << 20] = '\0';
    doctor_host("");
    doctor_write("/etc/containerd/config.toml", big);
    doctor_write("/var/lib/kubelet/config.yaml", big);
    doctor_write("/var/lib/dpkg/status", big);
    doctor_write("/proc/930/cmdline", big);
    doctor_write("/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint", big);
    doctor_remove("/proc/cmdline");
    (void)snprintf(fifo, sizeof(fifo), "%s/proc/cmdline", doctor_dir());
    assert_int_equal(mkfifo(fifo, 0600), 0);
    doctor_remove("/proc/602/cmdline");
    doctor_mkdir("/proc/602/cmdline");
    doctor_remove("/proc/cpuinfo");
    doctor_socket("/proc/cpuinfo", false);
    assert_int_equal(doctor_run(""), 2);
    assert_string_equal(doctor_severity_of("RUNTIME_CONFIG"), "error");
    assert_string_equal(doctor_severity_of("NO_TEE"), "unknown");
    doctor_remove("/proc/cpuinfo");
    doctor_write("/proc/cpuinfo", "vendor_id : AuthenticAMD\n");
    assert_int_equal(doctor_run("--only IOMMU_PASSTHROUGH"), 0);
    assert_string_equal(doctor_severity_of("IOMMU_PASSTHROUGH"), "unknown");
    free(big);
}

static void
what_was_seen_is_printed_as_plain_text(void **state)
{
    (void)state;
    doctor_host("");
    doctor_replace("/opt/kata/share/defaults/kata-containers/runtimes/qemu-nvidia-gpu-snp/"
                   "configuration-qemu-nvidia-gpu-snp.toml",
                   "cold_plug_vfio = \"root-port\"", "cold_plug_vfio = \"\\u001b[2J\\u202e\"");
    (void)doctor_run("--only KATA_COLD_PLUG_OFF");
    assert_non_null(strstr(doctor_text_of("KATA_COLD_PLUG_OFF", "seen"), "?[2J???"));
}

static void
codes_are_explained_and_listed(void **state)
{
    json_object *list;

    (void)state;
    assert_int_equal(doctor_ctl("doctor --explain iommu_passthrough"), 0);
    assert_non_null(strstr(doctor_out, "IOMMU_PASSTHROUGH"));
    assert_non_null(strstr(doctor_out, "cure remove it from the kernel's command line"));
    assert_int_equal(doctor_ctl("doctor --explain NO_SUCH"), 2);
    assert_int_equal(doctor_ctl("doctor --only NO_SUCH"), 2);
    assert_int_equal(doctor_ctl("doctor --list"), 0);
    assert_non_null(strstr(doctor_out, "KATA_BY_ANNOTATION"));
    assert_int_equal(doctor_ctl("doctor --list --json"), 0);
    list = json_tokener_parse(doctor_out);
    assert_true(json_object_is_type(list, json_type_array));
    assert_true(json_object_array_length(list) > 80);
    (void)json_object_put(list);
}

static void
people_get_a_summary_and_the_cure(void **state)
{
    char args[256];

    (void)state;
    doctor_host("");
    doctor_replace("/proc/cmdline", "quiet", "iommu=pt");
    (void)snprintf(args, sizeof(args), "--root %s doctor --only tee", doctor_dir());
    assert_int_equal(doctor_ctl(args), 2);
    assert_non_null(strstr(doctor_out, "ERROR    IOMMU_PASSTHROUGH"));
    assert_non_null(strstr(doctor_out, "cure remove iommu=pt"));
    assert_non_null(strstr(doctor_out, "\n1 error, 0 warnings, 0 notes, 5 fine, 0 not checked\n"));
    assert_null(strstr(doctor_out, "why"));
    assert_null(strchr(doctor_out, '\033'));
    (void)snprintf(args, sizeof(args), "--root %s doctor -v --only tee", doctor_dir());
    assert_int_equal(doctor_ctl(args), 2);
    assert_non_null(strstr(doctor_out, "why  On AMD these settings"));
}

static int
clean(void **state)
{
    (void)state;
    doctor_host_remove();
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_healthy_host_is_fine),
        cmocka_unit_test(every_condition_is_found_where_it_is),
        cmocka_unit_test(a_full_file_system_is_found),
        cmocka_unit_test(no_code_is_without_a_test_and_none_stands_twice),
        cmocka_unit_test(the_document_prints_the_table),
        cmocka_unit_test(what_may_not_be_read_is_unknown_and_not_fine),
        cmocka_unit_test(a_configuration_that_may_not_be_read_is_not_called_broken_or_short),
        cmocka_unit_test(services_that_are_not_asked_are_unknown),
        cmocka_unit_test(a_containers_own_processes_are_not_the_hosts),
        cmocka_unit_test(files_that_are_huge_or_no_files_stop_nothing),
        cmocka_unit_test(what_was_seen_is_printed_as_plain_text),
        cmocka_unit_test(codes_are_explained_and_listed),
        cmocka_unit_test(people_get_a_summary_and_the_cure),
    };

    return cmocka_run_group_tests_name("doctor", tests, NULL, clean);
}
