/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known: pgpud's status, the audit log (or else pgpud's events), the journal, the hardware.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/act_text.h"
#include "cli/ask.h"
#include "cli/audit.h"
#include "cli/follow.h"
#include "cli/json.h"
#include "cli/node_conf.h"
#include "cli/offline.h"
#include "cli/online.h"
#include "cli/why.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define STATUS_MAX (4u << 20)
#define ACTS_MAX 400
#define REFUSED_MAX 3
#define RECORDS_MAX 512

/* ---- words ---- */

const char *
why_age(int64_t ms, char buf[32])
{
    int64_t s = ms < 0 ? 0 : ms / 1000;

    if (s < 120)
        (void)snprintf(buf, 32, "%" PRId64 " s", s);
    else if (s < 7200)
        (void)snprintf(buf, 32, "%" PRId64 " min", s / 60);
    else if (s < 172800)
        (void)snprintf(buf, 32, "%" PRId64 " h", s / 3600);
    else
        (void)snprintf(buf, 32, "%" PRId64 " days", s / 86400);
    return buf;
}

const char *
why_age_of(const char *text, char buf[32])
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    buf[0] = '\0';
    return end ? why_age(((int64_t)time(NULL) - (int64_t)timegm(&tm)) * 1000, buf) : buf;
}

json_object *
why_unit(const struct why_sources *s, const char *device)
{
    json_object *units;

    if (!s->status || !json_object_object_get_ex(s->status, "units", &units))
        return NULL;
    for (size_t i = 0; i < json_object_array_length(units); i++) {
        json_object *u = json_object_array_get_idx(units, i);

        if (strcmp(json_str(u, "id"), device) == 0)
            return u;
    }
    return NULL;
}

json_object *
why_newest(json_object *acts, const char *kind, const char *key, const char *value)
{
    for (size_t i = json_object_array_length(acts); i > 0; i--) {
        json_object *o = json_object_array_get_idx(acts, i - 1);

        if (strcmp(json_str(o, "kind"), kind) == 0 &&
            (!key || strcmp(json_str(o, key), value) == 0))
            return o;
    }
    return NULL;
}

void
why_count(const struct why_sources *s, unsigned *ret_free, unsigned *ret_listed)
{
    json_object *units;

    *ret_free = *ret_listed = 0;
    if (!s->status || !json_object_object_get_ex(s->status, "units", &units))
        return;
    for (size_t i = 0; i < json_object_array_length(units); i++) {
        json_object *u = json_object_array_get_idx(units, i);
        const char *state = json_str(u, "state");
        bool taken = strcmp(state, "allocated") == 0 || strcmp(state, "in_use") == 0;

        if (!json_truth(u, "listed") || strcmp(json_str(u, "kind"), "gpu") != 0)
            continue;
        (*ret_listed)++;
        *ret_free += json_truth(u, "healthy") && !taken;
    }
}

/* ---- acts ---- */

static bool
is_of_pod(const struct why_target *t, json_object *o)
{
    return strcmp(json_str(o, "pod"), t->name) == 0 &&
           (!t->ns[0] || strcmp(json_str(o, "namespace"), t->ns) == 0);
}

bool
why_act_fits(const struct why_target *t, json_object *o)
{
    struct act_filter f = {.n_devices = 1};

    switch (t->kind) {
    case WHY_DEVICE:
        (void)str_copy(f.device[0], sizeof(f.device[0]), t->device);
        return act_filter_fits(&f, o);
    case WHY_POD:
        return is_of_pod(t, o);
    case WHY_SANDBOX:
        return strncmp(json_str(o, "sandbox"), t->name, strlen(t->name)) == 0;
    }
    return false;
}

/* Context of both callbacks of audit_newest(): one pass for the target, one for refused Allocates.
 */
struct pass {
    const struct why_target *t;
    json_object *into;
    bool refused;
};

static bool
is_refused(json_object *o)
{
    return strcmp(json_str(o, "kind"), "allocate") == 0 && !json_truth(o, "ok");
}

static bool
pass_fits(void *ctx, json_object *o)
{
    const struct pass *p = ctx;

    return p->refused ? is_refused(o) : why_act_fits(p->t, o);
}

static void
pass_keep(void *ctx, json_object *o, const char *line, size_t len)
{
    const struct pass *p = ctx;

    (void)line;
    (void)len;
    (void)json_object_array_add(p->into, json_object_get(o));
}

static bool
read_log(struct why_sources *s, struct pass pass[2])
{
    struct err e = ERR_INIT;
    json_object *v;
    const char *log = s->conf.audit.file;

    /* pgpud knows which file it writes, whatever configuration we have read */
    if (s->status && json_object_object_get_ex(s->status, "audit", &v))
        log = json_str(v, "file");
    if (!log[0]) {
        (void)str_copy(s->acts_why, sizeof(s->acts_why), "there is no audit log");
        return false;
    }
    if (audit_newest(log, ACTS_MAX, pass_fits, pass_keep, &pass[0], &e) < 0 ||
        audit_newest(log, REFUSED_MAX, pass_fits, pass_keep, &pass[1], &e) < 0) {
        (void)str_copy(s->acts_why, sizeof(s->acts_why), e.msg);
        return false;
    }
    return true;
}

static bool
on_event(void *ctx, const char *text, size_t len)
{
    struct pass *pass = ctx;
    json_object *o = act_parse(text, len);

    for (int i = 0; o && i < 2; i++)
        if (pass_fits(&pass[i], o))
            pass_keep(&pass[i], o, text, len);
    (void)json_object_put(o);
    return true;
}

static void
gather_acts(struct why_sources *s, const struct why_target *t)
{
    struct pass pass[2];
    struct err e = ERR_INIT;
    size_t have;

    s->acts = json_object_new_array();
    s->refused = json_object_new_array();
    pass[0] = (struct pass){.t = t, .into = s->acts};
    pass[1] = (struct pass){.t = t, .into = s->refused, .refused = true};
    if (read_log(s, pass)) {
        s->acts_from = "audit log";
        return;
    }
    if (!s->status || follow_lines(s->c->control, "events\n", 5, on_event, pass, &e) < 0)
        return;
    s->acts_from = "events";
    have = json_object_array_length(s->refused);
    if (have > REFUSED_MAX)
        (void)json_object_array_del_idx(s->refused, 0, have - REFUSED_MAX);
}

/* ---- the rest ---- */

static void
gather_status(struct why_sources *s)
{
    struct err e = ERR_INIT;
    struct buf out;
    const char *text;

    buf_init(&out, STATUS_MAX);
    if (ask_line(s->c->control, "status\n", &out, &e) >= 0 && (text = buf_cstr(&out)))
        s->status = json_tokener_parse(text);
    if (!json_object_is_type(s->status, json_type_object)) {
        (void)json_object_put(s->status);
        s->status = NULL;
    }
    buf_fini(&out);
}

static bool
record_fits(const struct why_target *t, json_object *o)
{
    if (t->kind == WHY_DEVICE)
        return strcmp(json_str(o, "device"), t->device) == 0;
    return why_act_fits(t, o);
}

/* <state_dir>/dev/<address>.json; records of another boot say nothing. */
static void
gather_journal(struct why_sources *s, const struct why_target *t)
{
    _cleanup_free_ char *boot = NULL;
    struct fs_root dir;
    struct err e = ERR_INIT;
    char path[300], **names = NULL;
    size_t len;
    int n;

    s->journal = json_object_new_array();
    (void)snprintf(path, sizeof(path), "%.255s/dev", s->conf.state_dir);
    if (fs_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot, &len, &e) < 0 ||
        fs_root_open(&dir, path, &e) < 0)
        return;
    boot[strcspn(boot, "\n")] = '\0';
    n = fs_list(&dir, ".", RECORDS_MAX, &names, &e);
    for (int i = 0; i < n; i++) {
        _cleanup_free_ char *text = NULL;
        json_object *o = NULL;

        if (strstr(names[i], ".json") && names[i][0] != '.' &&
            fs_read_file(dir.fd, names[i], 4096, &text, &len, &e) >= 0)
            o = act_parse(text, len);
        if (o && strcmp(json_str(o, "boot_id"), boot) == 0 && record_fits(t, o))
            (void)json_object_array_add(s->journal, json_object_get(o));
        (void)json_object_put(o);
    }
    fs_names_free(names);
    fs_root_close(&dir);
}

void
why_look_at_hardware(struct why_sources *s)
{
    struct offline o;
    struct err e = ERR_INIT;

    if (s->facts)
        return;
    s->n_facts = s->c->hwd ? online_facts(s->c->hwd, &s->facts, &e) : -1;
    if (s->n_facts >= 0 || offline_open(s->c, NULL, false, &o, &e) < 0) {
        s->n_facts = s->n_facts < 0 ? 0 : s->n_facts;
        return;
    }
    s->n_facts = 0;
    s->facts = calloc(o.units->n + 1, sizeof(*s->facts));
    for (unsigned i = 0; s->facts && i < o.units->n; i++)
        s->facts[s->n_facts++] = o.units->u[i].facts;
    offline_close(&o);
}

int
why_gather(const struct cli *c, const char *config, const struct why_target *t,
           struct why_sources *ret)
{
    *ret = (struct why_sources){.c = c};
    if (node_conf_load(config, &ret->conf) < 0)
        return -1;
    gather_status(ret);
    gather_acts(ret, t);
    gather_journal(ret, t);
    return 0;
}

void
why_sources_fini(struct why_sources *s)
{
    (void)json_object_put(s->status);
    (void)json_object_put(s->acts);
    (void)json_object_put(s->refused);
    (void)json_object_put(s->journal);
    free(s->facts);
    config_free(&s->conf);
}
