/* SPDX-License-Identifier: Apache-2.0
 *
 * Status and top: what the tables say, and that a terminal is given back as it was.
 */
#include "base/cleanup.h"
#include "cli/status_view.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PATIENCE_MS 30000

/* clang-format off */
static const char status_text[] =
    "{\"version\":\"1.2\",\"hwd\":\"up\",\"hwd_why\":\"\",\"mode\":\"off\",\"mode_config\":\"on\","
    "\"prepare\":\"eager\",\"manage\":\"full\","
    "\"resources\":[{\"name\":\"nvidia.com/pgpu\",\"link\":\"streaming\",\"link_why\":\"\",\"cdi_ok\":true,\"cdi_why\":\"\"}],"
    "\"mode_change\":{\"changing\":true,\"from\":\"on\",\"since\":\"2026-01-02T03:04:05Z\",\"progress\":\"1 of 2 switched\"},"
    "\"labels\":{\"written\":true,\"ok\":true,\"why\":\"\",\"until\":\"2026-01-02T03:09:05Z\",\"set\":{\"nvidia.com/cc.ready.state\":\"false\",\"x/y\":\"1\"}},"
    "\"nri\":{\"sessions\":[{\"socket\":\"/s\",\"up\":true}]},"
    "\"units\":["
    "{\"id\":\"0000:18:00.0\",\"resource\":\"nvidia.com/pgpu\",\"state\":\"arming\",\"since_ms\":4200,\"listed\":true,\"healthy\":false,"
    "\"phase\":\"reset\",\"operation\":\"prepare\",\"elapsed_ms\":1500,\"expected_ms\":3000,\"reason\":\"NONE\",\"why\":\"\",\"cure\":\"\","
    "\"mode_active\":\"on\",\"mode_configured\":\"off\",\"driver\":\"vfio-pci\",\"node\":\"/dev/vfio/devices/vfio3\",\"use\":\"ours\","
    "\"holder\":\"\",\"holder_pid\":0,\"access\":\"sysfs\",\"iommu_group\":7,\"numa_node\":1,\"namespace\":\"\",\"pod\":\"\","
    "\"reset\":{\"count\":3,\"rung\":\"function\",\"took_ms\":2100,\"ago_ms\":60000},"
    "\"evidence\":{\"total_ms\":2600,\"knobs_written\":2,\"resets\":1,\"write\":120,\"reset\":300,\"reboot\":1800}},"
    "{\"id\":\"0000:2a:00.0\",\"resource\":\"nvidia.com/pgpu\",\"state\":\"in_use\",\"since_ms\":7260000,\"listed\":true,\"healthy\":true,"
    "\"phase\":\"\",\"operation\":\"\",\"elapsed_ms\":0,\"expected_ms\":0,\"reason\":\"NONE\",\"why\":\"\",\"cure\":\"\","
    "\"mode_active\":\"on\",\"mode_configured\":\"on\",\"driver\":\"vfio-pci\",\"node\":\"/dev/vfio/devices/vfio4\",\"use\":\"held\","
    "\"holder\":\"qemu\",\"holder_pid\":4711,\"access\":\"\",\"iommu_group\":8,\"numa_node\":-1,\"namespace\":\"default\",\"pod\":\"mo\\u001b[2Jdel\","
    "\"reset\":{\"count\":0,\"rung\":\"\",\"took_ms\":0,\"ago_ms\":0},\"evidence\":{\"total_ms\":0,\"knobs_written\":0,\"resets\":0}},"
    "{\"id\":\"0000:3b:00.0\",\"resource\":\"nvidia.com/pgpu\",\"state\":\"quarantined\",\"since_ms\":500,\"listed\":true,\"healthy\":false,"
    "\"phase\":\"\",\"operation\":\"\",\"reason\":\"FSP_SILENT\",\"why\":\"no answer\",\"cure\":\"reset it\","
    "\"mode_active\":\"unknown\",\"mode_configured\":\"unknown\",\"driver\":\"\",\"node\":\"\",\"use\":\"free\",\"iommu_group\":-1,\"numa_node\":0,"
    "\"reset\":{\"count\":9,\"rung\":\"bus\",\"took_ms\":900,\"ago_ms\":100},\"evidence\":{}}"
    "]}";
/* clang-format on */

static json_object *
sample(void)
{
    json_object *o = json_tokener_parse(status_text);

    assert_non_null(o);
    return o;
}

/* The table as text; to be freed with the buffer. */
static const char *
table(struct buf *out, bool wide, enum status_sort sort, const char *filter, unsigned width,
      bool colours, unsigned *bad)
{
    json_object *o = sample();
    struct grid *g = status_grid(o, wide, sort, filter, bad);

    buf_init(out, 1u << 16);
    (void)grid_render(g, out, width, colours);
    grid_free(g);
    (void)json_object_put(o);
    return buf_cstr(out);
}

static void
the_table_says_what_each_device_does_and_why(void **state)
{
    struct buf out;
    unsigned bad;
    const char *s = table(&out, false, STATUS_BY_DEVICE, NULL, 0, false, &bad);

    (void)state;
    assert_int_equal(bad, 2);
    assert_string_equal(
        s, "DEVICE        RESOURCE         STATE         KUBELET    MODE(act/conf)   DRIVER    "
           "DETAIL\n"
           "0000:18:00.0  nvidia.com/pgpu  arming:reset  Unhealthy  on/off           vfio-pci  "
           "prepare "
           "for 1.5 s of about 3.0 s\n"
           "0000:2a:00.0  nvidia.com/pgpu  in_use        Healthy    on/on            vfio-pci  "
           "default/mo?[2Jdel\n"
           "0000:3b:00.0  nvidia.com/pgpu  quarantined   Unhealthy  unknown/unknown  -         "
           "FSP_SILENT: no answer\n"
           "              -> reset it\n");
    buf_fini(&out);
}

static void
wide_adds_place_holder_resets_and_phases(void **state)
{
    struct buf out;
    unsigned bad;
    const char *s = table(&out, true, STATUS_BY_DEVICE, NULL, 0, false, &bad);

    (void)state;
    assert_non_null(strstr(s, "AGE"));
    assert_non_null(strstr(s, "  7 vfio3  sysfs"));
    assert_non_null(strstr(s, "  function 2.1 s, 1m00s ago  "));
    assert_non_null(strstr(s, "  reboot 1.8 s, reset 300 ms  "));
    assert_non_null(strstr(s, "  2h01m  "));
    assert_non_null(strstr(s, "  qemu[4711]  "));
    buf_fini(&out);
}

static void
rows_are_sorted_filtered_and_cut(void **state)
{
    struct buf out;
    unsigned bad;
    const char *s = table(&out, false, STATUS_BY_RESETS, NULL, 0, false, &bad);

    (void)state;
    assert_true(strstr(s, "0000:3b") < strstr(s, "0000:18") &&
                strstr(s, "0000:18") < strstr(s, "0000:2a"));
    buf_fini(&out);
    s = table(&out, false, STATUS_BY_AGE, NULL, 0, false, &bad);
    assert_true(strstr(s, "0000:3b") < strstr(s, "0000:18") &&
                strstr(s, "0000:18") < strstr(s, "0000:2a"));
    buf_fini(&out);
    s = table(&out, false, STATUS_BY_DEVICE, "IN_USE", 0, false, &bad);
    assert_non_null(strstr(s, "0000:2a"));
    assert_null(strstr(s, "0000:18"));
    assert_null(strstr(s, "reset it")); /* the note of a row that is not shown */
    assert_int_equal(bad, 2);           /* a filter cures nothing */
    buf_fini(&out);
    s = table(&out, false, STATUS_BY_DEVICE, NULL, 20, false, &bad);
    for (const char *p = s, *nl; (nl = strchr(p, '\n')); p = nl + 1)
        assert_true(nl - p <= 20);
    buf_fini(&out);
}

static void
colours_are_only_where_they_are_wanted(void **state)
{
    struct buf out;
    unsigned bad;

    (void)state;
    assert_null(strchr(table(&out, true, STATUS_BY_DEVICE, NULL, 0, false, &bad), '\033'));
    buf_fini(&out);
    assert_non_null(
        strstr(table(&out, true, STATUS_BY_DEVICE, NULL, 0, true, &bad), "\033[31mquarantined"));
    buf_fini(&out);
}

static void
the_header_tells_of_the_change_and_the_labels(void **state)
{
    json_object *o = sample();
    struct buf out;

    (void)state;
    buf_init(&out, 1u << 16);
    assert_int_equal(status_header(o, &out, 0), 4);
    assert_string_equal(
        buf_cstr(&out),
        "pgpud 1.2  mode off  prepare eager  manage full  NRI 1 of 1 up  pgpu-hwd up\n"
        "nvidia.com/pgpu: kubelet streaming; CDI ok\n"
        "mode change: on -> off since 2026-01-02T03:04:05Z: 1 of 2 switched\n"
        "labels: nvidia.com/cc.ready.state=false (until 2026-01-02T03:09:05Z)\n");
    buf_fini(&out);
    (void)json_object_put(o);
}

/* ---- top, with a pgpud of our own and a terminal ---- */

struct rig {
    char dir[32], socket[64];
    pid_t server, top, parent;
    int pty, tty, shell; /* of a job alone: its shell, and the way to it */
    struct termios before;
    size_t n;
    char seen[1u << 18];
};

static uint64_t
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Answers every request with the sample. */
static void
serve(int fd)
{
    for (;;) {
        char line[256];
        int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

        if (c < 0)
            continue;
        if (read(c, line, sizeof(line)) > 0) {
            (void)!write(c, status_text, sizeof(status_text) - 1);
            (void)!write(c, "\n", 1);
        }
        (void)close(c);
    }
}

static void
open_terminal(struct rig *r)
{
    struct winsize w = {.ws_col = 220, .ws_row = 30};
    char name[64];

    r->pty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(r->pty >= 0);
    assert_int_equal(grantpt(r->pty), 0);
    assert_int_equal(unlockpt(r->pty), 0);
    assert_int_equal(ptsname_r(r->pty, name, sizeof(name)), 0);
    r->tty = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(r->tty >= 0);
    assert_int_equal(ioctl(r->pty, TIOCSWINSZ, &w), 0);
    assert_int_equal(tcgetattr(r->tty, &r->before), 0);
}

static _Noreturn void
become_top(const struct rig *r)
{
    const char *bin = getenv("PGPU_BIN_DIR");
    char program[256];

    (void)snprintf(program, sizeof(program), "%s/cli/pgpuctl", bin ? bin : ".");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)dup2(r->tty, 0);
    (void)dup2(r->tty, 1);
    (void)dup2(r->tty, 2);
    (void)setenv("TERM", "xterm", 1);
    (void)unsetenv("NO_COLOR");
    (void)execl(program, "pgpuctl", "--control", r->socket, "top", "--interval", "0.2",
                (char *)NULL);
    _exit(127);
}

/* What a shell does for its one job: puts it in front, tells of each change of its state (of its
 * pid first), is in front itself while it is stopped, and continues it at a word. */
static _Noreturn void
become_shell(const struct rig *r)
{
    pid_t job;
    int status;
    char word;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setsid();
    (void)ioctl(r->tty, TIOCSCTTY, 0);
    (void)signal(SIGTTOU, SIG_IGN);
    job = fork();
    if (job < 0)
        _exit(126);
    (void)setpgid(job, job); /* both do it: whoever comes first */
    (void)tcsetpgrp(r->tty, job ? job : getpid());
    if (job == 0) {
        (void)signal(SIGTTOU, SIG_DFL);
        become_top(r);
    }
    if (write(r->shell, &job, sizeof(job)) != sizeof(job))
        _exit(126);
    while (waitpid(job, &status, WUNTRACED) == job) {
        if (WIFSTOPPED(status))
            (void)tcsetpgrp(r->tty, getpid());
        if (write(r->shell, &status, sizeof(status)) != sizeof(status) || !WIFSTOPPED(status))
            _exit(0);
        if (read(r->shell, &word, 1) != 1)
            _exit(126);
        (void)tcsetpgrp(r->tty, job);
        (void)kill(-job, SIGCONT);
    }
    _exit(126);
}

static void
start_rig(struct rig *r)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(r, 0, sizeof(*r));
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/pgpu-top-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    (void)snprintf(r->socket, sizeof(r->socket), "%s/s", r->dir);
    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", r->socket);
    assert_int_equal(bind(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 4), 0);
    r->server = fork();
    assert_true(r->server >= 0);
    if (r->server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(fd);
    }
    (void)close(fd);
    open_terminal(r);
}

static void
start(struct rig *r)
{
    start_rig(r);
    r->top = fork();
    assert_true(r->top >= 0);
    if (r->top == 0) {
        (void)setsid();
        (void)ioctl(r->tty, TIOCSCTTY, 0);
        become_top(r);
    }
}

/* top as the job of a shell; the shell's end, to be reaped, is r->parent. */
static void
start_job(struct rig *r)
{
    int fds[2];

    start_rig(r);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    r->parent = fork();
    assert_true(r->parent >= 0);
    if (r->parent == 0) {
        r->shell = fds[1];
        become_shell(r);
    }
    (void)close(fds[1]);
    r->shell = fds[0];
    assert_int_equal(read(r->shell, &r->top, sizeof(r->top)), sizeof(r->top));
}

static void
finish(struct rig *r)
{
    (void)kill(r->server, SIGKILL);
    (void)waitpid(r->server, NULL, 0);
    (void)close(r->pty);
    (void)close(r->tty);
    (void)unlink(r->socket);
    (void)rmdir(r->dir);
}

/* Reads the terminal until the text has come since `from`; its end. */
static size_t
wait_text(struct rig *r, size_t from, const char *text)
{
    uint64_t end = now_ms() + PATIENCE_MS;

    for (;;) {
        struct pollfd p = {.fd = r->pty, .events = POLLIN};
        char *at = memmem(r->seen + from, r->n - from, text, strlen(text));
        ssize_t n;

        if (at)
            return (size_t)(at - r->seen) + strlen(text);
        if (now_ms() > end || r->n + 4096 > sizeof(r->seen))
            fail_msg("\"%s\" did not come; the terminal has: %.2000s", text, r->seen + from);
        if (poll(&p, 1, 100) != 1)
            continue;
        n = read(r->pty, r->seen + r->n, sizeof(r->seen) - r->n - 1);
        if (n > 0)
            r->n += (size_t)n;
    }
}

static void
press(struct rig *r, const char *keys)
{
    assert_int_equal(write(r->pty, keys, strlen(keys)), strlen(keys));
}

/* It has left the alternate screen, shows the cursor, and the line discipline is as before. */
static void
given_back(struct rig *r, size_t from)
{
    struct termios after;

    (void)wait_text(r, from, "\033[?25h\033[?1049l");
    assert_int_equal(tcgetattr(r->tty, &after), 0);
    assert_int_equal(after.c_lflag, r->before.c_lflag);
    assert_int_equal(after.c_cc[VMIN], r->before.c_cc[VMIN]);
}

static int
end_of_top(struct rig *r)
{
    uint64_t end = now_ms() + PATIENCE_MS;
    int status;

    while (waitpid(r->top, &status, WNOHANG) == 0) {
        struct pollfd p = {.fd = r->pty, .events = POLLIN};

        if (now_ms() > end) {
            (void)kill(r->top, SIGKILL);
            fail_msg("top does not end");
        }
        /* a full terminal would keep it */
        if (poll(&p, 1, 10) == 1 && r->n + 4096 < sizeof(r->seen)) {
            ssize_t n = read(r->pty, r->seen + r->n, sizeof(r->seen) - r->n - 1);

            r->n += n > 0 ? (size_t)n : 0;
        }
    }
    return status;
}

static void
top_draws_obeys_keys_and_gives_the_terminal_back(void **state)
{
    static struct rig r;
    struct winsize w = {.ws_col = 30, .ws_row = 10};
    size_t at;
    int status;

    (void)state;
    start(&r);
    at = wait_text(&r, 0, "\033[?1049h\033[?25l");
    at = wait_text(&r, at, "s sort: device");
    at = wait_text(&r, at, "0000:18:00.0");
    press(&r, "s");
    at = wait_text(&r, at, "s sort: state");
    press(&r, "/quar");
    at = wait_text(&r, at, "filter: quar_");
    press(&r, "\n");
    at = wait_text(&r, at, "/ filter: quar");
    press(&r, "f");
    at = wait_text(&r, at, "FROZEN");
    press(&r, "w");
    at = wait_text(&r, at, "LONGEST PHASES");
    /* smaller: the first line is cut to it */
    assert_int_equal(ioctl(r.pty, TIOCSWINSZ, &w), 0);
    at = wait_text(&r, at, "q quit  s sort: state  / filte\033[K");
    press(&r, "q");
    status = end_of_top(&r);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    given_back(&r, at);
    finish(&r);
}

/* What the shell says next of its job. */
static int
change_of_job(struct rig *r)
{
    uint64_t end = now_ms() + PATIENCE_MS;
    struct pollfd p[2] = {{.fd = r->shell, .events = POLLIN}, {.fd = r->pty, .events = POLLIN}};
    int status;

    do {
        assert_true(now_ms() < end);
        assert_true(poll(p, 2, 1000) >= 0);
        if (p[1].revents & POLLIN && r->n + 4096 < sizeof(r->seen)) {
            ssize_t n = read(r->pty, r->seen + r->n, sizeof(r->seen) - r->n - 1);

            r->n += n > 0 ? (size_t)n : 0;
        }
    } while (!(p[0].revents & POLLIN));
    assert_int_equal(read(r->shell, &status, sizeof(status)), sizeof(status));
    return status;
}

static bool
is_raw(const struct rig *r)
{
    struct termios now;

    assert_int_equal(tcgetattr(r->tty, &now), 0);
    return !(now.c_lflag & (ICANON | ECHO));
}

static void
a_stopped_top_leaves_the_terminal_to_the_shell_and_takes_it_again(void **state)
{
    static struct rig r;
    size_t at;
    int status;

    (void)state;
    start_job(&r);
    at = wait_text(&r, 0, "0000:18:00.0");
    for (int i = 0; i < 2; i++) {
        press(&r, "\032");
        status = change_of_job(&r);
        assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP);
        given_back(&r, at);
        at = wait_text(&r, at, "\033[?25h\033[?1049l");
        assert_int_equal(write(r.shell, "f", 1), 1);
        at = wait_text(&r, at, "\033[?1049h\033[?25l");
        at = wait_text(&r, at, "0000:18:00.0");
        assert_true(is_raw(&r));
    }
    /* without being asked; a shell sets the terminal as it wants it */
    (void)kill(r.top, SIGSTOP);
    status = change_of_job(&r);
    assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    assert_int_equal(tcsetattr(r.tty, TCSANOW, &r.before), 0);
    at = r.n;
    assert_int_equal(write(r.shell, "f", 1), 1);
    at = wait_text(&r, at, "\033[?1049h\033[?25l");
    at = wait_text(&r, at, "0000:18:00.0");
    assert_true(is_raw(&r));
    press(&r, "q");
    status = change_of_job(&r);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    given_back(&r, at);
    assert_int_equal(waitpid(r.parent, &status, 0), r.parent);
    (void)close(r.shell);
    finish(&r);
}

static void
top_gives_the_terminal_back_when_it_is_killed_or_crashes(void **state)
{
    static const int signals[] = {SIGTERM, SIGHUP, SIGSEGV, SIGABRT};
    static struct rig r;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        int status;
        size_t at;

        start(&r);
        at = wait_text(&r, 0, "0000:18:00.0");
        (void)kill(r.top, signals[i]);
        status = end_of_top(&r);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != signals[i])
            fail_msg("signal %d: status 0x%x", signals[i], (unsigned)status);
        given_back(&r, at);
        finish(&r);
    }
}

static void
ctrl_c_is_a_way_to_quit(void **state)
{
    static struct rig r;
    size_t at;
    int status;

    (void)state;
    start(&r);
    at = wait_text(&r, 0, "0000:18:00.0");
    press(&r, "\003");
    status = end_of_top(&r);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    given_back(&r, at);
    finish(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_says_what_each_device_does_and_why),
        cmocka_unit_test(wide_adds_place_holder_resets_and_phases),
        cmocka_unit_test(rows_are_sorted_filtered_and_cut),
        cmocka_unit_test(colours_are_only_where_they_are_wanted),
        cmocka_unit_test(the_header_tells_of_the_change_and_the_labels),
        cmocka_unit_test(top_draws_obeys_keys_and_gives_the_terminal_back),
        cmocka_unit_test(top_gives_the_terminal_back_when_it_is_killed_or_crashes),
        cmocka_unit_test(ctrl_c_is_a_way_to_quit),
        cmocka_unit_test(a_stopped_top_leaves_the_terminal_to_the_shell_and_takes_it_again),
    };

    return cmocka_run_group_tests_name("cli.status", tests, NULL, NULL);
}
