/* SPDX-License-Identifier: Apache-2.0
 *
 * The third serial line carries requests: "<line>\n" there, "ok|error <bytes>\n<text>" back. Its
 * lock keeps programs apart.
 */
#include "tests/vm/guest/host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LINE "/dev/ttyS2"
#define ANSWER_MS 240000 /* the runner's own limits end before (REPLY_SECONDS, twice) */
#define ANSWER_MAX (1u << 20)
#define DEVICES_MAX 64

uint64_t
vm_now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void
vm_sleep_ms(unsigned ms)
{
    struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

    (void)nanosleep(&ts, NULL);
}

/* ---- requests ---- */

static bool
read_byte(int fd, uint64_t end, char *ret)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t now;

    while ((now = vm_now_ms()) < end)
        if (poll(&p, 1, (int)(end - now)) == 1 && read(fd, ret, 1) == 1)
            return true;
    return false;
}

static char *
answer(int fd, char *head, size_t size)
{
    uint64_t end = vm_now_ms() + ANSWER_MS;
    char *space, *text;
    size_t len = 0;

    while (len < size - 1 && read_byte(fd, end, &head[len]) && head[len] != '\n')
        len++;
    head[len] = '\0';
    space = strchr(head, ' ');
    if (!space) {
        fail_msg("the host does not answer (\"%s\")", head);
        return NULL;
    }
    *space = '\0';
    len = strtoul(space + 1, NULL, 10);
    assert_true(len < ANSWER_MAX);
    text = calloc(1, len + 1);
    assert_non_null(text);
    for (size_t i = 0; i < len; i++)
        if (!read_byte(fd, end, &text[i]))
            fail_msg("the host's answer ends after %zu of %zu bytes", i, len);
    return text;
}

static char *ask(bool *ret_ok, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static char *
ask(bool *ret_ok, const char *fmt, va_list ap)
{
    char line[2048], head[64], *text;
    int fd = open(LINE, O_RDWR | O_NOCTTY | O_CLOEXEC);
    size_t len, done = 0;

    if (fd < 0)
        fail_msg("open %s: %s", LINE, strerror(errno));
    assert_int_equal(flock(fd, LOCK_EX), 0);
    (void)vsnprintf(line, sizeof(line) - 1, fmt, ap);
    len = strlen(line);
    line[len++] = '\n';
    while (done < len) {
        ssize_t n = write(fd, line + done, len - done);

        if (n < 0 && errno != EINTR)
            fail_msg("write %s: %s", LINE, strerror(errno));
        done += n > 0 ? (size_t)n : 0;
    }
    text = answer(fd, head, sizeof(head));
    (void)close(fd);
    *ret_ok = strcmp(head, "ok") == 0;
    return text;
}

char *
vm_host(const char *fmt, ...)
{
    va_list ap;
    bool ok;
    char *text;

    va_start(ap, fmt);
    text = ask(&ok, fmt, ap);
    va_end(ap);
    if (!ok)
        fail_msg("host command \"%s\": %s", fmt, text);
    return text;
}

char *
vm_host_try(char *why, size_t size, const char *fmt, ...)
{
    va_list ap;
    bool ok;
    char *text;

    va_start(ap, fmt);
    text = ask(&ok, fmt, ap);
    va_end(ap);
    if (ok)
        return text;
    (void)snprintf(why, size, "%s", text);
    free(text);
    return NULL;
}

uint64_t
vm_count(const char *name, const char *what)
{
    char *text = vm_host("ctl counts %s", name), *save = NULL;
    uint64_t n = 0;
    bool found = false;

    for (char *w = strtok_r(text, " =\n", &save); w && !found; w = strtok_r(NULL, " =\n", &save))
        if (strcmp(w, what) == 0) {
            w = strtok_r(NULL, " =\n", &save);
            found = w != NULL;
            n = w ? strtoull(w, NULL, 0) : 0;
        }
    if (!found)
        fail_msg("counts of %s have no %s", name, what);
    free(text);
    return n;
}

/* ---- the boot's devices: "<name> <address> <model>" a line ---- */

static struct {
    char name[64], addr[16], model[64];
} devices[DEVICES_MAX];
static unsigned n_devices;

static void
load_devices(void)
{
    FILE *f = n_devices ? NULL : fopen("/etc/vm/devices", "re");

    if (n_devices)
        return;
    assert_non_null(f);
    while (n_devices < DEVICES_MAX &&
           fscanf(f, "%63s %15s %63s", devices[n_devices].name, devices[n_devices].addr,
                  devices[n_devices].model) == 3)
        n_devices++;
    (void)fclose(f);
}

const char *
vm_addr(const char *name)
{
    load_devices();
    for (unsigned i = 0; i < n_devices; i++)
        if (strcmp(devices[i].name, name) == 0)
            return devices[i].addr;
    fail_msg("the boot has no device %s", name);
    return "";
}

unsigned
vm_devices(const char *model)
{
    unsigned n = 0;

    load_devices();
    for (unsigned i = 0; i < n_devices; i++)
        n += !*model || strcmp(devices[i].model, model) == 0;
    return n;
}

/* ---- files and programs ---- */

const char *
vm_read(char *buf, size_t size, const char *fmt, ...)
{
    char path[256];
    va_list ap;
    ssize_t n;
    int fd;

    va_start(ap, fmt);
    (void)vsnprintf(path, sizeof(path), fmt, ap);
    va_end(ap);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, buf, size - 1);
    buf[n > 0 ? n : 0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    if (fd >= 0)
        (void)close(fd);
    return buf;
}

const char *
vm_link(char *buf, size_t size, const char *fmt, ...)
{
    char path[256], target[512];
    const char *last;
    va_list ap;
    ssize_t n;

    va_start(ap, fmt);
    (void)vsnprintf(path, sizeof(path), fmt, ap);
    va_end(ap);
    n = readlink(path, target, sizeof(target) - 1);
    target[n > 0 ? n : 0] = '\0';
    last = strrchr(target, '/');
    (void)snprintf(buf, size, "%s", last ? last + 1 : target);
    return buf;
}

int
vm_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int num = 0;

    if (fd < 0)
        return errno;
    if (write(fd, text, strlen(text)) < 0)
        num = errno;
    (void)close(fd);
    return num;
}

int
vm_run(char *buf, size_t size, const char *fmt, ...)
{
    char line[1024], rest[512];
    size_t len = 0;
    va_list ap;
    ssize_t n;
    pid_t pid;
    int p[2], st = 0;

    va_start(ap, fmt);
    n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    assert_true(n > 0 && (size_t)n < sizeof(line));
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(p[1], 1);
        (void)dup2(p[1], 2);
        (void)execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    (void)close(p[1]);
    (void)fcntl(p[0], F_SETFL, O_NONBLOCK);
    /* until it ends, not until the pipe does: what it left behind may have it open */
    for (bool over = false;;) {
        struct pollfd pfd = {.fd = p[0], .events = POLLIN};

        (void)poll(&pfd, 1, 20);
        over = over || waitpid(pid, &st, WNOHANG) == pid;
        n = len < size - 1 ? read(p[0], buf + len, size - 1 - len) : read(p[0], rest, sizeof(rest));
        if (n > 0)
            len += len < size - 1 ? (size_t)n : 0;
        else if (over)
            break;
    }
    buf[len] = '\0';
    (void)close(p[0]);
    return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}
