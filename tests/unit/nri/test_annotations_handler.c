/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of a handler by its name and its configuration files.
 */
#include "nri/kata_annotations.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define H KATA_ANNOTATION_HYPERVISOR

static struct kata_handler *
handler(const char *name)
{
    struct kata_handler *h = NULL;
    struct err e = ERR_INIT;

    if (kata_handler_new(name, NULL, &h, &e) < 0)
        fail_msg("%s", e.msg);
    return h;
}

static int
config(struct kata_handler *h, const char *file, const char *text, struct err *e)
{
    return kata_handler_config(h, file, text, strlen(text), e);
}

static void
must_config(struct kata_handler *h, const char *file, const char *text)
{
    struct err e = ERR_INIT;

    if (config(h, file, text, &e) < 0)
        fail_msg("%s", e.msg);
}

static enum kata_outcome
outcome(const struct kata_handler *h, const char *key)
{
    struct kata_verdict v;

    kata_annotation_verdict(h, key, NULL, &v);
    return v.outcome;
}

static void
names_tell_runtime_and_tee(void **state)
{
    static const struct {
        const char *name;
        enum kata_flavour flavour;
        enum kata_tee tee;
        int allowed; /* -1: not known */
    } rows[] = {
        {"kata-qemu-nvidia-gpu-snp", KATA_FLAVOUR_GO, KATA_TEE_SNP, 6},
        {"kata-qemu-nvidia-gpu-snp-a1", KATA_FLAVOUR_GO, KATA_TEE_SNP, 6},
        {"kata-qemu-nvidia-gpu-tdx", KATA_FLAVOUR_GO, KATA_TEE_TDX, 6},
        {"kata-qemu-nvidia-gpu-tdx-runtime-rs", KATA_FLAVOUR_RS, KATA_TEE_TDX, 1},
        {"kata-qemu-nvidia-gpu-tdx-runtime-rs-a1", KATA_FLAVOUR_RS, KATA_TEE_TDX, 1},
        {"kata-qemu-nvidia-gpu", KATA_FLAVOUR_GO, KATA_TEE_NONE, 3},
        {"kata-qemu-nvidia-gpu-runtime-rs", KATA_FLAVOUR_RS, KATA_TEE_NONE, 0},
        {"kata-qemu-coco-dev-runtime-rs", KATA_FLAVOUR_RS, KATA_TEE_NONE, 6},
        {"kata-qemu", KATA_FLAVOUR_GO, KATA_TEE_NONE, -1},
        {"kata-qemuX", KATA_FLAVOUR_UNKNOWN, KATA_TEE_UNKNOWN, -1},
        {"kata-dragonball", KATA_FLAVOUR_RS, KATA_TEE_NONE, -1},
        {"kata-snp-nvidia-gpu", KATA_FLAVOUR_UNKNOWN, KATA_TEE_SNP, -1},
        {"kata-cc-amd", KATA_FLAVOUR_UNKNOWN, KATA_TEE_SNP, -1},
        {"kata-cc", KATA_FLAVOUR_UNKNOWN, KATA_TEE_UNKNOWN, -1},
        {"runc", KATA_FLAVOUR_UNKNOWN, KATA_TEE_UNKNOWN, -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(kata_handler_freep) struct kata_handler *h = handler(rows[i].name);
        const struct kata_handler_facts *f = kata_handler_facts(h);

        if (f->flavour != rows[i].flavour || f->tee != rows[i].tee ||
            f->allowed_known != (rows[i].allowed >= 0) ||
            f->n_allowed != (size_t)(rows[i].allowed > 0 ? rows[i].allowed : 0))
            fail_msg("%s: %s %s %d %zu", rows[i].name, kata_flavour_name(f->flavour),
                     kata_tee_name(f->tee), f->allowed_known, f->n_allowed);
        assert_true(f->flavour_from[0] && f->tee_from[0] && f->allowed_from[0]);
    }
}

static void
a_name_has_bounds(void **state)
{
    struct kata_handler *h = NULL;
    struct err e = ERR_INIT;
    char name[200];

    (void)state;
    memset(name, 'k', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(kata_handler_new(name, NULL, &h, &e), -EINVAL);
    err_clear(&e);
    assert_int_equal(kata_handler_new("", NULL, &h, &e), -EINVAL);
    assert_null(h);
}

static void
files_win_over_names_and_say_so(void **state)
{
    _cleanup_(kata_handler_freep) struct kata_handler *h = handler("kata-qemu-nvidia-gpu-snp");
    const struct kata_handler_facts *f = kata_handler_facts(h);

    (void)state;
    must_config(h, "c.toml",
                "[hypervisor.qemu]\nconfidential_guest = true\n"
                "tdx_quote_generation_service_socket_port = 4050\n"
                "enable_annotations = [\"cc_init_data\"]\n"
                "[runtime]\nhypervisor_name = \"qemu\"\nagent_name = \"kata\"\n");
    assert_int_equal(f->flavour, KATA_FLAVOUR_RS);
    assert_int_equal(f->tee, KATA_TEE_TDX);
    assert_int_equal(f->n_allowed, 1);
    assert_int_equal(f->n_notes, 2);
    assert_int_equal(outcome(h, H "default_vcpus"), KATA_IGNORED);
}

static void
what_the_user_says_wins_over_both(void **state)
{
    static const struct kata_handler_opts told = {.flavour = KATA_FLAVOUR_GO};
    _cleanup_(kata_handler_freep) struct kata_handler *h = NULL;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(kata_handler_new("kata-qemu-snp-runtime-rs", &told, &h, &e), 0);
    must_config(h, "c.toml", "[hypervisor.qemu]\n[runtime]\nhypervisor_name = \"qemu\"\n");
    assert_int_equal(kata_handler_facts(h)->flavour, KATA_FLAVOUR_GO);
    assert_int_equal(kata_handler_facts(h)->n_notes, 1);
    assert_int_equal(outcome(h, H "default_vcpus"), KATA_FAILS);
}

static void
a_path_hints_and_drop_ins_alone_do_not_flip_runtime_rs(void **state)
{
    _cleanup_(kata_handler_freep) struct kata_handler *a = handler("kata-cc");
    _cleanup_(kata_handler_freep) struct kata_handler *b = handler("kata-qemu-snp-runtime-rs");
    static const char drop_in[] = "[hypervisor.qemu]\nenable_annotations = [\"image\"]\n";

    (void)state;
    must_config(a, "/opt/kata/share/defaults/kata-containers/runtime-rs/configuration.toml",
                drop_in);
    assert_int_equal(kata_handler_facts(a)->flavour, KATA_FLAVOUR_RS);
    must_config(b, "20-site.toml", drop_in);
    assert_int_equal(kata_handler_facts(b)->flavour, KATA_FLAVOUR_RS);
    assert_int_equal(kata_handler_facts(b)->n_notes, 1);
}

static void
later_files_replace_lists_as_a_whole(void **state)
{
    _cleanup_(kata_handler_freep) struct kata_handler *h = handler("kata-qemu-snp");

    (void)state;
    must_config(h, "base",
                "[hypervisor.qemu]\nenable_annotations = [\"default_vcpus\"]\n"
                "sev_snp_guest = true\n");
    must_config(h, "10",
                "[hypervisor.qemu]\nenable_annotations = [\"image$\", \"machine_type\"]\n");
    must_config(h, "20", "[runtime]\ndebug = true\n");
    assert_int_equal(kata_handler_facts(h)->n_allowed, 2);
    assert_int_equal(outcome(h, H "default_vcpus"), KATA_FAILS);
    assert_int_equal(outcome(h, H "machine_type"), KATA_APPLIED);
    assert_int_equal(outcome(h, H "image"), KATA_APPLIED);
    assert_int_equal(outcome(h, H "image_hash"), KATA_FAILS);
    assert_int_equal(kata_handler_facts(h)->tee, KATA_TEE_SNP);
}

static void
bad_files_change_nothing(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"[hypervisor.qemu\n", "c.toml:1:"},
        {"[hypervisor.qemu]\nenable_annotations = \"x\"\n", "not a list"},
        {"[hypervisor.qemu]\nenable_annotations = [1]\n", "no string"},
        {"[hypervisor.clh]\n", "several hypervisors"},
    };
    _cleanup_(kata_handler_freep) struct kata_handler *h = handler("kata-qemu-snp");

    (void)state;
    must_config(h, "base",
                "[hypervisor.qemu]\nenable_annotations = [\"image\"]\n"
                "pod_resource_api_sock = \"/k\"\n");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct err e = ERR_INIT;

        assert_int_equal(config(h, "c.toml", rows[i].text, &e), -EINVAL);
        if (!strstr(e.msg, rows[i].says))
            fail_msg("%s", e.msg);
        assert_int_equal(outcome(h, H "image"), KATA_APPLIED);
        assert_int_equal(outcome(h, H "machine_type"), KATA_FAILS);
        assert_int_equal(outcome(h, "cdi.k8s.io/x"), KATA_IGNORED); /* by the socket */
    }
}

static void
the_number_of_files_and_expressions_is_bounded(void **state)
{
    _cleanup_(kata_handler_freep) struct kata_handler *h = handler("kata-qemu-snp");
    struct err e = ERR_INIT;
    char text[4096] = "[hypervisor.qemu]\nenable_annotations = [";
    size_t len = strlen(text);

    (void)state;
    for (int i = 0; i < 129; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "\"k%d\",", i);
    (void)snprintf(text + len, sizeof(text) - len, "]\n");
    assert_int_equal(config(h, "many", text, &e), -E2BIG);
    err_clear(&e);
    for (int i = 0; i < 64; i++)
        must_config(h, "x", "a = 1\n");
    assert_int_equal(config(h, "x", "a = 1\n", &e), -E2BIG);
}

static void
a_file_without_a_list_allows_nothing_and_one_without_a_table_tells_nothing(void **state)
{
    _cleanup_(kata_handler_freep) struct kata_handler *h = handler("kata-qemu-snp");

    (void)state;
    must_config(h, "a", "[runtime]\n");
    assert_int_equal(outcome(h, H "default_vcpus"), KATA_UNSURE);
    must_config(h, "b", "[hypervisor.qemu]\n");
    assert_true(kata_handler_facts(h)->allowed_known);
    assert_int_equal(outcome(h, H "default_vcpus"), KATA_FAILS);
}

/* Does the expression admit "default_vcpus"? */
static void
expressions_are_evaluated_only_where_all_three_syntaxes_agree(void **state)
{
    static const struct {
        const char *expression; /* as TOML literal string */
        enum kata_outcome outcome;
    } rows[] = {
        {"default_vcpus", KATA_APPLIED},
        {"vcpu", KATA_APPLIED},
        {"^default_(vcpus|memory)$", KATA_APPLIED},
        {"^vcpus", KATA_FAILS},
        {"default_[a-z]+", KATA_APPLIED},
        {"default_[^v]", KATA_FAILS},
        {"default.vcpus", KATA_APPLIED},
        {"default\\.vcpus", KATA_FAILS},
        {"v(cpu)?s?$", KATA_APPLIED},
        {"[a-z]{13}", KATA_FAILS},
        {"[a-z_]{13}", KATA_APPLIED},
        {"[a-z_]{14,}", KATA_FAILS},
        {"u{1,2}", KATA_APPLIED},
        {"", KATA_APPLIED},
        {"\\w+", KATA_UNSURE},
        {"\\d", KATA_UNSURE},
        {"(?i)DEFAULT", KATA_UNSURE},
        {"\\bdefault", KATA_UNSURE},
        {"(d)\\1", KATA_UNSURE},
        {"[[:alpha:]]", KATA_UNSURE},
        {"[a\\]]", KATA_UNSURE},
        {"[a&&b]", KATA_UNSURE},
        {"x{,3}", KATA_UNSURE},
        {"{", KATA_UNSURE},
        {"*", KATA_UNSURE},
        {"a**", KATA_UNSURE},
        {"a*?", KATA_UNSURE},
        {"(", KATA_UNSURE},
        {"a)", KATA_UNSURE},
        {"v)(c", KATA_UNSURE},
        {"()", KATA_UNSURE},
        {"[", KATA_UNSURE},
        {"[]a]", KATA_UNSURE},
        {"\xc3\xa9", KATA_UNSURE},
        {"((a{99}){99}){99}", KATA_UNSURE},
        {"a{1000}", KATA_UNSURE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(kata_handler_freep) struct kata_handler *h = handler("kata-qemu-snp");
        const struct kata_handler_facts *f = kata_handler_facts(h);
        char text[256];

        (void)snprintf(text, sizeof(text), "[hypervisor.qemu]\nenable_annotations = ['%s']\n",
                       rows[i].expression);
        must_config(h, "c", text);
        if (outcome(h, H "default_vcpus") != rows[i].outcome)
            fail_msg("'%s': %s", rows[i].expression,
                     kata_outcome_name(outcome(h, H "default_vcpus")));
        assert_int_equal(f->n_unjudged, rows[i].outcome == KATA_UNSURE ? 1 : 0);
        /* another that matches settles it */
        (void)snprintf(text, sizeof(text),
                       "[hypervisor.qemu]\nenable_annotations = ['%s', 'vcpus']\n",
                       rows[i].expression);
        must_config(h, "d", text);
        assert_int_equal(outcome(h, H "default_vcpus"), KATA_APPLIED);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_tell_runtime_and_tee),
        cmocka_unit_test(a_name_has_bounds),
        cmocka_unit_test(files_win_over_names_and_say_so),
        cmocka_unit_test(what_the_user_says_wins_over_both),
        cmocka_unit_test(a_path_hints_and_drop_ins_alone_do_not_flip_runtime_rs),
        cmocka_unit_test(later_files_replace_lists_as_a_whole),
        cmocka_unit_test(bad_files_change_nothing),
        cmocka_unit_test(the_number_of_files_and_expressions_is_bounded),
        cmocka_unit_test(
            a_file_without_a_list_allows_nothing_and_one_without_a_table_tells_nothing),
        cmocka_unit_test(expressions_are_evaluated_only_where_all_three_syntaxes_agree),
    };

    return cmocka_run_group_tests_name("nri_annotations_handler", tests, NULL, NULL);
}
