/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl config: the configuration that pgpud runs with, and whether files are good before a
 * service is started with them. One thread.
 */
#include "hwd/config.h"
#include "base/cleanup.h"
#include "base/yamldoc.h"
#include "cli/ask.h"
#include "cli/node_conf.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MAX (1u << 20)
#define HWD_CONF_DEFAULT "/etc/pgpu/hwd.yaml"

/* ---- show ---- */

static int run_show(const void *ctx, int argc, char **argv);
static int run_check(const void *ctx, int argc, char **argv);

static const struct usage verbs[] = {
    {
        .name = "show",
        .args = "",
        .summary = "the configuration that pgpud runs with, every key",
        .text = "As YAML that can be used as a file, with --json the same as JSON. What a file "
                "says and what is in force differ "
                "until pgpud is restarted.\n\n"
                "Exit status: 0 shown, 1 pgpud does not answer, 2 wrong usage.",
        .run = run_show,
    },
    {
        .name = "check",
        .args = "[FILE]...",
        .summary = "say whether configuration files are good; starts and changes nothing",
        .text =
            "A file whose name begins with \"hwd\" is read as pgpu-hwd does, any other as pgpud "
            "does. Without FILE those of " NODE_CONF_DEFAULT " and " HWD_CONF_DEFAULT
            " that exist.\n\n"
            "Exit status: 0 all are good, 1 one is not, or cannot be read, 2 wrong usage.",
        .words = "file",
        .run = run_check,
    },
    {.name = NULL},
};

const struct usage verb_config = {
    .name = "config",
    .summary = "show the configuration in force, or check files",
    .verbs = verbs,
};

static json_object *
scalar_json(const struct yamldoc_node *n)
{
    const char *text = yamldoc_text(n);
    bool plain = text && yamldoc_is_nonstring(n);

    if (plain && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
        return json_object_new_boolean(text[0] == 't');
    if (plain && text[0] && strlen(text) < 19 && strspn(text, "0123456789") == strlen(text))
        return json_object_new_int64(strtoll(text, NULL, 10));
    return json_object_new_string(text ? text : ""); /* words such as "on", and times */
}

/* Depth is bounded by the parser's limits. */
static json_object *
to_json(const struct yamldoc_node *n)
{
    bool map = n && yamldoc_type(n) == YAMLDOC_MAP;
    json_object *o;

    if (n && yamldoc_type(n) == YAMLDOC_SCALAR)
        return scalar_json(n);
    o = map || !n ? json_object_new_object() : json_object_new_array();
    for (const struct yamldoc_node *c = yamldoc_first(n); c; c = yamldoc_next(c)) {
        if (map)
            json_object_object_add(o, yamldoc_key(c), to_json(c));
        else
            json_object_array_add(o, to_json(c));
    }
    return o;
}

static int
show_json(struct buf *yaml)
{
    static const struct yamldoc_limits limits = {.bytes = ANSWER_MAX, .depth = 16};
    _cleanup_(yamldoc_freep) struct yamldoc *doc = NULL;
    struct err e = ERR_INIT;
    const char *text = buf_cstr(yaml);
    json_object *o;

    if (!text || yamldoc_parse("pgpud's answer", text, strlen(text), &limits, &doc, &e) < 0) {
        (void)fprintf(stderr, "pgpuctl: %s\n", text ? e.msg : "pgpud's answer is too large");
        return 1;
    }
    o = to_json(yamldoc_root(doc, 0));
    (void)puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
                                                     JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)json_object_put(o);
    return 0;
}

static int
run_show(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    _cleanup_(buf_fini) struct buf out;
    struct usage_args a;
    struct err e = ERR_INIT;
    int rc = usage_parse(&verbs[0], argc, argv, &a);

    buf_init(&out, ANSWER_MAX);
    if (rc >= 0)
        return rc;
    if (ask_line(c->control, "config\n", &out, &e) < 0) {
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
        return 1;
    }
    if (c->json)
        return show_json(&out);
    (void)fwrite(buf_peek(&out), 1, buf_left(&out), stdout);
    return 0;
}

/* ---- check ---- */

static int
load(const char *file, struct err *e)
{
    const char *slash = strrchr(file, '/');
    const char *name = slash ? slash + 1 : file;
    struct hwd_config hwd = {0};
    struct config conf = {0};
    int rc;

    if (strncmp(name, "hwd", 3) == 0) {
        rc = hwd_config_load(file, &hwd, e);
        hwd_config_free(&hwd);
    } else {
        rc = config_load(file, &conf, e);
        config_free(&conf);
    }
    return rc;
}

/* Returns whether the file is good; `list` NULL: for people. */
static bool
check(const char *file, json_object *list)
{
    struct err e = ERR_INIT;
    bool good = load(file, &e) >= 0;
    json_object *o;

    if (!list) {
        if (good)
            (void)printf("%s: good\n", file);
        else
            (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
        return good;
    }
    o = json_object_new_object();
    json_object_object_add(o, "file", json_object_new_string(file));
    json_object_object_add(o, "good", json_object_new_boolean(good));
    if (!good)
        json_object_object_add(o, "error", json_object_new_string(e.msg));
    json_object_array_add(list, o);
    return good;
}

static int
run_check(const void *ctx, int argc, char **argv)
{
    static const char *const usual[] = {NODE_CONF_DEFAULT, HWD_CONF_DEFAULT};
    const struct cli *c = ctx;
    struct usage_args a;
    json_object *list;
    bool good = true;
    int rc = usage_parse(&verbs[1], argc, argv, &a);

    if (rc >= 0)
        return rc;
    list = c->json ? json_object_new_array() : NULL;
    for (int i = 0; i < a.n; i++)
        good = check(a.v[i], list) && good;
    for (size_t i = 0; a.n == 0 && i < ARRAY_SIZE(usual); i++) {
        if (access(usual[i], F_OK) == 0)
            good = check(usual[i], list) && good;
        else if (!list)
            (void)printf("%s: not there, every key has its default\n", usual[i]);
    }
    if (list)
        (void)puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)json_object_put(list);
    return good ? 0 : 1;
}
