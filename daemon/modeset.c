/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/modeset.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/json.h"
#include "daemon/labels.h"
#include "daemon/node.h"
#include "daemon/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECORD "mode.json"
#define RECORD_MAX 4096
#define RECORD_VERSION 1

/* Protected PCIe is one VM with the whole board: eight Hopper GPUs and four NVSwitches of the third
 * generation (NVIDIA's list of supported platforms). */
static const struct {
    uint32_t kind;
    const char *chip;
    unsigned count;
    const char *name;
} board[] = {
    {HWD_KIND_GPU, "gh100", 8, "GPUs"},
    {HWD_KIND_NVSWITCH, "ls10", 4, "NVSwitches"},
};

/* ---- the record ---- */

static int
open_state_dir(const struct node *n, struct err *e)
{
    int fd = open(n->conf->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? err_errno(e, errno, ERR_CLASS_FATAL, "open %s", n->conf->state_dir) : fd;
}

static int
record_put(const struct node *n, const struct modeset *m, struct err *e)
{
    _cleanup_fd_ int dir = open_state_dir(n, e);
    json_object *o;
    const char *text;
    int r;

    if (dir < 0)
        return dir;
    if (!m->changing && m->wanted == (enum cc_mode)n->conf->mode)
        return fs_withdraw(dir, RECORD, e); /* as configured: nothing to remember */
    o = json_object_new_object();
    (void)json_object_object_add(o, "version", json_object_new_int(RECORD_VERSION));
    put_str(o, "boot_id", n->boot_id);
    put_str(o, "config", cc_mode_name((enum cc_mode)n->conf->mode));
    put_str(o, "mode", cc_mode_name(m->wanted));
    put_str(o, "from", cc_mode_name(m->from));
    put_str(o, "since", m->since);
    (void)json_object_object_add(o, "changing", json_object_new_boolean(m->changing));
    (void)json_object_object_add(o, "cancelled", json_object_new_boolean(m->cancelled));
    text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE);
    r = fs_publish(dir, RECORD, text, strlen(text), 0600, e);
    (void)json_object_put(o);
    return r;
}

static const char *
get_str(json_object *o, const char *key)
{
    json_object *v;

    if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
        return "";
    return json_object_get_string(v);
}

/* Takes over what the record says; false and why not. */
static bool
record_take(struct node *n, json_object *o, const char **why)
{
    enum cc_mode config, mode, from;
    json_object *v;

    *why = "it is damaged";
    if (!json_object_is_type(o, json_type_object) ||
        !cc_mode_parse(get_str(o, "config"), &config) ||
        !cc_mode_parse(get_str(o, "mode"), &mode) || !cc_mode_parse(get_str(o, "from"), &from))
        return false;
    *why = "the host was started anew since: the configuration counts";
    if (strcmp(get_str(o, "boot_id"), n->boot_id) != 0)
        return false;
    *why = "the configuration names another mode than it did then: it counts";
    if (config != (enum cc_mode)n->conf->mode)
        return false;
    *why = "devtools is not unlocked any more";
    if (mode == CC_MODE_DEVTOOLS && !n->conf->unlock_devtools)
        return false;
    n->mode.wanted = mode;
    n->mode.from = from;
    n->mode.changing = json_object_object_get_ex(o, "changing", &v) && json_object_get_boolean(v);
    n->mode.cancelled = json_object_object_get_ex(o, "cancelled", &v) && json_object_get_boolean(v);
    (void)str_copy(n->mode.since, sizeof(n->mode.since), get_str(o, "since"));
    return true;
}

void
modeset_load(struct node *n)
{
    _cleanup_free_ char *text = NULL;
    struct err e = ERR_INIT;
    const char *why;
    json_object *o;
    size_t len;
    int r;

    n->mode = (struct modeset){.wanted = (enum cc_mode)n->conf->mode,
                               .from = (enum cc_mode)n->conf->mode};
    _cleanup_fd_ int dir = open_state_dir(n, &e);
    r = dir < 0 ? dir : fs_read_file(dir, RECORD, RECORD_MAX, &text, &len, &e);
    if (r < 0) {
        if (e.num != ENOENT)
            log_warn("the record of the node's mode is unreadable: the configuration counts", "why",
                     e.msg);
        return;
    }
    o = json_tokener_parse(text);
    if (record_take(n, o, &why)) {
        log_warn("an operator has set the node's mode", "mode", cc_mode_name(n->mode.wanted),
                 "configured", cc_mode_name((enum cc_mode)n->conf->mode), "changing",
                 n->mode.changing ? "true" : "false", "since", n->mode.since);
    } else {
        log_warn("the record of the node's mode is ignored", "why", why);
        (void)fs_withdraw(dir, RECORD, &e);
    }
    (void)json_object_put(o);
}

void
modeset_free(struct node *n)
{
    n->mode.kick = sd_event_source_disable_unref(n->mode.kick);
}

/* ---- where the units stand ---- */

/* A switch has no CC knob: where GPUs run with plain CC it has nothing to protect. */
static enum cc_mode
unit_mode_under(const struct unit *u, enum cc_mode node_mode)
{
    return u->facts.kind == HWD_KIND_NVSWITCH && node_mode != CC_MODE_PPCIE ? CC_MODE_OFF
                                                                            : node_mode;
}

uint32_t
unit_wanted_mode(const struct unit *u)
{
    return (uint32_t)unit_mode_under(u, u->node->mode.wanted);
}

bool
unit_in_mode(const struct unit *u)
{
    return u->prepared_for <= CC_MODE_PPCIE &&
           (uint32_t)unit_mode_under(u, u->prepared_for) == unit_wanted_mode(u);
}

/* Ours, and with another mode than before. */
static bool
is_concerned(const struct unit *u)
{
    const struct modeset *m = &u->node->mode;

    if (u->state == UNIT_GONE ||
        !(unit_state_info(u->state)->allocated || (u->facts.flags & HWD_FACT_CLAIMED)))
        return false;
    return m->from == m->wanted ? u->facts.kind == HWD_KIND_GPU || m->wanted == CC_MODE_PPCIE
                                : unit_mode_under(u, m->from) != unit_mode_under(u, m->wanted);
}

enum modeset_stand
modeset_stand_of(const struct unit *u)
{
    const struct config *c = u->node->conf;

    if (!is_concerned(u))
        return MODESET_APART;
    switch (u->state) {
    case UNIT_READY:
        return unit_in_mode(u) ? MODESET_DONE : MODESET_UNDER;
    case UNIT_RELEASING: /* scrubbed between two users, in its mode */
        if (unit_in_mode(u) && u->facts.mode_active == unit_wanted_mode(u) &&
            u->facts.mode_configured == unit_wanted_mode(u))
            return MODESET_DONE;
        return u->facts.use == HWD_USE_HELD ? MODESET_USED : MODESET_UNDER;
    case UNIT_ALLOCATED:
    case UNIT_IN_USE:
        return unit_in_mode(u) ? MODESET_DONE : MODESET_USED;
    case UNIT_FOUND: /* its next Allocate does it */
        return c->prepare == PREPARE_ALLOCATE && c->manage == MANAGE_FULL && u->classified &&
                       u->facts.reason == REASON_NONE
                   ? MODESET_DONE
                   : MODESET_UNDER;
    case UNIT_QUARANTINED: /* the next rung may still bring it there: the change is not over */
        return u->node->mode.changing && ladder_at_work(u) ? MODESET_UNDER : MODESET_FAILED;
    case UNIT_STUCK:
        return MODESET_FAILED;
    case UNIT_ARMING:
        return MODESET_UNDER;
    case UNIT_GONE:
    case UNIT_STATE_COUNT:
        break;
    }
    return MODESET_APART;
}

struct tally {
    unsigned all, done, used, under, failed;
};

static struct tally
count(const struct node *n)
{
    struct tally t = {0};

    for (size_t i = 0; i < n->n_units; i++) {
        enum modeset_stand s = modeset_stand_of(n->unit[i]);

        t.all += s != MODESET_APART;
        t.done += s == MODESET_DONE;
        t.used += s == MODESET_USED;
        t.under += s == MODESET_UNDER;
        t.failed += s == MODESET_FAILED;
    }
    return t;
}

static bool
is_used(const struct unit *u)
{
    return unit_state_info(u->state)->allocated ||
           (u->state == UNIT_RELEASING && u->facts.use == HWD_USE_HELD);
}

/* Somebody uses it with Protected PCIe while that is not wanted any more, or the other way round.
 * By what it was prepared for: whatever was wanted in between. */
static bool
blocks_board(const struct unit *u)
{
    const struct modeset *m = &u->node->mode;
    uint32_t mode =
        u->prepared_for == CC_MODE_UNKNOWN ? u->facts.mode_active : (uint32_t)u->prepared_for;

    if (!is_used(u))
        return false;
    if (mode > CC_MODE_PPCIE) /* nobody knows */
        return m->changing && (m->from == CC_MODE_PPCIE) != (m->wanted == CC_MODE_PPCIE);
    return (mode == CC_MODE_PPCIE) != (m->wanted == CC_MODE_PPCIE);
}

static bool
board_is_blocked(const struct node *n)
{
    for (size_t i = 0; i < n->n_units; i++)
        if (blocks_board(n->unit[i]))
            return true;
    return false;
}

bool
modeset_holds(const struct unit *u)
{
    if (u->state == UNIT_GONE || u->state == UNIT_QUARANTINED || u->state == UNIT_STUCK ||
        !(u->facts.flags & HWD_FACT_CLAIMED))
        return false;
    return !is_used(u) && !unit_in_mode(u) && board_is_blocked(u->node);
}

void
modeset_text(const struct node *n, struct buf *out)
{
    struct tally t = count(n);
    const char *sep = " by ";

    (void)buf_putf(out, "%u of %u switched", t.done, t.all);
    if (t.used)
        (void)buf_putf(out, ", %u in use", t.used);
    for (size_t i = 0; i < n->n_units && t.used; i++) {
        const struct unit *u = n->unit[i];
        bool told = modeset_stand_of(u) != MODESET_USED || !u->owner.pod[0];

        for (size_t j = 0; j < i && !told; j++)
            told = modeset_stand_of(n->unit[j]) == MODESET_USED &&
                   strcmp(n->unit[j]->owner.ns, u->owner.ns) == 0 &&
                   strcmp(n->unit[j]->owner.pod, u->owner.pod) == 0;
        if (told)
            continue;
        (void)buf_putf(out, "%s%s/%s", sep, u->owner.ns, u->owner.pod);
        sep = " and ";
    }
    for (size_t i = 0; i < n->n_units; i++) {
        const struct unit *u = n->unit[i];
        bool waits = modeset_holds(u);
        /* sent, and its worker has said nothing yet: its turn has not come */
        bool begun = u->op_seq && u->phase != HWD_PHASE_NONE;

        if (modeset_stand_of(u) == MODESET_UNDER)
            (void)buf_putf(out, ", %s %s%s%s", u->id, unit_state_info(u->state)->name,
                           waits   ? ": waits for the others"
                           : begun ? ": "
                                   : "",
                           begun && !waits ? hwd_phase_name(u->phase) : "");
    }
    for (size_t i = 0; i < n->n_units; i++)
        if (modeset_stand_of(n->unit[i]) == MODESET_FAILED)
            (void)buf_putf(out, ", %s failed: %s", n->unit[i]->id, reason_name(n->unit[i]->reason));
}

static void
log_progress(const struct node *n, const char *what, bool over)
{
    struct buf text;
    const char *s;

    buf_init(&text, 4096);
    modeset_text(n, &text);
    s = buf_cstr(&text);
    log_info(what, "mode", cc_mode_name(n->mode.wanted), "from", cc_mode_name(n->mode.from),
             "progress", s ? s : "");
    if (over) {
        char told[ERR_MSG_MAX];

        (void)snprintf(told, sizeof(told), "%s: %.400s", what, s ? s : "");
        act_tell(&n->acts, &(struct act){.kind = ACT_MODE,
                                         .ok = count(n).failed == 0,
                                         .mode = n->mode.wanted,
                                         .from_mode = n->mode.from,
                                         .text = told});
    }
    buf_fini(&text);
}

static int
on_kick(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct node *n = ctx;

    (void)s;
    (void)usec;
    for (size_t i = 0; i < n->n_units; i++)
        unit_step(n->unit[i]);
    return 0;
}

/* Some have waited for the others (wait_for_others in steps.c), and need not any longer. */
static bool
may_go_on(const struct node *n)
{
    bool any = false;

    for (size_t i = 0; i < n->n_units && !any; i++)
        any = n->unit[i]->reason == REASON_WAIT_RELEASE && !is_used(n->unit[i]);
    return any && !board_is_blocked(n);
}

void
modeset_look(struct node *n)
{
    struct err e = ERR_INIT;
    struct tally t;

    if (!n->settled || !hwclient_is_up(n->hw))
        return;
    if (may_go_on(n))
        timer_arm(n->loop, &n->mode.kick, 0, on_kick, n);
    if (!n->mode.changing)
        return;
    t = count(n);
    if (t.under > 0 || t.used > 0)
        return;
    n->mode.changing = n->mode.cancelled = false;
    if (record_put(n, &n->mode, &e) < 0)
        log_error("cannot write the record of the node's mode", "why", e.msg);
    log_progress(n, "the node's mode is changed", true);
}

/* ---- beginning one ---- */

static int
check_board(const struct node *n, struct err *e)
{
    unsigned have[ARRAY_SIZE(board)] = {0};

    for (size_t i = 0; i < n->n_units; i++) {
        const struct unit *u = n->unit[i];
        const struct hwd_facts *f = &u->facts;
        size_t b = f->kind == HWD_KIND_GPU ? 0 : 1;

        if (u->state == UNIT_GONE)
            continue;
        if (strcmp(f->chip, board[b].chip) != 0)
            return err_reason(
                e, EINVAL, ERR_CLASS_INVALID, REASON_MODE_UNSUPPORTED,
                "%s (%s) has no Protected PCIe; GPUs after Hopper protect their links "
                "in mode on",
                u->id, f->chip[0] ? f->chip : "unknown chip");
        if (!(f->flags & HWD_FACT_CLAIMED))
            return err_reason(e, EINVAL, ERR_CLASS_INVALID, REASON_NOT_CLAIMED,
                              "%s is not claimed: Protected PCIe takes the whole board", u->id);
        if (u->state == UNIT_QUARANTINED || u->state == UNIT_STUCK)
            return err_reason(e, EINVAL, ERR_CLASS_INVALID, u->reason,
                              "%s is %s (%s): Protected PCIe takes the whole board", u->id,
                              unit_state_info(u->state)->name, reason_name(u->reason));
        have[b]++;
    }
    for (size_t b = 0; b < ARRAY_SIZE(board); b++)
        if (have[b] != board[b].count)
            return err_reason(e, EINVAL, ERR_CLASS_INVALID, REASON_MODE_UNSUPPORTED,
                              "Protected PCIe takes %u %s, this node has %u", board[b].count,
                              board[b].name, have[b]);
    return 0;
}

static int
check_set(const struct node *n, enum cc_mode mode, struct err *e)
{
    if (n->conf->manage == MANAGE_VERIFY)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "pgpud changes nothing here (`manage: verify`)");
    if (mode == CC_MODE_DEVTOOLS && !n->conf->unlock_devtools)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "devtools gives no confidentiality: set `unlock_devtools: true` in pgpud's "
                       "configuration first if that is really wanted");
    if (!n->settled || !hwclient_is_up(n->hw))
        return err_reason(e, EAGAIN, ERR_CLASS_RETRY, REASON_HWD_DOWN,
                          "pgpu-hwd is not there (%s): what it allows is not known",
                          hwclient_why(n->hw)[0] ? hwclient_why(n->hw) : "still starting");
    if (!(hwclient_modes(n->hw) & 1u << mode))
        return err_reason(e, EPERM, ERR_CLASS_INVALID, REASON_MODE_FORBIDDEN,
                          "`modes` of pgpu-hwd's configuration does not list %s",
                          cc_mode_name(mode));
    /* Two modes on one board are enough to look after. */
    if (n->mode.changing && mode != n->mode.from)
        return err_set(e, EBUSY, ERR_CLASS_BUSY,
                       "the change from %s to %s is still under way: wait for it (`pgpuctl mode "
                       "get`), or cancel it first (`pgpuctl mode cancel --wait`)",
                       cc_mode_name(n->mode.from), cc_mode_name(n->mode.wanted));
    return mode == CC_MODE_PPCIE ? check_board(n, e) : 0;
}

static void
stamp(char buf[32])
{
    time_t now = time(NULL);
    struct tm tm;

    if (!gmtime_r(&now, &tm) || strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        buf[0] = '\0';
}

/* A failure that another mode may cure is tried again at once; the rest is for the ladder. */
static bool
may_be_cured(const struct unit *u)
{
    return u->state == UNIT_QUARANTINED && !u->unfit && !u->op_seq && u->fail_class != ERR_CLASS_HW;
}

static int
begin(struct node *n, enum cc_mode mode, const char *what, struct err *e)
{
    const struct modeset before = n->mode;
    struct err ignored = ERR_INIT;
    int r;

    n->mode.changing = true; /* what the labels go by */
    r = labels_drop(n, e);
    if (r >= 0) {
        n->mode.from = before.wanted;
        n->mode.wanted = mode;
        /* there is no third one: back, or back again */
        n->mode.cancelled = before.changing && !before.cancelled;
        stamp(n->mode.since);
        r = record_put(n, &n->mode, e);
    }
    if (r < 0) {
        sd_event_source *kick = n->mode.kick;

        n->mode = before;
        n->mode.kick = kick;
        if (record_put(n, &n->mode, &ignored) < 0)
            log_error("cannot write the record of the node's mode", "why", ignored.msg);
        labels_update(n);
        return err_prefix(e, "change the node's mode to %s", cc_mode_name(mode));
    }
    log_progress(n, what, false);
    act_tell(
        &n->acts,
        &(struct act){
            .kind = ACT_MODE, .ok = true, .mode = mode, .from_mode = before.wanted, .text = what});
    alloc_mode_changed(n);
    for (size_t i = 0; i < n->n_units; i++) /* first, or the change could be taken for over */
        if (may_be_cured(n->unit[i]))
            (void)unit_event(n->unit[i], EV_RETRY, REASON_NONE, NULL);
    promise_update(n); /* Unhealthy before anything is done to them */
    for (size_t i = 0; i < n->n_units; i++)
        unit_step(n->unit[i]);
    return 0;
}

int
modeset_set(struct node *n, enum cc_mode mode, bool dry_run, struct err *e)
{
    int r = mode == n->mode.wanted ? 0 : check_set(n, mode, e);

    if (r < 0)
        return err_prefix(e, "set mode %s", cc_mode_name(mode));
    if (dry_run || mode == n->mode.wanted)
        return 0;
    return begin(n, mode, "an operator changes the node's mode", e);
}

int
modeset_cancel(struct node *n, struct err *e)
{
    int r;

    if (!n->mode.changing)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "no change of the mode is under way");
    if (n->mode.cancelled)
        return 0; /* it is on its way back already */
    r = check_set(n, n->mode.from, e);
    if (r < 0)
        return err_prefix(e, "go back to mode %s", cc_mode_name(n->mode.from));
    return begin(n, n->mode.from, "an operator cancels the change of the node's mode", e);
}
