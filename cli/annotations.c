/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl annotations lint: what a Kata handler will do with the annotations of pods. Reads files
 * alone; needs no daemon and changes nothing. One thread.
 */
#include "cli/annotations.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST_MAX ((size_t)4 << 20)
#define CONFIG_MAX ((size_t)1 << 20)
#define DROP_INS_MAX 64
#define CONFIGS_MAX 16
#define BY_HAND_MAX 64

struct opts {
    const char *handler;
    struct kata_handler_opts known;
    const char *configs[CONFIGS_MAX];
    size_t n_configs;
    char *by_hand[BY_HAND_MAX]; /* owned: KEY, NUL, VALUE */
    size_t n_by_hand;
    bool strict;
};

/* ---- input ---- */

static int
read_stdin(struct buf *b, struct err *e)
{
    char chunk[16384];
    ssize_t n;

    while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, errno, ERR_CLASS_INVALID, "standard input");
        if (!buf_put(b, chunk, (size_t)n))
            return err_set(e, EFBIG, ERR_CLASS_INVALID, "standard input: more than %zu bytes",
                           b->max);
    }
    return 0;
}

static int
add_manifest(struct anno_pods *pods, const char *path, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    struct buf b;
    int rc;

    if (strcmp(path, "-") == 0) {
        buf_init(&b, MANIFEST_MAX);
        rc = read_stdin(&b, e);
        if (rc == 0)
            rc = anno_pods_add(pods, "standard input", b.len ? (const char *)b.data : "", b.len, e);
        buf_fini(&b);
        return rc;
    }
    rc = fs_read_file(AT_FDCWD, path, MANIFEST_MAX, &text, &len, e);
    return rc < 0 ? rc : anno_pods_add(pods, path, text, len, e);
}

static int
add_config_file(struct kata_handler *h, int dirfd, const char *name, const char *shown,
                struct err *e)
{
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    int rc = fs_read_file(dirfd, name, CONFIG_MAX, &text, &len, e);

    return rc < 0 ? rc : kata_handler_config(h, shown, text, len, e);
}

/* Every file of a directory in the order of their names, as both runtimes read config.d
 * (katautils decodeDropIns, kata-types config/drop_in.rs). */
static int
add_drop_ins(struct kata_handler *h, const char *dir, struct err *e)
{
    struct fs_root r;
    char **names = NULL;
    char shown[4096];
    int rc = fs_root_open(&r, dir, e);

    if (rc < 0)
        return rc;
    int n = fs_list(&r, ".", DROP_INS_MAX, &names, e);
    rc = n < 0 ? n : 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        struct stat st;

        if (fstatat(r.fd, names[i], &st, 0) == 0 && !S_ISREG(st.st_mode))
            continue;
        (void)snprintf(shown, sizeof(shown), "%s/%s", dir, names[i]);
        rc = add_config_file(h, r.fd, names[i], shown, e);
    }
    if (names)
        fs_names_free(names);
    fs_root_close(&r);
    return rc;
}

static int
add_config(struct kata_handler *h, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char beside[4096];
    struct stat st;

    if (stat(path, &st) < 0)
        return err_errno(e, errno, ERR_CLASS_INVALID, "%s", path);
    if (S_ISDIR(st.st_mode))
        return add_drop_ins(h, path, e);
    int rc = add_config_file(h, AT_FDCWD, path, path, e);
    int n =
        snprintf(beside, sizeof(beside), "%.*sconfig.d", slash ? (int)(slash - path + 1) : 0, path);
    if (rc == 0 && n > 0 && (size_t)n < sizeof(beside) && stat(beside, &st) == 0 &&
        S_ISDIR(st.st_mode))
        rc = add_drop_ins(h, beside, e);
    return rc;
}

/* ---- options ---- */

/* What JSON can hold: UTF-8 (RFC 3629). */
static bool
is_utf8(const char *s)
{
    while (*s) {
        unsigned char c = (unsigned char)*s++;
        unsigned left = c < 0x80   ? 0
                        : c < 0xc2 ? 9
                        : c < 0xe0 ? 1
                        : c < 0xf0 ? 2
                        : c < 0xf5 ? 3
                                   : 9;
        unsigned next = (unsigned char)*s;

        if (left == 9 || (c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f) ||
            (c == 0xf0 && next < 0x90) || (c == 0xf4 && next > 0x8f))
            return false;
        for (; left > 0; left--)
            if (((unsigned char)*s++ & 0xc0) != 0x80)
                return false;
    }
    return true;
}

static bool
set_by_hand(struct opts *o, const char *text)
{
    const char *eq = strchr(text, '=');
    char *copy;

    if (!eq || eq == text || o->n_by_hand == BY_HAND_MAX || !is_utf8(text))
        return false;
    copy = strdup(text);
    if (!copy)
        return false;
    copy[eq - text] = '\0';
    o->by_hand[o->n_by_hand++] = copy;
    return true;
}

static void
free_by_hand(struct opts *o)
{
    for (size_t i = 0; i < o->n_by_hand; i++)
        free(o->by_hand[i]);
}

static bool
set_version(struct opts *o, const char *text)
{
    struct kata_version *v = &o->known.version;
    int n = 0;

    text += *text == 'v';
    if (sscanf(text, "%3u.%3u%n", &v->major, &v->minor, &n) != 2 || v->major == 0)
        return false;
    return text[n] == '\0' || text[n] == '.' || text[n] == '-';
}

static bool
set_flavour(struct opts *o, const char *text)
{
    o->known.flavour = strcmp(text, "go") == 0 ? KATA_FLAVOUR_GO
                       : strcmp(text, "rs") == 0 || strcmp(text, "runtime-rs") == 0
                           ? KATA_FLAVOUR_RS
                           : KATA_FLAVOUR_UNKNOWN;
    return o->known.flavour != KATA_FLAVOUR_UNKNOWN;
}

static bool
set_cri(struct opts *o, const char *text)
{
    o->known.cri = strcmp(text, "containerd") == 0                           ? KATA_CRI_CONTAINERD
                   : strcmp(text, "crio") == 0 || strcmp(text, "cri-o") == 0 ? KATA_CRI_CRIO
                                                                             : KATA_CRI_UNKNOWN;
    return o->known.cri != KATA_CRI_UNKNOWN;
}

static bool
set_config(struct opts *o, const char *text)
{
    if (o->n_configs == CONFIGS_MAX)
        return false;
    o->configs[o->n_configs++] = text;
    return true;
}

/* -1: go on; else the exit status. */
static int
take_options(struct usage_args *a, struct opts *o)
{
    static const struct {
        const char *name;
        bool (*set)(struct opts *o, const char *text);
        const char *what;
    } rows[] = {
        {"--kata-config", set_config, "too many times"},
        {"--flavour", set_flavour, "go or rs"},
        {"--cri", set_cri, "containerd or crio"},
        {"--kata-version", set_version, "a release, 3.24"},
        {"--annotation", set_by_hand, "KEY=VALUE, at most 64 times"},
    };
    const char *v;

    for (size_t r = 0; r < ARRAY_SIZE(rows); r++)
        for (unsigned i = 0; (v = usage_nth(a, rows[r].name, i)) != NULL; i++)
            if (!rows[r].set(o, v))
                return usage_wrong(a, "%s %s: want %s", rows[r].name, v, rows[r].what);
    o->handler = usage_value(a, "--handler", NULL);
    o->strict = usage_flag(a, "--strict");
    if (a->n == 0 && o->n_by_hand == 0)
        return usage_wrong(a, "expected a manifest or --annotation");
    return -1;
}

/* ---- the work ---- */

/* The RuntimeClass that all pods ask for; kata-deploy names classes and handlers alike. */
static const char *
class_of(const struct anno_pods *pods)
{
    const char *name = NULL;

    for (size_t i = 0; i < pods->n; i++) {
        const char *c = pods->v[i].runtime_class;

        if (*c && name && strcmp(c, name) != 0)
            return NULL;
        if (*c)
            name = c;
    }
    return name;
}

static void
judge(const struct kata_handler *h, struct anno *a)
{
    kata_annotation_verdict(h, a->key, a->value, &a->v);
    if (a->stop == ANNO_REACHES)
        return;
    a->v.measured = "";
    a->v.changes_launch = false;
    if (a->stop == ANNO_MISPLACED) {
        a->v.outcome = KATA_IGNORED;
        (void)snprintf(a->v.reason, sizeof(a->v.reason),
                       "it stands on the workload, not on the template of its pods");
        (void)snprintf(a->v.cure, sizeof(a->v.cure), "move it to the template's metadata");
    } else {
        a->v.outcome = KATA_FAILS;
        (void)snprintf(a->v.reason, sizeof(a->v.reason),
                       "the API server refuses it: the value is no string");
        (void)snprintf(a->v.cure, sizeof(a->v.cure), "put the value into quotes");
    }
}

static struct anno_count
judge_all(const struct kata_handler *h, struct anno_pods *pods)
{
    struct anno_count count = {0};

    for (size_t i = 0; i < pods->n; i++) {
        for (size_t j = 0; j < pods->v[i].n; j++) {
            judge(h, &pods->v[i].v[j]);
            count.by[pods->v[i].v[j].v.outcome]++;
            count.n++;
        }
    }
    return count;
}

static int
read_pods(const struct opts *o, char **files, int n, struct anno_pods *pods, struct err *e)
{
    for (int i = 0; i < n; i++) {
        int rc = add_manifest(pods, files[i], e);

        if (rc < 0)
            return rc;
    }
    if (o->n_by_hand == 0)
        return 0;
    struct anno_pod *p = anno_pods_new(pods, o->n_by_hand, e);
    if (!p)
        return -e->num;
    p->kind = "command line";
    for (size_t i = 0; i < o->n_by_hand; i++)
        p->v[p->n++] = (struct anno){
            .key = o->by_hand[i],
            .value = o->by_hand[i] + strlen(o->by_hand[i]) + 1,
        };
    return 0;
}

static int
make_handler(const struct opts *o, const char *name, struct kata_handler **ret, struct err *e)
{
    int rc = kata_handler_new(name, &o->known, ret, e);

    for (size_t i = 0; rc == 0 && i < o->n_configs; i++)
        rc = add_config(*ret, o->configs[i], e);
    return rc;
}

static int
failed(const struct err *e, int status)
{
    (void)fprintf(stderr, "pgpuctl: %s\n", e->msg);
    return status;
}

static int
lint(const struct cli *c, const struct opts *o, char **files, int n)
{
    _cleanup_(kata_handler_freep) struct kata_handler *h = NULL;
    _cleanup_(anno_pods_fini) struct anno_pods pods = {0};
    struct err e = ERR_INIT;

    if (read_pods(o, files, n, &pods, &e) < 0)
        return failed(&e, 1);
    if (pods.n == 0) {
        (void)fputs("pgpuctl: no pod in these files\n", stderr);
        return 1;
    }
    const char *name = o->handler ? o->handler : class_of(&pods);
    if (!name) {
        (void)fputs("pgpuctl: the pods do not ask for one RuntimeClass: say --handler\n", stderr);
        return 2;
    }
    if (make_handler(o, name, &h, &e) < 0)
        return failed(&e, 1);
    struct anno_count count = judge_all(h, &pods);
    if (c->json)
        anno_print_json(kata_handler_facts(h), &pods, &count);
    else
        anno_print_people(kata_handler_facts(h), &pods, &count, c->tty);
    bool bad = count.by[KATA_FAILS] > 0 || count.by[KATA_UNSURE] > 0 ||
               (o->strict && count.by[KATA_IGNORED] > 0);
    return bad ? 1 : 0;
}

static int run_lint(const void *ctx, int argc, char **argv);

static const struct usage verbs[] = {
    {
        .name = "lint",
        .args = "[POD.yaml|-]...",
        .summary = "judge every annotation of the pods in Kubernetes manifests",
        .text =
            "What a Kata runtime handler will do with each annotation: apply it, ignore it, or "
            "fail the sandbox; and what that changes in the measured launch. Pods and workloads "
            "with a pod template are understood, several documents in a file too; \"-\" is "
            "standard input.\n\n"
            "Exit status: 0 all are fine, 1 some fail or cannot be judged (with --strict: or are "
            "ignored), 2 wrong usage.",
        .words = "file",
        .opts =
            (const struct usage_opt[]){
                {"--handler", "H", "runtime handler; default: the pods' runtimeClassName", NULL, 0},
                {"--kata-config", "PATH",
                 "the handler's configuration-*.toml (with the config.d beside it), or a directory "
                 "of drop-ins; may be given again, later ones win",
                 "file", 0},
                {"--flavour", "FLAVOUR",
                 "go or rs: Kata's Go shim or runtime-rs, where the name and the file do not tell",
                 "go rs", 0},
                {"--cri", "RUNTIME", "containerd or crio", "containerd crio", 0},
                {"--kata-version", "X.Y", "for what differs between releases", NULL, 0},
                {"--annotation", "K=V", "judge this one; may be given again", NULL, 0},
                {"--strict", NULL, "ignored annotations are errors too", NULL, 0},
                {NULL, NULL, NULL, NULL, 0},
            },
        .run = run_lint,
    },
    {.name = NULL},
};

const struct usage verb_annotations = {
    .name = "annotations",
    .summary = "what a Kata handler does with a pod's annotations",
    .verbs = verbs,
};

static int
run_lint(const void *ctx, int argc, char **argv)
{
    struct opts o = {0};
    struct usage_args a;
    int rc = usage_parse(&verbs[0], argc, argv, &a);

    if (rc < 0)
        rc = take_options(&a, &o);
    if (rc < 0)
        rc = lint(ctx, &o, a.v, a.n);
    free_by_hand(&o);
    return rc;
}
