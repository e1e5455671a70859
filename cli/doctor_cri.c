/* SPDX-License-Identifier: Apache-2.0
 *
 * containerd's and CRI-O's configuration. Owner of the parsed files.
 *
 * Keys after containerd pkg/nri/config.go and internal/cri/config/config.go (1.7 and 2.x) and
 * CRI-O's crio.conf(5); the defaults of NRI after the same files: containerd 1.7 off, 2.0 on,
 * CRI-O off before 1.30.
 */
#include "cli/doctor_cri.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NRI_PLUGIN "io.containerd.nri.v1.nri"
#define CRI_V2 "io.containerd.grpc.v1.cri"
#define CRI_V3 "io.containerd.cri.v1.runtime"
#define NRI_SOCKET "/var/run/nri/nri.sock"

const char *
doctor_cri_name(const struct doctor_cri *c)
{
    return c->kind == KATA_CRI_CRIO ? "CRI-O" : "containerd";
}

/* ---- files ---- */

static const struct toml_limits toml_bounds = {.bytes = CRI_FILE_MAX};

static void
unread(struct doctor_cri *c, const char *path, int r)
{
    c->unread = true;
    (void)snprintf(c->why, sizeof(c->why), "%.150s: %s", path, strerror(-r));
}

/* Parses one more file; false where there is none. What is no TOML makes the whole broken, as it
 * does for the runtime. */
static bool
add_file(const struct doctor *d, struct doctor_cri *c, const char *path)
{
    _cleanup_free_ char *text = NULL;
    struct err e = ERR_INIT;
    int r;

    if (c->n_docs == CRI_FILES_MAX)
        return false;
    r = doctor_read(&d->host, path, CRI_FILE_MAX, &text);
    if (r == -ENOENT)
        return false;
    if (r == -EACCES || r == -EPERM) {
        unread(c, path, r);
        return true;
    }
    if (r >= 0)
        r = toml_parse(path, text, strlen(text), &toml_bounds, &c->doc[c->n_docs], &e);
    else
        (void)err_errno(&e, -r, ERR_CLASS_INVALID, "%s", path);
    if (r < 0) {
        c->broken = true;
        (void)str_copy(c->why, sizeof(c->why), e.msg);
        return true;
    }
    c->n_docs++;
    return true;
}

static void
add_dir(const struct doctor *d, struct doctor_cri *c, const char *dir, const char *pattern)
{
    struct err e = ERR_INIT;
    char **names = NULL;
    char path[512];
    int n = fs_list(&d->host, dir, 4096, &names, &e);

    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        if (fnmatch(pattern, names[i], FNM_PERIOD) == 0)
            (void)add_file(d, c, path);
    }
    if (n >= 0)
        fs_names_free(names);
    else if (n == -EACCES || n == -EPERM)
        unread(c, dir, n);
}

/* `imports`: absolute globs, where a "*" stands in the last part only; relative ones below the main
 * file's directory. */
static void
add_imports(const struct doctor *d, struct doctor_cri *c)
{
    const struct toml_value *list = toml_get(toml_root(c->doc[0]), "imports");

    for (size_t i = 0; i < toml_count(list); i++) {
        const char *s = toml_string(toml_item(list, i));
        char path[512], *slash;

        if (!s)
            continue;
        if (s[0] == '/')
            (void)snprintf(path, sizeof(path), "%s", s);
        else
            (void)snprintf(path, sizeof(path), "%.*s/%s", (int)(strrchr(c->file, '/') - c->file),
                           c->file, s);
        slash = strrchr(path, '/');
        *slash = '\0';
        add_dir(d, c, path[0] ? path : "/", slash + 1);
    }
}

/* The last file that has a section of `plugins`; n_docs: none. */
static size_t
last_with(const struct doctor_cri *c, const char *const path[])
{
    for (size_t i = c->n_docs; i-- > 0;)
        if (toml_path(toml_root(c->doc[i]), path, 2))
            return i;
    return c->n_docs;
}

/* The value at a path of keys that counts. */
static const struct toml_value *
find(const struct doctor_cri *c, const char *const path[], size_t n)
{
    bool whole = c->whole_sections && n > 2 && strcmp(path[0], "plugins") == 0;
    size_t only = whole ? last_with(c, path) : 0;

    for (size_t i = c->n_docs; i-- > 0;) {
        const struct toml_value *v = toml_path(toml_root(c->doc[i]), path, n);

        if (v && (!whole || i == only))
            return v;
    }
    return NULL;
}

#define FIND(c, ...)                                                                               \
    find(c, (const char *const[]){__VA_ARGS__},                                                    \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

/* Go's durations as far as these keys use them: "2s", "500ms", "1m30s"; CRI-O takes nanoseconds as
 * a number too. */
static bool
parse_ms(const struct toml_value *v, unsigned *ret)
{
    const char *s = toml_string(v);
    double total = 0;
    int64_t ns;
    char *end;

    if (toml_int(v, &ns)) {
        *ret = ns > 0 ? (unsigned)(ns / 1000000) : 0;
        return true;
    }
    while (s && *s) {
        double n = strtod(s, &end);

        if (end == s || n < 0 || n > 1e6)
            return false;
        if (strncmp(end, "ms", 2) == 0)
            total += n, s = end + 2;
        else if (*end == 's')
            total += n * 1e3, s = end + 1;
        else if (*end == 'm')
            total += n * 6e4, s = end + 1;
        else if (*end == 'h')
            total += n * 3.6e6, s = end + 1;
        else
            return false;
    }
    if (!s || total > 1e9)
        return false;
    *ret = (unsigned)total;
    return true;
}

static void
take_text(char *buf, size_t size, const struct toml_value *v)
{
    const char *s = toml_string(v);

    if (s)
        (void)str_copy(buf, size, s);
}

/* ---- handlers ---- */

static struct cri_handler *
handler(struct doctor_cri *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->v[i].name, name) == 0)
            return &c->v[i];
    if (c->n == CRI_HANDLERS_MAX || strlen(name) >= sizeof(c->v->name))
        return NULL;
    (void)str_copy(c->v[c->n].name, sizeof(c->v->name), name);
    return &c->v[c->n++];
}

/* Does one of the patterns let Kata's keys through? containerd matches with path.Match. */
static bool
lets_kata_through(const struct toml_value *list)
{
    for (size_t i = 0; i < toml_count(list); i++) {
        const char *s = toml_string(toml_item(list, i));

        if (s && fnmatch(s, "io.katacontainers.config.hypervisor.cc_init_data", 0) == 0)
            return true;
    }
    return false;
}

static void
read_containerd_handler(struct doctor_cri *c, const char *name, const struct toml_value *t)
{
    struct cri_handler *h = handler(c, name);
    const char *type = toml_string(toml_get(t, "runtime_type"));
    const struct toml_value *pass = toml_get(t, "pod_annotations");

    if (!h)
        return;
    if (type)
        h->kata = strstr(type, "kata") != NULL;
    if (pass) {
        h->passes_known = true;
        h->passes = lets_kata_through(pass);
    } else if (!h->passes_known) {
        h->passes_known = true;
        h->passes = false;
    }
    take_text(h->config, sizeof(h->config), toml_get(toml_get(t, "options"), "ConfigPath"));
    take_text(h->snapshotter, sizeof(h->snapshotter), toml_get(t, "snapshotter"));
}

static void
read_crio_handler(struct doctor_cri *c, const char *name, const struct toml_value *t)
{
    struct cri_handler *h = handler(c, name);
    const char *type = toml_string(toml_get(t, "runtime_type"));

    if (!h)
        return;
    /* nothing of an earlier file's table stays */
    memset(h->config, 0, sizeof(h->config));
    h->kata = type && strcmp(type, "vm") == 0;
    h->passes_known = h->passes = true;
    take_text(h->config, sizeof(h->config), toml_get(t, "runtime_config_path"));
}

static void
read_handlers(struct doctor_cri *c, const struct toml_value *table,
              void (*read)(struct doctor_cri *, const char *, const struct toml_value *))
{
    for (size_t i = 0; i < toml_count(table); i++) {
        const char *name = toml_key(table, i);

        if (name)
            read(c, name, toml_item(table, i));
    }
}

/* ---- what is in force ---- */

static void
set_nri(struct doctor_cri *c, enum cri_switch on, const char *from)
{
    c->nri = on;
    (void)str_copy(c->nri_from, sizeof(c->nri_from), from);
}

/* Without a word about it the release decides. */
static void
default_nri(struct doctor_cri *c, unsigned since_major, unsigned since_minor)
{
    char text[96];

    if (c->major == 0)
        return;
    (void)snprintf(text, sizeof(text), "the default of %s %u.%u", doctor_cri_name(c), c->major,
                   c->minor);
    set_nri(c,
            c->major > since_major || (c->major == since_major && c->minor >= since_minor)
                ? CRI_ON
                : CRI_OFF,
            text);
}

/* Lists of all files are put together. */
static bool
nri_disabled(const struct doctor_cri *c)
{
    for (size_t i = 0; i < c->n_docs; i++) {
        const struct toml_value *v = toml_get(toml_root(c->doc[i]), "disabled_plugins");

        for (size_t k = 0; k < toml_count(v); k++) {
            const char *s = toml_string(toml_item(v, k));

            if (s && strcmp(s, NRI_PLUGIN) == 0)
                return true;
        }
    }
    return false;
}

static void
read_containerd_handlers(struct doctor_cri *c)
{
    static const char *const ids[] = {CRI_V2, CRI_V3};

    for (size_t i = 0; i < c->n_docs; i++)
        for (size_t k = 0; k < ARRAY_SIZE(ids); k++) {
            const char *const path[] = {"plugins", ids[k], "containerd", "runtimes"};

            if (!c->whole_sections || i == last_with(c, path))
                read_handlers(c, toml_path(toml_root(c->doc[i]), path, 4), read_containerd_handler);
        }
}

static void
read_containerd(struct doctor_cri *c)
{
    int64_t version = 0;
    bool b;

    if (c->n_docs && toml_int(toml_get(toml_root(c->doc[0]), "version"), &version) &&
        version >= 3 && c->major == 0) {
        c->major = 2;
        c->minor = 0;
        (void)str_copy(c->version_from, sizeof(c->version_from), "its configuration's version 3");
    }
    c->whole_sections = c->major == 1 || (c->major == 0 && version < 3);
    default_nri(c, 2, 0);
    if (toml_bool(FIND(c, "plugins", NRI_PLUGIN, "disable"), &b))
        set_nri(c, b ? CRI_OFF : CRI_ON, b ? "disable = true" : "disable = false");
    if (nri_disabled(c))
        set_nri(c, CRI_OFF, "disabled_plugins");
    take_text(c->nri_socket, sizeof(c->nri_socket), FIND(c, "plugins", NRI_PLUGIN, "socket_path"));
    (void)toml_bool(FIND(c, "plugins", NRI_PLUGIN, "disable_connections"), &c->nri_closed);
    (void)parse_ms(FIND(c, "plugins", NRI_PLUGIN, "plugin_request_timeout"), &c->request_ms);
    (void)parse_ms(FIND(c, "plugins", NRI_PLUGIN, "plugin_registration_timeout"), &c->register_ms);
    c->validator_required =
        toml_count(FIND(c, "plugins", NRI_PLUGIN, "default_validator", "required_plugins")) > 0;
    if (c->major)
        c->cdi = c->major >= 2 ? CRI_ON : CRI_OFF;
    if (toml_bool(FIND(c, "plugins", CRI_V2, "enable_cdi"), &b) ||
        toml_bool(FIND(c, "plugins", CRI_V3, "enable_cdi"), &b))
        c->cdi = b ? CRI_ON : CRI_OFF;
    read_containerd_handlers(c);
}

static void
read_crio(struct doctor_cri *c)
{
    static const char *const runtimes[] = {"crio", "runtime", "runtimes"};
    bool b;

    default_nri(c, 1, 30);
    if (toml_bool(FIND(c, "crio", "nri", "enable_nri"), &b))
        set_nri(c, b ? CRI_ON : CRI_OFF, b ? "enable_nri = true" : "enable_nri = false");
    take_text(c->nri_socket, sizeof(c->nri_socket), FIND(c, "crio", "nri", "nri_listen"));
    (void)toml_bool(FIND(c, "crio", "nri", "nri_disable_connections"), &c->nri_closed);
    (void)parse_ms(FIND(c, "crio", "nri", "nri_plugin_request_timeout"), &c->request_ms);
    (void)parse_ms(FIND(c, "crio", "nri", "nri_plugin_registration_timeout"), &c->register_ms);
    c->validator_required = toml_count(FIND(c, "crio", "nri", "default_validator",
                                            "nri_validator_required_plugins")) > 0;
    c->cdi = CRI_ON;
    for (size_t i = 0; i < c->n_docs; i++)
        read_handlers(c, toml_path(toml_root(c->doc[i]), runtimes, 3), read_crio_handler);
}

/* ---- which runtime is there ---- */

static void
by_package(const struct doctor *d, struct doctor_cri *c, const char *const *packages)
{
    char v[64];

    for (; *packages; packages++)
        if (doctor_dpkg(d, *packages, v, sizeof(v))) {
            c->present = true;
            if (doctor_version(v, &c->major, &c->minor))
                (void)snprintf(c->version_from, sizeof(c->version_from), "package %s %.40s",
                               *packages, v);
            return;
        }
}

static void
first_file(const struct doctor *d, struct doctor_cri *c, const char *const *paths)
{
    for (; *paths; paths++)
        if (add_file(d, c, *paths)) {
            (void)str_copy(c->file, sizeof(c->file), *paths);
            c->present = true;
            return;
        }
}

static void
read_one(struct doctor *d, struct doctor_cri *c, const char *program, const char *option,
         const char *const *packages, const char *const *paths)
{
    const struct doctor_proc *p = doctor_proc_find(&d->procs, program);
    char named[256];

    c->request_ms = 2000;
    c->register_ms = 5000;
    (void)str_copy(c->nri_socket, sizeof(c->nri_socket), NRI_SOCKET);
    c->running = p != NULL;
    c->present = p != NULL;
    by_package(d, c, packages);
    if (p && (doctor_proc_option(p, option, named, sizeof(named)) ||
              doctor_proc_option(p, "-c", named, sizeof(named)))) {
        const char *const one[] = {doctor_path(d, named), NULL};

        first_file(d, c, one);
        if (!c->file[0]) {
            (void)str_copy(c->file, sizeof(c->file), named);
            c->broken = true;
            (void)snprintf(c->why, sizeof(c->why), "named by %s of %s[%d], and does not exist",
                           option, p->comm, p->pid);
        }
    } else {
        first_file(d, c, paths);
    }
}

void
doctor_cri_read(struct doctor *d)
{
    static const char *const containerd_packages[] = {"containerd.io", "containerd", NULL};
    static const char *const crio_packages[] = {"cri-o", NULL};
    static const char *const containerd_files[] = {
        "/etc/containerd/config.toml", "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
        "/var/lib/rancher/k3s/agent/etc/containerd/config.toml", NULL};
    static const char *const crio_files[] = {"/etc/crio/crio.conf", NULL};
    struct doctor_cri *ctrd = &d->cri[0], *crio = &d->cri[1];
    unsigned major, minor;

    ctrd->kind = KATA_CRI_CONTAINERD;
    read_one(d, ctrd, "containerd", "--config", containerd_packages, containerd_files);
    if (ctrd->n_docs > 0)
        add_imports(d, ctrd);
    read_containerd(ctrd);

    crio->kind = KATA_CRI_CRIO;
    read_one(d, crio, "crio", "--config", crio_packages, crio_files);
    add_dir(d, crio, "/etc/crio/crio.conf.d", "*.conf");
    crio->present = crio->present || crio->n_docs > 0;
    /* OpenShift 4.N ships CRI-O 1.(N+13). */
    if (crio->present && crio->major == 0 && doctor_openshift(d, &major, &minor) && major == 4) {
        crio->major = 1;
        crio->minor = minor + 13;
        (void)str_copy(crio->version_from, sizeof(crio->version_from), "OpenShift's release");
    }
    read_crio(crio);
}

void
doctor_cri_free(struct doctor_cri *c)
{
    for (size_t i = 0; i < c->n_docs; i++)
        toml_free(c->doc[i]);
    c->n_docs = 0;
}
