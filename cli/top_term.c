/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner of the terminal's settings. The sequences are those of xterm, which every terminal emulator
 * of Linux knows: 1049 alternate screen, 25 cursor, H home, K to the end of the line, J to the end
 * of the screen.
 */
#include "cli/top_term.h"

#include "base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const char enter[] = "\033[?1049h\033[?25l";
static const char leave[] = "\033[?25h\033[?1049l";
static const char home[] = "\033[H";
static const char clear_line[] = "\033[K";
static const char clear_rest[] = "\033[J";

/* End the loop; the crash goes on after the terminal is restored. */
static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};

static struct termios before, raw;
static volatile sig_atomic_t is_open, ended, resized, stopped, resumed;

static void
put_all(const void *data, size_t n)
{
    const char *p = data;

    while (n > 0) {
        ssize_t w = write(STDOUT_FILENO, p, n);

        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return;
        p += w;
        n -= (size_t)w;
    }
}

/* Async-signal-safe. */
static void
restore(void)
{
    if (!is_open)
        return;
    is_open = 0;
    put_all(leave, sizeof(leave) - 1);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void
on_end(int sig)
{
    ended = sig;
}

static void
on_resize(int sig)
{
    (void)sig;
    resized = 1;
}

static void
on_stop(int sig)
{
    (void)sig;
    stopped = 1;
}

static void
on_resume(int sig)
{
    (void)sig;
    resumed = 1;
}

/* SA_RESETHAND: raised again it does what it would have done. */
static void
on_crash(int sig)
{
    restore();
    (void)raise(sig);
}

static void
catch_signals(void)
{
    struct sigaction end = {.sa_handler = on_end}, size = {.sa_handler = on_resize};
    struct sigaction stop = {.sa_handler = on_stop}, resume = {.sa_handler = on_resume}, old;
    struct sigaction crash = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND | SA_NODEFER};

    for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
        (void)sigaction(ending[i], &end, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
        (void)sigaction(crashes[i], &crash, NULL);
    (void)sigaction(SIGWINCH, &size, NULL);
    (void)sigaction(SIGCONT, &resume, NULL);
    /* a shell without job control has its children ignore it, for there is no way back */
    if (sigaction(SIGTSTP, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        (void)sigaction(SIGTSTP, &stop, NULL);
}

/* Signals come while we wait, and only then: none is lost between a look and a poll. */
static void
block_signals(sigset_t *ret_while_waiting)
{
    sigset_t set;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
        (void)sigaddset(&set, ending[i]);
    (void)sigaddset(&set, SIGWINCH);
    (void)sigaddset(&set, SIGTSTP);
    (void)sigaddset(&set, SIGCONT);
    (void)sigprocmask(SIG_BLOCK, &set, ret_while_waiting);
}

static sigset_t waiting_mask;

/* False: it is not ours to set. In the background it stops us (SIGTTOU), until we are in front. */
static bool
take_terminal(void)
{
    int r;

    is_open = 1;
    do {
        r = tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        is_open = 0;
        return false;
    }
    put_all(enter, sizeof(enter) - 1);
    return true;
}

/* Ctrl-Z: 1. the shell gets its terminal as it was, 2. we stop as if it had not been caught, and
 * 3. take it again when somebody continues us. */
static void
stop_here(void)
{
    struct sigaction usual = {.sa_handler = SIG_DFL}, ours;
    const struct timespec now = {0};
    sigset_t set;

    restore();
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTSTP);
    (void)sigaction(SIGTSTP, &usual, &ours);
    (void)raise(SIGTSTP);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL); /* comes back with SIGCONT */
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)sigaction(SIGTSTP, &ours, NULL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCONT);
    (void)sigtimedwait(&set, NULL, &now); /* it is obeyed here */
    (void)take_terminal();
}

int
term_open(struct err *e)
{
    if (tcgetattr(STDIN_FILENO, &before) < 0)
        return err_errno(e, errno, ERR_CLASS_INVALID, "use the terminal");
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    block_signals(&waiting_mask);
    catch_signals();
    if (!take_terminal())
        return err_errno(e, errno, ERR_CLASS_INVALID, "use the terminal");
    return 0;
}

void
term_close(void)
{
    restore();
    (void)sigprocmask(SIG_SETMASK, &waiting_mask, NULL);
}

void
term_size(unsigned *ret_cols, unsigned *ret_rows)
{
    struct winsize w = {0};

    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
    *ret_cols = w.ws_col ? w.ws_col : 80;
    *ret_rows = w.ws_row ? w.ws_row : 24;
}

/* Drawn over what is there, line by line: it does not flicker. */
void
term_draw(const struct buf *screen, unsigned rows)
{
    const char *p = (const char *)buf_peek(screen);
    size_t left = buf_left(screen);
    struct buf out;

    buf_init(&out, 1u << 20);
    (void)buf_put_str(&out, home);
    for (unsigned i = 0; i < rows && left > 0; i++) {
        const char *nl = memchr(p, '\n', left);
        size_t n = nl ? (size_t)(nl - p) : left;

        (void)buf_put(&out, p, n);
        (void)buf_put_str(&out, clear_line);
        left -= n + (nl ? 1 : 0);
        p += n + (nl ? 1 : 0);
        /* after the last line of the screen a newline would scroll */
        if (i + 1 < rows && left > 0)
            (void)buf_put_str(&out, "\r\n");
    }
    (void)buf_put_str(&out, clear_rest);
    put_all(buf_peek(&out), buf_left(&out));
    buf_fini(&out);
}

enum term_event
term_wait(unsigned ms, char *ret_key)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000L};
    struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
    int n = ppoll(&fd, 1, &t, &waiting_mask);

    if (ended)
        return TERM_END;
    if (stopped) {
        stopped = 0;
        stop_here();
        return TERM_RESIZED;
    }
    if (resumed) { /* by whoever stopped us without asking; the shell has its own settings there */
        resumed = 0;
        (void)take_terminal();
        return TERM_RESIZED;
    }
    if (resized) {
        resized = 0;
        return TERM_RESIZED;
    }
    if (n <= 0)
        return TERM_TIME;
    return read(STDIN_FILENO, ret_key, 1) == 1 ? TERM_KEY : TERM_END;
}

int
term_signal(void)
{
    return ended;
}
