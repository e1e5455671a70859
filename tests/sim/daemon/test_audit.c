/* SPDX-License-Identifier: Apache-2.0
 *
 * Events and audit log of a whole node: what happened is written down, by whom it can be read, and
 * that the log stays whole whatever happens to pgpud.
 */
#include "tests/sim/daemon/ctl.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RES "nvidia.com/pgpu"
#define SNP "kata-qemu-nvidia-gpu-snp"
#define LOG "--dir @/audit"

static void
expect_verified(struct harness *h)
{
    char *out = h_ctl_expect(h, 0, "audit verify " LOG);

    h_expect_words(out, "intact");
    free(out);
}

/* The newest record of the kind that has all the words; waits for it. */
static void
wait_record(struct harness *h, const char *kind, const char *words)
{
    uint64_t end = h_now_ms() + 30000;

    for (;;) {
        char copy[256], *save = NULL;
        int status;
        char *out = h_ctl(h, &status, "audit tail " LOG " --json -n 200 --kind %s", kind);
        bool all = false;

        for (char *line = strtok_r(out, "\n", &save); line && !all;
             line = strtok_r(NULL, "\n", &save)) {
            char *save2 = NULL;

            (void)snprintf(copy, sizeof(copy), "%s", words);
            all = true;
            for (char *w = strtok_r(copy, "&", &save2); w; w = strtok_r(NULL, "&", &save2))
                all = all && strstr(line, w);
        }
        free(out);
        if (all)
            return;
        if (h_now_ms() > end)
            fail_msg("no record of %s has: %s (%s)", kind, words, harness_dir(h));
        h_sleep_ms(50);
    }
}

static struct harness *
start(const struct harness_options *o, unsigned gpus)
{
    struct harness *h = harness_start(o);

    harness_run(h, H_RUNTIME);
    h_runtime_ready(h);
    harness_wait_healthy(h, RES, gpus, 10000);
    return h;
}

static void
a_pods_life_is_in_the_audit_log_and_its_chain_holds(void **state)
{
    struct harness *h = start(&(struct harness_options){.node_args = "--gpus 2"}, 2);
    struct h_grant g;
    json_object *s, *audit;
    struct stat st;
    char path[128];

    (void)state;
    wait_record(h, "start", "\"mode\":\"on\"");
    wait_record(h, "operation",
                H_GPU0 "&\"ok\":true&\"evidence\"&\"resets\":1&\"mode_active\":\"on\"");
    h_run(h, &g, "default/secretive " RES "=1");
    wait_record(h, "allocate", "\"ok\":true&" RES);
    h_runtime_ok(h, "run-pod default secretive " SNP " kata");
    wait_record(h, "owner", "secretive&\"sandbox\"");
    h_end(h, "default/secretive");
    h_runtime_ok(h, "stop-pod default/secretive");
    harness_wait_unit(h, g.id[0], "state", "ready", 5000);
    wait_record(h, "state", "\"from\":\"releasing\"&\"to\":\"ready\"");
    expect_verified(h);
    s = harness_status(h);
    assert_true(json_object_object_get_ex(s, "audit", &audit));
    assert_true(jbool(audit, "ok"));
    assert_int_equal(jint(audit, "lost"), 0);
    assert_true(jint(audit, "written") > 5);
    (void)json_object_put(s);
    (void)snprintf(path, sizeof(path), "%s/audit/audit.log", harness_dir(h));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    (void)snprintf(path, sizeof(path), "%s/audit", harness_dir(h));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    harness_kill(h, H_PGPUD, SIGTERM);
    wait_record(h, "stop", "\"ok\":true");
    expect_verified(h);
    harness_stop(h);
}

static void
a_refusal_and_a_quarantine_are_recorded_with_their_reason(void **state)
{
    struct harness *h = start(
        &(struct harness_options){.node_args = "--gpus 2 --fault " H_GPU0 ":write-refused=8"}, 1);

    (void)state;
    wait_record(h, "state", H_GPU0 "&\"to\":\"quarantined\"&\"reason\"&\"cure\"");
    wait_record(h, "operation", H_GPU0 "&\"ok\":false&\"reason\"");
    h_runtime_refused(h, "cdi.k8s.io",
                      "run-pod default thief " SNP " annotation=cdi.k8s.io/x=" RES "=" H_GPU1);
    wait_record(h, "refusal", "\"pod\":\"thief\"&\"rule\"&\"sandbox\"&cdi.k8s.io");
    expect_verified(h);
    harness_stop(h);
}

static void
pgpud_killed_at_any_moment_leaves_a_chain_that_holds(void **state)
{
    struct harness *h = start(&(struct harness_options){.node_args = "--gpus 2"}, 2);
    struct h_grant g;
    char name[64];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof(name), "default/p%u " RES "=1", i);
        h_run(h, &g, name);
        harness_kill(h, H_PGPUD, SIGKILL);
        expect_verified(h);
        harness_run(h, H_PGPUD);
        (void)snprintf(name, sizeof(name), "default/p%u", i);
        h_end(h, name);
        harness_wait_healthy(h, RES, 2, 10000);
    }
    expect_verified(h);
    harness_stop(h);
}

static void
an_edit_while_pgpud_is_down_is_found_by_it_and_by_the_verifier(void **state)
{
    struct harness *h = start(&(struct harness_options){.node_args = "--gpus 1"}, 1);
    char path[128];
    char *out;
    int fd;

    (void)state;
    harness_kill(h, H_PGPUD, SIGTERM);
    (void)snprintf(path, sizeof(path), "%s/audit/audit.log", harness_dir(h));
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "1999", 4, 89), 4); /* within the time of the first record */
    (void)close(fd);
    out = h_ctl_expect(h, 1, "audit verify " LOG);
    h_expect_words(out, "audit.log:1: record 1 was changed&NOT INTACT");
    free(out);
    harness_run(h, H_PGPUD);
    wait_record(h, "chain", "\"what\":\"break\"&was changed");
    out = h_ctl_expect(h, 1, "audit verify " LOG " --json");
    h_expect_words(out, "audit.log.1&\"changed\"&\"break\"&\"ok\":false");
    free(out);
    harness_wait_healthy(h, RES, 1, 10000);
    harness_stop(h);
}

/* pgpud tries again by itself. */
static void
wait_lost_is_recorded(struct harness *h)
{
    uint64_t end = h_now_ms() + 40000;
    bool found = false;

    while (!found) {
        int status = 1;
        char *out = h_ctl(h, &status, "audit tail " LOG " -n 100 --kind gap");

        found = status == 0 && strstr(out, "records are missing");
        free(out);
        if (h_now_ms() > end)
            fail_msg("the log does not say what it lost (%s)", harness_dir(h));
        h_sleep_ms(200);
    }
}

/* A file system of 64 KiB for the log. */
static void
mount_small(struct harness *h, char path[128])
{
    (void)snprintf(path, 128, "%s/audit", harness_dir(h));
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(mount("none", path, "tmpfs", 0, "size=64k"), 0);
}

static void
fill_up(const char *path, char fill[160])
{
    int fd;

    (void)snprintf(fill, 160, "%s/fill", path);
    fd = open(fill, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, fill, 100) > 0)
        ;
    (void)close(fd);
}

static bool
audit_ok(struct harness *h)
{
    json_object *s = harness_status(h), *audit;
    bool ok;

    assert_true(json_object_object_get_ex(s, "audit", &audit));
    ok = jbool(audit, "ok");
    (void)json_object_put(s);
    return ok;
}

/* ---- events ---- */

struct follower {
    int fd;
    size_t len;
    char *text;
};

static struct follower
follow(struct harness *h, const char *request)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct follower f = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};

    f.text = calloc(1, 4u << 20);
    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/state/control.sock", harness_dir(h));
    assert_int_equal(connect(f.fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(write(f.fd, request, strlen(request)), (ssize_t)strlen(request));
    return f;
}

/* Reads until the text has the words. */
static void
wait_text(struct follower *f, const char *word)
{
    uint64_t end = h_now_ms() + 30000;

    while (!strstr(f->text, word)) {
        struct pollfd p = {.fd = f->fd, .events = POLLIN};
        ssize_t n;

        if (h_now_ms() > end)
            fail_msg("\"%s\" did not come: %s", word, f->text);
        if (poll(&p, 1, 1000) != 1)
            continue;
        n = read(f->fd, f->text + f->len, (4u << 20) - 1 - f->len);
        if (n <= 0)
            fail_msg("closed before \"%s\" came: %s", word, f->text);
        f->len += (size_t)n;
    }
}

static void
end_follower(struct follower *f)
{
    (void)close(f->fd);
    free(f->text);
}

static void
a_follower_sees_what_happens_as_it_happens(void **state)
{
    struct harness *h = start(&(struct harness_options){.node_args = "--gpus 1"}, 1);
    struct follower f = follow(h, "events follow\n");
    struct h_grant g;
    char *out;

    (void)state;
    wait_text(&f, "\"kind\":\"start\"");
    wait_text(&f, "\"to\":\"ready\"");
    /* longer than a client that asks may take */
    h_sleep_ms(6000);
    h_run(h, &g, "default/a " RES "=1");
    wait_text(&f, "\"kind\":\"allocate\"");
    wait_text(&f, "\"to\":\"allocated\"");
    assert_null(strstr(f.text, "\"kind\":\"journal\""));
    out = h_ctl_expect(h, 0, "events --kind allocate");
    h_expect_words(out, "allocate&" RES " handed out " H_GPU0);
    assert_null(strstr(out, " state "));
    assert_null(strchr(out, '\033'));
    free(out);
    out = h_ctl_expect(h, 0, "events --json 18:00.0");
    h_expect_words(out, "\"device\":\"" H_GPU0 "\"");
    assert_null(strstr(out, "\"kind\":\"start\""));
    free(out);
    harness_kill(h, H_PGPUD, SIGTERM);
    out = h_ctl_expect(h, 1, "events");
    h_expect_words(out, "is pgpud running");
    free(out);
    end_follower(&f);
    harness_stop(h);
}

struct command {
    struct harness *h;
    const char *line;
    int status;
    char *out;
};

static void *
run_command(void *arg)
{
    struct command *c = arg;

    c->out = h_ctl(c->h, &c->status, "%s", c->line);
    return NULL;
}

static void
the_command_follows_until_pgpud_goes(void **state)
{
    struct harness *h = start(&(struct harness_options){.node_args = "--gpus 1"}, 1);
    struct command c = {.h = h, .line = "events --follow --kind allocate --kind stop"};
    struct follower f = follow(h, "events follow\n");
    struct h_grant g;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, run_command, &c), 0);
    h_run(h, &g, "default/a " RES "=1");
    wait_text(&f, "\"kind\":\"allocate\"");
    harness_kill(h, H_PGPUD, SIGTERM);
    assert_int_equal(pthread_join(thread, NULL), 0);
    /* whether it came before or after the Allocate: it saw it, or found nobody to ask */
    assert_int_equal(c.status, 1);
    if (!strstr(c.out, "is pgpud running"))
        h_expect_words(c.out, "handed out " H_GPU0 "&pgpud stops&has closed the connection");
    free(c.out);
    end_follower(&f);
    harness_stop(h);
}

static void
a_full_disk_stops_the_log_and_nothing_else(void **state)
{
    struct harness *h =
        harness_start(&(struct harness_options){.node_args = "--gpus 2", .no_pgpud = true});
    char path[128], fill[160];
    struct h_grant g;
    json_object *s, *audit;

    (void)state;
    mount_small(h, path);
    fill_up(path, fill);
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, RES, 2, 10000);
    h_run(h, &g, "default/a " RES "=1");
    s = harness_status(h);
    assert_true(json_object_object_get_ex(s, "audit", &audit));
    assert_false(jbool(audit, "ok"));
    assert_true(jint(audit, "lost") > 0);
    h_expect_words(jstr(audit, "why"), "No space left");
    (void)json_object_put(s);
    assert_int_equal(unlink(fill), 0);
    wait_lost_is_recorded(h);
    harness_kill(h, H_PGPUD, SIGTERM);
    expect_verified(h);
    assert_int_equal(umount2(path, MNT_DETACH), 0);
    harness_stop(h);
}

/* How many Allocates the log says were answered with devices. */
static unsigned
count_granted(struct harness *h)
{
    char *out = h_ctl_expect(h, 0, "audit tail " LOG " -n 1000 --kind allocate");
    unsigned n = 0;

    for (const char *p = out; (p = strstr(p, " handed out ")); p++)
        n++;
    free(out);
    return n;
}

static void
where_the_log_is_required_no_gpu_is_handed_out_off_the_record(void **state)
{
    struct harness *h = harness_start(&(struct harness_options){
        .node_args = "--gpus 1", .audit_yaml = "  required: true\n", .no_pgpud = true});
    char path[128], fill[160], *out;
    unsigned granted = 0;
    uint64_t end;
    bool refused = false;

    (void)state;
    mount_small(h, path);
    harness_run(h, H_PGPUD);
    harness_wait_healthy(h, RES, 1, 10000);
    harness_run(h, H_RUNTIME);
    h_runtime_ready(h);
    out = h_ctl_expect(h, 0, "health ready");
    h_expect_words(out, "audit: ok");
    free(out);
    fill_up(path, fill);
    /* there is some room left in the log's last page */
    for (unsigned i = 0; i < 200 && !refused; i++) {
        json_object *reply = harness_kubelet(h, "run default/p%u " RES "=1", i);

        if (jbool(reply, "ok")) {
            char pod[32];

            granted++;
            (void)snprintf(pod, sizeof(pod), "default/p%u", i);
            h_end(h, pod);
            (void)json_object_put(reply);
        } else if (strstr(json_object_to_json_string(reply), "no healthy devices")) {
            (void)json_object_put(reply); /* the kubelet has not heard yet that it is back */
            h_sleep_ms(50);
        } else {
            h_expect_refusal(reply, "it is required");
            refused = true;
        }
        harness_wait_unit(h, H_GPU0, "state", "ready", 20000);
        harness_wait_healthy(h, RES, 1, 20000);
    }
    assert_true(refused);
    assert_int_equal(count_granted(h), granted);
    assert_false(audit_ok(h));
    out = h_ctl_expect(h, 1, "health ready");
    h_expect_words(out, "audit.required&No space left");
    free(out);
    assert_int_equal(unlink(fill), 0);
    wait_lost_is_recorded(h);
    end = h_now_ms() + 20000;
    while (!audit_ok(h) && h_now_ms() < end)
        h_sleep_ms(50);
    out = h_ctl_expect(h, 0, "health ready");
    h_expect_words(out, "audit: ok");
    free(out);
    {
        struct h_grant g;

        h_run(h, &g, "default/z " RES "=1");
    }
    assert_int_equal(count_granted(h), granted + 1);
    expect_verified(h);
    harness_kill(h, H_PGPUD, SIGTERM);
    assert_int_equal(umount2(path, MNT_DETACH), 0);
    harness_stop(h);
}

static void
kinds_that_there_are_none_of_are_refused(void **state)
{
    struct harness *h = start(&(struct harness_options){.node_args = "--gpus 1"}, 1);
    char *out = h_ctl_expect(h, 2, "events --kind bogus");

    (void)state;
    h_expect_words(out, "there is no \"bogus\"");
    free(out);
    out = h_ctl_expect(h, 2, "events --kind stat");
    free(out);
    out = h_ctl_expect(h, 2, "audit tail " LOG " --kind state --kind gaps");
    h_expect_words(out, "there is no \"gaps\"");
    free(out);
    out = h_ctl_expect(h, 0, "events --kind config --kind nri_event");
    free(out);
    harness_stop(h);
}

static void
more_followers_than_there_may_be_leave_the_status_alone(void **state)
{
    struct harness *h = start(&(struct harness_options){.node_args = "--gpus 1"}, 1);
    struct follower f[34];
    json_object *s;

    (void)state;
    for (size_t i = 0; i < 32; i++) {
        f[i] = follow(h, "events follow\n");
        wait_text(&f[i], "\"kind\":\"start\"");
    }
    for (size_t i = 32; i < 34; i++) {
        f[i] = follow(h, "events follow\n");
        wait_text(&f[i], "followers already");
    }
    s = harness_status(h);
    assert_non_null(s);
    (void)json_object_put(s);
    for (size_t i = 0; i < 34; i++)
        end_follower(&f[i]);
    /* places are free again */
    f[0] = follow(h, "events follow\n");
    wait_text(&f[0], "\"kind\":\"start\"");
    end_follower(&f[0]);
    harness_stop(h);
}

static void
unknown_and_malformed_requests_get_an_answer(void **state)
{
    static const struct {
        const char *line, *words;
    } rows[] = {
        {"nonsense\n", "unknown request&status&events"},
        {"\n", "unknown request"},
        {"status now\n", "status takes no arguments"},
        {"events after=x\n", "after=x"},
        {"events backwards\n", "backwards"},
        {"events after=18446744073709551616\n", "error"},
    };
    struct harness *h = start(&(struct harness_options){.node_args = "--gpus 1"}, 1);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct follower f = follow(h, rows[i].line);

        wait_text(&f, "\"error\"");
        h_expect_words(f.text, rows[i].words);
        end_follower(&f);
    }
    harness_stop(h);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pods_life_is_in_the_audit_log_and_its_chain_holds),
        cmocka_unit_test(a_refusal_and_a_quarantine_are_recorded_with_their_reason),
        cmocka_unit_test(pgpud_killed_at_any_moment_leaves_a_chain_that_holds),
        cmocka_unit_test(an_edit_while_pgpud_is_down_is_found_by_it_and_by_the_verifier),
        cmocka_unit_test(a_full_disk_stops_the_log_and_nothing_else),
        cmocka_unit_test(where_the_log_is_required_no_gpu_is_handed_out_off_the_record),
        cmocka_unit_test(kinds_that_there_are_none_of_are_refused),
        cmocka_unit_test(the_command_follows_until_pgpud_goes),
        cmocka_unit_test(a_follower_sees_what_happens_as_it_happens),
        cmocka_unit_test(more_followers_than_there_may_be_leave_the_status_alone),
        cmocka_unit_test(unknown_and_malformed_requests_get_an_answer),
    };

    if (!harness_possible())
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
