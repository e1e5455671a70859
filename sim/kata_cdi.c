/* SPDX-License-Identifier: Apache-2.0
 *
 * See sim/kata_cdi.h. Rules: container-device-interface v0.6.0, pkg/cdi/{spec,version,registry}.go
 * and pkg/parser. YAML files are not read here; the library would.
 */
#include "sim/kata_cdi.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <json-c/json.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 20)
#define FILES_MAX 1024

static int
poison(struct err *e, const char *file, const char *what, const char *detail)
{
    return err_set(e, EBADMSG, ERR_CLASS_INVALID, "CDI registry refresh: %s: %s%s%s", file, what,
                   *detail ? ": " : "", detail);
}

static bool
only_keys(struct json_object *o, const char *const *keys, const char **bad)
{
    json_object_object_foreach(o, key, value)
    {
        size_t i = 0;

        (void)value;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i]) {
            *bad = key;
            return false;
        }
    }
    return true;
}

static const char *
text_of(struct json_object *o, const char *key)
{
    struct json_object *v = json_object_object_get(o, key);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

/* Letters, digits and the given others; first and last alphanumeric. */
static bool
valid_name(const char *s, size_t n, const char *others, bool letter_first)
{
    if (n == 0 || !isalnum((unsigned char)s[0]) || !isalnum((unsigned char)s[n - 1]))
        return false;
    if (letter_first && !isalpha((unsigned char)s[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr(others, s[i]))
            return false;
    return true;
}

static int
check_head(const char *file, struct json_object *spec, struct err *e)
{
    static const char *const versions[] = {"0.1.0", "0.2.0", "0.3.0", "0.4.0",
                                           "0.5.0", "0.6.0", NULL};
    static const char *const keys[] = {"cdiVersion", "kind",           "annotations",
                                       "devices",    "containerEdits", NULL};
    const char *version = text_of(spec, "cdiVersion"), *kind = text_of(spec, "kind");
    const char *slash = strchr(kind, '/'), *bad = "";
    size_t i = 0;

    if (!only_keys(spec, keys, &bad))
        return poison(e, file, "unknown field", bad);
    while (versions[i] && strcmp(versions[i], version) != 0)
        i++;
    if (!versions[i])
        return poison(e, file, "invalid version", version);
    if (!slash || !valid_name(kind, (size_t)(slash - kind), "-_.", true) ||
        !valid_name(slash + 1, strlen(slash + 1), "-_", true))
        return poison(e, file, "invalid kind", kind);
    if (strlen(slash + 1) == 1)
        return poison(e, file, "PANIC in the real library: class of one letter", kind);
    if (json_object_object_get(spec, "annotations") && strcmp(version, "0.6.0") != 0)
        return poison(e, file, "annotations need version 0.6.0", version);
    return 0;
}

/* The device's node that a VMM would open. Others (/dev/vfio/vfio) are not devices. */
static const char *
vfio_node(struct json_object *edits)
{
    struct json_object *nodes = json_object_object_get(edits, "deviceNodes");

    for (size_t i = 0;
         json_object_is_type(nodes, json_type_array) && i < json_object_array_length(nodes); i++) {
        struct json_object *n = json_object_array_get_idx(nodes, i);
        const char *path = text_of(n, "hostPath");

        if (!*path)
            path = text_of(n, "path");
        if (strncmp(path, "/dev/vfio/", 10) == 0 && strcmp(path, "/dev/vfio/vfio") != 0)
            return path;
    }
    return NULL;
}

static int
add(struct kata_cdi *c, const char *file, const char *device, const char *path, size_t dir,
    struct err *e)
{
    struct kata_cdi_node *v;

    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->v[i].device, device) == 0 && c->v[i].dir == dir)
            return poison(e, file, "conflicting device", device);
    v = realloc(c->v, (c->n + 1) * sizeof(*v));
    if (!v)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "CDI: out of memory");
    c->v = v;
    v[c->n] = (struct kata_cdi_node){
        .device = strdup(device), .path = path ? strdup(path) : NULL, .dir = dir};
    c->n++;
    return 0;
}

static int
load_device(struct kata_cdi *c, const char *file, const char *kind, struct json_object *d,
            size_t dir, struct err *e)
{
    static const char *const keys[] = {"name", "annotations", "containerEdits", NULL};
    static const char *const edit_keys[] = {"env", "deviceNodes", "hooks", "mounts", NULL};
    struct json_object *edits;
    const char *name, *bad = "";
    char device[512];

    if (!json_object_is_type(d, json_type_object) || !only_keys(d, keys, &bad))
        return poison(e, file, "device is not an object of known fields", bad);
    name = text_of(d, "name");
    if (!valid_name(name, strlen(name), "-_.:", false))
        return poison(e, file, "invalid device name", name);
    edits = json_object_object_get(d, "containerEdits");
    if (!json_object_is_type(edits, json_type_object) || json_object_object_length(edits) == 0)
        return poison(e, file, "empty device edits", name);
    if (!only_keys(edits, edit_keys, &bad))
        return poison(e, file, "unknown field", bad);
    (void)snprintf(device, sizeof(device), "%s=%s", kind, name);
    return add(c, file, device, vfio_node(edits), dir, e);
}

static int
load_spec(struct kata_cdi *c, const char *file, struct json_object *spec, size_t dir, struct err *e)
{
    struct json_object *devices;

    if (!json_object_is_type(spec, json_type_object))
        return poison(e, file, "not a JSON object", "");
    if (check_head(file, spec, e) < 0)
        return -e->num;
    devices = json_object_object_get(spec, "devices");
    if (!json_object_is_type(devices, json_type_array) || json_object_array_length(devices) == 0)
        return poison(e, file, "no devices", "");
    for (size_t i = 0; i < json_object_array_length(devices); i++)
        if (load_device(c, file, text_of(spec, "kind"), json_object_array_get_idx(devices, i), dir,
                        e) < 0)
            return -e->num;
    return 0;
}

static int
load_file(struct kata_cdi *c, const char *path, size_t dir, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    struct json_tokener *tok;
    struct json_object *spec;
    size_t len;
    int r;

    if (fs_read_file(AT_FDCWD, path, FILE_MAX, &text, &len, e) < 0)
        return -e->num;
    tok = json_tokener_new();
    json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
    spec = json_tokener_parse_ex(tok, text, (int)len + 1);
    if (json_tokener_get_error(tok) != json_tokener_success)
        r = poison(e, path, "cannot be parsed",
                   json_tokener_error_desc(json_tokener_get_error(tok)));
    else
        r = load_spec(c, path, spec, dir, e);
    json_object_put(spec);
    json_tokener_free(tok);
    return r;
}

static bool
is_json(const char *name)
{
    size_t n = strlen(name);

    return n >= 5 && strcmp(name + n - 5, ".json") == 0;
}

static int
load_dir(struct kata_cdi *c, const char *path, size_t dir, struct err *e)
{
    struct err missing = ERR_INIT;
    struct fs_root root;
    char **names;
    int n, r = 0;

    if (fs_root_open(&root, path, &missing) < 0) {
        if (missing.num == ENOENT)
            return 0;
        *e = missing;
        return -e->num;
    }
    n = fs_list(&root, "/", FILES_MAX, &names, e);
    fs_root_close(&root);
    if (n < 0)
        return n;
    for (int i = 0; i < n && r == 0; i++) {
        char file[4096 + 256];

        (void)snprintf(file, sizeof(file), "%s/%s", path, names[i]);
        if (is_json(names[i]))
            r = load_file(c, file, dir, e);
    }
    fs_names_free(names);
    return r;
}

int
kata_cdi_load(const char *const *dirs, size_t n, struct kata_cdi *ret, struct err *e)
{
    struct kata_cdi c = {0};

    for (size_t i = 0; i < n; i++)
        if (load_dir(&c, dirs[i], i, e) < 0) {
            kata_cdi_free(&c);
            return -e->num;
        }
    *ret = c;
    return 0;
}

void
kata_cdi_free(struct kata_cdi *c)
{
    for (size_t i = 0; i < c->n; i++) {
        free(c->v[i].device);
        free(c->v[i].path);
    }
    free(c->v);
    *c = (struct kata_cdi){0};
}

const struct kata_cdi_node *
kata_cdi_find(const struct kata_cdi *c, const char *device)
{
    const struct kata_cdi_node *best = NULL;

    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->v[i].device, device) == 0 && (!best || c->v[i].dir > best->dir))
            best = &c->v[i];
    return best;
}
