/* SPDX-License-Identifier: Apache-2.0
 *
 * What each runtime makes of a value.
 */
#include "nri/kata_annotations.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "nri/initdata.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define H KATA_ANNOTATION_HYPERVISOR
#define R KATA_ANNOTATION_RUNTIME
#define A KATA_ANNOTATION_AGENT

static struct kata_handler *go, *rs;

static int
setup(void **state)
{
    static const char config[] = "[hypervisor.qemu]\nenable_annotations = [\".*\"]\n"
                                 "valid_virtio_fs_daemon_paths = [\"/opt/*/virtiofsd\", 3]\n"
                                 "[runtime]\nx = 1\n";
    static const char config_rs[] = "[hypervisor.qemu]\nenable_annotations = [\".*\"]\n"
                                    "valid_virtio_fs_daemon_paths = [\"/opt/*/virtiofsd\"]\n"
                                    "[runtime]\nhypervisor_name = \"qemu\"\n";
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(kata_handler_new("kata-qemu-snp", NULL, &go, &e), 0);
    assert_int_equal(kata_handler_new("kata-qemu-snp-runtime-rs", NULL, &rs, &e), 0);
    if (kata_handler_config(go, "go.toml", config, strlen(config), &e) < 0 ||
        kata_handler_config(rs, "rs.toml", config_rs, strlen(config_rs), &e) < 0)
        fail_msg("%s", e.msg);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    kata_handler_free(go);
    kata_handler_free(rs);
    return 0;
}

struct row {
    const char *key, *value;
    enum kata_outcome go, rs;
};

static void
check(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct kata_verdict g, r;

        kata_annotation_verdict(go, rows[i].key, rows[i].value, &g);
        kata_annotation_verdict(rs, rows[i].key, rows[i].value, &r);
        if (g.outcome != rows[i].go || r.outcome != rows[i].rs)
            fail_msg("%s=\"%s\": go %s (%s), runtime-rs %s (%s)", rows[i].key, rows[i].value,
                     kata_outcome_name(g.outcome), g.reason, kata_outcome_name(r.outcome),
                     r.reason);
    }
}

#define OK KATA_APPLIED
#define BAD KATA_FAILS
#define IGN KATA_IGNORED

static void
booleans(void **state)
{
    static const struct row rows[] = {
        {H "enable_iommu", "true", OK, OK},    {H "enable_iommu", "false", OK, OK},
        {H "enable_iommu", "1", OK, BAD},      {H "enable_iommu", "T", OK, BAD},
        {H "enable_iommu", "TRUE", OK, BAD},   {H "enable_iommu", " true ", BAD, OK},
        {H "enable_iommu", "yes", BAD, BAD},   {H "enable_iommu", "", BAD, BAD},
        {H "enable_iommu", "true1", BAD, BAD}, {R "enable_pprof", "maybe", IGN, BAD},
    };

    (void)state;
    check(rows, ARRAY_SIZE(rows));
}

static void
numbers(void **state)
{
    static const struct row rows[] = {
        {H "default_max_vcpus", "8", OK, OK},
        {H "default_max_vcpus", "+8", BAD, OK},
        {H "default_max_vcpus", " 8", BAD, OK},
        {H "default_max_vcpus", "-1", BAD, BAD},
        {H "default_max_vcpus", "0x8", BAD, BAD},
        {H "default_max_vcpus", "8.0", BAD, BAD},
        {H "default_max_vcpus", "", BAD, BAD},
        {H "default_max_vcpus", "4294967295", OK, OK},
        {H "default_max_vcpus", "4294967296", OK, BAD},
        {H "default_max_vcpus", "18446744073709551615", OK, BAD},
        {H "default_max_vcpus", "18446744073709551616", BAD, BAD},
        {H "memory_offset", "18446744073709551615", OK, OK},
        {H "pcie_root_port", "16", OK, OK},
        {H "pcie_root_port", "17", BAD, BAD},
        {H "pcie_root_port", "0", IGN, OK},
        {H "pcie_switch_port", "x", BAD, BAD},
    };

    (void)state;
    check(rows, ARRAY_SIZE(rows));
}

static void
vcpus_and_memory(void **state)
{
    static const struct row rows[] = {
        {H "default_vcpus", "2", OK, OK},         {H "default_vcpus", "1.5", OK, OK},
        {H "default_vcpus", ".5", OK, OK},        {H "default_vcpus", "1e1", OK, OK},
        {H "default_vcpus", "-1", BAD, OK},       {H "default_vcpus", "257", OK, BAD},
        {H "default_vcpus", "1e9", OK, BAD},      {H "default_vcpus", "two", BAD, BAD},
        {H "default_vcpus", "", BAD, BAD},        {H "default_vcpus", "1 2", BAD, BAD},
        {H "default_vcpus", " 2 ", BAD, OK},      {H "default_memory", "8192", OK, OK},
        {H "default_memory", "255", BAD, OK},     {H "default_memory", "256", OK, OK},
        {H "default_memory", "63", BAD, BAD},     {H "default_memory", "64", BAD, OK},
        {H "default_memory", "2 GiB", BAD, OK},   {H "default_memory", "2gb", BAD, OK},
        {H "default_memory", "1.5GiB", BAD, OK},  {H "default_memory", "2048 B", BAD, BAD},
        {H "default_memory", "32 MiB", BAD, BAD}, {H "default_memory", "2048r", BAD, IGN},
        {H "default_memory", "", BAD, IGN},       {H "default_memory", "GiB", BAD, IGN},
        {H "default_memory", "2 GiBB", BAD, IGN},
    };
    struct kata_verdict v;

    (void)state;
    check(rows, ARRAY_SIZE(rows));
    kata_annotation_verdict(rs, H "default_memory", "8192", &v);
    assert_non_null(strstr(v.cure, "8192 MiB"));
}

static void
words_paths_and_lists(void **state)
{
    static const struct row rows[] = {
        {H "cold_plug_vfio", "", OK, BAD}, /* runtime-rs has no such key */
        {H "cold_plug_vfio", "rootport", BAD, BAD},
        {H "block_device_driver", "virtio-scsi", OK, OK},
        {H "block_device_driver", "virtio", BAD, OK},
        {H "shared_fs", "virtio-fs", OK, OK},
        {H "shared_fs", "none", KATA_UNSURE, OK},
        {R "vfio_mode", "guest-kernel", OK, OK},
        {R "vfio_mode", "guest", BAD, BAD},
        {R "vfio_mode", "", BAD, BAD},
        {R "internetworking_model", "tcfilter", OK, OK},
        {R "internetworking_model", "l3forwarding", KATA_UNSURE, KATA_UNSURE},
        {H "virtio_fs_daemon", "/opt/kata/virtiofsd", OK, OK},
        {H "virtio_fs_daemon", "/opt/a/b/virtiofsd", BAD, OK}, /* '*' crosses '/' in Rust's glob */
        {H "virtio_fs_daemon", "/opt/kata/virtiofsd2", BAD, BAD},
        {H "virtio_fs_extra_args", "[\"-d\"]", OK, OK},
        {H "virtio_fs_extra_args", "-d", BAD, OK},
        {A "policy", "cGFja2FnZQ==", OK, IGN},
        {A "policy", "cGFja2Fn\nZQ==", OK, IGN},
        {A "policy", "package x", BAD, IGN},
        {A "policy", "cGFja2FnZQ", BAD, IGN},
        {A "policy", "c=Fja2Fn", BAD, IGN},
    };

    (void)state;
    check(rows, ARRAY_SIZE(rows));
}

static void
initdata_is_judged_by_its_contents(void **state)
{
    static const char good[] = "version = \"0.1.0\"\nalgorithm = \"sha384\"\n[data]\n";
    struct kata_verdict v;
    struct err e = ERR_INIT;
    struct buf b;

    (void)state;
    buf_init(&b, INITDATA_ANNOTATION_MAX);
    if (initdata_encode(good, strlen(good), &b, &e) < 0)
        fail_msg("%s", e.msg);
    const char *text = buf_cstr(&b);
    kata_annotation_verdict(rs, INITDATA_ANNOTATION, text, &v);
    assert_int_equal(v.outcome, KATA_APPLIED);
    assert_true(v.changes_launch);
    assert_non_null(strstr(v.measured, "HOSTDATA"));
    assert_non_null(strstr(v.reason, "sha384"));
    kata_annotation_verdict(go, INITDATA_ANNOTATION, text, &v);
    assert_int_equal(v.outcome, KATA_APPLIED);
    /* one byte less is no longer base64 */
    kata_annotation_verdict(go, INITDATA_ANNOTATION, text + 1, &v);
    assert_int_equal(v.outcome, KATA_FAILS);
    buf_fini(&b);
    kata_annotation_verdict(go, INITDATA_ANNOTATION, "", &v);
    assert_int_equal(v.outcome, KATA_IGNORED);
    kata_annotation_verdict(rs, INITDATA_ANNOTATION, "", &v);
    assert_int_equal(v.outcome, KATA_FAILS);
    kata_annotation_verdict(rs, INITDATA_ANNOTATION, "bm90IGd6aXA=", &v);
    assert_int_equal(v.outcome, KATA_FAILS);
    assert_non_null(strstr(v.cure, "initdata check"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(booleans),
        cmocka_unit_test(numbers),
        cmocka_unit_test(vcpus_and_memory),
        cmocka_unit_test(words_paths_and_lists),
        cmocka_unit_test(initdata_is_judged_by_its_contents),
    };

    return cmocka_run_group_tests_name("nri_annotations_values", tests, setup, teardown);
}
