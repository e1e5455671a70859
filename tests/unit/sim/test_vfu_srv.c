/* SPDX-License-Identifier: Apache-2.0
 *
 * The vfio-user servers over real sockets: a whole change of mode through the wire, clients that
 * come, go and misbehave, faults of the link, the control commands, and nothing left open.
 */
#include "vfu_client.h"

#include "base/cleanup.h"
#include "ccmode/cc.h"
#include "sim/control.h"
#include "sim/vfiouser_srv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
    char dir[32], control[64], said[4][256];
    struct vfu_srv *srv;
};

static struct rig the_rig;
static unsigned n_said; /* with the_rig.said under said_lock: the servers' threads say it */
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;

static void
say(const char *text)
{
    (void)pthread_mutex_lock(&said_lock);
    (void)snprintf(the_rig.said[n_said++ % 4], sizeof(the_rig.said[0]), "%s", text);
    (void)pthread_mutex_unlock(&said_lock);
}

/* How much was said; `buf` gets what was said last. */
static unsigned
said(char *buf, size_t size)
{
    unsigned n;

    (void)pthread_mutex_lock(&said_lock);
    n = n_said;
    (void)snprintf(buf, size, "%s", n > 0 ? the_rig.said[(n - 1) % 4] : "");
    (void)pthread_mutex_unlock(&said_lock);
    return n;
}

static const char *
path(const char *name)
{
    static char buf[4][128];
    static unsigned turn;
    char *to = buf[turn++ % 4];

    (void)snprintf(to, sizeof(buf[0]), "%s/%s.sock", the_rig.dir, name);
    return to;
}

static struct vfu_srv *
make(const char *state_dir)
{
    struct vfu_srv_params p = {.time_scale = 0.02, .state_dir = state_dir, .say = say};
    struct vfu_srv *s = NULL;
    struct err e = ERR_INIT;

    if (vfu_srv_new(&p, &s, &e) < 0)
        fail_msg("%s", e.msg);
    return s;
}

static int
add(struct vfu_srv *s, const char *name, const char *model, struct err *e)
{
    char spec[256];

    (void)snprintf(spec, sizeof(spec), "%s=%s", path(name), model);
    return vfu_srv_add(s, spec, e);
}

/* Servers for the models named, "gpu0", "gpu1" and so on. */
static int
setup(void **state)
{
    static const char *const models[] = {"h100-sxm", "b200", "nvswitch", "audio"};
    struct rig *t = &the_rig;
    struct err e = ERR_INIT;
    char name[8];

    memset(t, 0, sizeof(*t));
    n_said = 0;
    (void)snprintf(t->dir, sizeof(t->dir), "/tmp/pgpu-vfu-XXXXXX");
    if (!mkdtemp(t->dir))
        return -1;
    (void)snprintf(t->control, sizeof(t->control), "%.31s/control", t->dir);
    t->srv = make(t->dir);
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        (void)snprintf(name, sizeof(name), "gpu%zu", i);
        if (add(t->srv, name, models[i], &e) < 0)
            return -1;
    }
    if (vfu_srv_start(t->srv, t->control, &e) < 0)
        return -1;
    *state = t;
    return 0;
}

static int
teardown(void **state)
{
    struct rig *t = *state;
    const struct dirent *d;
    char file[400];
    int sockets = 0;
    DIR *dir;

    vfu_srv_free(t->srv);
    dir = opendir(t->dir);
    while (dir && (d = readdir(dir))) {
        if (d->d_name[0] == '.')
            continue;
        sockets += strstr(d->d_name, ".nvram") == NULL;
        (void)snprintf(file, sizeof(file), "%s/%s", t->dir, d->d_name);
        (void)unlink(file);
    }
    if (dir)
        (void)closedir(dir);
    /* the servers remove their sockets themselves */
    return rmdir(t->dir) == 0 && sockets == 0 ? 0 : -1;
}

static const char *
ctl(const char *line)
{
    static char reply[SIM_REPLY_MAX];
    struct err e = ERR_INIT;

    if (sim_ctl_call(the_rig.control, line, reply, sizeof(reply), &e) < 0)
        fail_msg("%s: %s", line, e.msg);
    return reply;
}

static void
ctl_refused(const char *line, const char *why)
{
    struct err e = ERR_INIT;
    char reply[256];

    if (sim_ctl_call(the_rig.control, line, reply, sizeof(reply), &e) == 0)
        fail_msg("%s was not refused", line);
    if (!strstr(e.msg, why))
        fail_msg("%s: \"%s\" says nothing of \"%s\"", line, e.msg, why);
}

static unsigned long
count(const char *name, const char *what)
{
    char line[64], key[32];
    const char *at;

    (void)snprintf(line, sizeof(line), "counts %s", name);
    (void)snprintf(key, sizeof(key), "\n%s ", what);
    at = strstr(ctl(line), key);
    assert_non_null(at);
    return strtoul(at + strlen(key), NULL, 10);
}

static void
pause_ms(long ms)
{
    struct timespec ts = {.tv_nsec = ms * 1000000};

    (void)nanosleep(&ts, NULL);
}

static unsigned
open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n;
}

/* The server and the client are one process: its descriptors are all there are. */
static void
expect_fds(unsigned want)
{
    for (unsigned i = 0; i < 2000 && open_fds() != want; i++)
        pause_ms(10);
    assert_int_equal(open_fds(), want);
}

/* Children of the server do not get the interrupts' descriptors. */
static void
expect_cloexec(void)
{
    char link[64], target[64] = "";

    for (int i = 3; i < 256; i++) {
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", i);
        if (readlink(link, target, sizeof(target) - 1) > 0 && strstr(target, "[eventfd]"))
            assert_true(fcntl(i, F_GETFD) & FD_CLOEXEC);
        memset(target, 0, sizeof(target));
    }
}

/* ---- the device through the wire ---- */

static void
switch_mode(const char *name, enum cc_mode mode)
{
    struct cc_session s = {0};
    struct cc_status st;
    struct err e = ERR_INIT;
    struct vfuc c;

    vfuc_connect(&c, path(name));
    vfuc_hello(&c);
    s.dev = vfuc_hw(&c);
    s.chip = cc_chip_find(c.hw.vendor, c.hw.device, c.hw.class_code);
    assert_non_null(s.chip);
    s.timing = cc_timing_default(s.chip);
    if (cc_set(&s, mode, &st, &e) < 0)
        fail_msg("%s to %s: %s", name, cc_mode_name(mode), e.msg);
    assert_int_equal(st.active, mode);
    assert_int_equal(st.configured, mode);
    vfuc_close(&c);
}

/* Waits until `show` has it. */
static void
expect_row(const char *row)
{
    for (unsigned i = 0; i < 2000 && !strstr(ctl("show"), row); i++)
        pause_ms(10);
    assert_non_null(strstr(ctl("show"), row));
}

static void
modes_are_switched_through_the_wire(void **state)
{
    (void)state;
    switch_mode("gpu0", CC_MODE_ON);
    assert_string_equal(ctl("knob gpu0 8"), "0x1\n");
    assert_string_equal(ctl("knob gpu0 10"), "0x2\n");
    assert_true(count("gpu0", "resets") >= 1);
    assert_true(count("gpu0", "exchanges") >= 4);
    switch_mode("gpu0", CC_MODE_PPCIE);
    switch_mode("gpu0", CC_MODE_OFF);
    switch_mode("gpu1", CC_MODE_DEVTOOLS);
    switch_mode("gpu2", CC_MODE_PPCIE);
    /* "no": the server hears of the client's hanging up in its own time */
    expect_row("gpu2             nvswitch    no     D0     ppcie    ppcie");
}

static void
a_bus_reset_switches_too_and_its_reply_waits_for_the_device(void **state)
{
    struct err e = ERR_INIT;
    struct vfuc c;
    unsigned i;

    (void)state;
    ctl("knob gpu0 8 1");
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    assert_int_equal(vfuc_call(&c, VFU_RESET, NULL, 0, NULL, 0, NULL), 0);
    assert_int_equal(vfuc_cfg(&c, 0, 4), 0x233010de);
    assert_int_equal(vfuc_hw(&c)->ops->reset(&c, HW_RESET_BUS, &e), 0);
    assert_int_equal(vfuc_write(&c, VFU_REGION_CONFIG, 4, "\2", 2), 0);
    for (i = 0; i < 2000 && vfuc_bar0(&c, 0x200bc) != 0xff; i++)
        pause_ms(10);
    assert_int_equal(vfuc_bar0(&c, 0x1182cc) & 0x23, 1);
    assert_int_equal(count("gpu0", "bus-resets"), 2);
    vfuc_close(&c);
}

static void
settings_survive_in_the_state_directory(void **state)
{
    struct vfu_srv *s = make(the_rig.dir);
    struct err e = ERR_INIT;
    char reply[64];

    (void)state;
    ctl("knob gpu0 8 1");
    /* another process's server, that is: not started, so that it takes no socket */
    if (add(s, "gpu0", "h100-sxm", &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(vfu_srv_control(s, "knob gpu0 8", reply, sizeof(reply), &e), 0);
    assert_string_equal(reply, "0x1\n");
    vfu_srv_free(s);
}

/* ---- clients ---- */

static void
the_next_client_finds_the_device_as_it_was_left(void **state)
{
    struct vfuc a, b;
    uint32_t v = 0x1234;

    (void)state;
    vfuc_connect(&a, path("gpu0"));
    vfuc_hello(&a);
    vfuc_connect(&b, path("gpu0"));
    assert_int_equal(vfuc_write(&a, 0, 0x1458, &v, 4), 0);
    assert_int_equal(vfuc_cfg(&a, 0, 2), 0x10de);
    vfuc_close(&a);
    vfuc_hello(&b); /* waited until now */
    assert_int_equal(vfuc_bar0(&b, 0x1458), 0x1234);
    vfuc_close(&b);
    assert_true(count("gpu0", "messages") >= 5);
}

static void
a_client_that_hangs_up_in_the_middle_of_a_message_costs_nothing(void **state)
{
    struct vfu_rw q = {.offset = 0x1458, .region = 0, .count = 4};
    struct vfu_hdr h = {.cmd = VFU_REGION_WRITE, .size = sizeof(h) + sizeof(q) + 4};
    unsigned fds = open_fds(), cut;
    struct vfuc c;
    char m[64];

    (void)state;
    memcpy(m, &h, sizeof(h));
    memcpy(m + sizeof(h), &q, sizeof(q));
    memset(m + sizeof(h) + sizeof(q), 0x55, 4);
    for (cut = 1; cut < h.size; cut++) {
        vfuc_connect(&c, path("gpu0"));
        vfuc_hello(&c);
        assert_true(vfuc_send(&c, m, cut, NULL, 0));
        vfuc_close(&c);
    }
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    assert_int_equal(vfuc_bar0(&c, 0x1458), 0);
    vfuc_close(&c);
    expect_fds(fds);
    assert_int_equal(said(m, sizeof(m)), 0); /* going is no misbehaviour */
}

static void
messages_come_in_pieces_and_several_at_once(void **state)
{
    struct vfu_rw q = {.offset = 0, .region = 0, .count = 4};
    struct vfu_hdr h = {.id = 7, .cmd = VFU_REGION_READ, .size = sizeof(h) + sizeof(q)};
    char m[3 * 32], reply[36];
    struct vfuc c;
    size_t i;

    (void)state;
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    for (i = 0; i < 3; i++) {
        memcpy(m + 32 * i, &h, sizeof(h));
        memcpy(m + 32 * i + sizeof(h), &q, sizeof(q));
    }
    for (i = 0; i < 32; i++)
        assert_true(vfuc_send(&c, m + i, 1, NULL, 0));
    assert_true(vfuc_send(&c, m, sizeof(m), NULL, 0));
    for (i = 0; i < 4; i++) {
        uint32_t v;

        assert_int_equal(recv(c.fd, reply, sizeof(reply), MSG_WAITALL), sizeof(reply));
        memcpy(&v, reply + 32, 4);
        assert_int_equal(v, 0x180000a1);
    }
    vfuc_close(&c);
}

static void
streams_that_make_no_sense_are_cut_and_others_go_on(void **state)
{
    static const struct {
        struct vfu_hdr h;
        const char *says;
    } bad[] = {
        {{.id = 1, .cmd = VFU_VERSION, .size = 15}, "less than its header"},
        {{.id = 1, .cmd = VFU_VERSION, .size = 0}, "less than its header"},
        {{.id = 1, .cmd = VFU_REGION_WRITE, .size = 0xffffffff}, "more than"},
        {{.id = 1, .cmd = VFU_REGION_WRITE, .size = 16 + 16 + 1048576 + 1}, "more than"},
        {{.id = 1, .cmd = VFU_VERSION, .size = 20, .flags = 1}, "flags"},
        {{.id = 1, .cmd = VFU_VERSION, .size = 20, .flags = 0xe}, "flags"},
    };
    char text[256];
    unsigned fds;
    struct vfuc c, other;

    (void)state;
    fds = open_fds();
    vfuc_connect(&other, path("gpu1"));
    vfuc_hello(&other);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        vfuc_connect(&c, path("gpu0"));
        assert_true(vfuc_send(&c, &bad[i].h, sizeof(bad[i].h), NULL, 0));
        assert_true(vfuc_closed(&c));
        vfuc_close(&c);
        assert_int_equal(said(text, sizeof(text)), i + 1);
        if (!strstr(text, bad[i].says) || !strstr(text, "gpu0"))
            fail_msg("row %zu: said \"%s\"", i, text);
        assert_int_equal(vfuc_cfg(&other, 2, 2), 0x2901);
    }
    vfuc_close(&other);
    expect_fds(fds);
}

static void
descriptors_are_closed_whatever_they_come_with(void **state)
{
    struct vfu_dma_map map = {.argsz = sizeof(map), .flags = 3, .addr = 0x1000, .size = 0x1000};
    struct vfu_irq_set set = {.argsz = sizeof(set), .flags = 4 | 32, .index = 2, .count = 9};
    struct vfu_hdr nothing = {.cmd = 99, .size = sizeof(nothing)};
    struct vfu_hdr partial = {.cmd = VFU_DMA_MAP, .size = sizeof(partial) + sizeof(map)};
    int fd[20];
    unsigned fds, i;
    struct vfuc c;

    (void)state;
    for (i = 0; i < 20; i++)
        fd[i] = eventfd(0, EFD_CLOEXEC);
    fds = open_fds();
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    fds += 2; /* both ends of the connection */
    assert_int_equal(vfuc_call_fds(&c, VFU_DMA_MAP, &map, sizeof(map), fd, 1), 0);
    expect_fds(fds);
    map.addr = 0x10000;
    assert_int_equal(vfuc_call_fds(&c, VFU_DMA_MAP, &map, sizeof(map), fd, 2), EINVAL);
    assert_int_equal(vfuc_call_fds(&c, 99, NULL, 0, fd, 16), ENOTSUP);
    assert_int_equal(vfuc_call_fds(&c, VFU_GET_INFO, &map, 16, fd, 3), EINVAL);
    expect_fds(fds);
    assert_int_equal(count("gpu0", "dma-windows"), 1);
    assert_int_equal(vfuc_call_fds(&c, VFU_SET_IRQS, &set, sizeof(set), fd, 9), 0);
    expect_fds(fds + 9); /* those are wanted */
    expect_cloexec();
    assert_int_equal(vfuc_call_fds(&c, VFU_SET_IRQS, &set, sizeof(set), fd, 9), 0);
    expect_fds(fds + 9);
    /* a message that never ends, with descriptors at its head */
    assert_true(vfuc_send(&c, &partial, sizeof(partial), fd, 4));
    expect_fds(fds + 13);
    vfuc_close(&c);
    expect_fds(fds - 2);
    assert_int_equal(count("gpu0", "dma-windows"), 0);

    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    (void)vfuc_send(&c, &nothing, sizeof(nothing), fd, 20);
    assert_true(vfuc_closed(&c));
    vfuc_close(&c);
    expect_fds(fds - 2);

    /* one message's, in two parts */
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    assert_true(vfuc_send(&c, &partial, sizeof(partial), fd, 10));
    (void)vfuc_send(&c, &map, 8, fd, 10);
    assert_true(vfuc_closed(&c));
    vfuc_close(&c);
    expect_fds(fds - 2);
    for (i = 0; i < 20; i++)
        (void)close(fd[i]);
}

static void
interrupts_reach_the_client(void **state)
{
    struct vfu_irq_set set = {
        .argsz = sizeof(set), .flags = 4 | 32, .index = 2, .start = 3, .count = 1};
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uint64_t v = 0;
    struct vfuc c;

    (void)state;
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    ctl_refused("irq gpu0 msix 3", "not connected");
    assert_int_equal(vfuc_call_fds(&c, VFU_SET_IRQS, &set, sizeof(set), &fd, 1), 0);
    ctl("irq gpu0 msix 3");
    assert_int_equal(read(fd, &v, sizeof(v)), sizeof(v));
    assert_int_equal(v, 1);
    ctl_refused("irq gpu0 msix 9", "Invalid argument");
    ctl_refused("irq gpu0 nmi", "none of intx");
    vfuc_close(&c);
    (void)close(fd);
}

/* ---- faults of the link ---- */

static void
wait_client(const char *there)
{
    char row[64];

    (void)snprintf(row, sizeof(row), "gpu0             h100-sxm    %s", there);
    expect_row(row);
}

static void
a_mute_device_answers_when_the_fault_is_cleared(void **state)
{
    struct vfu_rw q = {.offset = 0, .region = 0, .count = 4};
    struct vfu_hdr h = {.id = 1, .cmd = VFU_REGION_READ, .size = sizeof(h) + sizeof(q)};
    char m[32], reply[36];
    struct vfuc c, other;

    (void)state;
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    ctl("fault gpu0 mute");
    memcpy(m, &h, sizeof(h));
    memcpy(m + sizeof(h), &q, sizeof(q));
    assert_true(vfuc_send(&c, m, sizeof(m), NULL, 0));
    assert_true(vfuc_silent(&c, 200));
    vfuc_connect(&other, path("gpu1"));
    vfuc_hello(&other);
    assert_int_equal(vfuc_cfg(&other, 0, 2), 0x10de);
    ctl("fault gpu0 clear");
    assert_int_equal(recv(c.fd, reply, sizeof(reply), MSG_WAITALL), sizeof(reply));
    vfuc_close(&c);
    vfuc_close(&other);
    /* and one that goes instead of waiting is noticed */
    ctl("fault gpu0 mute");
    vfuc_connect(&c, path("gpu0"));
    assert_true(vfuc_send(&c, m, sizeof(m), NULL, 0));
    wait_client("yes");
    vfuc_close(&c);
    wait_client("no ");
    ctl("fault gpu0 clear");
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    vfuc_close(&c);
}

static void
a_reset_can_be_slow(void **state)
{
    struct vfuc c;
    uint64_t start, took;

    (void)state;
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    ctl("fault gpu0 reset-delay=300");
    start = vfuc_hw(&c)->ops->now_ns(&c);
    assert_int_equal(vfuc_call(&c, VFU_RESET, NULL, 0, NULL, 0, NULL), 0);
    took = c.hw.ops->now_ns(&c) - start;
    assert_true(took >= HW_MS(300));
    ctl("fault gpu0 clear");
    vfuc_close(&c);
}

static void
a_link_that_is_down_sends_clients_away_until_it_is_up(void **state)
{
    struct vfu_version v = {0};
    struct vfuc c;
    char reply[256];

    (void)state;
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    ctl("fault gpu0 hang-up");
    assert_true(vfuc_closed(&c));
    vfuc_close(&c);
    vfuc_connect(&c, path("gpu0"));
    assert_int_equal(vfuc_call(&c, VFU_VERSION, &v, sizeof(v), reply, sizeof(reply), NULL), -1);
    vfuc_close(&c);
    ctl("fault gpu0 clear");
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    vfuc_close(&c);
}

static void
a_device_off_the_bus_answers_errors_and_comes_back(void **state)
{
    struct vfuc c;
    uint32_t v = 2;

    (void)state;
    vfuc_connect(&c, path("gpu0"));
    vfuc_hello(&c);
    ctl("fault gpu0 off-bus");
    assert_int_equal(vfuc_read(&c, 0, 0, &v, 4), EIO);
    assert_int_equal(vfuc_read(&c, VFU_REGION_CONFIG, 0, &v, 4), EIO);
    assert_int_equal(vfuc_write(&c, 0, 0x1458, &v, 4), EIO);
    assert_int_equal(vfuc_call(&c, VFU_RESET, NULL, 0, NULL, 0, NULL), EIO);
    ctl("fault gpu0 clear");
    assert_int_equal(vfuc_bar0(&c, 0), 0x180000a1);
    vfuc_close(&c);
}

/* ---- control ---- */

static void
commands_name_what_is_wrong(void **state)
{
    (void)state;
    ctl_refused("fault", "usage: fault NAME SPEC");
    ctl_refused("fault gpu9 off-bus", "no device \"gpu9\"");
    ctl_refused("fault gpu0 off-buss", "not one of");
    ctl_refused("fault gpu0 reset-delay", "reset-delay=MS");
    ctl_refused("fault gpu0 reset-delay=x", "\"x\" is no number");
    ctl_refused("fault gpu0 mute=1", "its form is mute");
    ctl_refused("fault gpu0 reset-fail=flr", "simulated nodes");
    ctl_refused("knob gpu0 99", "no number up to 47");
    ctl_refused("knob gpu0 8 70000", "no number up to 65535");
    ctl_refused("shwo", "no command \"shwo\"");
    ctl_refused("  ", "empty");
    ctl_refused("trace gpu9", "no device");
    assert_non_null(strstr(ctl("help"), "trace NAME|all"));
    assert_non_null(strstr(ctl("faults"), "hang-up"));
    assert_non_null(strstr(ctl("faults"), "off-bus"));
}

static void
traffic_can_be_watched(void **state)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[4096] = "";
    size_t used = 0;
    struct vfuc c;

    (void)state;
    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", the_rig.control);
    assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(send(fd, "trace all\n", 10, 0), 10);
    assert_int_equal(recv(fd, text, 3, MSG_WAITALL), 3);
    ctl("show"); /* behind the trace's start, since commands are served in order */
    vfuc_connect(&c, path("gpu1"));
    vfuc_hello(&c);
    assert_int_equal(vfuc_bar0(&c, 0), 0x1a0000a1);
    assert_int_equal(vfuc_cfg(&c, 2, 2), 0x2901);
    while (!strstr(text, "cfg16 0x002")) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        assert_int_equal(poll(&p, 1, 20000), 1);
        n = recv(fd, text + used, sizeof(text) - 1 - used, 0);
        assert_true(n > 0);
        used += (size_t)n;
        text[used] = '\0';
    }
    assert_non_null(strstr(text, "R gpu1.bar0 0x000000 -> 0x1a0000a1\n"));
    vfuc_close(&c);
}

static void
devices_that_cannot_be_are_refused(void **state)
{
    static const struct {
        const char *name, *model, *why;
    } rows[] = {
        {"a", "voodoo2", "no model \"voodoo2\""},
        {"a", "", "no model \"\""},
        {"a", "h100-sxm,fault=nonsense", "not one of"},
        {"a", "h100-sxm,knob=8", "none of fault=SPEC"},
        {"a", "h100-sxm,knob=8:x", "no number"},
        {"a", "h100-sxm,colour=red", "none of fault=SPEC"},
        {"all", "h100-sxm", "can't be a name"},
        {"", "h100-sxm", "1 to"},
        {"an-uncommonly-long-name-for-a-device-of-this-kind", "h100-sxm", "1 to"},
        {"twice", "h100-sxm", "two of the name twice"},
    };
    struct vfu_srv *s = make(NULL);
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(add(s, "twice", "nic", &e), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        err_clear(&e);
        if (add(s, rows[i].name, rows[i].model, &e) >= 0 || !strstr(e.msg, rows[i].why))
            fail_msg("row %zu: \"%s\"", i, e.msg);
    }
    assert_true(vfu_srv_add(s, "no-model", &e) < 0);
    vfu_srv_free(s);
}

static void
options_of_a_device_are_in_force_from_the_start(void **state)
{
    struct vfu_srv_params p = {.time_scale = 1000}; /* a boot takes 25 minutes */
    struct vfu_irq_info irq = {.argsz = sizeof(irq), .index = 2};
    struct vfu_srv *s = NULL;
    struct err e = ERR_INIT;
    struct vfuc c;
    char reply[64];

    (void)state;
    if (vfu_srv_new(&p, &s, &e) < 0 || add(s, "x", "h100-sxm,knob=8:1,fault=all-ones", &e) < 0 ||
        add(s, "y", "h100-sxm,booting", &e) < 0 || add(s, "z", "h100-sxm,no-msix", &e) < 0 ||
        vfu_srv_start(s, NULL, &e) < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(vfu_srv_control(s, "knob x 8", reply, sizeof(reply), &e), 0);
    assert_string_equal(reply, "0x1\n");
    vfuc_connect(&c, path("x"));
    vfuc_hello(&c);
    assert_int_equal(vfuc_bar0(&c, 0), 0xffffffff);
    vfuc_close(&c);
    vfuc_connect(&c, path("y"));
    vfuc_hello(&c);
    assert_int_equal(vfuc_bar0(&c, 0x200bc), 0);
    vfuc_close(&c);
    vfuc_connect(&c, path("z"));
    vfuc_hello(&c);
    assert_int_equal(vfuc_bar0(&c, 0x200bc), 0xff);
    assert_int_equal(vfuc_call(&c, VFU_GET_IRQ_INFO, &irq, sizeof(irq), &irq, sizeof(irq), NULL),
                     0);
    assert_int_equal(irq.count, 0);
    vfuc_close(&c);
    vfu_srv_free(s);
}

static void
a_file_in_the_way_is_not_removed(void **state)
{
    struct vfu_srv *s = make(NULL);
    struct err e = ERR_INIT;
    int fd = open(path("inway"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    (void)state;
    (void)close(fd);
    assert_int_equal(add(s, "inway", "nic", &e), 0);
    assert_int_equal(vfu_srv_start(s, NULL, &e), -EADDRINUSE);
    assert_non_null(strstr(e.msg, "inway.sock"));
    vfu_srv_free(s);
    assert_int_equal(unlink(path("inway")), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(modes_are_switched_through_the_wire),
        T(a_bus_reset_switches_too_and_its_reply_waits_for_the_device),
        T(settings_survive_in_the_state_directory),
        T(the_next_client_finds_the_device_as_it_was_left),
        T(a_client_that_hangs_up_in_the_middle_of_a_message_costs_nothing),
        T(messages_come_in_pieces_and_several_at_once),
        T(streams_that_make_no_sense_are_cut_and_others_go_on),
        T(descriptors_are_closed_whatever_they_come_with),
        T(interrupts_reach_the_client),
        T(a_mute_device_answers_when_the_fault_is_cleared),
        T(a_reset_can_be_slow),
        T(a_link_that_is_down_sends_clients_away_until_it_is_up),
        T(a_device_off_the_bus_answers_errors_and_comes_back),
        T(commands_name_what_is_wrong),
        T(traffic_can_be_watched),
        T(devices_that_cannot_be_are_refused),
        T(options_of_a_device_are_in_force_from_the_start),
        T(a_file_in_the_way_is_not_removed),
    };

    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
