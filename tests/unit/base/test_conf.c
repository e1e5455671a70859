/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of base/conf*.c: what is accepted, defaults, printing.
 */
#include "base/cleanup.h"
#include "tests/unit/base/conf_table.h"
#include "tests/unit/base/test_support.h"

#include <signal.h>
#include <sys/wait.h>

static void
parse_ok(const char *text, struct sample *s)
{
    struct err e = ERR_INIT;

    memset(s, 0, sizeof(*s));
    if (conf_parse("t.yaml", text, strlen(text), keys, s, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(e.num, 0);
}

static void
assert_defaults(const struct sample *s)
{
    assert_true(s->enabled);
    assert_int_equal(s->count, 8);
    assert_int_equal(s->deadline, 25000000000);
    assert_string_equal(s->dir, "/run/x");
    assert_string_equal(s->addr, "");
    assert_int_equal(s->mode, 1);
    assert_int_equal(s->claim.n, 2);
    assert_string_equal(s->claim.v[0], "unbound");
    assert_string_equal(s->claim.v[1], "vfio");
    assert_int_equal(s->modes.n, 0);
    assert_int_equal(s->resources.n, 0);
    assert_int_equal(s->log.level, 1);
    assert_false(s->log.colour);
}

static void
an_empty_file_gives_the_defaults(void **state)
{
    (void)state;
    static const char *const empty[] = {
        "", "\n\n", "# nothing\n", "---\n", "---\n# x\n...\n", "{}", "\xef\xbb\xbf"};

    for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
        struct sample s;
        parse_ok(empty[i], &s);
        assert_defaults(&s);
        conf_free(keys, &s);
    }
}

static const char full_yaml[] = "enabled: false   # comment\n"
                                "count: 64\n"
                                "deadline: 250ms\n"
                                "dir: \"/a b\"\n"
                                "addr: 0000:41:00.0\n"
                                "mode: off\n"
                                "claim: [nvidia]\n"
                                "modes:\n"
                                "  - on\n"
                                "  - ppcie\n"
                                "resources:\n"
                                "  - name: nvidia.com/pgpu\n"
                                "    models: [\"2330\", \"2335\"]\n"
                                "  - {name: other, weight: 0}\n"
                                "log:\n"
                                "  level: debug\n"
                                "  colour: true\n";

static const char full_json[] =
    "{\n\t\"enabled\":false,\"count\":64,\n\t\"deadline\":\"250ms\",\"dir\":\"\\/a b\",\n"
    "\t\"addr\":\"0000:41:00.0\",\"mode\":\"off\",\"claim\":[\"nvidia\"],\n"
    "\t\"modes\":[\"on\",\"ppcie\"],\n"
    "\t\"resources\":[{\"name\":\"nvidia.com\\/pgpu\",\"models\":[\"2330\",\"2335\"]},\n"
    "\t\t{\"name\":\"other\",\"weight\":0}],\n"
    "\t\"log\":{\"level\":\"debug\",\"colour\":true}\n}\n";

static void
assert_full(const struct sample *s)
{
    assert_false(s->enabled);
    assert_int_equal(s->count, 64);
    assert_int_equal(s->deadline, 250000000);
    assert_string_equal(s->dir, "/a b");
    assert_string_equal(s->addr, "0000:41:00.0");
    assert_int_equal(s->mode, 0);
    assert_int_equal(s->claim.n, 1);
    assert_string_equal(s->claim.v[0], "nvidia");
    assert_int_equal(s->modes.n, 2);
    assert_string_equal(s->modes.v[1], "ppcie");
    assert_int_equal(s->resources.n, 2);
    const struct res *r = s->resources.v;
    assert_string_equal(r[0].name, "nvidia.com/pgpu");
    assert_int_equal(r[0].weight, 7);
    assert_int_equal(r[0].models.n, 2);
    assert_string_equal(r[0].models.v[1], "2335");
    assert_string_equal(r[1].name, "other");
    assert_int_equal(r[1].weight, 0);
    assert_int_equal(s->log.level, 0);
    assert_true(s->log.colour);
}

static void
every_type_is_read_from_yaml(void **state)
{
    (void)state;
    struct sample s;

    parse_ok(full_yaml, &s);
    assert_full(&s);
    conf_free(keys, &s);
}

static void
json_is_read_as_a_subset(void **state)
{
    (void)state;
    struct sample s;

    parse_ok(full_json, &s);
    assert_full(&s);
    conf_free(keys, &s);
}

static void
durations_take_every_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ns;
    } rows[] = {{"deadline: 1ms", 1000000},         {"deadline: 1000us", 1000000},
                {"deadline: 1000000ns", 1000000},   {"deadline: 90s", 90000000000},
                {"deadline: \"2m\"", 120000000000}, {"deadline: 00025s", 25000000000}};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sample s;
        parse_ok(rows[i].text, &s);
        assert_int_equal(s.deadline, rows[i].ns);
        conf_free(keys, &s);
    }
}

static void
a_listed_list_replaces_the_default_one(void **state)
{
    (void)state;
    struct sample s;

    parse_ok("claim: []\n", &s);
    assert_int_equal(s.claim.n, 0);
    conf_free(keys, &s);
}

static void
what_is_printed_reads_back_to_the_same(void **state)
{
    (void)state;
    static const char *const texts[] = {"", full_yaml,
                                        "dir: \"q\\\"b\\\\ \\u00e9\\xa0\"\ndeadline: 1001us\n"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct sample a, b;
        struct buf one, two;

        buf_init(&one, 4096);
        buf_init(&two, 4096);
        parse_ok(texts[i], &a);
        conf_print(keys, &a, &one);
        assert_false(buf_failed(&one));
        parse_ok(buf_cstr(&one), &b);
        conf_print(keys, &b, &two);
        assert_string_equal(buf_cstr(&one), buf_cstr(&two));
        assert_string_equal(a.dir, b.dir);
        assert_int_equal(a.deadline, b.deadline);
        if (i == 1)
            assert_full(&b);
        conf_free(keys, &a);
        conf_free(keys, &b);
        buf_fini(&one);
        buf_fini(&two);
    }
}

static void
printing_looks_as_expected(void **state)
{
    (void)state;
    struct sample s;
    struct buf b;

    buf_init(&b, 4096);
    parse_ok("resources: [{name: a, models: [x]}, {name: b}]\naddr: 0000:01:00.0", &s);
    conf_print(keys, &s, &b);
    assert_string_equal(buf_cstr(&b), "# whether at all\n"
                                      "enabled: true\n"
                                      "count: 8\n"
                                      "deadline: 25s\n"
                                      "dir: \"/run/x\"\n"
                                      "addr: \"0000:01:00.0\"\n"
                                      "mode: on\n"
                                      "claim: [\"unbound\", \"vfio\"]\n"
                                      "modes: []\n"
                                      "resources:\n"
                                      "  - name: \"a\"\n"
                                      "    weight: 7\n"
                                      "    models: [\"x\"]\n"
                                      "  - name: \"b\"\n"
                                      "    weight: 7\n"
                                      "    models: []\n"
                                      "log:\n"
                                      "  # how much is logged\n"
                                      "  level: info\n"
                                      "  colour: false\n");
    conf_free(keys, &s);
    buf_fini(&b);
}

static void
a_struct_can_be_parsed_into_again_and_freed_twice(void **state)
{
    (void)state;
    struct sample s;
    struct err e = ERR_INIT;

    parse_ok(full_yaml, &s);
    assert_int_equal(conf_parse("t", full_yaml, strlen(full_yaml), keys, &s, &e), 0);
    assert_full(&s);
    assert_int_equal(conf_parse("t", "", 0, keys, &s, &e), 0);
    assert_defaults(&s);
    conf_free(keys, &s);
    static const struct sample zero;
    assert_memory_equal(&s, &zero, sizeof(s));
    conf_free(keys, &s);
}

static void
files_are_loaded_and_missing_ones_are_errors(void **state)
{
    (void)state;
    struct sample s = {0};
    struct err e = ERR_INIT;
    char path[] = "/tmp/pgpu-test-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_true(write(fd, "count: 3\n", 9) == 9);
    (void)close(fd);
    int rc = conf_load(path, keys, &s, &e);
    (void)unlink(path);
    assert_int_equal(rc, 0);
    assert_int_equal(s.count, 3);
    assert_fails(conf_load(path, keys, &s, &e), e, ENOENT);
    assert_has(e.msg, path);
    assert_int_equal(s.count, 0);
    assert_null(s.claim.v);
}

/* Runs conf_defaults on a broken table in a child and expects it to die. */
static void
assert_dies(const struct conf_key *broken)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct sample s = {0};
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(null, STDERR_FILENO);
        conf_defaults(broken, &s);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void
a_broken_table_is_found_at_once(void **state)
{
    (void)state;
    static const struct conf_key bad_default[] = {
        {.name = "mode", .type = CONF_ENUM, .names = mode_words, .dflt = "loud"}, {0}};
    static const struct conf_key no_names[] = {{.name = "mode", .type = CONF_ENUM}, {0}};
    static const struct conf_key no_size[] = {{.name = "dir", .type = CONF_STRING}, {0}};
    static const struct conf_key no_sub[] = {{.name = "o", .type = CONF_OBJECT}, {0}};
    static const struct conf_key range[] = {
        {.name = "n", .type = CONF_U32, .min = 5, .max = 1, .dflt = "5"}, {0}};

    assert_dies(bad_default);
    assert_dies(no_names);
    assert_dies(no_size);
    assert_dies(no_sub);
    assert_dies(range);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_gives_the_defaults),
        cmocka_unit_test(every_type_is_read_from_yaml),
        cmocka_unit_test(json_is_read_as_a_subset),
        cmocka_unit_test(durations_take_every_unit),
        cmocka_unit_test(a_listed_list_replaces_the_default_one),
        cmocka_unit_test(what_is_printed_reads_back_to_the_same),
        cmocka_unit_test(printing_looks_as_expected),
        cmocka_unit_test(a_struct_can_be_parsed_into_again_and_freed_twice),
        cmocka_unit_test(files_are_loaded_and_missing_ones_are_errors),
        cmocka_unit_test(a_broken_table_is_found_at_once),
    };

    return cmocka_run_group_tests_name("base.conf", tests, NULL, NULL);
}
