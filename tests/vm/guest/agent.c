/* SPDX-License-Identifier: Apache-2.0
 *
 * The guest's process 1 once init has prepared it: runs the programs of the boot and tells the host
 * what they print, as it comes, over the second serial line. One thread.
 *
 * /etc/vm/programs has one program a line: "fg|bg SECONDS PROGRAM [ARG...]", started in that
 * order. The next one waits for the end of one of kind fg, not of one of kind bg.
 *
 * To the host, a line each:
 *   <program> TAB <line that it printed>
 *   @start TAB <program>
 *   @end TAB <program> TAB <exit status, or 128 + signal, or "timeout">
 *   @log TAB <program> TAB <line of a log file>   after a failure
 *   @done
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAMS_MAX 32
#define ARGS_MAX 16
#define LINE_MAX_ 1024
#define LOG_TAIL 12288     /* bytes of each log file that the host gets */
#define KILL_GRACE_MS 5000 /* then a killed program counts as one that cannot be killed */
#define EXIT_SKIP 77
#define KERNEL_LINES 80

struct program {
    bool background;
    long seconds;
    char *argv[ARGS_MAX];
    const char *name;
    pid_t pid;
    int fd;       /* what it prints; -1 none */
    bool running; /* not reaped */
    bool over;    /* told the host */
    bool killed;
    int status;
    uint64_t end_ms;
    char line[LINE_MAX_];
    size_t len;
};

static struct program programs[PROGRAMS_MAX];
static size_t n_programs;
static int host = 1;

static uint64_t
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

__attribute__((format(printf, 1, 2))) static void
tell(const char *fmt, ...)
{
    char buf[LINE_MAX_ + 256];
    size_t done = 0, len;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(buf, sizeof(buf) - 1, fmt, ap);
    va_end(ap);
    len = n < 0 ? 0 : (size_t)n < sizeof(buf) - 1 ? (size_t)n : sizeof(buf) - 2;
    buf[len++] = '\n';
    while (done < len) {
        ssize_t w = write(host, buf + done, len - done);

        if (w < 0 && errno != EINTR)
            return;
        done += w > 0 ? (size_t)w : 0;
    }
}

/* ---- what the programs print ---- */

static void
take(struct program *p, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != '\n' && p->len < sizeof(p->line) - 1) {
            p->line[p->len++] = data[i] ? data[i] : '?';
            continue;
        }
        if (data[i] != '\n')
            continue; /* the rest of a long line is dropped */
        p->line[p->len] = '\0';
        tell("%s\t%s", p->name, p->line);
        p->len = 0;
    }
}

static void
drain(struct program *p)
{
    char buf[4096];
    ssize_t n;

    while (p->fd >= 0 && (n = read(p->fd, buf, sizeof(buf))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return;
        take(p, buf, (size_t)n);
    }
    if (p->fd >= 0)
        (void)close(p->fd);
    p->fd = -1;
}

/* ---- logs of a failure ---- */

static const char *log_of;

static int
send_log(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    size_t len = strlen(path), n;
    char line[LINE_MAX_];
    FILE *f;

    (void)ftw;
    if (type != FTW_F || len < 4 || strcmp(path + len - 4, ".log") != 0)
        return 0;
    f = fopen(path, "re");
    if (!f)
        return 0;
    tell("@log\t%s\t==== %s, %lld bytes", log_of, path, (long long)st->st_size);
    if (st->st_size > LOG_TAIL)
        (void)fseek(f, -LOG_TAIL, SEEK_END);
    while (fgets(line, sizeof(line), f)) {
        n = strcspn(line, "\n");
        line[n] = '\0';
        tell("@log\t%s\t%s", log_of, line);
    }
    (void)fclose(f);
    return 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    if (ftw->level > 0)
        (void)remove(path);
    return 0;
}

/* The end of the kernel's log; each read is one record, "priority,number,microseconds,-;text". */
static void
send_kernel_log(void)
{
    static char last[KERNEL_LINES][256];
    int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    char record[8192];
    size_t count = 0;
    ssize_t n;

    while (fd >= 0 && ((n = read(fd, record, sizeof(record) - 1)) > 0 || errno == EPIPE)) {
        const char *text;
        unsigned long long us = 0;

        if (n <= 0)
            continue; /* overwritten meanwhile */
        record[n] = '\0';
        text = strchr(record, ';');
        (void)sscanf(record, "%*u,%*u,%llu", &us);
        if (text)
            (void)snprintf(last[count++ % KERNEL_LINES], sizeof(last[0]), "[%7.3f] %.*s",
                           (double)us / 1e6, (int)strcspn(text + 1, "\n"), text + 1);
    }
    if (fd >= 0)
        (void)close(fd);
    tell("@log\t%s\t==== kernel log", log_of);
    for (size_t i = count > KERNEL_LINES ? count - KERNEL_LINES : 0; i < count; i++)
        tell("@log\t%s\t%s", log_of, last[i % KERNEL_LINES]);
}

static bool
any_other_running(const struct program *self)
{
    for (size_t i = 0; i < n_programs; i++)
        if (&programs[i] != self && programs[i].running)
            return true;
    return false;
}

static void
end(struct program *p, bool timeout)
{
    int code = WIFEXITED(p->status) ? WEXITSTATUS(p->status) : 128 + WTERMSIG(p->status);

    drain(p);
    if (p->len)
        take(p, "\n", 1);
    if (p->fd >= 0)
        (void)close(p->fd);
    p->fd = -1;
    p->over = true;
    (void)kill(-p->pid, SIGKILL); /* what it left behind */
    if (timeout || (code != 0 && code != EXIT_SKIP)) {
        log_of = p->name;
        (void)nftw("/tmp", send_log, 16, FTW_PHYS | FTW_MOUNT);
        send_kernel_log();
    }
    if (timeout)
        tell("@end\t%s\ttimeout", p->name);
    else
        tell("@end\t%s\t%d", p->name, code);
    if (!any_other_running(p)) /* its logs shall not be taken for another one's */
        (void)nftw("/tmp", remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* ---- running ---- */

static void
start(struct program *p)
{
    int fds[2];

    tell("@start\t%s", p->name);
    if (pipe2(fds, O_CLOEXEC) < 0)
        fds[0] = fds[1] = -1;
    p->pid = fork();
    if (p->pid == 0) {
        sigset_t none;

        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)setsid();
        (void)dup2(fds[1], 1);
        (void)dup2(fds[1], 2);
        (void)execv(p->argv[0], p->argv);
        (void)fprintf(stderr, "%s: %s\n", p->argv[0], strerror(errno));
        _exit(127);
    }
    (void)close(fds[1]);
    (void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
    p->fd = fds[0];
    p->running = p->pid > 0;
    p->end_ms = now_ms() + (uint64_t)p->seconds * 1000;
}

static void
reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < n_programs; i++)
            if (programs[i].running && programs[i].pid == pid) {
                programs[i].running = false;
                programs[i].status = status;
            }
}

static void
step(void)
{
    struct pollfd fds[PROGRAMS_MAX];
    nfds_t n = 0;

    for (size_t i = 0; i < n_programs; i++)
        if (programs[i].fd >= 0)
            fds[n++] = (struct pollfd){.fd = programs[i].fd, .events = POLLIN};
    (void)poll(fds, n, n ? 20 : 5);
    reap();
    for (size_t i = 0; i < n_programs; i++) {
        struct program *p = &programs[i];

        if (p->over || p->pid <= 0)
            continue;
        drain(p);
        if (!p->running)
            end(p, p->killed);
        else if (now_ms() > p->end_ms && !p->killed) {
            p->killed = true;
            p->end_ms = now_ms() + KILL_GRACE_MS;
            (void)kill(-p->pid, SIGKILL);
        } else if (now_ms() > p->end_ms) {
            p->running = false;
            end(p, true);
        }
    }
}

static void
run_all(void)
{
    for (size_t i = 0; i < n_programs; i++) {
        start(&programs[i]);
        while (!programs[i].background && !programs[i].over)
            step();
    }
    for (size_t i = 0; i < n_programs; i++)
        while (programs[i].pid > 0 && !programs[i].over)
            step();
}

static bool
parse(char *line, struct program *p)
{
    char *save = NULL, *kind = strtok_r(line, " ", &save), *seconds = strtok_r(NULL, " ", &save);
    size_t n = 0;

    if (!kind || !seconds)
        return false;
    p->background = strcmp(kind, "bg") == 0;
    p->seconds = strtol(seconds, NULL, 10);
    for (char *w = strtok_r(NULL, " ", &save); w && n < ARGS_MAX - 1;
         w = strtok_r(NULL, " ", &save))
        p->argv[n++] = strdup(w);
    if (n == 0)
        return false;
    p->name = strrchr(p->argv[0], '/') ? strrchr(p->argv[0], '/') + 1 : p->argv[0];
    p->fd = -1;
    return true;
}

int
main(void)
{
    FILE *f = fopen("/etc/vm/programs", "re");
    char line[1024];

    host = open("/dev/ttyS1", O_WRONLY | O_NOCTTY | O_CLOEXEC);
    while (f && fgets(line, sizeof(line), f) && n_programs < PROGRAMS_MAX) {
        line[strcspn(line, "\n")] = '\0';
        n_programs += parse(line, &programs[n_programs]);
    }
    if (f)
        (void)fclose(f);
    (void)setenv("PATH", "/bin:/sbin:/vm", 1);
    (void)setenv("HOME", "/root", 1);
    (void)setenv("PGPU_BIN_DIR", "/opt/pgpu", 1);
    (void)setenv("PGPU_TEST_PATIENCE", "120", 1);
    (void)setenv("PGPU_TEST_KEEP", "1", 1); /* the logs are ours to send, then to remove */
    (void)setenv("PGPU_KEEP", "1", 1);
    run_all();
    tell("@done");
    for (;;)
        (void)pause(); /* the host ends the machine */
}
