/* SPDX-License-Identifier: Apache-2.0
 *
 * Completions for fish, from the table.
 */
#include "base/usage_walk.h"

#include <string.h>

/* In single quotes fish knows \' and \\ alone. */
static void
quote(FILE *f, const char *text)
{
    (void)fputc('\'', f);
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\')
            (void)fputc('\\', f);
        (void)fputc(*text, f);
    }
    (void)fputc('\'', f);
}

static void
path_word(FILE *f, const struct usage_node *n)
{
    if (n->u != n->program) {
        (void)fputc(' ', f);
        quote(f, n->path);
    }
}

static void
taking(FILE *f, const struct usage_node *n)
{
    for (const struct usage_opt *o = n->u->opts; o && o->name; o++) {
        if (o->arg)
            (void)fprintf(f, " %s", o->name);
        if (o->arg && o->letter)
            (void)fprintf(f, " -%c", o->letter);
    }
}

static void
word(FILE *f, const char *w, size_t len)
{
    if (len == 4 && strncmp(w, "file", 4) == 0)
        (void)fputs(" (__fish_complete_path (commandline -ct))", f);
    else if (len == 3 && strncmp(w, "dir", 3) == 0)
        (void)fputs(" (__fish_complete_directories (commandline -ct) \"\")", f);
    else if (len == 6 && strncmp(w, "device", 6) == 0)
        (void)fputs(" (__pgpu_devices)", f);
    else
        (void)fprintf(f, " %.*s", (int)len, w);
}

/* The words in single quotes: they are evaluated when somebody asks. */
static void
words(FILE *f, const struct usage_node *n, const char *list)
{
    (void)fputs(" -a '", f);
    usage_words(n->program, list, word, f);
    (void)fputc('\'', f);
}

static void
begin(FILE *f, const struct usage_node *n, const char *func)
{
    (void)fprintf(f, "complete -c %s", n->program->name);
    if (func[0])
        (void)fprintf(f, " -n '_%s_at \"%s\"'", func, n->path);
}

static void
node(FILE *f, const struct usage_node *n)
{
    const struct usage *v;
    char func[64];

    usage_func(n->program, func, sizeof(func));
    for (unsigned i = 0; (v = usage_verb(n->u, i, NULL)) != NULL; i++) {
        begin(f, n, func);
        (void)fprintf(f, " -a %s -d ", v->name);
        quote(f, v->summary);
        (void)fputc('\n', f);
    }
    if (n->u->words) {
        begin(f, n, func);
        words(f, n, n->u->words);
        (void)fputc('\n', f);
    }
    /* the program's own may stand anywhere */
    for (const struct usage_opt *o = n->u->opts; o && o->name; o++) {
        begin(f, n, n->u == n->program ? "" : func);
        (void)fprintf(f, " -l %s", o->name + 2);
        if (o->letter)
            (void)fprintf(f, " -s %c", o->letter);
        if (o->arg) {
            (void)fputs(" -x", f);
            words(f, n, o->words);
        }
        (void)fputs(" -d ", f);
        quote(f, o->help);
        (void)fputc('\n', f);
    }
}

static const char head[] =
    "# fish completion for @P@, printed from its table of verbs and options\n"
    "\n"
    "# Whether the verbs typed so far are these.\n"
    "function _@F@_at\n"
    "    set -l place @P@\n"
    "    set -l value ''\n"
    "    for w in (commandline -opc)[2..-1]\n"
    "        if test -n \"$value\"\n"
    "            set value ''\n"
    "        else if test \"$w\" = --\n"
    "            break\n"
    "        else if string match -q -- '-*' \"$w\"\n"
    "            contains -- \"$w\" $_@F@_taking; and set value $w\n"
    "        else if contains -- \"$place $w\" $_@F@_places\n"
    "            set place \"$place $w\"\n"
    "        end\n"
    "    end\n"
    "    test \"$place\" = \"$argv[1]\"\n"
    "end\n"
    "\n";

static const char devices[] =
    "function __pgpu_devices\n"
    "    set -l typed (commandline -opc)\n"
    "    set -l root\n"
    "    for i in (seq (count $typed))\n"
    "        if string match -q -- '--root=*' \"$typed[$i]\"\n"
    "            set root --root (string replace -- '--root=' '' \"$typed[$i]\")\n"
    "        else if test \"$typed[$i]\" = --root; and test $i -lt (count $typed)\n"
    "            set root --root $typed[(math $i + 1)]\n"
    "        end\n"
    "    end\n"
    "    $typed[1] $root completion devices 2>/dev/null\n"
    "end\n"
    "\n";

void
usage_fish(FILE *f, const struct usage *program)
{
    char func[64];

    usage_func(program, func, sizeof(func));
    usage_emit(f, head, func, program->name);
    if (usage_any(program, "device"))
        (void)fputs(devices, f);
    (void)fprintf(f, "set -g _%s_places", func);
    usage_walk(program, path_word, f);
    (void)fprintf(f, "\nset -g _%s_taking", func);
    usage_walk(program, taking, f);
    (void)fprintf(f, "\n\ncomplete -c %s -e\ncomplete -c %s -f\n", program->name, program->name);
    usage_walk(program, node, f);
    (void)fprintf(f, "complete -c %s -s h -l help -d 'print the help and exit'\n", program->name);
    if (program->version)
        (void)fprintf(
            f, "complete -c %s -n '_%s_at \"%s\"' -l version -d 'print the version and exit'\n",
            program->name, func, program->name);
}
