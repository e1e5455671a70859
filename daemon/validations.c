/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/validations.h"

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

#define RECORD "validations"
#define RECORD_SIZE_MAX 4096
/* The validator removes everything in the directory when its pod ends. */
#define LOOK_AGAIN HW_SEC(30)

static bool
all_on_vfio(const struct node *n)
{
    unsigned gpus = 0;

    for (size_t i = 0; i < n->n_units; i++) {
        const struct unit *u = n->unit[i];

        if (u->facts.kind != HWD_KIND_GPU || u->state == UNIT_GONE)
            continue;
        if (!(u->facts.flags & HWD_FACT_BOUND))
            return false;
        gpus++;
    }
    return gpus > 0;
}

static bool
has_gpus(const struct node *n)
{
    for (size_t i = 0; i < n->n_units; i++)
        if (n->unit[i]->facts.kind == HWD_KIND_GPU && n->unit[i]->state != UNIT_GONE &&
            (n->unit[i]->facts.flags & HWD_FACT_CLAIMED))
            return true;
    return false;
}

static bool
mode_applied(const struct node *n)
{
    bool any = false;

    for (size_t i = 0; i < n->n_units; i++) {
        enum modeset_stand s = modeset_stand_of(n->unit[i]);

        if ((s != MODESET_DONE && s != MODESET_APART) ||
            (s == MODESET_DONE && n->unit[i]->state == UNIT_FOUND)) /* nobody has looked yet */
            return false;
        any |= s == MODESET_DONE;
    }
    return any && !n->mode.changing;
}

static const struct {
    unsigned bit;
    const char *name, *content;
    bool (*is_true)(const struct node *n);
} rows[] = {
    {VALIDATION_VFIO, "vfio-pci-ready", "", all_on_vfio},
    {VALIDATION_TYPE, "workload-type", "vm-passthrough\n", has_gpus},
    {VALIDATION_CC, ".cc-manager-ctr-ready", "", mode_applied},
};

/* ---- which of them are ours ---- */

static void
record_get(struct node *n)
{
    _cleanup_free_ char *text = NULL;
    struct err e = ERR_INIT;
    char *save = NULL;
    size_t len;
    _cleanup_fd_ int dir = open(n->conf->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0 || fs_read_file(dir, RECORD, RECORD_SIZE_MAX, &text, &len, &e) < 0)
        return;
    for (char *w = strtok_r(text, "\n", &save); w; w = strtok_r(NULL, "\n", &save))
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
            if (strcmp(w, rows[i].name) == 0)
                n->validations.ours |= rows[i].bit;
}

static int
record_put(const struct node *n, unsigned ours, struct err *e)
{
    char text[128] = "";
    size_t at = 0;
    _cleanup_fd_ int dir = open(n->conf->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "open %s", n->conf->state_dir);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (ours & rows[i].bit)
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%s\n", rows[i].name);
    return fs_publish(dir, RECORD, text, at, 0600, e);
}

/* ---- bringing one in line ---- */

static int
bring(struct node *n, int dir, size_t row, struct err *e)
{
    struct validations *v = &n->validations;
    const unsigned bit = rows[row].bit;
    bool want = n->conf->validations.enabled && rows[row].is_true(n);
    bool have = faccessat(dir, rows[row].name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    int r;

    if (want && !have) {
        /* the record first: what we die over is ours, not somebody's that stays for ever */
        r = v->ours & bit ? 0 : record_put(n, v->ours | bit, e);
        if (r < 0)
            return r;
        v->ours |= bit;
        r = fs_publish(dir, rows[row].name, rows[row].content, strlen(rows[row].content), 0644, e);
        if (r >= 0)
            log_info("validation written", "file", rows[row].name);
        return r;
    }
    if (want || !(v->ours & bit))
        return 0;
    r = have ? fs_withdraw(dir, rows[row].name, e) : 0;
    if (r < 0)
        return r;
    v->ours &= ~bit;
    log_info("validation removed", "file", rows[row].name);
    return record_put(n, v->ours, e);
}

static int
on_timer(sd_event_source *s, uint64_t usec, void *ctx)
{
    (void)s;
    (void)usec;
    validations_update(ctx);
    return 0;
}

static int
update(struct node *n, struct err *e)
{
    int r = 0;

    if (n->conf->validations.enabled) {
        r = fs_mkdirs(n->conf->validations.dir, 0755, e);
        if (r < 0)
            return r;
    }
    _cleanup_fd_ int dir = open(n->conf->validations.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return errno == ENOENT && !n->conf->validations.enabled
                   ? 0
                   : err_errno(e, errno, ERR_CLASS_FATAL, "open %s", n->conf->validations.dir);
    for (size_t i = 0; i < ARRAY_SIZE(rows) && r >= 0; i++)
        r = bring(n, dir, i, e);
    return r;
}

void
validations_update(struct node *n)
{
    struct validations *v = &n->validations;
    struct err e = ERR_INIT;

    if (!n->settled || !(n->conf->validations.enabled || v->ours))
        return; /* our predecessor's stand until we know better */
    if (update(n, &e) < 0) {
        if (!v->why[0] || strncmp(v->why, e.msg, sizeof(v->why) - 1) != 0)
            log_error("cannot write the validation files", "why", e.msg);
        (void)snprintf(v->why, sizeof(v->why), "%.*s", (int)sizeof(v->why) - 1, e.msg);
    } else {
        v->why[0] = '\0';
    }
    timer_arm(n->loop, &v->timer, LOOK_AGAIN, on_timer, n);
}

void
validations_start(struct node *n)
{
    record_get(n);
}

void
validations_free(struct node *n)
{
    n->validations.timer = sd_event_source_disable_unref(n->validations.timer);
}

struct json_object *
validations_json(const struct node *n)
{
    json_object *o = json_object_new_object();
    json_object *list = json_object_new_array();

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (n->validations.ours & rows[i].bit)
            (void)json_object_array_add(list, json_object_new_string(rows[i].name));
    (void)json_object_object_add(o, "enabled",
                                 json_object_new_boolean(n->conf->validations.enabled));
    (void)json_object_object_add(o, "written", list);
    (void)json_object_object_add(o, "why", json_object_new_string(n->validations.why));
    return o;
}
