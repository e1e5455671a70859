/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl support-dump: one archive with what somebody who helps needs to know, without the names
 * of the tenants.
 *
 *   1. collect all files (support_collect.c)
 *   2. learn the names in them, then take the names out of every one
 *   3. write the manifest, pack, write the archive
 */
#include "cli/support.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/node_conf.h"
#include "cli/redact.h"
#include "cli/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ARCHIVE_MAX (256u << 20)

static void
add_str(json_object *o, const char *key, const char *v)
{
    (void)json_object_object_add(o, key, json_object_new_string(v));
}

static json_object *
manifest(const struct support *s, const struct redact *r, bool names)
{
    static const char *const left_out[] = {
        "annotations and initdata of pods, and texts of refusals, which may quote them",
        "logs of pods and of the VMs", "register contents and keys of the GPUs",
        "CDI files that are not of pgpu"};
    json_object *o = json_object_new_object(), *files = json_object_new_array();
    json_object *out = json_object_new_array();

    (void)json_object_object_add(o, "format", json_object_new_int(1));
    add_str(o, "pgpuctl", pgpuctl_usage.version);
    (void)json_object_object_add(o, "names_redacted", json_object_new_boolean(!names));
    (void)json_object_object_add(o, "names", json_object_new_uint64(redact_count(r)));
    add_str(o, "how",
            names ? "names of pods, namespaces and containers are as they are"
                  : "pod-, ns-, ctr- and node- with ten digits stand for names: the same for the "
                    "same name within this archive, and another in the next one");
    for (size_t i = 0; i < ARRAY_SIZE(left_out); i++)
        (void)json_object_array_add(out, json_object_new_string(left_out[i]));
    (void)json_object_object_add(o, "left_out", out);
    for (size_t i = 0; i < s->n; i++) {
        json_object *f = json_object_new_object();

        add_str(f, "name", s->file[i]->name);
        add_str(f, "what", s->file[i]->what);
        (void)json_object_object_add(f, "bytes", json_object_new_uint64(s->file[i]->text.len));
        if (s->file[i]->why[0])
            add_str(f, "missing", s->file[i]->why);
        (void)json_object_array_add(files, f);
    }
    (void)json_object_object_add(o, "files", files);
    return o;
}

static void
redact_all(struct support *s, struct redact *r)
{
    for (size_t i = 0; i < s->n; i++)
        redact_learn(r, (const char *)buf_peek(&s->file[i]->text), buf_left(&s->file[i]->text));
    for (size_t i = 0; i < s->n; i++) {
        struct support_file *f = s->file[i];
        struct buf clean;

        buf_init(&clean, SUPPORT_FILE_MAX);
        redact_apply(r, (const char *)buf_peek(&f->text), buf_left(&f->text), &clean);
        if (buf_failed(&clean) && !f->why[0])
            (void)snprintf(f->why, sizeof(f->why), "cut: it is too large");
        buf_fini(&f->text);
        f->text = clean;
        buf_init(&clean, sizeof(f->why) - 1);
        redact_apply(r, f->why, strlen(f->why), &clean);
        if (buf_left(&clean) > 0)
            (void)snprintf(f->why, sizeof(f->why), "%.*s",
                           (int)strcspn(buf_cstr(&clean) ? (const char *)clean.data : "", "\n"),
                           (const char *)clean.data);
        buf_fini(&clean);
    }
}

static int
pack(const struct support *s, const struct redact *r, bool names, const char *top, struct buf *out,
     struct err *e)
{
    json_object *o = manifest(s, r, names);
    const char *text =
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
    char name[100];
    struct buf tar;
    int rc;

    buf_init(&tar, ARCHIVE_MAX);
    (void)snprintf(name, sizeof(name), "%.40s/MANIFEST.json", top);
    rc = tar_add(&tar, name, text, strlen(text), e);
    (void)json_object_put(o);
    for (size_t i = 0; i < s->n && rc >= 0; i++) {
        if (s->file[i]->text.len == 0)
            continue;
        if (snprintf(name, sizeof(name), "%.40s/%s", top, s->file[i]->name) < (int)sizeof(name))
            rc = tar_add(&tar, name, s->file[i]->text.data, s->file[i]->text.len, e);
    }
    if (rc >= 0)
        rc = tar_finish(&tar, out, e);
    buf_fini(&tar);
    return rc;
}

static int
write_archive(const char *path, const struct buf *b, struct err *e)
{
    _cleanup_fd_ int fd = -1;
    int r;

    if (strcmp(path, "-") == 0)
        return fs_write_all(STDOUT_FILENO, buf_peek(b), buf_left(b), e);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "make %s", path);
    r = fs_write_all(fd, buf_peek(b), buf_left(b), e);
    if (r < 0) {
        (void)unlink(path);
        return err_prefix(e, "write %s", path);
    }
    return 0;
}

static int
dump(struct support *s, bool names, const char *path, struct err *e)
{
    FILE *said = strcmp(path, "-") == 0 ? stderr : stdout;
    struct redact *r = NULL;
    struct buf out;
    int rc = redact_new(names, &r, e);

    buf_init(&out, ARCHIVE_MAX);
    if (rc >= 0) {
        support_collect(s);
        redact_all(s, r);
        rc = pack(s, r, names, "pgpu-support", &out, e);
    }
    if (rc >= 0)
        rc = write_archive(path, &out, e);
    if (rc >= 0 && s->c->json && said == stdout)
        (void)printf("{\"file\":\"%s\",\"bytes\":%zu,\"files\":%zu}\n", path, buf_left(&out), s->n);
    else if (rc >= 0)
        (void)fprintf(said, "%s: %zu bytes; %s\n", path, buf_left(&out),
                      names ? "with the names of pods and namespaces"
                            : "names of pods and namespaces are replaced; MANIFEST.json says what "
                              "is in it");
    buf_fini(&out);
    redact_free(r);
    return rc;
}

static int
run(const void *ctx, int argc, char **argv)
{
    struct support s = {.c = ctx};
    struct usage_args a;
    struct err e = ERR_INIT;
    struct tm tm;
    time_t now = time(NULL);
    char usual[64] = "";
    int rc = usage_parse(&verb_support_dump, argc, argv, &a);

    if (rc >= 0)
        return rc;
    s.config = usage_value(&a, "--config", NULL);
    if (node_conf_load(s.config, &s.conf) < 0)
        return 1;
    if (strcmp(usage_value(&a, "--output", usual), "-") == 0 && isatty(STDOUT_FILENO)) {
        config_free(&s.conf);
        return usage_wrong(&a, "the archive is not for a terminal");
    }
    (void)gmtime_r(&now, &tm);
    (void)strftime(usual, sizeof(usual), "pgpu-support-%Y%m%dT%H%M%SZ.tar.gz", &tm);
    rc = dump(&s, usage_flag(&a, "--with-names"), usage_value(&a, "--output", usual), &e);
    for (size_t i = 0; i < s.n; i++) {
        buf_fini(&s.file[i]->text);
        free(s.file[i]);
    }
    config_free(&s.conf);
    if (rc < 0)
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
    return rc < 0 ? 1 : 0;
}

const struct usage verb_support_dump = {
    .name = "support-dump",
    .args = "",
    .summary = "one archive for whoever helps, without the names of tenants",
    .text =
        "Status, events, the newest audit records and whether the log is intact, configuration, "
        "journal, devices, CDI directory, preflight checks, kernel command line, versions, and the "
        "attributes of NVIDIA's PCI functions. What cannot be had is named in MANIFEST.json; "
        "pgpud does not have to run.\n\n"
        "Names of pods, namespaces, containers and the node are replaced by salted hashes, the "
        "same one everywhere in the archive. Annotations, initdata and texts of refusals, which "
        "may quote them, are left out in any case. Look into it before you send it.\n\n"
        "In pgpud's container the root is read-only: --output /run/pgpu/FILE, or -. What looks at "
        "the bus is to be had on the host.\n\n"
        "Exit status: 0 written, 1 not, 2 wrong usage.",
    .opts =
        (const struct usage_opt[]){
            {"--output", "FILE",
             "where to; it must not exist (default pgpu-support-TIME.tar.gz here); -: standard "
             "output",
             "file", 'o'},
            {"--with-names", NULL, "leave the names as they are", NULL, 0},
            NODE_CONF_OPT,
            {NULL, NULL, NULL, NULL, 0}},
    .run = run,
};
