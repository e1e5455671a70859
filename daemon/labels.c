/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/labels.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/node.h"
#include "daemon/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Namespaces of NVIDIA's contract, and ours below NFD's own. */
#define CC_MODE_LABEL "nvidia.com/cc.mode.state"
#define CC_READY_LABEL "nvidia.com/cc.ready.state"
#define OUR_LABEL "pgpu.feature.node.kubernetes.io/"
/* k8s-cc-manager makes it when it has applied a mode; gpu-operator's validator looks for it. */
#define CC_MANAGER_FILE ".cc-manager-ctr-ready"

/* Bounds of looking at other people's feature files; NFD's own limit is 64 KiB a file. */
#define OTHERS_MAX 256
#define OTHER_SIZE_MAX 65536

#define RETRY_DELAY HW_SEC(5)
/* Where only counts have changed: GPUs change one by one, and each write wakes NFD. */
#define COUNTS_DELAY HW_MS(500)

/* What was seen of the host before it was out of sight. */
static char host_tee[8];

/* ---- what they say ---- */

const char *
labels_tee(const char *sys)
{
    static const struct {
        const char *file, *name;
    } tees[] = {
        {"module/kvm_amd/parameters/sev_snp", "snp"},
        {"module/kvm_intel/parameters/tdx", "tdx"},
    };
    char path[512];
    bool seen = false;

    for (size_t i = 0; i < ARRAY_SIZE(tees); i++) {
        char v[4] = "";

        (void)snprintf(path, sizeof(path), "%s/%s", sys, tees[i].file);
        _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, v, sizeof(v) - 1) < 1)
            continue;
        seen = true;
        if (v[0] == 'Y' || v[0] == 'y' || v[0] == '1')
            return tees[i].name;
    }
    (void)snprintf(path, sizeof(path), "%s/module", sys);
    return seen || access(path, R_OK) == 0 ? "none" : "";
}

static void
count(const struct node *n, struct labels_view *v, bool *ret_under)
{
    for (size_t i = 0; i < n->n_units; i++) {
        const struct unit *u = n->unit[i];
        enum modeset_stand s = modeset_stand_of(u);

        bool claimed = (u->facts.flags & HWD_FACT_CLAIMED) != 0;
        bool gone = u->state == UNIT_GONE && claimed; /* still one of the node's, until dropped */

        v->switches += u->facts.kind == HWD_KIND_NVSWITCH && u->state != UNIT_GONE && claimed;
        *ret_under |= s == MODESET_UNDER || s == MODESET_USED;
        if (u->facts.kind != HWD_KIND_GPU || (s == MODESET_APART && !gone))
            continue;
        v->gpus++;
        /* at rest (`prepare: allocate`) is what it was left as: nobody has looked */
        v->ready_gpus += s == MODESET_DONE && u->state != UNIT_FOUND;
        v->failed_gpus += s == MODESET_FAILED || gone;
        v->used_gpus += unit_state_info(u->state)->allocated;
    }
}

void
labels_view_of(const struct node *n, struct labels_view *ret)
{
    struct labels_view v = {.mode = "", .ready = "false", .tee = n->labels.tee, .cc = true};
    enum cc_mode mode = n->mode.wanted;
    bool any = n->conf->nfd.ready == NFD_READY_ANY;
    bool under = false, good;

    count(n, &v, &under);
    good = v.gpus > 0 && (any ? v.ready_gpus > 0 : v.ready_gpus == v.gpus && !under);
    if (n->mode.changing || !hwclient_is_up(n->hw)) {
        /* as said above: nobody is to come now */
    } else if (good) {
        v.mode = cc_mode_name(mode);
        if (mode != CC_MODE_OFF)
            v.ready = mode == CC_MODE_DEVTOOLS ? "" : "true";
    } else if (v.failed_gpus > 0 && !under) {
        v.mode = "failed";
        v.ready = "";
    }
    *ret = v;
}

void
labels_body(const struct labels_view *v, struct buf *out)
{
    if (v->cc && v->mode[0])
        (void)buf_putf(out, CC_MODE_LABEL "=%s\n", v->mode);
    if (v->cc)
        (void)buf_putf(out, CC_READY_LABEL "=%s\n", v->ready);
    (void)buf_putf(out, OUR_LABEL "gpus=%u\n", v->gpus);
    (void)buf_putf(out, OUR_LABEL "gpus-verified=%u\n", v->ready_gpus);
    (void)buf_putf(out, OUR_LABEL "gpus-failed=%u\n", v->failed_gpus);
    (void)buf_putf(out, OUR_LABEL "nvswitches=%u\n", v->switches);
    if (v->tee[0])
        (void)buf_putf(out, OUR_LABEL "tee=%s\n", v->tee);
}

bool
labels_text(const struct buf *body, time_t expires, struct buf *out)
{
    char when[32];
    struct tm tm;

    if (!gmtime_r(&expires, &tm) || strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return false;
    (void)buf_put_str(out, "# Written by pgpud, which keeps it up to date: do not edit.\n");
    (void)buf_putf(out, "# +expiry-time=%s\n", when);
    return buf_put(out, buf_peek(body), buf_left(body));
}

/* ---- whose labels are they? ---- */

/* True if a line of the file sets one of NVIDIA's two labels. */
static bool
sets_cc(const char *text)
{
    for (const char *p = text; p && *p; p = strchr(p, '\n')) {
        p += strspn(p, "\n\r\t ");
        if (strncmp(p, CC_MODE_LABEL, sizeof(CC_MODE_LABEL) - 1) == 0 ||
            strncmp(p, CC_READY_LABEL, sizeof(CC_READY_LABEL) - 1) == 0)
            return true;
    }
    return false;
}

/* Reads a small regular file; anything else (a fifo, which would wait) is passed over. */
static char *
read_other(int dir, const char *name)
{
    struct stat st;
    char *text;
    ssize_t n;
    _cleanup_fd_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > OTHER_SIZE_MAX)
        return NULL;
    text = calloc(1, OTHER_SIZE_MAX + 1);
    n = text ? read(fd, text, OTHER_SIZE_MAX) : -1;
    if (n >= 0)
        return text;
    free(text);
    return NULL;
}

static bool
other_file_sets(int dir, char *ret_name, size_t size)
{
    struct fs_root root = {.fd = dir};
    struct err e = ERR_INIT;
    char **names = NULL;
    int n = fs_list(&root, ".", OTHERS_MAX, &names, &e);
    bool found = false;

    for (int i = 0; i < n && !found; i++) {
        _cleanup_free_ char *text = NULL;

        if (names[i][0] == '.' || strcmp(names[i], LABELS_FILE) == 0)
            continue; /* NFD passes over hidden files */
        text = read_other(dir, names[i]);
        found = sets_cc(text);
        if (found)
            (void)str_copy(ret_name, size, names[i]);
    }
    fs_names_free(names);
    return found;
}

/* Somebody else sets them; *why says who. */
static bool
owned_by_others(const struct node *n, int dir, char *why, size_t size)
{
    char path[320], name[200];

    (void)snprintf(path, sizeof(path), "%s/%s", n->conf->validations.dir, CC_MANAGER_FILE);
    if (n->conf->nfd.labels == NFD_AUTO && !(n->validations.ours & VALIDATION_CC) &&
        access(path, F_OK) == 0) {
        (void)snprintf(why, size, "NVIDIA's cc-manager sets nvidia.com/cc.* (%.190s is there)",
                       path);
        return true;
    }
    if (other_file_sets(dir, name, sizeof(name))) {
        (void)snprintf(why, size, "the feature file %.190s sets nvidia.com/cc.*", name);
        return true;
    }
    return false;
}

/* ---- writing ---- */

static void
say(struct labels *l, bool ok, const char *why)
{
    if (strcmp(l->why, why) != 0 || l->ok != ok) {
        if (!ok)
            log_error("cannot write the node's labels", "why", why);
        else if (why[0])
            log_warn("the node's CC labels are left to their owner", "why", why);
        else if (l->written)
            log_info("the node's labels are written again");
    }
    l->ok = ok;
    (void)snprintf(l->why, sizeof(l->why), "%.*s", (int)sizeof(l->why) - 1, why);
}

/* Atomic, but not flushed: that can take long, the loop has no time for it, and a host that dies
 * writes them anew. */
static int
replace_file(int dir, const struct buf *file, struct err *e)
{
    static const char tmp[] = "." LABELS_FILE ".tmp";
    int r;
    _cleanup_fd_ int fd =
        openat(dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);

    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "write %s", tmp);
    r = fs_write_all(fd, buf_peek(file), buf_left(file), e);
    if (r >= 0 && renameat(dir, tmp, dir, LABELS_FILE) < 0)
        r = err_errno(e, errno, ERR_CLASS_FATAL, "rename %s to %s", tmp, LABELS_FILE);
    if (r < 0)
        (void)unlinkat(dir, tmp, 0);
    return r;
}

static int
publish(struct node *n, int dir, struct err *e)
{
    struct labels *l = &n->labels;
    time_t expires = time(NULL) + (time_t)(n->conf->nfd.expiry / HW_SEC(1));
    struct buf file;
    struct tm tm;
    int r;

    buf_init(&file, LABELS_SIZE_MAX);
    if (labels_text(&l->body, expires, &file))
        r = replace_file(dir, &file, e);
    else
        r = err_set(e, EMSGSIZE, ERR_CLASS_FATAL, "the feature file is too large");
    buf_fini(&file);
    if (r < 0)
        return r;
    l->written = now_ns();
    if (gmtime_r(&expires, &tm))
        (void)strftime(l->until, sizeof(l->until), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return 0;
}

static bool
same(const struct buf *a, const struct buf *b)
{
    return buf_left(a) == buf_left(b) && memcmp(buf_peek(a), buf_peek(b), buf_left(a)) == 0;
}

/* The same labels of NVIDIA's, with or without them. */
static bool
same_cc(struct buf *a, struct buf *b)
{
    const char *x = strstr(buf_cstr(a) ? buf_cstr(a) : "", OUR_LABEL);
    const char *y = strstr(buf_cstr(b) ? buf_cstr(b) : "", OUR_LABEL);
    size_t n = x ? (size_t)(x - (const char *)buf_peek(a)) : 0;

    return x && y && n == (size_t)(y - (const char *)buf_peek(b)) &&
           memcmp(buf_peek(a), buf_peek(b), n) == 0;
}

/* Returns when to look again, in nanoseconds. */
static int64_t
write_now(struct node *n, bool counts, struct err *e)
{
    struct labels *l = &n->labels;
    uint64_t third = n->conf->nfd.expiry / 3;
    struct labels_view v;
    char why[256] = "";
    struct buf body;
    int r;

    _cleanup_fd_ int dir = open(n->conf->nfd.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "open %s", n->conf->nfd.dir);
    labels_view_of(n, &v);
    v.cc = !owned_by_others(n, dir, why, sizeof(why));
    buf_init(&body, LABELS_SIZE_MAX);
    labels_body(&v, &body);
    if (l->ok && l->written && now_ns() - l->written < third && same(&body, &l->body)) {
        buf_fini(&body);
        say(l, true, why);
        return (int64_t)third;
    }
    if (!counts && l->ok && l->written && same_cc(&body, &l->body)) {
        buf_fini(&body);
        return (int64_t)COUNTS_DELAY;
    }
    buf_fini(&l->body);
    l->body = body;
    r = publish(n, dir, e);
    if (r < 0)
        return r;
    say(l, true, why);
    return (int64_t)third;
}

/* We see and may write the directory that was there when we started (confine.c). */
static void
hint_restart(struct err *e)
{
    char was[ERR_MSG_MAX];

    if (e->num != EACCES && e->num != ENOENT)
        return;
    (void)str_copy(was, sizeof(was), e->msg);
    (void)err_set(e, e->num, e->cls,
                  "%.200s (if the directory was made anew while pgpud ran: restart pgpud)", was);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *ctx);

static int
update(struct node *n, bool counts, struct err *e)
{
    struct labels *l = &n->labels;
    int64_t next;

    if (!l->on)
        return 0;
    /* What our predecessor wrote stands until we know better, or it expires. In the middle of a
     * change too: "not ready" was written before the change was. */
    if (!l->settled && !n->settled)
        return 0;
    l->settled = true;
    next = write_now(n, counts, e);
    if (next < 0) {
        hint_restart(e);
        say(l, false, e->msg);
    }
    /* counts that change all the time are not put off for ever */
    if (next != (int64_t)COUNTS_DELAY || !l->counts_due) {
        l->counts_due = next == (int64_t)COUNTS_DELAY;
        timer_arm(n->loop, &l->timer, next < 0 ? RETRY_DELAY : (uint64_t)next, on_timer, n);
    }
    return next < 0 ? -e->num : 0;
}

static int
on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct node *n = ctx;
    struct err e = ERR_INIT;

    (void)s;
    (void)usec;
    n->labels.counts_due = false;
    (void)update(n, true, &e);
    return 0;
}

void
labels_update(struct node *n)
{
    struct err e = ERR_INIT;

    (void)update(n, false, &e);
}

int
labels_drop(struct node *n, struct err *e)
{
    int r = update(n, true, e);

    return r < 0 ? err_prefix(e, "take the node's labels back") : 0;
}

/* ---- start and end ---- */

void
labels_prepare(const struct config *c)
{
    struct err e = ERR_INIT;

    (void)str_copy(
        host_tee, sizeof(host_tee),
        labels_tee(
            "/sys")); /* lint: allow host-path: read once, for a label, before it is out of sight */
    if (c->nfd.labels == NFD_ON && fs_mkdirs(c->nfd.dir, 0755, &e) < 0)
        log_error("cannot make the directory of NFD's feature files", "why", e.msg);
}

void
labels_start(struct node *n)
{
    struct labels *l = &n->labels;

    buf_init(&l->body, LABELS_SIZE_MAX);
    (void)str_copy(l->tee, sizeof(l->tee), host_tee);
    l->ok = true;
    l->on = n->conf->nfd.labels != NFD_OFF && access(n->conf->nfd.dir, F_OK) == 0;
    if (n->conf->nfd.labels == NFD_OFF)
        (void)str_copy(l->why, sizeof(l->why), "`nfd: {labels: off}`");
    else if (!l->on)
        (void)snprintf(l->why, sizeof(l->why),
                       "%.190s was not there at the start: is NFD installed?", n->conf->nfd.dir);
    labels_update(n);
}

void
labels_free(struct node *n)
{
    n->labels.timer = sd_event_source_disable_unref(n->labels.timer);
    buf_fini(&n->labels.body);
}

/* ---- status ---- */

struct json_object *
labels_json(const struct node *n)
{
    const struct labels *l = &n->labels;
    json_object *o = json_object_new_object();
    json_object *set = json_object_new_object();
    const char *p = (const char *)buf_peek(&l->body);
    size_t left = buf_left(&l->body);

    (void)json_object_object_add(o, "written", json_object_new_boolean(l->on && l->written > 0));
    (void)json_object_object_add(o, "ok", json_object_new_boolean(l->ok));
    (void)json_object_object_add(o, "why", json_object_new_string(l->why));
    (void)json_object_object_add(o, "until", json_object_new_string(l->until));
    while (left > 0 && l->written) {
        const char *nl = memchr(p, '\n', left);
        const char *eq = nl ? memchr(p, '=', (size_t)(nl - p)) : NULL;
        char key[80];

        if (!eq || (size_t)(eq - p) >= sizeof(key))
            break;
        memcpy(key, p, (size_t)(eq - p));
        key[eq - p] = '\0';
        (void)json_object_object_add(set, key,
                                     json_object_new_string_len(eq + 1, (int)(nl - eq - 1)));
        left -= (size_t)(nl - p) + 1;
        p = nl + 1;
    }
    (void)json_object_object_add(o, "set", set);
    return o;
}
