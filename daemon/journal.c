/* SPDX-License-Identifier: Apache-2.0
 *
 * The journal: one small file per unit, <state_dir>/dev/<address>.json, written before the act.
 * It holds intent, not truth: at a restart hardware and PodResources come first. A record of
 * another boot says nothing and is discarded.
 */
#include "daemon/node.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#define RECORD_MAX 4096
#define RECORD_VERSION 1

int
journal_open(struct node *n, struct err *e)
{
    _cleanup_free_ char *boot = NULL;
    char dir[300];
    size_t len;
    int r;

    r = fs_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot, &len, e);
    if (r < 0)
        return err_prefix(e, "open the journal");
    boot[strcspn(boot, "\n")] = '\0';
    (void)str_copy(n->boot_id, sizeof(n->boot_id), boot);
    (void)snprintf(dir, sizeof(dir), "%s/dev", n->conf->state_dir);
    r = fs_mkdirs(dir, 0700, e);
    if (r < 0)
        return err_prefix(e, "open the journal");
    n->journal_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (n->journal_fd < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "open the journal %s", dir);
    return 0;
}

static void
record_name(const struct unit *u, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%s.json", u->id);
}

static void
add_str(json_object *o, const char *key, const char *v)
{
    (void)json_object_object_add(o, key, json_object_new_string(v));
}

static json_object *
record_of(const struct unit *u, const char *intent)
{
    json_object *o = json_object_new_object();

    (void)json_object_object_add(o, "version", json_object_new_int(RECORD_VERSION));
    add_str(o, "boot_id", u->node->boot_id);
    add_str(o, "device", u->id);
    add_str(o, "intent", intent);
    add_str(o, "resource", u->resource);
    /* whose mode counts for it: what it was prepared for, else what it will be */
    add_str(
        o, "mode",
        cc_mode_name(u->prepared_for == CC_MODE_UNKNOWN ? u->node->mode.wanted : u->prepared_for));
    add_str(o, "former_driver", u->facts.former_driver);
    add_str(o, "reason", reason_name(u->reason));
    add_str(o, "namespace", u->owner.ns);
    add_str(o, "pod", u->owner.pod);
    /* Only of a unit whose hand-over is done: the intent alone says nothing of it. */
    add_str(o, "verified",
            unit_state_info(u->state)->allocated && u->verified ? cc_mode_name(u->verified_mode)
                                                                : "");
    (void)json_object_object_add(o, "used", json_object_new_boolean(u->used));
    add_str(o, "sandbox", u->used_by);
    return o;
}

/* A healthy device is looked at again and again: what is on disk already is not written anew. */
static bool
is_on_disk(const struct node *n, const char *name, const char *text)
{
    _cleanup_free_ char *have = NULL;
    struct err e = ERR_INIT;
    size_t len;

    return fs_read_file(n->journal_fd, name, RECORD_MAX, &have, &len, &e) >= 0 &&
           len == strlen(text) && memcmp(have, text, len) == 0;
}

void
journal_put(struct unit *u, const char *intent)
{
    char name[PCI_ADDR_STR + 8];
    struct err e = ERR_INIT;
    int r;

    record_name(u, name, sizeof(name));
    if (!intent) {
        r = fs_withdraw(u->node->journal_fd, name, &e);
    } else {
        json_object *o = record_of(u, intent);
        const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE);

        r = is_on_disk(u->node, name, text)
                ? 0
                : fs_publish(u->node->journal_fd, name, text, strlen(text), 0600, &e);
        (void)json_object_put(o);
    }
    act_tell(&u->node->acts, &(struct act){.kind = ACT_JOURNAL, .unit = u, .ok = r >= 0});
    if (r < 0)
        log_error("cannot write the journal: after a crash this device is scrubbed anew", "device",
                  u->id, "why", e.msg);
}

static const char *
get_str(json_object *o, const char *key)
{
    json_object *v;

    if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string))
        return "";
    return json_object_get_string(v);
}

static bool
get_bool(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

/* The record of that name, if it is readable and of this boot. */
static json_object *
read_record(struct node *n, const char *name)
{
    _cleanup_free_ char *text = NULL;
    struct err e = ERR_INIT;
    size_t len;
    json_object *o;

    if (fs_read_file(n->journal_fd, name, RECORD_MAX, &text, &len, &e) < 0) {
        if (e.num != ENOENT)
            log_warn("journal record is unreadable and ignored", "record", name, "why", e.msg);
        return NULL;
    }
    o = json_tokener_parse(text);
    if (!json_object_is_type(o, json_type_object))
        log_warn("journal record is damaged and ignored", "record", name);
    else if (strcmp(get_str(o, "boot_id"), n->boot_id) == 0)
        return o;
    (void)json_object_put(o);
    return NULL;
}

void
journal_each(struct node *n,
             void (*each)(struct node *n, const char *id, const char *intent, const char *resource))
{
    struct fs_root dir = {.fd = n->journal_fd};
    struct err e = ERR_INIT;
    char **names = NULL;
    int count = fs_list(&dir, ".", UNITS_MAX * 2, &names, &e);

    for (int i = 0; i < count; i++) {
        size_t len = strlen(names[i]);
        json_object *o;

        if (len < 6 || strcmp(names[i] + len - 5, ".json") != 0 || !(o = read_record(n, names[i])))
            continue;
        if (strncmp(names[i], get_str(o, "device"), len - 5) == 0)
            each(n, get_str(o, "device"), get_str(o, "intent"), get_str(o, "resource"));
        (void)json_object_put(o);
    }
    fs_names_free(names);
}

void
journal_get(struct unit *u)
{
    char name[PCI_ADDR_STR + 8];
    json_object *o;

    record_name(u, name, sizeof(name));
    o = read_record(u->node, name);
    if (o && strcmp(get_str(o, "device"), u->id) == 0) {
        u->journal_allocated = strcmp(get_str(o, "intent"), "allocated") == 0;
        if (u->journal_allocated) {
            (void)str_copy(u->owner.ns, sizeof(u->owner.ns), get_str(o, "namespace"));
            (void)str_copy(u->owner.pod, sizeof(u->owner.pod), get_str(o, "pod"));
            u->verified = cc_mode_parse(get_str(o, "verified"), &u->verified_mode);
            u->used = !u->verified || get_bool(o, "used");
            if (u->verified)
                (void)cc_mode_parse(get_str(o, "mode"), &u->prepared_for);
            (void)str_copy(u->used_by, sizeof(u->used_by), get_str(o, "sandbox"));
        }
    }
    (void)json_object_put(o);
}
