/* SPDX-License-Identifier: Apache-2.0
 *
 * What each handler does with each key, row by row.
 */
#include "nri/kata_annotations.h"
#include "nri/kata_annotations_impl.h"

#include "base/cleanup.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define H KATA_ANNOTATION_HYPERVISOR
#define R KATA_ANNOTATION_RUNTIME
#define A KATA_ANNOTATION_AGENT

#define GO_SNP "kata-qemu-nvidia-gpu-snp"
#define RS_SNP "kata-qemu-nvidia-gpu-snp-runtime-rs"
#define GO_TDX "kata-qemu-nvidia-gpu-tdx"
#define RS_TDX "kata-qemu-nvidia-gpu-tdx-runtime-rs"
#define GO_GPU "kata-qemu-nvidia-gpu"
#define RS_GPU "kata-qemu-nvidia-gpu-runtime-rs"
#define GO_COCO "kata-qemu-snp"
#define RS_COCO "kata-qemu-snp-runtime-rs"

static struct kata_handler *
handler(const char *name, const struct kata_handler_opts *opts)
{
    struct kata_handler *h = NULL;
    struct err e = ERR_INIT;

    if (kata_handler_new(name, opts, &h, &e) < 0)
        fail_msg("%s", e.msg);
    return h;
}

static struct kata_verdict
ask(const char *name, const struct kata_handler_opts *opts, const char *toml, const char *key,
    const char *value)
{
    _cleanup_(kata_handler_freep) struct kata_handler *h = handler(name, opts);
    struct kata_verdict v;
    struct err e = ERR_INIT;

    if (toml && kata_handler_config(h, "c.toml", toml, strlen(toml), &e) < 0)
        fail_msg("%s", e.msg);
    kata_annotation_verdict(h, key, value, &v);
    assert_true(v.reason[0] != '\0');
    return v;
}

struct row {
    const char *handler, *key, *value;
    enum kata_outcome outcome;
    const char *says; /* in the reason, NULL: do not care */
};

static void
check(const struct row *rows, size_t n, const struct kata_handler_opts *opts, const char *toml)
{
    for (size_t i = 0; i < n; i++) {
        const struct row *r = &rows[i];
        struct kata_verdict v = ask(r->handler, opts, toml, r->key, r->value);

        if (v.outcome != r->outcome)
            fail_msg("%s %s=%s: %s, not %s: %s", r->handler, r->key, r->value ? r->value : "(any)",
                     kata_outcome_name(v.outcome), kata_outcome_name(r->outcome), v.reason);
        if (r->says && !strstr(v.reason, r->says))
            fail_msg("%s %s: no \"%s\" in \"%s\"", r->handler, r->key, r->says, v.reason);
        if (v.outcome == KATA_FAILS || v.outcome == KATA_UNSURE)
            assert_true(v.cure[0] != '\0');
        if (v.outcome != KATA_APPLIED)
            assert_false(v.changes_launch);
    }
}

static void
shipped_lists_decide_by_handler_and_runtime(void **state)
{
    static const struct row rows[] = {
        {GO_SNP, H "enable_iommu", "true", KATA_APPLIED, NULL},
        {GO_SNP, H "kernel_params", "quiet", KATA_APPLIED, NULL},
        {GO_SNP, H "kernel_verity_params", "root_hash=1", KATA_APPLIED, NULL},
        {GO_SNP, H "default_vcpus", "2", KATA_APPLIED, NULL},
        {GO_SNP, H "default_memory", "16384", KATA_APPLIED, NULL},
        {GO_SNP, H "machine_type", "q35", KATA_FAILS, "is not enabled"},
        {GO_SNP, H "pcie_root_port", "2", KATA_FAILS, "is not enabled"},
        {GO_TDX, H "default_vcpus", "2", KATA_APPLIED, NULL},
        {GO_TDX, H "image", "/i", KATA_FAILS, "is not enabled"},
        {GO_GPU, H "kernel_params", "quiet", KATA_APPLIED, NULL},
        {GO_GPU, H "default_vcpus", "2", KATA_FAILS, "is not enabled"},
        {GO_GPU, H "cc_init_data", "H4sI", KATA_FAILS, "is not enabled"},
        {RS_SNP, H "enable_iommu", "true", KATA_IGNORED, "ignored with a warning"},
        {RS_SNP, H "kernel_params", "quiet", KATA_IGNORED, "ignored with a warning"},
        {RS_SNP, H "default_memory", "16384", KATA_IGNORED, NULL},
        {RS_SNP, H "cold_plug_vfio", "root-port", KATA_IGNORED, NULL},
        {RS_TDX, H "default_vcpus", "2", KATA_IGNORED, NULL},
        {RS_GPU, H "cc_init_data", "H4sI", KATA_IGNORED, NULL},
        {RS_GPU, H "kernel_params", "quiet", KATA_IGNORED, NULL},
        {GO_COCO, H "default_memory", "4096", KATA_APPLIED, NULL},
        {RS_COCO, H "default_memory", "4 GiB", KATA_APPLIED, NULL},
        {RS_COCO, H "enable_iommu", "true", KATA_APPLIED, NULL},
        {RS_COCO, H "machine_type", "q35", KATA_IGNORED, NULL},
        {"kata-qemu-nvidia-gpu-snp-site1", H "default_vcpus", "2", KATA_APPLIED, NULL},
        {"kata-qemu-nvidia-gpu-snp-debug", H "machine_type", "q35", KATA_FAILS, NULL},
    };

    (void)state;
    check(rows, ARRAY_SIZE(rows), NULL, NULL);
}

static void
expressions_match_anywhere_in_the_key(void **state)
{
    static const struct row rows[] = {
        {GO_SNP, H "enable_iommu_platform", "true", KATA_APPLIED, "\"enable_iommu\""},
        {RS_COCO, H "enable_iommu_platform", "true", KATA_APPLIED, "\"enable_iommu\""},
        /* allowed by the same, known to nobody */
        {GO_SNP, H "enable_iommu_all", "true", KATA_IGNORED, "no such key"},
        {RS_COCO, H "enable_iommu_all", "true", KATA_FAILS, "Invalid annotation type"},
    };

    (void)state;
    check(rows, ARRAY_SIZE(rows), NULL, NULL);
}

static void
where_everything_is_allowed_the_runtime_must_know_it(void **state)
{
    static const char all[] = "[hypervisor.qemu]\nenable_annotations = [\".*\"]\n"
                              "valid_hypervisor_paths = [\"/opt/kata/bin/qemu*\"]\n";
    static const char all_rs[] =
        "[hypervisor.qemu]\nenable_annotations = [\".*\"]\n"
        "valid_hypervisor_paths = [\"/opt/kata/bin/qemu*\"]\n"
        "[runtime]\nname = \"virt_container\"\nhypervisor_name = \"qemu\"\nagent_name = \"kata\"\n";
    static const struct row go[] = {
        {GO_SNP, H "cold_plug_vfio", "root-port", KATA_APPLIED, NULL},
        {GO_SNP, H "hot_plug_vfio", "no-port", KATA_APPLIED, NULL},
        {GO_SNP, H "pcie_root_port", "4", KATA_APPLIED, NULL},
        {GO_SNP, H "pcie_switch_port", "4", KATA_APPLIED, NULL},
        {GO_SNP, H "default_max_vcpus", "8", KATA_APPLIED, NULL},
        {GO_SNP, H "default_maxvcpus", "8", KATA_IGNORED, "no such key"},
        {GO_SNP, H "machine_type", "q35", KATA_APPLIED, NULL},
        {GO_SNP, H "image", "/i", KATA_APPLIED, "is there on the node"},
        {GO_SNP, H "image_hash", "00", KATA_APPLIED, NULL},
        {GO_SNP, H "firmware_volume", "/f", KATA_APPLIED, NULL},
        {GO_SNP, H "hypervisor_hash", "00", KATA_APPLIED, NULL},
        {GO_SNP, H "path_hash", "00", KATA_IGNORED, "no such key"},
        {GO_SNP, H "numa_mapping", "0", KATA_APPLIED, NULL},
        {GO_SNP, H "path", "/opt/kata/bin/qemu-snp", KATA_APPLIED, "valid_hypervisor_paths"},
        {GO_SNP, H "path", "/bin/sh", KATA_FAILS, "valid_hypervisor_paths"},
        {GO_SNP, H "jailer_path", "/bin/sh", KATA_FAILS, "valid_jailer_paths"},
        {GO_SNP, H "default_gpus", "1", KATA_IGNORED, "remote hypervisor"},
        {GO_SNP, H "default_gpu_model", "h100", KATA_IGNORED, "remote hypervisor"},
        {GO_SNP, H "sev_snp_guest", "true", KATA_IGNORED, "no such key"},
        {GO_SNP, H "snp_guest_policy", "196608", KATA_IGNORED, "no such key"},
        {GO_SNP, H "snp_id_block", "", KATA_IGNORED, "no such key"},
        {GO_SNP, H "enable_numa", "true", KATA_IGNORED, "no such key"},
        {GO_SNP, H "network_queues", "2", KATA_IGNORED, "no such key"},
        {GO_SNP, H "enable_annotations", ".*", KATA_IGNORED, "no such key"},
    };
    static const struct row rs[] = {
        {RS_SNP, H "cold_plug_vfio", "root-port", KATA_FAILS, "Invalid annotation type"},
        {RS_SNP, H "hot_plug_vfio", "no-port", KATA_FAILS, "Invalid annotation type"},
        {RS_SNP, H "pcie_root_port", "4", KATA_APPLIED, NULL},
        {RS_SNP, H "pcie_switch_port", "4", KATA_APPLIED, NULL},
        {RS_SNP, H "firmware_volume", "/f", KATA_FAILS, "Invalid annotation type"},
        {RS_SNP, H "image", "/i", KATA_APPLIED, NULL},
        {RS_SNP, H "image_hash", "00", KATA_FAILS, "Invalid annotation type"},
        {RS_SNP, H "numa_mapping", "0", KATA_FAILS, "Invalid annotation type"},
        {RS_SNP, H "path", "/opt/kata/bin/qemu-snp", KATA_APPLIED, NULL},
        {RS_SNP, H "path", "/bin/sh", KATA_FAILS, "valid_hypervisor_paths"},
        {RS_SNP, H "default_gpus", "1", KATA_IGNORED, "remote hypervisor"},
        {RS_SNP, H "sev_snp_guest", "true", KATA_FAILS, "Invalid annotation type"},
        {RS_SNP, H "network_queues", "2", KATA_APPLIED, NULL},
        {RS_SNP, H "kernel_verity_params", "root_hash=1", KATA_APPLIED, NULL},
    };

    (void)state;
    check(go, ARRAY_SIZE(go), NULL, all);
    check(rs, ARRAY_SIZE(rs), NULL, all_rs);
}

static void
runtime_and_agent_keys_need_no_list(void **state)
{
    static const struct row rows[] = {
        {GO_SNP, R "create_container_timeout", "1200", KATA_APPLIED, NULL},
        {RS_SNP, R "create_container_timeout", "1200", KATA_APPLIED, NULL},
        {GO_SNP, R "vfio_mode", "guest-kernel", KATA_APPLIED, NULL},
        {RS_SNP, R "vfio_mode", "guest-kernel", KATA_APPLIED, NULL},
        {RS_GPU, R "vfio_mode", "host", KATA_FAILS, "not one of"},
        {GO_SNP, R "sandbox_cgroup_only", "true", KATA_APPLIED, NULL},
        {RS_SNP, R "disable_guest_seccomp", "true", KATA_APPLIED, NULL},
        {GO_SNP, R "experimental_force_guest_pull", "true", KATA_APPLIED, NULL},
        {RS_SNP, R "experimental_force_guest_pull", "true", KATA_IGNORED, "no such key"},
        {GO_SNP, R "enable_vcpus_pinning", "true", KATA_IGNORED, "no such key"},
        {GO_SNP, "io.katacontainers.enable_vcpus_pinning", "true", KATA_APPLIED, NULL},
        {RS_SNP, R "enable_vcpus_pinning", "true", KATA_APPLIED, NULL},
        {GO_SNP, R "experimental", "true", KATA_UNSURE, "feature"},
        {GO_SNP, R "cc_init_data", "H4sI", KATA_IGNORED, "no such key"},
        {RS_SNP, R "cc_init_data", "H4sI", KATA_IGNORED, "no such key"},
        {GO_SNP, A "policy", "cGFja2FnZQ==", KATA_APPLIED, NULL},
        {RS_SNP, A "policy", "cGFja2FnZQ==", KATA_IGNORED, "no such key"},
        {GO_SNP, A "kernel_modules", "e1000e", KATA_APPLIED, NULL},
        {RS_SNP, A "enable_tracing", "true", KATA_APPLIED, NULL},
        {GO_SNP, A "cdh_api_timeout_ms", "1000", KATA_IGNORED, "no such key"},
        {RS_SNP, A "cdh_api_timeout_ms", "1000", KATA_APPLIED, NULL},
        {GO_SNP, "io.katacontainers.config_path", "/tmp/x.toml", KATA_UNSURE, "releases differ"},
        {GO_SNP, "io.katacontainers.fs-opt.layer", "x", KATA_IGNORED, "containers"},
        {GO_SNP, "nvidia.com/pgpu.cc_mode", "on", KATA_FOREIGN, "pgpu"},
        {GO_SNP, "kubernetes.io/description", "x", KATA_FOREIGN, NULL},
        {GO_SNP, "", "", KATA_FOREIGN, NULL},
    };

    (void)state;
    check(rows, ARRAY_SIZE(rows), NULL, NULL);
}

static void
cdi_annotations_depend_on_release_socket_and_container_runtime(void **state)
{
    static const char key[] = "cdi.k8s.io/gpu";
    static const char value[] = "nvidia.com/pgpu=0000:41:00.0";
    static const char with[] = "[hypervisor.qemu]\n[runtime]\n"
                               "[hypervisor.qemu.x]\n";
    static const char sock[] = "[hypervisor.qemu]\npod_resource_api_sock = \"/k.sock\"\n";
    static const char no_sock[] = "[hypervisor.qemu]\npod_resource_api_sock = \"\"\n";
    static const struct {
        const char *handler;
        struct kata_handler_opts opts;
        const char *toml;
        enum kata_outcome outcome;
    } rows[] = {
        {GO_SNP, {.version = {3, 23}}, NULL, KATA_APPLIED},
        {GO_SNP, {.version = {2, 5}}, NULL, KATA_APPLIED},
        {GO_SNP, {.version = {3, 23}, .cri = KATA_CRI_CRIO}, NULL, KATA_APPLIED},
        {GO_SNP, {.version = {3, 23}, .cri = KATA_CRI_CONTAINERD}, NULL, KATA_UNSURE},
        {GO_SNP, {.version = {3, 24}}, NULL, KATA_UNSURE},
        {GO_SNP, {.version = {3, 32}}, sock, KATA_IGNORED},
        {GO_SNP, {.version = {3, 24}}, no_sock, KATA_APPLIED},
        {GO_SNP, {.version = {3, 24}}, with, KATA_APPLIED},
        {GO_SNP, {.version = {4, 0}}, NULL, KATA_IGNORED},
        {GO_SNP, {.version = {4, 1}}, sock, KATA_IGNORED},
        {GO_SNP, {.version = {4, 1}}, no_sock, KATA_APPLIED},
        {GO_SNP, {.version = {0, 0}}, NULL, KATA_UNSURE},
        {GO_SNP, {.version = {0, 0}}, sock, KATA_IGNORED},
        {RS_SNP, {.cri = KATA_CRI_CRIO}, NULL, KATA_FAILS},
        {RS_SNP, {.cri = KATA_CRI_CONTAINERD}, NULL, KATA_IGNORED},
        {RS_SNP, {.cri = KATA_CRI_UNKNOWN}, NULL, KATA_UNSURE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct kata_verdict v = ask(rows[i].handler, &rows[i].opts, rows[i].toml, key, value);

        if (v.outcome != rows[i].outcome)
            fail_msg("row %zu: %s: %s", i, kata_outcome_name(v.outcome), v.reason);
    }
}

static void
options_of_containers_reach_them_by_crio_alone(void **state)
{
    static const struct kata_handler_opts crio = {.cri = KATA_CRI_CRIO};
    static const struct row rows[] = {
        {GO_SNP, "io.katacontainers.container.resource.swappiness", "10", KATA_APPLIED, "CRI-O"},
        {RS_SNP, "io.katacontainers.container.resource.swappiness", "10", KATA_UNSURE, "CRI-O"},
    };

    (void)state;
    check(rows, ARRAY_SIZE(rows), &crio, NULL);
}

static void
an_unknown_runtime_or_list_is_no_guess(void **state)
{
    static const struct row rows[] = {
        {"kata-cc", H "default_vcpus", "2", KATA_UNSURE, "depends on the runtime"},
        {"kata", R "vfio_mode", "vfio", KATA_UNSURE, "depends on the runtime"},
        {"kata-cc", "nvidia.com/pgpu.tee", "snp", KATA_FOREIGN, NULL},
        {"kata-clh", H "default_vcpus", "2", KATA_UNSURE, "not known"},
        {"kata-clh", R "vfio_mode", "vfio", KATA_APPLIED, NULL},
    };
    static const struct kata_handler_opts go = {.flavour = KATA_FLAVOUR_GO};

    (void)state;
    check(rows, ARRAY_SIZE(rows), NULL, NULL);
    assert_int_equal(ask("kata-cc", &go, NULL, H "default_vcpus", "2").outcome, KATA_UNSURE);
    assert_int_equal(ask("kata-cc", &go, NULL, R "vfio_mode", "x").outcome, KATA_FAILS);
    assert_int_equal(ask("kata-cc", &go, "[hypervisor.qemu]\n", H "default_vcpus", "2").outcome,
                     KATA_FAILS);
}

static void
the_measured_launch_follows_key_tee_and_runtime(void **state)
{
    static const char all[] = "[hypervisor.qemu]\nenable_annotations = [\".*\"]\n";
    static const char all_rs[] = "[hypervisor.qemu]\nenable_annotations = [\".*\"]\n"
                                 "[runtime]\nhypervisor_name = \"qemu\"\n";
    static const struct {
        const char *handler, *key, *value;
        bool changes;
        const char *says;
    } rows[] = {
        {GO_SNP, H "default_vcpus", "2", true, "VMSA"},
        {GO_TDX, H "default_vcpus", "2", true, "RTMR[0]"},
        {GO_GPU, H "default_vcpus", "2", false, "not a confidential handler"},
        {GO_SNP, H "kernel_params", "quiet", true, "command line"},
        {RS_SNP, H "kernel_verity_params", "x", true, "command line"},
        {GO_TDX, H "kernel_params", "quiet", true, "not in MRTD"},
        {GO_SNP, H "kernel", "/k", true, "kernel-hashes: kernel"},
        {GO_TDX, H "kernel", "/k", true, "RTMR[1]"},
        {GO_SNP, H "initrd", "/k", true, "initrd"},
        {GO_SNP, H "image", "/k", false, "dm-verity"},
        {GO_SNP, H "firmware", "/k", true, "firmware"},
        {GO_TDX, H "firmware", "/k", true, "MRTD"},
        {GO_SNP, H "default_memory", "4096", false, "not measured"},
        {GO_TDX, H "default_memory", "4096", true, "RTMR[0]"},
        {GO_SNP, H "enable_iommu", "true", false, "not measured"},
        {RS_SNP, H "enable_iommu", "true", true, "command line"},
        {GO_TDX, H "enable_iommu", "true", true, "RTMR[0]"},
        {GO_SNP, H "enable_iommu_platform", "true", false, "not measured"},
        {GO_SNP, A "container_pipe_size", "4096", false, "not measured"},
        {RS_SNP, A "container_pipe_size", "4096", true, "command line"},
        {RS_TDX, A "enable_tracing", "true", true, "command line"},
        {GO_SNP, A "policy", "cGFja2FnZQ==", false, "after launch"},
        {GO_SNP, R "create_container_timeout", "9", false, "not measured"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        bool rs = strstr(rows[i].handler, "runtime-rs") != NULL;
        struct kata_verdict v =
            ask(rows[i].handler, NULL, rs ? all_rs : all, rows[i].key, rows[i].value);

        if (v.changes_launch != rows[i].changes || !strstr(v.measured, rows[i].says))
            fail_msg("%s %s: %d %s (%s)", rows[i].handler, rows[i].key, v.changes_launch,
                     v.measured, v.reason);
    }
}

static void
nothing_is_measured_of_what_is_not_applied(void **state)
{
    struct kata_verdict v;

    (void)state;
    v = ask(RS_SNP, NULL, NULL, H "kernel_params", "quiet");
    assert_string_equal(v.measured, "");
    assert_false(v.changes_launch);
    v = ask(GO_SNP, NULL, NULL, H "default_vcpus", "many");
    assert_int_equal(v.outcome, KATA_FAILS);
    assert_string_equal(v.measured, "");
    assert_false(v.changes_launch);
}

static void
every_row_of_the_table_is_whole_and_there_once(void **state)
{
    const struct kata_key *k;

    (void)state;
    for (size_t i = 0; (k = kata_key_at(i)) != NULL; i++) {
        bool words =
            k->go == KV_WORDS || k->go == KV_MAYBE || k->rs == KV_WORDS || k->rs == KV_MAYBE;

        if (kata_key_find(k->key) != k)
            fail_msg("%s is there twice", k->key);
        assert_true(strncmp(k->key, "io.katacontainers.", 18) == 0);
        assert_true(k->effect && k->effect[0]);
        assert_false(k->go == KV_ABSENT && k->rs == KV_ABSENT);
        if (words != (k->words != NULL))
            fail_msg("%s: words", k->key);
        if ((k->go == KV_GLOB || k->rs == KV_GLOB) != (k->list != NULL))
            fail_msg("%s: list", k->key);
        for (int t = KATA_TEE_UNKNOWN; t <= KATA_TEE_TDX; t++) {
            bool changes;

            assert_non_null(
                kata_measure_text(k->measure, (enum kata_tee)t, KATA_FLAVOUR_GO, &changes));
            assert_non_null(
                kata_measure_text(k->measure, (enum kata_tee)t, KATA_FLAVOUR_RS, &changes));
        }
    }
}

static void
hostile_keys_and_values_give_short_printable_reasons(void **state)
{
    static const char *const keys[] = {H "default_vcpus", H "\x1b[31m\nx",  H "",
                                       A "policy",        H "cc_init_data", "\xff\xfe"};
    char big[100000];

    (void)state;
    memset(big, '\x1b', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        struct kata_verdict v = ask(GO_SNP, NULL, NULL, keys[i], big);

        for (const char *c = v.reason; *c; c++)
            assert_true(*c >= 0x20 && *c < 0x7f);
        assert_true(strlen(v.reason) < KATA_TEXT_MAX);
    }
    memcpy(big, H, strlen(H));
    assert_int_equal(ask(GO_SNP, NULL, NULL, big, "1").outcome, KATA_FAILS);
    /* the key alone can be judged too */
    assert_int_equal(ask(GO_SNP, NULL, NULL, H "default_vcpus", NULL).outcome, KATA_APPLIED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_lists_decide_by_handler_and_runtime),
        cmocka_unit_test(expressions_match_anywhere_in_the_key),
        cmocka_unit_test(where_everything_is_allowed_the_runtime_must_know_it),
        cmocka_unit_test(runtime_and_agent_keys_need_no_list),
        cmocka_unit_test(cdi_annotations_depend_on_release_socket_and_container_runtime),
        cmocka_unit_test(options_of_containers_reach_them_by_crio_alone),
        cmocka_unit_test(an_unknown_runtime_or_list_is_no_guess),
        cmocka_unit_test(the_measured_launch_follows_key_tee_and_runtime),
        cmocka_unit_test(nothing_is_measured_of_what_is_not_applied),
        cmocka_unit_test(every_row_of_the_table_is_whole_and_there_once),
        cmocka_unit_test(hostile_keys_and_values_give_short_printable_reasons),
    };

    return cmocka_run_group_tests_name("nri_annotations", tests, NULL, NULL);
}
