/* SPDX-License-Identifier: Apache-2.0
 *
 * Control of the vfio-user servers: a table of commands, the faults of the link, traces. The
 * socket's thread serves one command after the other; none of them blocks.
 */
#include "sim/vfiouser_priv.h"

#include "base/cleanup.h"
#include "sim/control.h"
#include "sim/ctlsock.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define WORDS_MAX 12
#define DELAY_MS_MAX 600000u

struct cmd {
    struct vfu_srv *s;
    struct vfu_port *p; /* that the first word names; locked */
    int argc;           /* words after the command and the name */
    char **argv;
    struct buf out;
};

/* ---- numbers, faults, knobs ---- */

static int
number(const char *text, unsigned long max, unsigned long *ret, struct err *e)
{
    char *end;
    unsigned long v;

    errno = 0;
    v = strtoul(text, &end, 0);
    if (errno || end == text || *end || text[0] == '-' || v > max)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "\"%s\" is no number up to %lu", text, max);
    *ret = v;
    return 0;
}

static const struct {
    const char *name, *help;
    size_t offset; /* in struct vfu_link */
    bool ms;       /* takes "=MS"; else a switch */
} link_faults[] = {
    {"reset-delay", "=MS: the reply to a bus reset comes so much later",
     offsetof(struct vfu_link, reset_delay_ms), true},
    {"reply-delay", "=MS: every reply comes so much later",
     offsetof(struct vfu_link, reply_delay_ms), true},
    {"mute", "nothing is replied until the fault is cleared", offsetof(struct vfu_link, mute),
     false},
    {"hang-up", "the client is sent away, and every other one that comes",
     offsetof(struct vfu_link, down), false},
};

static int
link_fault(struct vfu_port *p, size_t i, const char *value, struct err *e)
{
    char *field = (char *)&p->link + link_faults[i].offset;
    unsigned long v;
    unsigned ms;
    int r;

    if (link_faults[i].ms != (value != NULL))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "set fault: its form is %s%s",
                       link_faults[i].name, link_faults[i].ms ? "=MS" : "");
    if (value) {
        r = number(value, DELAY_MS_MAX, &v, e);
        if (r < 0)
            return r;
        ms = (unsigned)v;
        memcpy(field, &ms, sizeof(ms));
        return 0;
    }
    *(bool *)field = true;
    if (p->link.down && p->client_fd >= 0)
        (void)shutdown(p->client_fd, SHUT_RDWR);
    return 0;
}

int
vfu_port_fault(struct vfu_port *p, const char *spec, struct err *e)
{
    size_t n = strcspn(spec, "=");

    if (strcmp(spec, "clear") == 0)
        p->link = (struct vfu_link){0};
    for (size_t i = 0; i < ARRAY_SIZE(link_faults); i++)
        if (strlen(link_faults[i].name) == n && memcmp(spec, link_faults[i].name, n) == 0)
            return link_fault(p, i, spec[n] ? spec + n + 1 : NULL, e);
    /* the errno of a simulated kernel; here there is a real one */
    if (n == 10 && memcmp(spec, "reset-fail", n) == 0)
        return err_set(e, ENOTSUP, ERR_CLASS_INVALID,
                       "set fault: reset-fail is for simulated nodes; here reset-hang will do");
    return sim_gpu_fault(vfu_dev_gpu(p->dev), spec, e);
}

int
vfu_port_knob(struct vfu_port *p, const char *knob, const char *value, struct err *e)
{
    unsigned long n, v;
    int r = number(knob, SIM_KNOBS - 1, &n, e);

    if (r == 0)
        r = number(value, 0xffff, &v, e);
    if (r == 0)
        sim_gpu_set_knob(vfu_dev_gpu(p->dev), (unsigned)n, (uint16_t)v);
    return r;
}

/* ---- commands ---- */

static int
run_fault(struct cmd *c, struct err *e)
{
    int r = 0;

    for (int i = 0; r == 0 && i < c->argc; i++)
        r = vfu_port_fault(c->p, c->argv[i], e);
    return r;
}

static int
run_faults(struct cmd *c, struct err *e)
{
    const char *name, *help;

    (void)e;
    for (size_t i = 0; i < ARRAY_SIZE(link_faults); i++)
        (void)buf_putf(&c->out, "%-22s %s\n", link_faults[i].name, link_faults[i].help);
    for (size_t i = 0; (name = sim_gpu_fault_name(i, &help)); i++)
        (void)buf_putf(&c->out, "%-22s %s\n", name, help);
    return 0;
}

static int
run_knob(struct cmd *c, struct err *e)
{
    unsigned long n;
    int r = number(c->argv[0], SIM_KNOBS - 1, &n, e);

    if (r == 0 && c->argc > 1)
        r = vfu_port_knob(c->p, c->argv[0], c->argv[1], e);
    if (r == 0)
        (void)buf_putf(&c->out, "0x%x\n", sim_gpu_knob(vfu_dev_gpu(c->p->dev), (unsigned)n));
    return r;
}

static int
run_counts(struct cmd *c, struct err *e)
{
    const struct vfu_counts *n = vfu_dev_counts(c->p->dev);
    struct sim_counts g = sim_gpu_counts(vfu_dev_gpu(c->p->dev));
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {{"clients", n->clients},       {"messages", n->messages},
                {"errors", n->errors},         {"bar-reads", n->bar_reads},
                {"bar-writes", n->bar_writes}, {"cfg-reads", n->cfg_reads},
                {"cfg-writes", n->cfg_writes}, {"dma-windows", vfu_dev_maps(c->p->dev)},
                {"resets", g.resets},          {"bus-resets", n->bus_resets},
                {"exchanges", g.exchanges}};

    (void)e;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        (void)buf_putf(&c->out, "%s %" PRIu64 "\n", rows[i].name, rows[i].v);
    return 0;
}

static int
run_irq(struct cmd *c, struct err *e)
{
    static const struct {
        const char *name;
        unsigned index;
    } kinds[] = {{"intx", VFIO_PCI_INTX_IRQ_INDEX},
                 {"msi", VFIO_PCI_MSI_IRQ_INDEX},
                 {"msix", VFIO_PCI_MSIX_IRQ_INDEX},
                 {"err", VFIO_PCI_ERR_IRQ_INDEX},
                 {"req", VFIO_PCI_REQ_IRQ_INDEX}};
    unsigned long vector = 0;

    if (c->argc > 1 && number(c->argv[1], UINT16_MAX, &vector, e) < 0)
        return -e->num;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (strcmp(kinds[i].name, c->argv[0]) == 0)
            return vfu_dev_irq(c->p->dev, kinds[i].index, (unsigned)vector, e);
    return err_set(e, EINVAL, ERR_CLASS_INVALID, "\"%s\" is none of intx, msi, msix, err, req",
                   c->argv[0]);
}

static void
show_port(struct vfu_port *p, struct buf *out)
{
    struct sim_gpu *g = vfu_dev_gpu(p->dev);
    bool plain = sim_gpu_model(g)->kind == SIM_PLAIN;

    (void)buf_putf(out, "%-16s %-11s %-6s D%-5u %-8s %-8s %6" PRIu64 "\n", p->name,
                   sim_gpu_model(g)->name, p->client_fd >= 0 ? "yes" : "no", sim_gpu_power(g),
                   plain ? "-" : cc_mode_name(control_active_mode(g)),
                   plain ? "-" : cc_mode_name(control_configured_mode(g)),
                   sim_gpu_counts(g).resets);
}

static int
run_show(struct cmd *c, struct err *e)
{
    (void)e;
    (void)buf_putf(&c->out, "%-16s %-11s %-6s %-6s %-8s %-8s %6s\n", "NAME", "MODEL", "CLIENT",
                   "POWER", "ACTIVE", "CONFIG", "RESETS");
    for (size_t i = 0; i < c->s->n_port; i++) {
        (void)pthread_mutex_lock(&c->s->port[i]->lock);
        show_port(c->s->port[i], &c->out);
        (void)pthread_mutex_unlock(&c->s->port[i]->lock);
    }
    return 0;
}

static int run_help(struct cmd *c, struct err *e);

static const struct {
    const char *name, *args, *help;
    bool port; /* takes a device's name first */
    int min;   /* words after that */
    int (*run)(struct cmd *c, struct err *e);
} verbs[] = {
    {"show", "", "every device: client, power, active and configured mode, resets", false, 0,
     run_show},
    {"fault", "NAME SPEC...", "inject faults into a device; \"clear\" clears all", true, 1,
     run_fault},
    {"faults", "", "the faults there are", false, 0, run_faults},
    {"knob", "NAME N [VALUE]", "read or set a firmware knob", true, 1, run_knob},
    {"counts", "NAME", "what the device was put through", true, 0, run_counts},
    {"irq", "NAME intx|msi|msix|err|req [VECTOR]", "raise an interrupt", true, 1, run_irq},
    {"help", "", "this list", false, 0, run_help},
};

static const size_t n_verbs = ARRAY_SIZE(verbs);

static int
run_help(struct cmd *c, struct err *e)
{
    (void)e;
    for (size_t i = 0; i < n_verbs; i++)
        (void)buf_putf(&c->out, "%s %s\n        %s\n", verbs[i].name, verbs[i].args, verbs[i].help);
    (void)buf_put_str(&c->out,
                      "trace NAME|all\n        register traffic as it happens, until you leave\n");
    return 0;
}

static int
run_verb(struct cmd *c, size_t verb, struct err *e)
{
    const char *name = c->argv[0];
    int r;

    if (c->argc < verbs[verb].min + (verbs[verb].port ? 1 : 0))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "usage: %s %s", verbs[verb].name,
                       verbs[verb].args);
    if (!verbs[verb].port)
        return verbs[verb].run(c, e);
    c->p = vfu_port_find(c->s, name);
    if (!c->p)
        return err_set(e, ENODEV, ERR_CLASS_INVALID, "%s: no device \"%s\"", verbs[verb].name,
                       name);
    c->argc--;
    c->argv++;
    (void)pthread_mutex_lock(&c->p->lock);
    r = verbs[verb].run(c, e);
    (void)pthread_mutex_unlock(&c->p->lock);
    return r < 0 ? err_prefix(e, "%s %s", verbs[verb].name, name) : 0;
}

int
vfu_srv_control(struct vfu_srv *s, const char *line, char *reply, size_t size, struct err *e)
{
    _cleanup_free_ char *copy = strdup(line);
    char *words[WORDS_MAX + 1] = {NULL}, *rest = copy, *word;
    struct cmd c = {.s = s};
    const char *text;
    size_t i;
    int r;

    if (!copy || size == 0)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "control command: out of memory");
    while ((word = strsep(&rest, " \t\n")))
        if (*word && c.argc < WORDS_MAX)
            words[c.argc++] = word;
    if (c.argc == 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "empty command; try help");
    for (i = 0; i < n_verbs && strcmp(verbs[i].name, words[0]) != 0; i++)
        ;
    if (i == n_verbs)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "no command \"%s\"; try help", words[0]);
    c.argc--;
    c.argv = words + 1;
    buf_init(&c.out, size - 1);
    r = run_verb(&c, i, e);
    text = r == 0 ? buf_cstr(&c.out) : "";
    if (r == 0 && (!text || buf_failed(&c.out)))
        r = err_set(e, EMSGSIZE, ERR_CLASS_FATAL, "%s: the answer is too long", words[0]);
    if (r == 0)
        memcpy(reply, text, strlen(text) + 1);
    buf_fini(&c.out);
    return r;
}

/* ---- traces ---- */

static void
on_access(void *ctx, const struct sim_access *a)
{
    struct vfu_port *p = ctx;
    struct vfu_srv *s = p->srv;
    char line[CTLSOCK_TRACE_MAX];

    (void)pthread_mutex_lock(&s->trace_lock);
    for (size_t i = 0; i < VFU_TRACES_MAX; i++) {
        struct vfu_trace *t = &s->trace[i];
        int n;

        if (t->fd < 0 || (t->port && t->port != p))
            continue;
        n = ctlsock_trace_line(line, sizeof(line), t->port ? "gpu" : p->name, a);
        /* a slow reader loses lines; one that has gone is dropped */
        if (n > 0 && (size_t)n < sizeof(line) &&
            send(t->fd, line, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
            fd_close(&t->fd);
    }
    (void)pthread_mutex_unlock(&s->trace_lock);
}

static void
trace_port(struct vfu_port *p)
{
    (void)pthread_mutex_lock(&p->lock);
    sim_gpu_trace(vfu_dev_gpu(p->dev), on_access, p);
    (void)pthread_mutex_unlock(&p->lock);
}

/* Hands the descriptor to the listeners; false if it stays the caller's. */
static bool
start_trace(struct vfu_srv *s, int fd, const char *what)
{
    const struct vfu_port *p = vfu_port_find(s, what);
    bool all = strcmp(what, "all") == 0, kept = false;
    struct err e = ERR_INIT;
    int big = 4 << 20;

    if (!p && !all) {
        (void)err_set(&e, ENODEV, ERR_CLASS_INVALID, "trace: no device \"%.60s\"", what);
        ctlsock_answer(fd, -ENODEV, "", &e);
        return false;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
    if (!ctlsock_send(fd, "ok\n", 3))
        return false;
    (void)pthread_mutex_lock(&s->trace_lock);
    for (size_t i = 0; i < VFU_TRACES_MAX && !kept; i++)
        if (s->trace[i].fd < 0) {
            s->trace[i] = (struct vfu_trace){.fd = fd, .port = p};
            kept = true;
        }
    (void)pthread_mutex_unlock(&s->trace_lock);
    for (size_t i = 0; kept && i < s->n_port; i++)
        if (all || s->port[i] == p)
            trace_port(s->port[i]);
    return kept;
}

/* ---- the socket ---- */

static void
serve_command(struct vfu_srv *s, int fd)
{
    _cleanup_free_ char *reply = malloc(SIM_REPLY_MAX);
    char line[CTLSOCK_LINE_MAX];
    struct err e = ERR_INIT;

    if (!reply || !ctlsock_read_line(fd, line, sizeof(line))) {
        (void)close(fd);
        return;
    }
    if (strncmp(line, "trace ", 6) == 0) {
        if (start_trace(s, fd, line + 6))
            return;
    } else {
        ctlsock_answer(fd, vfu_srv_control(s, line, reply, SIM_REPLY_MAX, &e), reply, &e);
    }
    (void)close(fd);
}

void *
vfu_control_thread(void *arg)
{
    struct vfu_srv *s = arg;
    struct timeval patience = {.tv_sec = 2};

    while (vfu_wait(s, s->control_fd, POLLIN, -1) >= 0) {
        int fd = accept4(s->control_fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0) {
            if (vfu_wait(s, -1, 0, 20) < 0) /* out of descriptors, say: not so fast */
                return NULL;
            continue;
        }
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        serve_command(s, fd);
    }
    return NULL;
}
