/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl annotations lint as its user sees it: whole reports against files beside this one, exit
 * statuses, bad input.
 *
 * PGPU_WRITE_GOLDEN=1 in the environment writes the reports instead of comparing.
 */
#include "base/cleanup.h"
#include "base/fs.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ARGS_MAX 16
#define SNP "kata-qemu-nvidia-gpu-snp"

static char out[1 << 20];

/* Runs pgpuctl annotations with `args` (NULL-terminated) and `input` on its standard input, both
 * streams to `out`; returns its exit status. */
static int
run(const char *input, const char *const *args)
{
    char program[512];
    const char *argv[ARGS_MAX + 3] = {program, "annotations"};
    const char *bin = getenv("PGPU_BIN_DIR");
    size_t n = 2, len = 0;
    ssize_t got;
    int in[2], back[2], st = 0;

    (void)snprintf(program, sizeof(program), "%s/cli/pgpuctl", bin ? bin : ".");
    for (; *args && n < ARGS_MAX + 2; args++)
        argv[n++] = *args;
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(back, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char *copy[ARGS_MAX + 3] = {0};

        for (size_t i = 0; i < n; i++)
            copy[i] = strdup(argv[i]);
        (void)dup2(in[0], 0);
        (void)dup2(back[1], 1);
        (void)dup2(back[1], 2);
        (void)execv(program, copy);
        _exit(127);
    }
    assert_true(pid > 0);
    (void)close(in[0]);
    (void)close(back[1]);
    if (input)
        assert_int_equal(write(in[1], input, strlen(input)), (ssize_t)strlen(input));
    (void)close(in[1]);
    while (len < sizeof(out) - 1 && (got = read(back[0], out + len, sizeof(out) - 1 - len)) > 0)
        len += (size_t)got;
    out[len] = '\0';
    (void)close(back[0]);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFEXITED(st));
    return WEXITSTATUS(st);
}

#define ctl_input(input, status, ...)                                                              \
    do {                                                                                           \
        int st_ = run((input), (const char *const[]){__VA_ARGS__, NULL});                          \
        if (st_ != (status))                                                                       \
            fail_msg("exit status %d: %s", st_, out);                                              \
    } while (0)
#define ctl(status, ...) ctl_input(NULL, status, __VA_ARGS__)
#define has(s)                                                                                     \
    do {                                                                                           \
        if (!strstr(out, (s)))                                                                     \
            fail_msg("no \"%s\" in: %s", (s), out);                                                \
    } while (0)

static void
same_as(const char *golden)
{
    _cleanup_free_ char *want = NULL;
    struct err e = ERR_INIT;
    size_t len = 0;

    if (getenv("PGPU_WRITE_GOLDEN")) {
        FILE *f = fopen(golden, "we");

        assert_non_null(f);
        assert_true(fputs(out, f) >= 0);
        assert_int_equal(fclose(f), 0);
        return;
    }
    if (fs_read_file(AT_FDCWD, golden, sizeof(out), &want, &len, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(out, want);
}

static void
go_on_snp_with_the_nodes_file(void **state)
{
    (void)state;
    ctl(1, "lint", "pods.yaml", "--kata-config", "go-snp.toml");
    same_as("go-snp.txt");
}

static void
runtime_rs_on_snp_with_the_drop_ins_beside_its_file(void **state)
{
    (void)state;
    ctl(1, "lint", "pods.yaml", "--handler", SNP "-runtime-rs", "--kata-config",
        "rs-snp/configuration.toml", "--cri", "crio");
    same_as("rs-snp.txt");
}

static void
runtime_rs_on_snp_as_shipped(void **state)
{
    (void)state;
    ctl(1, "lint", "pods.yaml", "--handler", SNP "-runtime-rs", "--cri", "containerd");
    same_as("rs-shipped.txt");
}

static void
go_on_tdx(void **state)
{
    (void)state;
    ctl(1, "lint", "--handler", "kata-qemu-nvidia-gpu-tdx", "--kata-config", "tdx.toml",
        "--kata-version", "3.24.0", "pods.yaml");
    same_as("tdx.txt");
}

static void
json_says_the_same(void **state)
{
    struct json_object *o, *pods, *list, *v;

    (void)state;
    ctl(1, "lint", "pods.yaml", "--kata-config", "go-snp.toml", "--json");
    o = json_tokener_parse(out);
    assert_non_null(o);
    assert_true(json_object_object_get_ex(o, "pods", &pods));
    assert_int_equal(json_object_array_length(pods), 3);
    assert_true(
        json_object_object_get_ex(json_object_array_get_idx(pods, 0), "annotations", &list));
    assert_int_equal(json_object_array_length(list), 6);
    assert_true(json_object_object_get_ex(json_object_array_get_idx(list, 0), "outcome", &v));
    assert_string_equal(json_object_get_string(v), "applied");
    assert_true(
        json_object_object_get_ex(json_object_array_get_idx(list, 0), "changes_launch", &v));
    assert_true(json_object_get_boolean(v));
    assert_true(json_object_object_get_ex(json_object_array_get_idx(list, 2), "outcome", &v));
    assert_string_equal(json_object_get_string(v), "fails");
    assert_true(json_object_object_get_ex(o, "count", &v));
    assert_true(json_object_object_get_ex(v, "fails", &v));
    assert_int_equal(json_object_get_int(v), 4);
    (void)json_object_put(o);
}

static void
the_exit_status_is_0_only_where_all_is_well(void **state)
{
    (void)state;
    ctl(0, "lint", "clean.yaml");
    has("1 applied, 1 ignored, 1 foreign");
    has("runtime  runtime-rs");
    /* an agent policy that this runtime ignores is a fault to who is strict */
    ctl(1, "lint", "clean.yaml", "--strict");
    ctl(0, "lint", "clean.yaml", "--flavour", "go", "--strict");
    ctl(1, "lint", "clean.yaml", "pods.yaml", "--handler", SNP);
    has("asks for RuntimeClass kata-qemu-nvidia-gpu-snp-runtime-rs");
}

static void
a_directory_of_drop_ins_is_read_after_the_file(void **state)
{
    (void)state;
    ctl(1, "lint", "--handler", SNP, "--annotation",
        "io.katacontainers.config.hypervisor.default_vcpus=2", "--kata-config", "go-snp.toml",
        "--kata-config", "drop-ins");
    has("1 fails");
    has("nothing (by the configuration files)");
    ctl(0, "lint", "--handler", SNP, "--annotation",
        "io.katacontainers.config.hypervisor.default_vcpus=2", "--kata-config", "go-snp.toml");
}

static void
standard_input_and_the_command_line_work_too(void **state)
{
    (void)state;
    ctl_input("kind: Pod\nmetadata: {annotations: {nvidia.com/pgpu: x}}\n", 0, "lint", "-",
              "--handler", SNP);
    has("1 foreign");
    ctl_input("{\"kind\": \"Pod\", \"metadata\": {\"annotations\": {\"io.katacontainers.config."
              "runtime.vfio_mode\": \"vfio\"}}}",
              0, "lint", "-", "--handler", SNP);
    has("1 applied");
    ctl(1, "lint", "--handler", SNP, "--annotation",
        "io.katacontainers.config.hypervisor.image=/x=y");
    has("image = /x=y");
    ctl(1, "lint", "--handler", "kata-cc", "--annotation",
        "io.katacontainers.config.runtime.vfio_mode=vfio");
    has("--flavour");
}

static void
wrong_usage_and_bad_input_have_their_statuses(void **state)
{
    (void)state;
    ctl(2, "lint");
    has("expected a manifest");
    ctl(2, "check", "pods.yaml");
    ctl(2, "lint", "clean.yaml", "--flavour", "c");
    ctl(2, "lint", "clean.yaml", "--cri", "docker");
    ctl(2, "lint", "clean.yaml", "--kata-version", "new");
    ctl(2, "lint", "clean.yaml", "--kata-version", "3.24x");
    ctl(2, "lint", "--handler", SNP, "--annotation", "novalue");
    ctl(2, "lint", "--handler", SNP, "--annotation", "k=\xff");
    ctl(2, "lint", "clean.yaml", "pods.yaml");
    has("say --handler");
    ctl(0, "--help");
    ctl(0, "lint", "--help");
    ctl(1, "lint", "missing.yaml");
    has("missing.yaml");
    ctl(1, "lint", "clean.yaml", "--kata-config", "missing.toml");
    has("missing.toml");
    ctl(1, "lint", "clean.yaml", "--kata-config", "clean.yaml");
    has("clean.yaml:1");
    ctl(1, "lint", "go-snp.toml", "--handler", SNP);
    ctl_input("", 1, "lint", "-", "--handler", SNP);
    has("no pod");
    ctl_input("kind: ConfigMap\n", 1, "lint", "-", "--handler", SNP);
    has("no pod");
    ctl_input("a: &a [x, x]\nb: [*a, *a]\n", 1, "lint", "-", "--handler", SNP);
    has("aliases");
}

static void
hostile_text_does_not_reach_the_terminal(void **state)
{
    (void)state;
    ctl_input("kind: \"P\\e[31m\"\nmetadata:\n  name: \"n\\x9b1m\\r\"\nspec: {template: {metadata: "
              "{annotations: {\"k\\n\\e]0;x\\a\": \"v\\u009b\\x7f\"}}}}\n",
              0, "lint", "-", "--handler", SNP);
    for (const char *c = out; *c; c++)
        assert_true(*c == '\n' || (*c >= 0x20 && *c < 0x7f));
    has("\\x1b[31m");
    has("v\\x9b\\x7f");
}

int
main(void)
{
    const char *source = getenv("PGPU_SOURCE_DIR");
    char dir[512];

    (void)snprintf(dir, sizeof(dir), "%s/tests/unit/cli/annotations", source ? source : ".");
    if (chdir(dir) < 0) {
        (void)fprintf(stderr, "cannot enter %s\n", dir);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(go_on_snp_with_the_nodes_file),
        cmocka_unit_test(runtime_rs_on_snp_with_the_drop_ins_beside_its_file),
        cmocka_unit_test(runtime_rs_on_snp_as_shipped),
        cmocka_unit_test(go_on_tdx),
        cmocka_unit_test(json_says_the_same),
        cmocka_unit_test(the_exit_status_is_0_only_where_all_is_well),
        cmocka_unit_test(a_directory_of_drop_ins_is_read_after_the_file),
        cmocka_unit_test(standard_input_and_the_command_line_work_too),
        cmocka_unit_test(wrong_usage_and_bad_input_have_their_statuses),
        cmocka_unit_test(hostile_text_does_not_reach_the_terminal),
    };

    return cmocka_run_group_tests_name("cli_annotations", tests, NULL, NULL);
}
