/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl initdata: look at, check and make the value of Kata's cc_init_data annotation. Needs no
 * daemon and no hardware. One thread.
 */
#include "nri/initdata.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/cli.h"
#include "nri/base64.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One byte more than is read, so that the check says what is too long. */
#define INPUT_MAX (INITDATA_TOML_MAX + 1)

static const char usage[] =
    "Usage: pgpuctl initdata digest SOURCE [--tee TEE] [--format hex|base64]\n"
    "       pgpuctl initdata check SOURCE\n"
    "       pgpuctl initdata encode FILE\n"
    "       pgpuctl initdata show SOURCE [KEY]\n\n"
    "What a pod hands to its confidential guest in the annotation\n" INITDATA_ANNOTATION ".\n"
    "SOURCE is the annotation's value, a file that holds it, or a file with the TOML\n"
    "text itself; \"-\" is standard input.\n\n"
    "  digest  over the exact bytes of the TOML, and the field of the hardware's report\n"
    "          that it lands in: longer digests are cut, shorter ones filled with zeroes;\n"
    "          what check finds wrong besides is a warning\n"
    "  check   every rule that Kata and the guest have, and what breaks where one is\n"
    "          violated\n"
    "  encode  the annotation's value for a TOML file that passes the check\n"
    "  show    the TOML text, or the value of one KEY of [data]\n\n"
    "  --tee TEE     only this one: snp, tdx, cca, sgx or se; without it, snp and tdx\n"
    "  --format F    print the bare value (of --tee, else the digest) as hex or base64\n"
    "  --json        machine-readable output\n\n"
    "Exit status: 0 done and (but for digest) in order, 1 not in order or not readable,\n"
    "2 wrong usage.\n";

struct source {
    const char *name; /* for messages */
    char *text;
    size_t len;
    bool from_file;  /* else from the command line */
    bool annotation; /* else TOML */
};

struct opts {
    const struct initdata_tee *tee; /* NULL: all */
    const char *format;             /* "hex", "base64" or NULL */
    const char *key;                /* of [data], for show; NULL: all */
    bool json;
};

static void
source_fini(struct source *s)
{
    free(s->text);
}

static int
fail(const char *msg)
{
    (void)fprintf(stderr, "pgpuctl: initdata: %s\n", msg);
    return 1;
}

/* Characters of base64 in any of its variants, then "=". TOML never looks like that: it has
 * something behind its "=". */
static bool
looks_encoded(const char *s, size_t len)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                              "0123456789+/-_\r\n";
    size_t n = strspn(s, set);

    n += strspn(s + n, "=\r\n");
    return len > 0 && n == len;
}

static int
read_stdin(struct source *s, struct err *e)
{
    _cleanup_(buf_fini) struct buf b;
    char chunk[16384];
    ssize_t n;

    buf_init(&b, INPUT_MAX);
    while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, errno, ERR_CLASS_FATAL, "read standard input");
        if (!buf_put(&b, chunk, (size_t)n))
            return err_set(e, EFBIG, ERR_CLASS_INVALID, "standard input: more than %u bytes",
                           INPUT_MAX);
    }
    if (!buf_cstr(&b))
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "read standard input");
    s->name = "standard input";
    s->len = b.len;
    s->text = (char *)TAKE_PTR(uint8_t, b.data);
    return 0;
}

static int
load(const char *arg, struct source *s, struct err *e)
{
    struct err why = ERR_INIT;
    int rc;

    s->name = arg;
    s->from_file = true;
    if (strcmp(arg, "-") == 0) {
        rc = read_stdin(s, e);
    } else {
        rc = fs_read_file(AT_FDCWD, arg, INPUT_MAX, &s->text, &s->len, &why);
        if (rc < 0 && strlen(arg) >= 20 && looks_encoded(arg, strlen(arg))) {
            s->name = "the annotation";
            s->from_file = false;
            s->text = strdup(arg);
            s->len = strlen(arg);
            rc = s->text ? 0 : err_errno(e, ENOMEM, ERR_CLASS_FATAL, "read the annotation");
        } else if (rc < 0) {
            *e = why;
        }
    }
    if (rc < 0)
        return rc;
    if (s->len >= 2 && memcmp(s->text, "\x1f\x8b", 2) == 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "%s: this is gzip; gunzip it to its TOML, or encode it with base64 -w0",
                       s->name);
    s->annotation = looks_encoded(s->text, s->len);
    if (s->annotation && s->from_file)
        while (s->len > 0 && strchr("\r\n", s->text[s->len - 1]))
            s->text[--s->len] = '\0'; /* the file's last line end is not the annotation's */
    return 0;
}

static int
check(const struct source *s, struct initdata_report *r, struct err *e)
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
tell_findings(const struct source *s, const struct initdata_report *r, bool withheld)
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
run_digest(const struct source *s, const struct opts *o)
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
check_json(const struct source *s, const struct initdata_report *r)
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
check_text(const struct source *s, const struct initdata_report *r)
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
run_check(const struct source *s, const struct opts *o)
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
run_encode(const struct source *s, const struct opts *o)
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
run_show(const struct source *s, const struct opts *o)
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

static int
wrong(const char *why, const char *what)
{
    (void)fprintf(stderr, "pgpuctl: initdata: %s%s, see pgpuctl initdata --help\n", why, what);
    return 2;
}

/* -1: go on; else the exit status. */
static int
take_options(int argc, char **argv, struct opts *o)
{
    static const struct option longs[] = {
        {"tee", required_argument, NULL, 't'},
        {"format", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 't':
            o->tee = initdata_tee_by_name(optarg);
            if (!o->tee)
                return wrong("no such TEE: ", optarg);
            break;
        case 'f':
            o->format = optarg;
            if (strcmp(optarg, "hex") != 0 && strcmp(optarg, "base64") != 0)
                return wrong("no such format: ", optarg);
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        default:
            return 2;
        }
    }
    return -1;
}

static const struct verb {
    const char *name;
    int words; /* at most, with the verb */
    int (*run)(const struct source *s, const struct opts *o);
} verbs[] = {
    {"digest", 2, run_digest},
    {"check", 2, run_check},
    {"encode", 2, run_encode},
    {"show", 3, run_show},
};

static const struct verb *
find_verb(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

int
cli_initdata(const struct cli *c, int argc, char **argv)
{
    struct opts o = {.json = c->json};
    _cleanup_(source_fini) struct source s = {0};
    struct err e = ERR_INIT;
    const struct verb *verb;
    int n, status = take_options(argc, argv, &o);

    if (status >= 0)
        return status;
    n = argc - optind;
    if (n < 1)
        return wrong("a verb is missing", "");
    verb = find_verb(argv[optind]);
    if (!verb)
        return wrong("no such verb: ", argv[optind]);
    if (n < 2)
        return wrong("a source is missing", "");
    if (n > verb->words)
        return wrong("too many arguments", "");
    if (verb->run != run_digest && (o.tee || o.format))
        return wrong("--tee and --format are digest's", "");
    o.key = n == 3 ? argv[optind + 2] : NULL;
    if (load(argv[optind + 1], &s, &e) < 0)
        return fail(e.msg);
    return verb->run(&s, &o);
}
