/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl initdata: look at, check and make the value of Kata's cc_init_data annotation. Needs no
 * daemon and no hardware. One thread.
 */
#include "nri/initdata.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/initdata_source.h"
#include "nri/base64.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct opts {
    const struct initdata_tee *tee; /* NULL: all */
    const char *format;             /* "hex", "base64" or NULL */
    const char *key;                /* of [data], for show; NULL: all */
    bool json;
};

static int
fail(const char *msg)
{
    (void)fprintf(stderr, "pgpuctl: initdata: %s\n", msg);
    return 1;
}

static int
check(const struct initdata_source *s, struct initdata_report *r, struct err *e)
{
    return s->annotation ? initdata_check(s->text, s->len, r, e)
                         : initdata_check_toml(s->text, s->len, r, e);
}

/* Hex or base64 of some bytes; both fit the longest field. */
static const char *
show_bytes(struct buf *b, const uint8_t *p, size_t n, bool hex)
{
    buf_clear(b);
    if (hex)
        hex_encode(p, n, b);
    else
        base64_encode(p, n, b);
    return buf_cstr(b) ? buf_cstr(b) : "";
}

static json_object *
json_bytes(struct buf *b, const uint8_t *p, size_t n)
{
    json_object *o = json_object_new_object();

    json_object_object_add(o, "hex", json_object_new_string(show_bytes(b, p, n, true)));
    json_object_object_add(o, "base64", json_object_new_string(show_bytes(b, p, n, false)));
    return o;
}

static void
print_json(json_object *o)
{
    puts(json_object_to_json_string_ext(o,
                                        JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
}

static void
digest_json(const struct initdata *i, const struct opts *o, struct buf *b)
{
    json_object *top = json_object_new_object(), *fields = json_object_new_object();
    const struct initdata_tee *t;
    uint8_t field[INITDATA_FIELD_MAX];

    json_object_object_add(top, "algorithm", json_object_new_string(i->algorithm));
    json_object_object_add(top, "digest", json_bytes(b, i->digest, i->digest_len));
    for (size_t k = 0; (t = initdata_tee_at(k)) != NULL; k++) {
        json_object *v;

        if (o->tee && o->tee != t)
            continue;
        initdata_field(i, t, field);
        v = json_bytes(b, field, t->len);
        json_object_object_add(v, "field", json_object_new_string(t->field));
        json_object_object_add(fields, t->name, v);
    }
    json_object_object_add(top, "fields", fields);
    print_json(top);
}

static void
digest_text(const struct initdata *i, const struct opts *o, struct buf *b)
{
    const struct initdata_tee *t;
    uint8_t field[INITDATA_FIELD_MAX];

    if (!o->tee) {
        printf("digest  %s\n", i->algorithm);
        printf("        hex     %s\n", show_bytes(b, i->digest, i->digest_len, true));
        printf("        base64  %s\n", show_bytes(b, i->digest, i->digest_len, false));
    }
    for (size_t k = 0; (t = initdata_tee_at(k)) != NULL; k++) {
        if (o->tee ? o->tee != t : !t->gpu)
            continue;
        initdata_field(i, t, field);
        printf("%-6s  %s, %zu bytes%s\n", t->name, t->field, t->len,
               i->digest_len > t->len   ? ", the digest cut"
               : i->digest_len < t->len ? ", the digest and zeroes"
                                        : "");
        printf("        hex     %s\n", show_bytes(b, field, t->len, true));
        printf("        base64  %s\n", show_bytes(b, field, t->len, false));
    }
}

/* The bytes and their algorithm are all that the digest is of, so most findings are no reason to
 * withhold it: only those without which there is none, or of which there may be two. */
static bool
has_digest(const struct initdata_report *r)
{
    for (size_t k = 0; k < r->n; k++)
        if (strcmp(r->v[k].rule, "gzip-trailing") == 0)
            return false;
    return r->initdata && r->initdata->digest_len > 0;
}

static void
tell_findings(const struct initdata_source *s, const struct initdata_report *r, bool withheld)
{
    const char *word = withheld ? "" : "warning: ";

    for (size_t k = 0; k < r->n; k++)
        (void)fprintf(stderr, "pgpuctl: initdata: %s: %s%s: %s (%s)\n", s->name,
                      r->v[k].error ? word : "note: ", r->v[k].rule, r->v[k].what, r->v[k].breaks);
}

static void
print_digest(const struct initdata *i, const struct opts *o)
{
    _cleanup_(buf_fini) struct buf b;
    uint8_t field[INITDATA_FIELD_MAX];

    buf_init(&b, 4 * INITDATA_FIELD_MAX);
    if (o->json)
        digest_json(i, o, &b);
    else if (!o->format)
        digest_text(i, o, &b);
    else {
        size_t n = o->tee ? o->tee->len : i->digest_len;

        if (o->tee)
            initdata_field(i, o->tee, field);
        puts(show_bytes(&b, o->tee ? field : i->digest, n, strcmp(o->format, "hex") == 0));
    }
}

static int
run_digest(const struct initdata_source *s, const struct opts *o)
{
    struct initdata_report r;
    struct err e = ERR_INIT;
    bool there;

    if (check(s, &r, &e) < 0)
        return fail(e.msg);
    there = has_digest(&r);
    tell_findings(s, &r, !there);
    if (there)
        print_digest(r.initdata, o);
    initdata_report_fini(&r);
    return there ? 0 : 1;
}

static void
check_json(const struct initdata_source *s, const struct initdata_report *r)
{
    json_object *top = json_object_new_object(), *list = json_object_new_array();

    json_object_object_add(top, "form",
                           json_object_new_string(s->annotation ? "annotation" : "toml"));
    json_object_object_add(top, "ok", json_object_new_boolean(r->errors == 0));
    for (size_t k = 0; k < r->n; k++) {
        json_object *f = json_object_new_object();

        json_object_object_add(f, "rule", json_object_new_string(r->v[k].rule));
        json_object_object_add(f, "level",
                               json_object_new_string(r->v[k].error ? "error" : "note"));
        json_object_object_add(f, "what", json_object_new_string(r->v[k].what));
        json_object_object_add(f, "breaks", json_object_new_string(r->v[k].breaks));
        json_object_array_add(list, f);
    }
    json_object_object_add(top, "findings", list);
    print_json(top);
}

static void
check_text(const struct initdata_source *s, const struct initdata_report *r)
{
    printf("%s: %s\n", s->name, s->annotation ? "an annotation's value" : "TOML");
    for (size_t k = 0; k < r->n; k++)
        printf("  %-5s  %s: %s\n         breaks: %s\n", r->v[k].error ? "ERROR" : "note",
               r->v[k].rule, r->v[k].what, r->v[k].breaks);
    if (r->errors > 0)
        printf("%zu error%s: a pod with it will not start as it is meant to\n", r->errors,
               r->errors == 1 ? "" : "s");
    else
        printf("in order: version %s, %s, %zu entries of data\n", r->initdata->version,
               r->initdata->algorithm, toml_count(r->initdata->data));
}

static int
run_check(const struct initdata_source *s, const struct opts *o)
{
    struct initdata_report r;
    struct err e = ERR_INIT;
    bool bad;

    if (check(s, &r, &e) < 0)
        return fail(e.msg);
    if (o->json)
        check_json(s, &r);
    else
        check_text(s, &r);
    bad = r.errors > 0;
    initdata_report_fini(&r);
    return bad ? 1 : 0;
}

static int
run_encode(const struct initdata_source *s, const struct opts *o)
{
    _cleanup_(buf_fini) struct buf b;
    struct err e = ERR_INIT;

    buf_init(&b, INITDATA_ANNOTATION_MAX);
    if (s->annotation) {
        (void)fprintf(stderr, "pgpuctl: initdata: %s is an annotation's value already\n", s->name);
        return 1;
    }
    if (initdata_encode(s->text, s->len, &b, &e) < 0 || !buf_cstr(&b)) {
        (void)fprintf(stderr, "pgpuctl: initdata: %s: %s\n", s->name, e.msg);
        return 1;
    }
    if (o->json) {
        json_object *top = json_object_new_object();

        json_object_object_add(top, INITDATA_ANNOTATION, json_object_new_string(buf_cstr(&b)));
        print_json(top);
    } else {
        puts(buf_cstr(&b));
    }
    return 0;
}

/* The tenant's text as it is, but without what could drive a terminal. */
static void
print_text(const char *p, size_t n)
{
    bool terminal = isatty(STDOUT_FILENO) == 1;

    for (size_t k = 0; k < n; k++) {
        unsigned char c = (unsigned char)p[k];

        putchar(terminal && ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) ? '?' : c);
    }
}

static void
show_json(const struct initdata *i)
{
    _cleanup_(buf_fini) struct buf b;
    json_object *top = json_object_new_object(), *data = json_object_new_object();

    buf_init(&b, 4 * INITDATA_FIELD_MAX);
    json_object_object_add(top, "version", json_object_new_string(i->version));
    json_object_object_add(top, "algorithm", json_object_new_string(i->algorithm));
    json_object_object_add(top, "digest", json_bytes(&b, i->digest, i->digest_len));
    for (size_t k = 0; k < toml_count(i->data); k++) {
        const char *value = toml_string(toml_item(i->data, k));

        if (value)
            json_object_object_add(data, toml_key(i->data, k), json_object_new_string(value));
    }
    json_object_object_add(top, "data", data);
    print_json(top);
}

static int
show_key(const struct initdata *i, const char *key)
{
    const struct toml_value *v = toml_get(i->data, key);
    size_t n = 0;

    if (!toml_string(v)) {
        (void)fprintf(stderr, "pgpuctl: initdata: there is no \"%s\" in [data], but", key);
        for (size_t k = 0; k < toml_count(i->data); k++)
            (void)fprintf(stderr, " \"%s\"", toml_key(i->data, k));
        (void)fputs(toml_count(i->data) == 0 ? " nothing\n" : "\n", stderr);
        return 1;
    }
    (void)toml_text(v, &n);
    print_text(toml_string(v), n);
    return 0;
}

/* Shows what can be read, in order or not; the exit status says which. */
static int
run_show(const struct initdata_source *s, const struct opts *o)
{
    struct initdata_report r;
    struct err e = ERR_INIT;
    int status;

    if (check(s, &r, &e) < 0)
        return fail(e.msg);
    status = r.errors > 0;
    for (size_t k = 0; k < r.n; k++)
        if (r.v[k].error)
            (void)fprintf(stderr, "pgpuctl: initdata: %s: %s\n", s->name, r.v[k].what);
    if (r.initdata && o->key)
        status |= show_key(r.initdata, o->key);
    else if (r.initdata && o->json)
        show_json(r.initdata);
    else if (r.initdata)
        print_text(r.initdata->text, r.initdata->len);
    initdata_report_fini(&r);
    return status;
}

/* ---- the verbs ---- */

/* -1: go on; the options that a verb does not have are absent. */
static int
take_options(const struct usage_args *a, struct opts *o)
{
    const char *tee = usage_value(a, "--tee", NULL);

    o->format = usage_value(a, "--format", NULL);
    o->tee = tee ? initdata_tee_by_name(tee) : NULL;
    if (tee && !o->tee)
        return usage_wrong(a, "no such TEE: %s", tee);
    if (o->format && strcmp(o->format, "hex") != 0 && strcmp(o->format, "base64") != 0)
        return usage_wrong(a, "no such format: %s", o->format);
    o->key = a->n > 1 ? a->v[1] : NULL;
    return -1;
}

static int
run(const struct usage *verb, int (*what)(const struct initdata_source *s, const struct opts *o),
    const struct cli *c, int argc, char **argv)
{
    struct opts o = {.json = c->json};
    _cleanup_(initdata_source_fini) struct initdata_source s = {0};
    struct usage_args a;
    struct err e = ERR_INIT;
    int status = usage_parse(verb, argc, argv, &a);

    if (status < 0)
        status = take_options(&a, &o);
    if (status >= 0)
        return status;
    if (initdata_source_load(a.v[0], &s, &e) < 0)
        return fail(e.msg);
    return what(&s, &o);
}

static int verb_digest(const void *ctx, int argc, char **argv);
static int verb_check(const void *ctx, int argc, char **argv);
static int verb_encode(const void *ctx, int argc, char **argv);
static int verb_show(const void *ctx, int argc, char **argv);

#define SOURCE_TEXT                                                                                \
    "SOURCE is the annotation's value, a file that holds it, or a file with the TOML text "        \
    "itself; "                                                                                     \
    "\"-\" is standard input."

static const struct usage verbs[] = {
    {
        .name = "digest",
        .args = "SOURCE",
        .summary = "digest of the TOML, and where it lands in the hardware's report",
        .text =
            "Over the exact bytes of the TOML, and the field of the hardware's report that it "
            "lands in: HOSTDATA (SEV-SNP, 32 bytes) or MRCONFIGID (TDX, 48 bytes). Longer "
            "digests are cut, shorter ones filled with zeroes. What check finds wrong besides is "
            "a warning; the exit status is 1 only where there is no digest, or the runtimes "
            "differ in it.\n\n" SOURCE_TEXT,
        .words = "file",
        .opts =
            (const struct usage_opt[]){
                {"--tee", "TEE", "only this one: snp, tdx, cca, sgx or se; without it, snp and tdx",
                 "snp tdx cca sgx se", 0},
                {"--format", "FORMAT",
                 "print the bare value (of --tee, else the digest) as hex or base64", "hex base64",
                 0},
                {NULL, NULL, NULL, NULL, 0},
            },
        .run = verb_digest,
    },
    {
        .name = "check",
        .args = "SOURCE",
        .summary = "every rule that Kata and the guest have, and what breaks where one is violated",
        .text = "Exit status 1 if one is violated; notes do not count.\n\n" SOURCE_TEXT,
        .words = "file",
        .run = verb_check,
    },
    {
        .name = "encode",
        .args = "FILE",
        .summary = "the annotation's value for a TOML file that passes the check",
        .text = "It is always the same for the same file.",
        .words = "file",
        .run = verb_encode,
    },
    {
        .name = "show",
        .args = "SOURCE [KEY]",
        .summary = "the TOML text, or the value of one KEY of [data], for instance policy.rego",
        .text = SOURCE_TEXT,
        .words = "file",
        .run = verb_show,
    },
    {.name = NULL},
};

const struct usage verb_initdata = {
    .name = "initdata",
    .summary = "digest, check or make the initdata of a pod",
    .text =
        "What a pod hands to its confidential guest in the annotation " INITDATA_ANNOTATION
        ": base64 of gzip of TOML. Needs neither daemon nor hardware, and does not tell whether "
        "the host that starts the pod is honest.\n\n"
        "Exit status: 0 done and (but for digest) in order, 1 not in order or not readable, 2 "
        "wrong usage.",
    .verbs = verbs,
};

static int
verb_digest(const void *ctx, int argc, char **argv)
{
    return run(&verbs[0], run_digest, ctx, argc, argv);
}

static int
verb_check(const void *ctx, int argc, char **argv)
{
    return run(&verbs[1], run_check, ctx, argc, argv);
}

static int
verb_encode(const void *ctx, int argc, char **argv)
{
    return run(&verbs[2], run_encode, ctx, argc, argv);
}

static int
verb_show(const void *ctx, int argc, char **argv)
{
    return run(&verbs[3], run_show, ctx, argc, argv);
}
