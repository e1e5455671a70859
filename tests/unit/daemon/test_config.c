/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpud's configuration: safe defaults, and errors that name file, line and what is allowed.
 */
#include "base/cleanup.h"
#include "base/hw.h"
#include "daemon/config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int
load(const char *text, struct config *c, struct err *e)
{
    char path[] = "/tmp/pgpu-config-XXXXXX";
    int fd = mkstemp(path);
    int r;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
    r = config_load(path, c, e);
    (void)unlink(path);
    return r;
}

static void
an_empty_file_gives_the_safe_defaults(void **state)
{
    struct config c = {0};
    struct err e = ERR_INIT;
    const struct resource_conf *r;

    (void)state;
    assert_int_equal(load("", &c, &e), 0);
    assert_int_equal(c.manage, MANAGE_FULL);
    assert_int_equal(c.prepare, PREPARE_EAGER);
    assert_int_equal(c.mode, CC_MODE_ON);
    assert_false(c.unlock_devtools);
    assert_int_equal(c.allocate_deadline, HW_SEC(25));
    assert_string_equal(c.cdi_dir, "/var/run/cdi");
    assert_int_equal(config_resources(&c, &r), 2);
    assert_string_equal(r[0].name, "nvidia.com/pgpu");
    assert_string_equal(r[1].match, "nvswitch");
    config_free(&c);
}

static void
what_is_printed_can_be_read_back(void **state)
{
    struct config c = {0}, d = {0};
    struct err e = ERR_INIT;
    struct buf out;

    (void)state;
    assert_int_equal(load("prepare: allocate\nmode: ppcie\nallocate_deadline: 7s\n"
                          "resources:\n  - name: nvidia.com/big\n    match: id:10de:2335\n",
                          &c, &e),
                     0);
    buf_init(&out, 1u << 16);
    conf_print(config_keys, &c, &out);
    if (load(buf_cstr(&out), &d, &e) < 0)
        fail_msg("%s\n%s", e.msg, buf_cstr(&out));
    assert_int_equal(d.prepare, PREPARE_ALLOCATE);
    assert_int_equal(d.mode, CC_MODE_PPCIE);
    assert_int_equal(d.allocate_deadline, HW_SEC(7));
    assert_int_equal(d.resources.n, 1);
    assert_string_equal(((struct resource_conf *)d.resources.v)->match, "id:10de:2335");
    buf_fini(&out);
    config_free(&c);
    config_free(&d);
}

static void
bad_files_are_refused_with_line_and_cure(void **state)
{
    static const struct {
        const char *text;
        const char *says[3];
    } bad[] = {
        {"prepare: later\n", {":1", "eager", "allocate"}},
        {"mode: on\nmodus: on\n", {":2", "modus", "mode"}},
        {"mode: on\nmode: off\n", {":2", "mode", "duplicate"}},
        {"allocate_deadline: 10\n", {":1", "allocate_deadline", ""}},
        {"allocate_deadline: 1h\n", {":1", "allocate_deadline", ""}},
        {"mode: devtools\n", {"unlock_devtools", "", ""}},
        {"audit: {file: \"\", required: true}\n", {"audit.required", "audit.file", ""}},
        {"cdi_dir: relative\n", {":1", "absolute", ""}},
        {"resources:\n  - name: nvidia.com/x\n", {":2", "name", "two"}},
        {"resources:\n  - name: nvidia.com/ok\n  - name: nvidia.com/ok\n", {"twice", "", ""}},
        {"kubelet: 5\n", {":1", "kubelet", ""}},
        {"nri:\n  index: \"7\"\n", {":2", "index", "two digits"}},
        {"nri:\n  name: a/b\n", {":2", "name", ""}},
        {"nri:\n  sockets: [nri.sock]\n", {":2", "absolute", ""}},
        {"nri:\n  rules: {cc: maybe}\n", {"cc", "enforce", "off"}},
        {"nri:\n  handlers:\n  - class: plain\n", {"handlers", "match", ""}},
        {"nri:\n  handlers: [{match: kata, set: mine}]\n", {"kata", "mine", "nri.sets"}},
        {"nri:\n  sets: [{annotations: [\"a={what}\"]}]\n", {"annotations", "what", ""}},
        {"nri:\n  sets: [{annotations: [\"cdi.k8s.io/a=b\"]}]\n", {"cdi.k8s.io", "", ""}},
        {"[1, 2]\n", {":1", "", ""}},
        {"mode: [on\n", {":", "", ""}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct config c = {0};
        struct err e = ERR_INIT;

        if (load(bad[i].text, &c, &e) == 0)
            fail_msg("accepted: %s", bad[i].text);
        assert_int_equal(e.cls, ERR_CLASS_INVALID);
        for (size_t k = 0; k < 3; k++)
            if (!strstr(e.msg, bad[i].says[k]))
                fail_msg("\"%s\" does not say \"%s\" for: %s", e.msg, bad[i].says[k], bad[i].text);
    }
}

static void
the_guard_follows_the_configuration(void **state)
{
    struct config c = {0};
    struct guard_policy p = {0};
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(load("mode: ppcie\nnri:\n  inject: nodes\n"
                          "  rules: {cc: warn, plugins: \"off\"}\n"
                          "  handlers:\n"
                          "  - {match: \"a*\", class: plain, set: \"\"}\n"
                          "  - {match: b, tee: snp, set: mine, cdi_annotation: true,"
                          " require: [\"k=v\", l]}\n"
                          "  sets: [{name: mine, annotations: [\"x.io/devices={devices}\"]}]\n",
                          &c, &e),
                     0);
    assert_int_equal(config_policy(&c, &p, &e), 0);
    assert_int_equal(p.wanted, CC_MODE_PPCIE);
    assert_int_equal(p.inject, GUARD_INJECT_NODES);
    assert_int_equal(p.mode[GUARD_RULE_CC], GUARD_WARN);
    assert_int_equal(p.mode[GUARD_RULE_PLUGINS], GUARD_OFF);
    assert_int_equal(p.mode[GUARD_RULE_OWNER], GUARD_ENFORCE);
    assert_int_equal(guard_handler_of(&p, "ab")->cls, GUARD_PLAIN);
    assert_int_equal(guard_handler_of(&p, "kata-qemu-nvidia-gpu-snp")->cls, GUARD_NONE);
    const struct guard_handler *b = guard_handler_of(&p, "b");
    assert_int_equal(b->cls, GUARD_CONFIDENTIAL);
    assert_int_equal(b->tee, GUARD_TEE_SNP);
    assert_true(b->cdi_annotation);
    assert_int_equal(b->n_require, 2);
    assert_string_equal(b->require[1], "l");
    assert_int_equal(p.n_sets, 1);
    assert_string_equal(p.sets[0].annotations[0], "x.io/devices={devices}");
    config_policy_free(&p);
    config_free(&c);
    /* nothing configured: the built-in tables */
    assert_int_equal(load("", &c, &e), 0);
    assert_int_equal(config_policy(&c, &p, &e), 0);
    assert_int_equal(guard_handler_of(&p, "kata-qemu-nvidia-gpu-snp")->cls, GUARD_CONFIDENTIAL);
    assert_int_equal(guard_handler_of(&p, "kata-qemu-nvidia-gpu")->cls, GUARD_PLAIN);
    assert_int_equal(guard_handler_of(&p, "runc")->cls, GUARD_NONE);
    assert_int_equal(p.mode[GUARD_RULE_CC], GUARD_ENFORCE);
    config_policy_free(&p);
    config_free(&c);
}

static void
a_missing_file_is_named(void **state)
{
    struct config c = {0};
    struct err e = ERR_INIT;

    (void)state;
    assert_true(config_load("/nonexistent/pgpud.yaml", &c, &e) < 0);
    assert_non_null(strstr(e.msg, "/nonexistent/pgpud.yaml"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_gives_the_safe_defaults),
        cmocka_unit_test(what_is_printed_can_be_read_back),
        cmocka_unit_test(bad_files_are_refused_with_line_and_cure),
        cmocka_unit_test(the_guard_follows_the_configuration),
        cmocka_unit_test(a_missing_file_is_named),
    };

    return cmocka_run_group_tests_name("daemon.config", tests, NULL, NULL);
}
