/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: CDI as the runtimes use it. Files that cannot be read are passed over (the
 * library's cache keeps their errors to itself); a device that one directory has twice resolves to
 * nothing; a later directory goes before an earlier one. (container-device-interface
 * pkg/cdi/cache.go)
 */
#include "sim/runtime_priv.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define FILE_BYTES ((size_t)4 << 20)
#define FILES_MAX 1024

struct found {
    struct json_object *spec; /* owned; has the device */
    struct json_object *device;
    size_t dir;
    bool twice;
};

static const char *
text_of(struct json_object *o, const char *key)
{
    struct json_object *v = json_object_object_get(o, key);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

static size_t
list_of(struct json_object *o, const char *key, struct json_object **ret)
{
    *ret = json_object_object_get(o, key);
    return json_object_is_type(*ret, json_type_array) ? json_object_array_length(*ret) : 0;
}

static void
look_in_spec(struct json_object *spec, const char *kind, const char *name, size_t dir,
             struct found *f)
{
    struct json_object *list;
    size_t n;

    if (!json_object_is_type(spec, json_type_object) || strcmp(text_of(spec, "kind"), kind) != 0)
        return;
    n = list_of(spec, "devices", &list);
    for (size_t i = 0; i < n; i++) {
        struct json_object *d = json_object_array_get_idx(list, i);

        if (strcmp(text_of(d, "name"), name) != 0)
            continue;
        f->twice = f->spec && f->dir == dir;
        json_object_put(f->spec);
        f->spec = json_object_get(spec);
        f->device = d;
        f->dir = dir;
    }
}

static void
look_in_file(const char *path, const char *kind, const char *name, size_t dir, struct found *f)
{
    _cleanup_free_ char *text = NULL;
    struct err ignored = ERR_INIT;
    struct json_object *spec;
    size_t len;

    if (fs_read_file(AT_FDCWD, path, FILE_BYTES, &text, &len, &ignored) < 0)
        return;
    spec = json_tokener_parse(text);
    look_in_spec(spec, kind, name, dir, f);
    json_object_put(spec);
}

static void
look_in_dir(const char *path, const char *kind, const char *name, size_t dir, struct found *f)
{
    struct err ignored = ERR_INIT;
    struct fs_root root;
    char **names;
    int n;

    if (fs_root_open(&root, path, &ignored) < 0)
        return;
    n = fs_list(&root, "/", FILES_MAX, &names, &ignored);
    fs_root_close(&root);
    for (int i = 0; i < n; i++) {
        size_t len = strlen(names[i]);
        char file[4096 + 256];

        if (len < 5 || strcmp(names[i] + len - 5, ".json") != 0)
            continue;
        (void)snprintf(file, sizeof(file), "%s/%s", path, names[i]);
        look_in_file(file, kind, name, dir, f);
    }
    if (n >= 0)
        fs_names_free(names);
}

/* ---- edits ---- */

static int
add_node(const struct sim_runtime *rt, struct json_object *node, struct rt_edits *into,
         struct err *e)
{
    const char *path = text_of(node, "path"), *host = text_of(node, "hostPath");
    struct rt_item *d = rt_edits_set(into, RT_DEVICES, path, "", "");

    if (!d)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "CDI device: out of memory");
    return rt_device_numbers(rt, *host ? host : path, d, e);
}

static void
add_env(const char *text, struct rt_edits *into)
{
    _cleanup_free_ char *key = strdup(text);
    char *eq = key ? strchr(key, '=') : NULL;

    if (!eq)
        return;
    *eq = '\0';
    (void)rt_edits_set(into, RT_ENV, key, eq + 1, "");
}

static int
add_edits(const struct sim_runtime *rt, struct json_object *edits, struct rt_edits *into,
          struct err *e)
{
    struct json_object *list;
    size_t n = list_of(edits, "deviceNodes", &list);

    for (size_t i = 0; i < n; i++)
        if (add_node(rt, json_object_array_get_idx(list, i), into, e) < 0)
            return -e->num;
    n = list_of(edits, "env", &list);
    for (size_t i = 0; i < n; i++)
        add_env(json_object_get_string(json_object_array_get_idx(list, i)), into);
    n = list_of(edits, "mounts", &list);
    for (size_t i = 0; i < n; i++) {
        struct json_object *m = json_object_array_get_idx(list, i);

        (void)rt_edits_set(into, RT_MOUNTS, text_of(m, "containerPath"), text_of(m, "hostPath"),
                           "");
    }
    n = list_of(edits, "hooks", &list);
    for (size_t i = 0; i < n; i++)
        (void)rt_edits_set(into, RT_HOOKS, text_of(json_object_array_get_idx(list, i), "path"), "",
                           "");
    return 0;
}

int
rt_cdi_inject(const struct sim_runtime *rt, const char *name, struct rt_edits *into, struct err *e)
{
    _cleanup_free_ char *kind = strdup(name);
    char *eq = kind ? strchr(kind, '=') : NULL;
    struct found f = {0};
    int r;

    if (eq) {
        *eq = '\0';
        for (size_t i = 0; i < rt->opt.n_cdi; i++)
            look_in_dir(rt->opt.cdi[i], kind, eq + 1, i, &f);
    }
    if (!f.spec || f.twice) {
        json_object_put(f.spec);
        return err_set(e, ENOENT, ERR_CLASS_INVALID,
                       "CDI device injection failed: unresolvable CDI devices %s", name);
    }
    r = add_edits(rt, json_object_object_get(f.spec, "containerEdits"), into, e);
    if (r == 0)
        r = add_edits(rt, json_object_object_get(f.device, "containerEdits"), into, e);
    json_object_put(f.spec);
    if (r == 0 && !rt_edits_set(into, RT_CDI, name, "", ""))
        r = err_set(e, ENOMEM, ERR_CLASS_FATAL, "CDI device: out of memory");
    return r;
}

/* ---- device numbers ---- */

/* The node's directory in sysfs: the simulated node's nodes are files without numbers. */
static bool
numbers_by_sysfs(const struct fs_root *root, const char *path, struct rt_item *dev)
{
    static const struct {
        const char *prefix, *sysfs;
    } where[] = {{"/dev/vfio/devices/", "/sys/class/vfio-dev"}, {"/dev/vfio/", "/sys/class/vfio"}};

    for (size_t i = 0; i < ARRAY_SIZE(where); i++) {
        size_t n = strlen(where[i].prefix);
        struct err ignored = ERR_INIT;
        char attr[320], text[64];
        unsigned major, minor;

        if (strncmp(path, where[i].prefix, n) != 0 || strchr(path + n, '/'))
            continue;
        (void)snprintf(attr, sizeof(attr), "%s/%.200s/dev", where[i].sysfs, path + n);
        if (fs_read_attr(root, attr, text, sizeof(text), &ignored) < 0 ||
            sscanf(text, "%u:%u", &major, &minor) != 2) /* NOLINT(cert-err34-c): our own sysfs */
            return false;
        dev->type = 'c';
        dev->major = major;
        dev->minor = minor;
        return true;
    }
    return false;
}

static int
numbers_by_stat(const struct fs_root *root, const char *path, struct rt_item *dev, struct err *e)
{
    _cleanup_fd_ int fd = fs_open(root, path, O_PATH, 0, e);
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return err_errno(e, errno, ERR_CLASS_INVALID, "stat %s", path);
    dev->type = S_ISBLK(st.st_mode) ? 'b' : 'c';
    dev->major = major(st.st_rdev);
    dev->minor = minor(st.st_rdev);
    return 0;
}

int
rt_device_numbers(const struct sim_runtime *rt, const char *host_path, struct rt_item *dev,
                  struct err *e)
{
    struct fs_root root;
    int r = 0;

    dev->type = 'c';
    if (!rt->opt.root)
        return 0;
    if (fs_root_open(&root, rt->opt.root, e) < 0)
        return -e->num;
    if (!numbers_by_sysfs(&root, host_path, dev))
        r = numbers_by_stat(&root, host_path, dev, e);
    fs_root_close(&root);
    return r;
}
