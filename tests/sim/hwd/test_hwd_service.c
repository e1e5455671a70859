/* SPDX-License-Identifier: Apache-2.0
 *
 * The service itself: foreign and deaf clients, second instances, crashes of a worker and of the
 * service, stopping.
 */
#include "tests/sim/hwd/kit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define GPU0 "0000:18:00.0"
#define GPU1 "0000:2a:00.0"
#define FAST "--time-scale 0.02 "

static void
nonsense_ends_the_connection_and_nothing_else(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1", "");
    struct client *good = client_open(k), *bad;
    char junk[4096];
    struct hwd_request r = {.magic = HWD_PROTO_MAGIC, .version = HWD_PROTO_VERSION, .op = 99};

    (void)state;
    memset(junk, 0xa5, sizeof(junk));
    for (unsigned i = 0; i < 3; i++) {
        uint64_t end = kit_now_ms() + 3000;

        bad = client_open(k);
        if (i == 0)
            (void)send(bad->fd, junk, sizeof(junk), MSG_NOSIGNAL);
        else if (i == 1)
            (void)send(bad->fd, &r, sizeof(r), MSG_NOSIGNAL);
        else
            (void)send(bad->fd, &r, 3, MSG_NOSIGNAL);
        while (!bad->closed && kit_now_ms() < end)
            (void)client_pump(bad, 50);
        assert_true(bad->closed);
        client_close(bad);
    }
    assert_ok(client_do(good, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    assert_refused(client_do(good, HWD_OP_PREPARE, "0000:77:00.0", CC_MODE_ON, 0),
                   REASON_DEVICE_GONE);
    client_close(good);
    kit_stop(k);
}

static void
a_client_that_does_not_read_is_dropped(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1", "");
    struct client *deaf = client_open(k), *good = client_open(k);
    struct hwd_message m;

    (void)state;
    /* refused at once, so each request makes exactly one message */
    for (unsigned i = 0; i < 2000; i++) {
        struct hwd_request r = {.magic = HWD_PROTO_MAGIC,
                                .version = HWD_PROTO_VERSION,
                                .op = HWD_OP_PROBE_USE,
                                .unit = kit_addr("0000:77:00.0")};

        if (send(deaf->fd, &r, sizeof(r), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EPIPE)
            break;
        if (i % 64 == 0)
            kit_sleep_ms(5);
    }
    assert_ok(client_do(good, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    do
        (void)client_pump(deaf, 100);
    while (!deaf->closed && client_pump(deaf, 100));
    assert_true(deaf->closed);
    m = client_do(good, HWD_OP_VERIFY, GPU0, CC_MODE_ON, 0);
    assert_ok(m);
    client_close(deaf);
    client_close(good);
    kit_stop(k);
}

static void
there_is_room_for_eight_clients(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1", "");
    struct client *c[8];
    char b[8];
    int fd;

    (void)state;
    for (unsigned i = 0; i < 8; i++)
        c[i] = client_open(k);
    fd = client_connect_raw(k);
    assert_int_equal(recv(fd, b, sizeof(b), 0), 0);
    (void)close(fd);
    client_close(c[3]);
    kit_sleep_ms(50);
    c[3] = client_open(k);
    for (unsigned i = 0; i < 8; i++)
        client_close(c[i]);
    kit_stop(k);
}

/* The worker of an operation: the only child of the service that lives long enough to be seen. */
static pid_t
child_of(pid_t parent)
{
    DIR *d = opendir("/proc");
    struct dirent *de;
    pid_t found = 0;

    assert_non_null(d);
    while (!found && (de = readdir(d))) {
        char path[300], stat[512];
        const char *p;
        int ppid, fd;
        ssize_t n;

        (void)snprintf(path, sizeof(path), "/proc/%s/stat", de->d_name);
        if (de->d_name[0] < '0' || de->d_name[0] > '9' || (fd = open(path, O_RDONLY)) < 0)
            continue;
        n = read(fd, stat, sizeof(stat) - 1);
        (void)close(fd);
        stat[n > 0 ? n : 0] = '\0';
        p = strrchr(stat, ')');
        if (p && sscanf(p, ") %*c %d", &ppid) == 1 && ppid == (int)parent)
            found = (pid_t)strtol(de->d_name, NULL, 10);
    }
    (void)closedir(d);
    return found;
}

static void
a_killed_worker_fails_its_operation_only(void **state)
{
    struct kit *k = kit_start("--time-scale 0.5 --gpus 2", "");
    struct client *c = client_open(k);
    uint64_t seq = client_send(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0, 0, 0);
    struct hwd_message m;
    pid_t pid = 0;

    (void)state;
    kit_sleep_ms(200);
    pid = child_of(k->hwd);
    assert_true(pid > 0);
    (void)kill(pid, SIGTERM); /* ignored: knobs may be half written */
    kit_sleep_ms(20);
    (void)kill(pid, SIGKILL);
    m = client_result(c, seq, 3000);
    assert_refused(m, REASON_INTERNAL);
    assert_int_equal(m.facts.state, HWD_STATE_IDLE);
    assert_false(m.facts.flags & HWD_FACT_ARMED);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, 0));
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    client_close(c);
    kit_stop(k);
}

static void
killed_and_started_again_it_finds_everything_as_it_is(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 3", "");
    struct client *c = client_open(k);
    struct hwd_message m;
    int fd;

    (void)state;
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    m = client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, HWD_REQ_HANDOVER);
    assert_ok(m);
    fd = kit_open(k, m.facts.node, O_RDWR);
    assert_true(fd >= 0);
    client_wait(c, GPU1, HWD_FACT_OPENED, HWD_FACT_OPENED, HWD_USE_HELD, 2000);
    (void)kit_end_hwd(k, SIGKILL);
    client_close(c);
    kit_start_hwd(k, ""); /* over the stale socket */
    c = client_open(k);
    client_wait(c, GPU0, HWD_FACT_BOUND | HWD_FACT_ARMED, HWD_FACT_BOUND, HWD_USE_FREE, 3000);
    client_wait(c, GPU1, HWD_FACT_BOUND | HWD_FACT_HANDED_OVER, HWD_FACT_BOUND, HWD_USE_HELD, 3000);
    assert_int_equal(client_facts(c, GPU1)->holder_pid, getpid());
    assert_int_equal(client_facts(c, "0000:3a:00.0")->use, HWD_USE_FREE);
    assert_refused(client_do(c, HWD_OP_PREPARE, GPU1, CC_MODE_ON, 0), REASON_IN_USE);
    (void)close(fd);
    client_wait(c, GPU1, 0, 0, HWD_USE_FREE, 5000);
    /* what it left armed verifies, but who had it meanwhile nobody knows */
    m = client_do(c, HWD_OP_VERIFY, GPU0, CC_MODE_ON, HWD_REQ_HOLD);
    assert_ok(m);
    assert_false(m.facts.flags & HWD_FACT_ARMED);
    assert_refused(client_do(c, HWD_OP_HANDOVER, GPU0, CC_MODE_ON, 0), REASON_HWD_REFUSED);
    client_close(c);
    kit_stop(k);
}

static void
stopping_waits_for_what_is_under_way_and_leaves_the_node_alone(void **state)
{
    struct kit *k = kit_start("--time-scale 0.3 --gpus 2", "");
    struct client *c = client_open(k);
    char driver[64];
    int st;

    (void)state;
    (void)client_send(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0, 0, 0);
    kit_sleep_ms(100);
    st = kit_end_hwd(k, SIGTERM);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
    client_close(c);
    kit_read(k, driver, sizeof(driver), "/sys/bus/pci/devices/" GPU0 "/driver_override");
    assert_string_equal(driver, "vfio-pci");
    kit_start_hwd(k, "");
    c = client_open(k);
    assert_ok(client_do(c, HWD_OP_VERIFY, GPU0, CC_MODE_ON, 0)); /* it was finished */
    client_close(c);
    kit_stop(k);
}

static pid_t
start_second(const struct kit *k, const char *socket)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        char bin[256], root[128];

        (void)snprintf(bin, sizeof(bin), "%s/hwd/pgpu-hwd", getenv("PGPU_BIN_DIR"));
        (void)snprintf(root, sizeof(root), "%s/root", k->dir);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(126);
        (void)execl(bin, bin, "--root", root, "--socket", socket, NULL);
        _exit(127);
    }
    return pid;
}

/* Starts another one, which is to end by itself; its exit status. */
static int
second(const struct kit *k, const char *socket)
{
    pid_t pid = start_second(k, socket);
    int st;

    assert_int_equal(waitpid(pid, &st, 0), pid);
    return WIFEXITED(st) ? WEXITSTATUS(st) : -1;
}

static void
a_second_instance_and_open_directories_are_refused(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1", "");
    struct client *c = client_open(k);
    struct stat st;
    char path[128];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/hwd/hwd.sock", k->dir);
    assert_int_equal(second(k, path), 1);
    (void)snprintf(path, sizeof(path), "%s/open", k->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(chmod(path, 0775), 0);
    (void)snprintf(path, sizeof(path), "%s/open/hwd.sock", k->dir);
    assert_int_equal(second(k, path), 1);
    assert_int_equal(lstat(path, &st), -1);
    assert_ok(client_do(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0));
    client_close(c);
    kit_stop(k);
}

/* The kubelet makes the directories of a pod with mode 0755. */
static void
a_directory_that_others_may_only_read_is_closed_and_used(void **state)
{
    struct kit *k = kit_start(FAST "--gpus 1", "");
    uint64_t end = kit_now_ms() + 30000;
    struct stat st;
    char path[128], dir[128];
    pid_t pid;
    int status;

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/open", k->dir);
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(chmod(dir, 0755), 0);
    (void)snprintf(path, sizeof(path), "%s/open/hwd.sock", k->dir);
    pid = start_second(k, path);
    while (lstat(path, &st) < 0) {
        assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
        assert_true(kit_now_ms() < end);
        kit_sleep_ms(20);
    }
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    kit_stop(k);
}

static void
a_second_request_on_a_busy_unit_is_refused(void **state)
{
    struct kit *k = kit_start("--time-scale 0.2 --gpus 1", "");
    struct client *c = client_open(k), *d = client_open(k);
    uint64_t seq = client_send(c, HWD_OP_PREPARE, GPU0, CC_MODE_ON, 0, 0, 0);
    struct hwd_message m;

    (void)state;
    client_wait(d, GPU0, 0, 0, -1, 100);
    kit_sleep_ms(50);
    m = client_do(d, HWD_OP_VERIFY, GPU0, CC_MODE_ON, 0);
    assert_refused(m, REASON_OP_PENDING);
    assert_int_equal(m.err_class, ERR_CLASS_BUSY);
    assert_int_equal(m.facts.state, HWD_STATE_BUSY);
    assert_ok(client_result(c, seq, 20000));
    client_close(c);
    client_close(d);
    kit_stop(k);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonsense_ends_the_connection_and_nothing_else),
        cmocka_unit_test(a_client_that_does_not_read_is_dropped),
        cmocka_unit_test(there_is_room_for_eight_clients),
        cmocka_unit_test(a_killed_worker_fails_its_operation_only),
        cmocka_unit_test(killed_and_started_again_it_finds_everything_as_it_is),
        cmocka_unit_test(stopping_waits_for_what_is_under_way_and_leaves_the_node_alone),
        cmocka_unit_test(a_second_instance_and_open_directories_are_refused),
        cmocka_unit_test(a_directory_that_others_may_only_read_is_closed_and_used),
        cmocka_unit_test(a_second_request_on_a_busy_unit_is_refused),
    };

    if (!kit_possible())
        return 77;
    return cmocka_run_group_tests_name("hwd.service", tests, NULL, NULL);
}
