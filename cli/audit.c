/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl audit verify: is the audit log as pgpud wrote it? Reads files only; `tail` is in
 * audit_tail.c.
 */
#include "cli/audit.h"

#include "base/chain.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/cli.h"
#include "cli/node_conf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SHOWN_MAX 1000 /* problems; all are counted */
#define TRIES 3        /* pgpud may be writing, or rotating, just now */

struct files {
    bool whole; /* all that there are */
    int n;
    char (*name)[CHAIN_PATH_MAX];
};

struct shown {
    bool json;
    size_t n;
    json_object *list;
};

int
audit_log_path(const char *config, const char *dir, char *log, size_t size, char *head,
               size_t head_size)
{
    struct config conf = {0};
    int r = 0;

    head[0] = '\0';
    if (dir)
        return snprintf(log, size, "%s/audit.log", dir) < (int)size ? 0 : -ENAMETOOLONG;
    if (node_conf_load(config, &conf) < 0)
        return -EINVAL;
    if (!conf.audit.file[0]) {
        (void)fputs("pgpuctl: pgpud keeps no audit log: audit.file is empty\n", stderr);
        r = -ENOENT;
    } else if (!str_copy(log, size, conf.audit.file) ||
               snprintf(head, head_size, "%s/audit.head", conf.state_dir) >= (int)head_size) {
        r = -ENAMETOOLONG;
    }
    config_free(&conf);
    return r;
}

/* ---- problems ---- */

static void
on_problem(void *ctx, const struct chain_problem *p)
{
    struct shown *s = ctx;
    json_object *o;

    if (s->n++ >= SHOWN_MAX)
        return;
    o = json_object_new_object();
    (void)json_object_object_add(o, "kind", json_object_new_string(chain_problem_name(p->kind)));
    (void)json_object_object_add(o, "file", json_object_new_string(p->file));
    (void)json_object_object_add(o, "line", json_object_new_uint64(p->line));
    (void)json_object_object_add(o, "seq", json_object_new_uint64(p->seq));
    (void)json_object_object_add(o, "text", json_object_new_string(p->text));
    (void)json_object_array_add(s->list, o);
}

static const char *
member(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

/* Texts may quote a hostile file. */
static void
print_clean(const char *text)
{
    for (const char *p = text; *p; p++)
        (void)putchar((unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p);
}

static void
print_problems(const struct shown *s)
{
    for (size_t i = 0; i < json_object_array_length(s->list); i++) {
        json_object *o = json_object_array_get_idx(s->list, i);

        print_clean(member(o, "file"));
        if (strcmp(member(o, "line"), "0") != 0)
            (void)printf(":%s", member(o, "line"));
        if (member(o, "file")[0])
            (void)fputs(": ", stdout);
        print_clean(member(o, "text"));
        (void)printf(" [%s]\n", member(o, "kind"));
    }
    if (s->n > SHOWN_MAX)
        (void)printf("... and %zu more\n", s->n - SHOWN_MAX);
}

/* ---- verify ---- */

static int
check_all(const struct files *f, const struct chain_head *expect, struct chain_check *c,
          struct shown *s, struct err *e)
{
    int r = 0;

    (void)json_object_put(s->list);
    s->list = json_object_new_array();
    s->n = 0;
    chain_check_init(c, on_problem, s);
    c->expect = *expect;
    for (int i = 0; i < f->n && r >= 0; i++)
        r = chain_check_file(c, f->name[i], e);
    if (r >= 0)
        chain_check_end(c, f->whole);
    return r;
}

static void
report(const struct files *f, const struct chain_check *c, const struct shown *s)
{
    json_object *o, *names;

    if (!s->json) {
        print_problems(s);
        (void)printf("%s: %" PRIu64 " records in %d file%s", c->problems ? "NOT INTACT" : "intact",
                     c->records, f->n, f->n == 1 ? "" : "s");
        if (c->records)
            (void)printf(", the newest is number %" PRIu64 ", hash %s", c->head.seq, c->head.hash);
        if (c->torn)
            (void)printf("; %" PRIu64 " torn line%s, recorded as such", c->torn,
                         c->torn == 1 ? "" : "s");
        if (c->problems)
            (void)printf("; %" PRIu64 " problem%s", c->problems, c->problems == 1 ? "" : "s");
        (void)putchar('\n');
        return;
    }
    o = json_object_new_object();
    names = json_object_new_array();
    for (int i = 0; i < f->n; i++)
        (void)json_object_array_add(names, json_object_new_string(f->name[i]));
    (void)json_object_object_add(o, "ok", json_object_new_boolean(c->problems == 0));
    (void)json_object_object_add(o, "files", names);
    (void)json_object_object_add(o, "records", json_object_new_uint64(c->records));
    (void)json_object_object_add(o, "chain", json_object_new_string(c->origin.id));
    (void)json_object_object_add(o, "seq", json_object_new_uint64(c->head.seq));
    (void)json_object_object_add(o, "hash", json_object_new_string(c->head.hash));
    (void)json_object_object_add(o, "torn", json_object_new_uint64(c->torn));
    (void)json_object_object_add(o, "problem_count", json_object_new_uint64(c->problems));
    (void)json_object_object_add(o, "problems", json_object_get(s->list));
    (void)puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)json_object_put(o);
}

/* Says how it went (r < 0: it could not be checked), frees everything; the exit status. */
static int
conclude(int r, struct files *f, struct chain_check *c, struct shown *s, const struct err *e)
{
    if (r < 0)
        (void)fprintf(stderr, "pgpuctl: %s\n", e->msg[0] ? e->msg : "out of memory");
    else
        report(f, c, s);
    r = r < 0 || c->problems ? 1 : 0;
    (void)json_object_put(s->list);
    free(f->name);
    free(c);
    return r;
}

/* Read before the log: pgpud may go on meanwhile. */
static void
read_expected(const char *head_path, const char *log, struct chain_head *ret)
{
    char beside[CHAIN_PATH_MAX + sizeof(CHAIN_NOTE_SUFFIX)];

    (void)snprintf(beside, sizeof(beside), "%s" CHAIN_NOTE_SUFFIX, log);
    if (head_path[0])
        (void)chain_expected(head_path, beside, log, ret);
}

int
audit_verify(const char *log, const char *head_path, bool json, const struct chain_head *expect)
{
    struct chain_check *c = calloc(1, sizeof(*c));
    struct shown s = {.json = json};
    struct files f = {.whole = true};
    struct err e = ERR_INIT;
    int r = c ? 0 : -ENOMEM;

    for (int i = 0; r >= 0 && i < TRIES && (i == 0 || c->problems); i++) {
        struct chain_head want = *expect;

        if (i > 0)
            (void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        if (!want.seq)
            read_expected(head_path, log, &want);
        free(f.name);
        f.name = NULL;
        f.n = chain_files(log, &f.name, &e);
        r = f.n < 0 ? f.n : check_all(&f, &want, c, &s, &e);
        if (r == -ENOENT && i + 1 < TRIES) {
            c->problems = 1; /* renamed meanwhile */
            r = 0;
        }
    }
    if (r >= 0 && f.n == 0 && c->problems == 0)
        r = err_set(&e, ENOENT, ERR_CLASS_INVALID, "%s: there is no audit log", log);
    return conclude(r, &f, c, &s, &e);
}

/* Just these, in this order. */
static int
verify_named(const struct usage_args *a, bool json, const struct chain_head *expect)
{
    struct chain_check *c = calloc(1, sizeof(*c));
    struct shown s = {.json = json};
    struct files f = {.n = a->n};
    struct err e = ERR_INIT;
    int r = -ENOMEM;

    f.name = calloc((size_t)a->n, sizeof(*f.name));
    for (int i = 0; f.name && i < a->n; i++)
        (void)snprintf(f.name[i], sizeof(f.name[i]), "%s", a->v[i]);
    if (c && f.name)
        r = check_all(&f, expect, c, &s, &e);
    return conclude(r, &f, c, &s, &e);
}

static int
run_verify(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    struct usage_args a;
    struct chain_head expect = {.seq = 0};
    char log[CHAIN_PATH_MAX], head[CHAIN_PATH_MAX];
    const char *hash, *seq;
    int rc = usage_parse(&audit_verbs[AUDIT_VERB_VERIFY], argc, argv, &a);

    if (rc >= 0)
        return rc;
    hash = usage_value(&a, "--head", NULL);
    seq = usage_value(&a, "--seq", NULL);
    if (seq && (!seq[0] || strspn(seq, "0123456789") != strlen(seq) || strlen(seq) > 19 ||
                (expect.seq = strtoull(seq, NULL, 10)) == 0))
        return usage_wrong(&a, "--seq is a number from 1 on, not \"%s\"", seq);
    if (hash && (strlen(hash) != CHAIN_HEX - 1 || !chain_is_hash(hash)))
        return usage_wrong(&a, "--head is a SHA-256 in 64 hex digits");
    if (hash && !seq)
        return usage_wrong(&a, "--head needs --seq, the number of that record");
    if (hash)
        (void)str_copy(expect.hash, sizeof(expect.hash), hash);
    if (a.n > 0)
        return verify_named(&a, c->json, &expect);
    if (audit_log_path(usage_value(&a, "--config", NULL), usage_value(&a, "--dir", NULL), log,
                       sizeof(log), head, sizeof(head)) < 0)
        return 1;
    return audit_verify(log, head, c->json, &expect);
}

const struct usage audit_verbs[] = {
    [AUDIT_VERB_TAIL] =
        {
            .name = "tail",
            .args = "[DEVICE]...",
            .summary = "the newest records of the audit log",
            .text = "Works without pgpud. With --json the lines are as they stand in the log, see "
                    "pgpu-audit(5).\n\n"
                    "Exit status: 0 shown, 1 there is no log, 2 wrong usage.",
            .words = "device",
            .opts =
                (const struct usage_opt[]){{"--lines", "N", "how many (default 20)", NULL, 'n'},
                                           {"--follow", NULL, "go on until interrupted", NULL, 'f'},
                                           {"--kind", "KIND", "only this kind; may be repeated",
                                            "start stop state operation allocate refusal owner "
                                            "runtime hwd unlock mode request config chain gap",
                                            0},
                                           {"--dir", "DIR", "the log DIR/audit.log", "dir", 0},
                                           NODE_CONF_OPT,
                                           {NULL, NULL, NULL, NULL, 0}},
            .run = audit_tail_run,
        },
    [AUDIT_VERB_VERIFY] =
        {
            .name = "verify",
            .args = "[FILE]...",
            .summary = "find every edit, removal and reordering in the audit log",
            .text =
                "Without FILE: the log of this node with its rotated files, and that it has the "
                "newest record that pgpud noted. With FILE: just these, the oldest first.\n\n"
                "A chain shows changes to those who know its newest hash: keep it elsewhere, and "
                "give it with --seq and --head. Whoever can write the log can also forge all of "
                "it.\n\n"
                "Exit status: 0 intact, 1 not, or it cannot be read, 2 wrong usage.",
            .words = "file",
            .opts = (const struct usage_opt[]){{"--dir", "DIR", "the log DIR/audit.log", "dir", 0},
                                               {"--seq", "N", "a record that must be there", NULL,
                                                0},
                                               {"--head", "HASH", "and its hash", NULL, 0},
                                               NODE_CONF_OPT,
                                               {NULL, NULL, NULL, NULL, 0}},
            .run = run_verify,
        },
    {.name = NULL},
};

const struct usage verb_audit = {
    .name = "audit",
    .args = "VERB ...",
    .summary = "show or check the audit log",
    .verbs = audit_verbs,
};
