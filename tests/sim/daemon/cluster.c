/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/daemon/cluster.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PATIENCE_MS 30000

static uint64_t
deadline(void)
{
    const char *s = getenv("PGPU_TEST_PATIENCE");

    return h_now_ms() + PATIENCE_MS + (s ? strtoul(s, NULL, 10) * 1000 : 0);
}

void
cluster_make(struct cluster *c, const char *expiry, bool validations, const char *more)
{
    memset(c, 0, sizeof(*c));
    (void)snprintf(c->dir, sizeof(c->dir), "/tmp/pgpu-cluster-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    (void)snprintf(c->nfd, sizeof(c->nfd), "%s/features.d", c->dir);
    (void)snprintf(c->validations, sizeof(c->validations), "%s/validations", c->dir);
    assert_int_equal(mkdir(c->nfd, 0755), 0);
    assert_int_equal(mkdir(c->validations, 0755), 0);
    (void)snprintf(c->yaml, sizeof(c->yaml),
                   "nfd: {dir: %s, expiry: %s}\nvalidations: {dir: %s, enabled: %s}\n%s", c->nfd,
                   expiry, c->validations, validations ? "true" : "false", more ? more : "");
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void
cluster_remove(struct cluster *c)
{
    assert_int_equal(nftw(c->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

bool
cluster_has(const char *dir, const char *name)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

void
cluster_wait_file(struct harness *h, const char *dir, const char *name)
{
    uint64_t end = deadline();

    while (!cluster_has(dir, name)) {
        if (h_now_ms() > end)
            fail_msg("%s/%s did not appear (logs in %s)", dir, name, harness_dir(h));
        h_sleep_ms(5);
    }
}

void
cluster_touch(const char *dir, const char *name, const char *text)
{
    char path[256];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "we");
    assert_non_null(f);
    (void)fputs(text, f);
    (void)fclose(f);
}

/* The rest of the first line that begins with `begin`; false where there is none. */
static bool
line_of(const struct cluster *c, const char *begin, char *buf, size_t size)
{
    char path[128], line[512];
    bool found = false;
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/pgpu", c->nfd);
    f = fopen(path, "re");
    (void)snprintf(buf, size, "%s", f ? "(none)" : "(no file)");
    while (f && !found && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        found = strncmp(line, begin, strlen(begin)) == 0;
        if (found)
            (void)snprintf(buf, size, "%.100s", line + strlen(begin));
    }
    if (f)
        (void)fclose(f);
    return found;
}

const char *
cluster_label(const struct cluster *c, const char *label)
{
    static char value[128];
    char begin[128];

    (void)snprintf(begin, sizeof(begin), "%s=", label);
    (void)line_of(c, begin, value, sizeof(value));
    return value;
}

void
cluster_wait_label(struct harness *h, const struct cluster *c, const char *label, const char *value)
{
    uint64_t end = deadline();

    while (strcmp(cluster_label(c, label), value) != 0) {
        if (h_now_ms() > end)
            fail_msg("label %s is \"%s\", not \"%s\" (logs in %s)", label, cluster_label(c, label),
                     value, harness_dir(h));
        h_sleep_ms(5);
    }
}

long long
cluster_expiry(const struct cluster *c)
{
    struct tm tm = {0};
    char when[128];
    const char *end;

    if (!line_of(c, "# +expiry-time=", when, sizeof(when)))
        return 0;
    end = strptime(when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (!end || *end)
        fail_msg("expiry \"%s\" is not as NFD reads it", when);
    return (long long)timegm(&tm);
}

/* The child of cluster_ctl: words are separated by blanks. */
static void
become_ctl(struct harness *h, char *args, int out)
{
    const char *bin = getenv("PGPU_BIN_DIR");
    char program[256], control[160], *argv[24], *save = NULL;
    size_t n = 0;

    (void)snprintf(program, sizeof(program), "%s/cli/pgpuctl", bin ? bin : ".");
    (void)snprintf(control, sizeof(control), "%s/state/control.sock", harness_dir(h));
    argv[n++] = program;
    argv[n++] = (char *)(uintptr_t) "--control";
    argv[n++] = control;
    for (char *w = strtok_r(args, " ", &save); w && n < 23; w = strtok_r(NULL, " ", &save))
        argv[n++] = w;
    argv[n] = NULL;
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(out, STDERR_FILENO);
    (void)execv(program, argv);
    _exit(127);
}

int
cluster_ctl(struct harness *h, char *buf, size_t size, const char *fmt, ...)
{
    char args[256];
    int fds[2], status;
    size_t n = 0;
    ssize_t got;
    va_list ap;
    pid_t pid;

    va_start(ap, fmt);
    (void)vsnprintf(args, sizeof(args), fmt, ap);
    va_end(ap);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        become_ctl(h, args, fds[1]);
    (void)close(fds[1]);
    while (n + 1 < size && (got = read(fds[0], buf + n, size - 1 - n)) > 0)
        n += (size_t)got;
    buf[n] = '\0';
    (void)close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

const char *
cluster_mode(struct harness *h, const char *key)
{
    static char value[512];
    json_object *s = harness_status(h), *m = NULL;

    (void)json_object_object_get_ex(s, "mode_change", &m);
    (void)snprintf(value, sizeof(value), "%s", jstr(m, key));
    (void)json_object_put(s);
    return value;
}

void
cluster_wait_mode(struct harness *h, const char *key, const char *value)
{
    uint64_t end = deadline();

    while (strcmp(cluster_mode(h, key), value) != 0) {
        if (h_now_ms() > end) {
            char is[512];

            (void)snprintf(is, sizeof(is), "%s", cluster_mode(h, key));
            fail_msg("%s of the mode is \"%s\", not \"%s\": %s (logs in %s)", key, is, value,
                     cluster_mode(h, "progress"), harness_dir(h));
        }
        h_sleep_ms(5);
    }
}
