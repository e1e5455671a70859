/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-pages, a program of the build: man pages from what is written by hand (docs/man/NAME.in) and
 * the programs' own tables, and their completions.
 *
 *   pgpu-pages man NAME IN OUT            NAME as "pgpuctl.1"
 *   pgpu-pages completion SHELL NAME OUT  NAME as "pgpuctl"
 *
 * A line of IN of the form  .\" @WORD@  is replaced by NAME, SYNOPSIS, OPTIONS, VERBS or KEYS, and
 * @VERSION@ anywhere by the version (a page without a table has nothing else). From  .\" @MORE REF@
 * on follows what is added to the entry REF: "--root", "cc", "cc set", "cc --via", "nri.name". A
 * word or a reference that means nothing is an error.
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/usage_print.h"
#include "cli/cli.h"
#include "daemon/config.h"
#include "daemon/usage.h"
#include "docs/man/roff.h"
#include "hwd/config.h"
#include "hwd/usage.h"
#include "nri/launch_usage.h"
#include "sim/verbs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_MAX ((size_t)1 << 20)
#define MORE_MAX 128
#define MARK ".\\\" @"

static const struct page {
    const char *name; /* of the page */
    const struct usage *usage;
    const struct conf_key *keys;
} pages[] = {
    {"pgpuctl.1", &pgpuctl_usage, NULL},
    {"pgpu-sim.1", &sim_usage, NULL},
    {"pgpud.8", &pgpud_usage, NULL},
    {"pgpu-hwd.8", &hwd_usage, NULL},
    {"pgpu-nri-launch.8", &launch_usage, NULL},
    {"pgpud.yaml.5", NULL, config_keys},
    {"hwd.yaml.5", NULL, hwd_config_keys},
};

static int
fail(const char *what, const char *which)
{
    (void)fprintf(stderr, "pgpu-pages: %s: %s\n", what, which);
    return 1;
}

static const struct page *
find_page(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
        if (strcmp(pages[i].name, name) == 0)
            return &pages[i];
    return NULL;
}

static const struct usage *
find_program(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
        if (pages[i].usage && strcmp(pages[i].usage->name, name) == 0)
            return pages[i].usage;
    return NULL;
}

/* Cuts the MORE blocks off `text`; false where there are too many, or one has no end of line. */
static bool
take_more(char *text, struct roff *r)
{
    char *at = strstr(text, MARK "MORE ");

    while (at) {
        char *ref = at + strlen(MARK "MORE ");
        char *end = strstr(ref, "@\n");

        if (!end || r->n_more == MORE_MAX)
            return false;
        *at = *end = '\0';
        r->more[r->n_more].ref = ref;
        r->more[r->n_more++].text = end + 2;
        at = strstr(end + 2, MARK "MORE ");
    }
    return true;
}

static bool
put_word(struct roff *r, const struct page *p, const char *word)
{
    if (p->keys && strcmp(word, "KEYS") == 0) {
        roff_keys(r, p->keys);
        return true;
    }
    if (!p->usage)
        return false;
    if (strcmp(word, "NAME") == 0)
        roff_name(r, p->usage);
    else if (strcmp(word, "SYNOPSIS") == 0)
        roff_synopsis(r, p->usage);
    else if (strcmp(word, "OPTIONS") == 0)
        roff_options(r, p->usage);
    else if (strcmp(word, "VERBS") == 0)
        roff_verbs(r, p->usage);
    else
        return false;
    return true;
}

static void
put_line(FILE *f, const char *line)
{
    const char *v = strstr(line, "@VERSION@");

    if (v)
        (void)fprintf(f, "%.*s%s%s\n", (int)(v - line), line, pgpuctl_usage.version, v + 9);
    else
        (void)fprintf(f, "%s\n", line);
}

static int
put_page(struct roff *r, const struct page *p, char *text)
{

    if (!take_more(text, r))
        return fail(p->name, "too many @MORE, or one without its end");
    for (char *line = text, *end; *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end)
            *end++ = '\0';
        size_t n = strlen(line);
        if (strncmp(line, MARK, strlen(MARK)) == 0 && n > strlen(MARK) && line[n - 1] == '@') {
            line[n - 1] = '\0';
            if (!put_word(r, p, line + strlen(MARK)))
                return fail(p->name, line);
        } else {
            put_line(r->f, line);
        }
    }
    for (size_t i = 0; i < r->n_more; i++)
        if (!r->more[i].used)
            return fail(p->name, r->more[i].ref);
    return 0;
}

static int
man(const char *name, const char *in, FILE *out)
{
    static struct roff_more more[MORE_MAX];
    struct roff r = {.f = out, .more = more};
    const struct page *p = find_page(name), prose = {.name = name};
    _cleanup_free_ char *text = NULL;
    struct err e = ERR_INIT;
    size_t len;

    if (!p)
        p = &prose;
    if (fs_read_file(AT_FDCWD, in, PAGE_MAX, &text, &len, &e) < 0)
        return fail("cannot read", e.msg);
    return put_page(&r, p, text);
}

static int
completion(const char *shell, const char *name, FILE *out)
{
    const struct usage *u = find_program(name);
    enum usage_shell which;

    if (!u || !usage_shell_parse(shell, &which))
        return fail("no such shell or program", name);
    usage_completion(out, u, which);
    return 0;
}

int
main(int argc, char **argv)
{
    bool is_man = argc == 5 && strcmp(argv[1], "man") == 0;
    FILE *out;
    int rc;

    if (!is_man && !(argc == 5 && strcmp(argv[1], "completion") == 0))
        return fail("wrong usage", "man NAME IN OUT, or completion SHELL NAME OUT");
    out = fopen(argv[4], "we");
    if (!out)
        return fail("cannot write", argv[4]);
    rc = is_man ? man(argv[2], argv[3], out) : completion(argv[2], argv[3], out);
    if (fclose(out) != 0)
        rc = fail("cannot write", argv[4]);
    if (rc != 0)
        (void)remove(argv[4]);
    return rc;
}
