/* SPDX-License-Identifier: Apache-2.0
 *
 * The runtime stand-in's children: Kata's shim of a pod, and launched plugins; and the stand-ins'
 * control socket. This program plays the children when it is started as such: as `kata` it says its
 * line, makes a file while it lives, and goes when its input ends; with NRI_PLUGIN_SOCKET in its
 * environment it is a plugin.
 */
#include "tests/unit/sim/nri_end.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "sim/jsonctl.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define PODS 0x7u

/* ---- played by this program ---- */

static const char *
argument(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return "";
}

static int
play_kata(int argc, char **argv)
{
    bool bad = strstr(argument(argc, argv, "--pod"), "bad") != NULL;
    char file[160], c;
    int fd;

    (void)snprintf(file, sizeof(file), "%s/vm", argument(argc, argv, "--root"));
    if (strstr(argument(argc, argv, "--pod"), "mute"))
        return 1;
    if (bad) {
        (void)puts("{\"ok\":false,\"error\":\"unresolvable CDI devices nvidia.com/pgpu=g0\"}");
        return 1;
    }
    fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    (void)close(fd);
    (void)printf("{\"ok\":true,\"cdi\":\"%s\",\"confidential\":%s}\n",
                 argument(argc, argv, "--cdi"),
                 strcmp(argv[argc - 1], "--confidential") == 0 ? "true" : "false");
    (void)fflush(stdout);
    while (read(STDIN_FILENO, &c, 1) > 0)
        ;
    (void)unlink(file);
    return 0;
}

/* Registers, then writes what it was started with to the file that its configuration names. */
static void
write_down(struct end *x, const char *method)
{
    struct stat null, st;
    FILE *f;

    if (strcmp(method, "Synchronize") != 0)
        return;
    f = fopen(x->told.config, "we");
    if (!f)
        return;
    for (char **e = environ; *e; e++)
        (void)fprintf(f, "%s\n", *e);
    (void)stat("/dev/null", &null);
    for (int fd = 0; fd < 3; fd++)
        (void)fprintf(f, "fd %d %s\n", fd,
                      fstat(fd, &st) == 0 && st.st_rdev == null.st_rdev ? "null" : "other");
    for (int fd = 4; fd < 64; fd++)
        if (fcntl(fd, F_GETFD) >= 0 && !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
            (void)fprintf(f, "inherited %d\n", fd);
    (void)fclose(f);
}

static int
play_plugin(void)
{
    static struct rig r;
    static struct end x;

    if (sd_event_new(&r.loop) < 0)
        return 1;
    if (strstr(getenv("NRI_PLUGIN_NAME"), "dies") || strcmp(getenv("NRI_PLUGIN_SOCKET"), "3") != 0)
        return 1;
    end_open(&x, &r, 3, PODS);
    x.hook = write_down;
    end_register(&x, "ignored", "99");
    while (!x.closed)
        if (sd_event_run(r.loop, UINT64_MAX) < 0)
            return 1;
    return 0;
}

/* ---- tests ---- */

static int
setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    rig_init(r);
    *state = r;
    return 0;
}

static int
teardown(void **state)
{
    rig_fini(*state);
    free(*state);
    return 0;
}

/* This program by its name: /proc/self/exe itself would be valgrind's. */
static const char *
self_path(void)
{
    static char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    assert_true(n > 0);
    self[n] = '\0';
    return self;
}

static void
start_with_kata(struct rig *r, const char *release)
{
    struct sim_runtime_options o = {.release = release,
                                    .kata = self_path(),
                                    .cdi_enabled = -1,
                                    .root = r->dir,
                                    .pod_resources = "/nowhere",
                                    .n_cdi = 1,
                                    .cdi = {"/no/cdi"}};

    rig_start(r, &o);
}

static bool
vm_runs(const struct rig *r)
{
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/vm", r->dir);
    return access(path, F_OK) == 0;
}

struct seen {
    char text[256];
};

/* Whether the VM is there when an event comes. */
static void
look(struct end *x, const char *method)
{
    struct seen *s = x->hook_ctx;
    size_t n = strlen(s->text);

    (void)snprintf(s->text + n, sizeof(s->text) - n, "%s%s:%s", n ? " " : "", method,
                   vm_runs(x->rig) ? "vm" : "none");
}

static void
watch(struct end *x, struct rig *r, struct seen *s)
{
    *s = (struct seen){0};
    end_ready(x, r, "test", "10", PODS);
    x->hook = look;
    x->hook_ctx = s;
}

static void
the_vm_is_there_before_the_plugins_hear_and_gone_before_its_stop(void **state)
{
    struct rig *r = *state;
    struct json_object *a;
    struct seen s;
    struct end x;

    start_with_kata(r, "0.12");
    watch(&x, r, &s);
    a = rig_ask(r, "run-pod ns p h kata confidential");
    assert_true(json_object_get_boolean(json_object_object_get(a, "ok")));
    assert_non_null(strstr(json_object_to_json_string(a), "\"cdi\": \"\\/no\\/cdi\""));
    assert_non_null(strstr(json_object_to_json_string(a), "\"confidential\": true"));
    json_object_put(a);
    rig_ok(r, "stop-pod p");
    rig_ok(r, "remove-pod p");
    assert_string_equal(s.text, "RunPodSandbox:vm StopPodSandbox:none RemovePodSandbox:none");
    end_free(&x);
}

/* As containerd and CRI-O do: plugins hear of the end first. */
static void
the_vm_of_a_refused_sandbox_ends_after_the_plugins_heard(void **state)
{
    struct end_rule *rule;
    struct rig *r = *state;
    struct seen s;
    struct end x;

    start_with_kata(r, "0.12");
    watch(&x, r, &s);
    rule = end_on(&x, "RunPodSandbox", END_FAIL);
    rule->code = TTRPC_FAILED_PRECONDITION;
    rule->text = "no";
    assert_non_null(strstr(rig_refused(r, "run-pod ns p h kata"), "desc = no"));
    assert_string_equal(s.text, "RunPodSandbox:vm StopPodSandbox:vm RemovePodSandbox:vm");
    assert_false(vm_runs(r));
    end_free(&x);
}

static void
a_vm_that_does_not_start_is_no_event(void **state)
{
    struct rig *r = *state;
    struct json_object *a;
    struct seen s;
    struct end x;

    start_with_kata(r, "0.12");
    watch(&x, r, &s);
    assert_string_equal(rig_refused(r, "run-pod ns bad h kata"),
                        "failed to start sandbox: unresolvable CDI devices nvidia.com/pgpu=g0");
    assert_string_equal(rig_refused(r, "run-pod ns mute h kata"),
                        "failed to start sandbox: Kata's shim ended without a word");
    assert_string_equal(s.text, "");
    a = rig_ask(r, "pods");
    assert_int_equal(json_object_array_length(json_object_object_get(a, "pods")), 0);
    json_object_put(a);
    end_free(&x);
}

static void
a_vm_can_outlive_the_stop_or_end_without_one(void **state)
{
    struct rig *r = *state;
    struct seen s;
    struct end x;

    start_with_kata(r, "0.12");
    watch(&x, r, &s);
    rig_ok(r, "run-pod ns p h kata");
    rig_ok(r, "stop-pod p keep-vmm");
    assert_true(vm_runs(r));
    rig_ok(r, "end-vmm p");
    assert_false(vm_runs(r));
    assert_string_equal(s.text, "RunPodSandbox:vm StopPodSandbox:vm");
    rig_ok(r, "run-pod ns q h kata");
    rig_ok(r, "kill-vmm q"); /* and so its file stays */
    assert_true(vm_runs(r));
    assert_string_equal(s.text, "RunPodSandbox:vm StopPodSandbox:vm RunPodSandbox:vm");
    rig_ok(r, "remove-pod q");
    rig_ok(r, "remove-pod p");
    end_free(&x);
}

static void
a_vm_needs_its_settings(void **state)
{
    struct sim_runtime_options o = {.cdi_enabled = -1};
    struct rig *r = *state;

    rig_start(r, &o);
    assert_non_null(strstr(rig_refused(r, "run-pod ns p h kata"), "--pod-resources"));
}

/* ---- launched plugins ---- */

static void
make_plugin(const struct rig *r, const char *name)
{
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/plugins/%s", r->dir, name);
    assert_int_equal(symlink(self_path(), path), 0);
}

static void
write_file(const struct rig *r, const char *name, const char *text)
{
    struct err e = ERR_INIT;
    char path[160];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, text, strlen(text), &e), 0);
    (void)close(fd);
}

static void
launch(struct rig *r, struct sim_runtime_options *o, char dirs[2][96])
{
    struct err e = ERR_INIT;

    (void)snprintf(dirs[0], 96, "%s/plugins", r->dir);
    (void)snprintf(dirs[1], 96, "%s/conf.d", r->dir);
    assert_int_equal(fs_mkdirs(dirs[0], 0755, &e), 0);
    assert_int_equal(fs_mkdirs(dirs[1], 0755, &e), 0);
    o->cdi_enabled = -1;
    o->plugin_path = dirs[0];
    o->plugin_config_path = dirs[1];
}

static void
set_true(void *ctx)
{
    *(bool *)ctx = true;
}

static void
a_launched_plugin_gets_three_variables_and_a_socket(void **state)
{
    static const char want[] = "NRI_PLUGIN_NAME=probe\nNRI_PLUGIN_IDX=10\nNRI_PLUGIN_SOCKET=3\n"
                               "fd 0 null\nfd 1 null\nfd 2 null\n";
    _cleanup_free_ char *text = NULL;
    struct sim_runtime_options o = {0};
    char dirs[2][96], file[160];
    struct err e = ERR_INIT;
    struct rig *r = *state;
    struct json_object *a;
    bool ready = false;
    size_t len;

    launch(r, &o, dirs);
    make_plugin(r, "10-probe");
    write_file(r, "plugins/README", "no plugin: not executable");
    (void)snprintf(file, sizeof(file), "%s/report", r->dir);
    write_file(r, "conf.d/probe.conf", "/nowhere/else");
    write_file(r, "conf.d/10-probe.conf", file);
    rig_start(r, &o);
    sim_runtime_on_ready(r->rt, set_true, &ready);
    assert_false(ready);
    rig_until(r, &ready);
    assert_int_equal(fs_read_file(AT_FDCWD, file, 4096, &text, &len, &e), 0);
    assert_string_equal(text, want);
    a = rig_ask(r, "plugins");
    assert_non_null(strstr(json_object_to_json_string(a), "\"10-probe\""));
    assert_non_null(strstr(json_object_to_json_string(a), "\"launched\": true"));
    json_object_put(a);
    /* It ends with the runtime, and is started with it. */
    rig_ok(r, "restart");
    rig_ok(r, "wait plugins=1 connects=2 closed=1");
}

static void
a_launched_plugin_that_dies_is_skipped_from_0_7_on(void **state)
{
    struct sim_runtime_options o = {.release = "0.7"};
    char dirs[2][96];
    struct rig *r = *state;

    launch(r, &o, dirs);
    make_plugin(r, "05-dies");
    make_plugin(r, "10-probe");
    rig_start(r, &o);
    rig_ok(r, "wait plugins=1 closed=1");
}

static void
a_launched_plugin_that_dies_stops_an_older_runtime(void **state)
{
    struct sim_runtime_options o = {.release = "0.6"};
    char dirs[2][96];
    struct rig *r = *state;

    launch(r, &o, dirs);
    make_plugin(r, "05-dies");
    rig_start(r, &o);
    assert_int_equal(sd_event_loop(r->loop), EXIT_FAILURE);
    assert_int_equal(access(r->socket, F_OK), -1);
}

static void
a_bad_file_name_stops_any_runtime(void **state)
{
    struct sim_runtime_options o = {0};
    struct sim_runtime *rt = NULL;
    struct err e = ERR_INIT;
    char dirs[2][96];
    struct rig *r = *state;

    launch(r, &o, dirs);
    make_plugin(r, "probe");
    o.nri = r->socket;
    assert_true(sim_runtime_new(r->loop, &o, &rt, &e) < 0);
    assert_non_null(strstr(e.msg, "invalid plugin name \"probe\""));
}

/* ---- the control socket ---- */

static void
answer_with_length(void *target, const char *line, sim_jsonctl_done done, void *ctx)
{
    struct json_object *o = json_object_new_object();

    *(bool *)target = true;
    json_object_object_add(o, "length", json_object_new_int64((int64_t)strlen(line)));
    done(ctx, o);
    json_object_put(o);
}

static void
a_command_line_has_a_limit_and_one_answer(void **state)
{
    static const struct {
        size_t length;
        const char *answer;
    } rows[] = {{5, "{\"length\":5}\n"},
                {9000, "{\"length\":9000}\n"},
                {10001, "{\"ok\":false,\"error\":\"the line is longer than 10000 bytes\"}\n"}};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct sim_jsonctl *c = NULL;
    struct err e = ERR_INIT;
    struct rig *r = *state;
    bool asked;

    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", r->dir);
    assert_int_equal(
        sim_jsonctl_new(r->loop, sa.sun_path, 10000, answer_with_length, &asked, &c, &e), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char line[10100], answer[256] = "";
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        asked = false;
        memset(line, 'x', rows[i].length);
        line[rows[i].length] = '\n';
        assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
        assert_int_equal(fs_write_all(fd, line, rows[i].length + 1, &e), 0);
        rig_settle(r);
        assert_int_equal(asked, rows[i].length <= 10000);
        assert_true(read(fd, answer, sizeof(answer) - 1) > 0);
        assert_string_equal(answer, rows[i].answer);
        assert_int_equal(read(fd, answer, 1), 0);
        (void)close(fd);
    }
    sim_jsonctl_free(c);
    assert_int_equal(access(sa.sun_path, F_OK), -1);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            the_vm_is_there_before_the_plugins_hear_and_gone_before_its_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(the_vm_of_a_refused_sandbox_ends_after_the_plugins_heard,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_vm_that_does_not_start_is_no_event, setup, teardown),
        cmocka_unit_test_setup_teardown(a_vm_can_outlive_the_stop_or_end_without_one, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_vm_needs_its_settings, setup, teardown),
        cmocka_unit_test_setup_teardown(a_launched_plugin_gets_three_variables_and_a_socket, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_launched_plugin_that_dies_is_skipped_from_0_7_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_launched_plugin_that_dies_stops_an_older_runtime, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_bad_file_name_stops_any_runtime, setup, teardown),
        cmocka_unit_test_setup_teardown(a_command_line_has_a_limit_and_one_answer, setup, teardown),
    };

    if (getenv("NRI_PLUGIN_SOCKET"))
        return play_plugin();
    if (argc > 1 && strcmp(argv[1], "kata") == 0)
        return play_kata(argc, argv);
    /* What the tests were started with is nobody's business. */
    for (int fd = 3; fd < 64; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
