/* SPDX-License-Identifier: Apache-2.0
 *
 * What the printers of completions share, and bash's.
 */
#include "base/usage_print.h"
#include "base/usage_walk.h"

#include "base/cleanup.h"

#include <string.h>

#define PATH_MAX_LEN 160

/* ---- shared ---- */

static void
walk(const struct usage *program, const struct usage *u, const char *before,
     void (*each)(FILE *f, const struct usage_node *n), FILE *f)
{
    char path[PATH_MAX_LEN];
    const struct usage *v;

    (void)snprintf(path, sizeof(path), "%s%s%s", before, before[0] ? " " : "", u->name);
    each(f, &(struct usage_node){.program = program, .u = u, .path = path});
    for (unsigned i = 0; (v = usage_verb(u, i, NULL)) != NULL; i++)
        walk(program, v, path, each, f);
}

void
usage_walk(const struct usage *program, void (*each)(FILE *f, const struct usage_node *n), FILE *f)
{
    walk(program, program, "", each, f);
}

void
usage_emit(FILE *f, const char *text, const char *func, const char *name)
{
    for (; *text; text++) {
        if (strncmp(text, "@F@", 3) == 0 || strncmp(text, "@P@", 3) == 0) {
            (void)fputs(text[1] == 'F' ? func : name, f);
            text += 2;
        } else {
            (void)fputc(*text, f);
        }
    }
}

void
usage_func(const struct usage *program, char *buf, size_t size)
{
    (void)snprintf(buf, size, "_%s", program->name);
    for (char *s = buf; *s; s++)
        if (*s == '-' || *s == '.')
            *s = '_';
}

void
usage_quote_sh(FILE *f, const char *text)
{
    (void)fputc('\'', f);
    for (; *text; text++) {
        if (*text == '\'')
            (void)fputs("'\\'", f);
        (void)fputc(*text, f);
    }
    (void)fputc('\'', f);
}

void
usage_words(const struct usage *program, const char *words,
            void (*each)(FILE *f, const char *word, size_t len), FILE *f)
{
    const struct usage *v;

    for (const char *s = words ? words : ""; *s;) {
        size_t n = strcspn(s, " ");

        if (n == 4 && strncmp(s, "verb", 4) == 0)
            for (unsigned i = 0; (v = usage_verb(program, i, NULL)) != NULL; i++)
                each(f, v->name, strlen(v->name));
        else if (n > 0)
            each(f, s, n);
        s += n;
        s += *s == ' ';
    }
}

bool
usage_has_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    for (const char *s = words ? words : ""; *s;) {
        size_t n = strcspn(s, " ");

        if (n == len && strncmp(s, word, n) == 0)
            return true;
        s += n;
        s += *s == ' ';
    }
    return false;
}

static bool
any_below(const struct usage *u, const char *word)
{
    const struct usage *v;

    if (usage_has_word(u->words, word))
        return true;
    for (const struct usage_opt *o = u->opts; o && o->name; o++)
        if (usage_has_word(o->words, word))
            return true;
    for (unsigned i = 0; (v = usage_verb(u, i, NULL)) != NULL; i++)
        if (any_below(v, word))
            return true;
    return false;
}

bool
usage_any(const struct usage *program, const char *word)
{
    return any_below(program, word);
}

/* ---- bash ---- */

static void
bash_word(FILE *f, const char *word, size_t len)
{
    (void)fprintf(f, "%.*s ", (int)len, word);
}

static void
bash_opts(FILE *f, const struct usage_opt *list)
{
    for (const struct usage_opt *o = list; o && o->name; o++) {
        (void)fprintf(f, "%s%s ", o->name, o->arg ? "=" : "");
        if (o->letter)
            (void)fprintf(f, "-%c%s ", o->letter, o->arg ? "=" : "");
    }
}

static void
bash_node(FILE *f, const struct usage_node *n)
{
    const struct usage *v;

    (void)fputs("    ", f);
    usage_quote_sh(f, n->path);
    (void)fputs(")\n        verbs='", f);
    for (unsigned i = 0; (v = usage_verb(n->u, i, NULL)) != NULL; i++)
        (void)fprintf(f, "%s ", v->name);
    (void)fputs("'\n        opts='", f);
    bash_opts(f, n->u->opts);
    if (n->u != n->program)
        bash_opts(f, n->program->opts);
    else if (n->u->version)
        (void)fputs("--version ", f);
    (void)fputs("--help '\n        args='", f);
    usage_words(n->program, n->u->words, bash_word, f);
    (void)fputs("'\n        ;;\n", f);
}

static void
bash_values(FILE *f, const struct usage_node *n)
{
    for (const struct usage_opt *o = n->u->opts; o && o->name; o++) {
        const char *path = n->u == n->program && usage_verb(n->u, 0, NULL) ? "*" : n->path;

        if (!o->arg)
            continue;
        (void)fprintf(f, "    %s%s%s' %s'", path[0] == '*' ? path : "'", path[0] == '*' ? "" : path,
                      path[0] == '*' ? "" : "'", o->name);
        if (o->letter)
            (void)fprintf(f, "|%s%s%s' -%c'", path[0] == '*' ? path : "'",
                          path[0] == '*' ? "" : path, path[0] == '*' ? "" : "'", o->letter);
        (void)fputs(") words='", f);
        usage_words(n->program, o->words, bash_word, f);
        (void)fputs("' ;;\n", f);
    }
}

/* Verbs first: an option of theirs may have the name of one of the program. */
static void
bash_values_of_verbs(FILE *f, const struct usage_node *n)
{
    if (n->u != n->program)
        bash_values(f, n);
}

static void
bash_values_of_program(FILE *f, const struct usage_node *n)
{
    if (n->u == n->program)
        bash_values(f, n);
}

static const char bash_main[] =
    "@F@()\n"
    "{\n"
    "    local line=${COMP_LINE:0:COMP_POINT} path=@P@ verbs opts args words value='' root='' w "
    "cur\n"
    "    local head i ended=''\n"
    "    local -a typed found\n"
    "\n"
    "    read -ra typed <<<\"$line\"\n"
    "    [[ $line == *[[:space:]] ]] && typed+=('')\n"
    "    cur=${typed[${#typed[@]} - 1]}\n"
    "    @F@_node \"$path\"\n"
    "    for ((i = 1; i < ${#typed[@]} - 1; i++)); do\n"
    "        w=${typed[i]}\n"
    "        if [[ $value ]]; then\n"
    "            [[ $value == --root ]] && root=$w\n"
    "            value=''\n"
    "        elif [[ $ended ]]; then\n"
    "            :\n"
    "        elif [[ $w == -- ]]; then\n"
    "            ended=1\n"
    "        elif [[ $w == --root=* ]]; then\n"
    "            root=${w#*=}\n"
    "        elif [[ $w == -* ]]; then\n"
    "            [[ \" $opts\" == *\" $w= \"* ]] && value=$w\n"
    "        elif [[ \" $verbs\" == *\" $w \"* ]]; then\n"
    "            path+=\" $w\"\n"
    "            @F@_node \"$path\"\n"
    "        fi\n"
    "    done\n"
    "    words=$args\n"
    "    if [[ $value ]]; then\n"
    "        @F@_value \"$path $value\"\n"
    "    elif [[ $cur == --*=* && ! $ended ]]; then\n"
    "        @F@_value \"$path ${cur%%=*}\"\n"
    "        head=${cur%%=*}=\n"
    "        cur=${cur#*=}\n"
    "    elif [[ $cur == -* && ! $ended ]]; then\n"
    "        words=${opts//=/}\n"
    "    elif [[ $verbs ]]; then\n"
    "        words=$verbs\n"
    "    fi\n"
    "    COMPREPLY=()\n"
    "    for w in $words; do\n"
    "        found=()\n"
    "        case $w in\n"
    "        file)\n"
    "            mapfile -t found < <(compgen -f -- \"$cur\")\n"
    "            compopt -o filenames 2>/dev/null\n"
    "            ;;\n"
    "        dir)\n"
    "            mapfile -t found < <(compgen -d -- \"$cur\")\n"
    "            compopt -o filenames 2>/dev/null\n"
    "            ;;\n"
    "        device)\n"
    "            mapfile -t found < <(compgen -W \"$(\"${typed[0]}\" ${root:+--root \"$root\"} \\\n"
    "                completion devices 2>/dev/null)\" -- \"$cur\")\n"
    "            ;;\n"
    "        \"$cur\"*)\n"
    "            found=(\"$w\")\n"
    "            ;;\n"
    "        esac\n"
    "        COMPREPLY+=(\"${found[@]}\")\n"
    "    done\n"
    "    # readline replaces what stands behind its last word break\n"
    "    if [[ $COMP_WORDBREAKS == *:* && $cur == *:* ]]; then\n"
    "        cur=${cur%\"${cur##*:}\"}\n"
    "        COMPREPLY=(\"${COMPREPLY[@]#\"$cur\"}\")\n"
    "    elif [[ $COMP_WORDBREAKS != *=* && $head ]]; then\n"
    "        COMPREPLY=(\"${COMPREPLY[@]/#/$head}\")\n"
    "    fi\n"
    "}\n"
    "complete -F @F@ @P@\n";

void
usage_bash(FILE *f, const struct usage *program)
{
    char func[64];

    usage_func(program, func, sizeof(func));
    usage_emit(f,
               "# bash completion for @P@, printed from its table of verbs and options\n\n"
               "# What may follow a path of verbs; \"=\" stands behind options that take a value.\n"
               "@F@_node()\n{\n    verbs='' opts='' args=''\n    case $1 in\n",
               func, program->name);
    usage_walk(program, bash_node, f);
    usage_emit(f,
               "    esac\n}\n\n# What completes the value of an option.\n"
               "@F@_value()\n{\n    words=''\n    case $1 in\n",
               func, program->name);
    usage_walk(program, bash_values_of_verbs, f);
    usage_walk(program, bash_values_of_program, f);
    (void)fputs("    *) ;;\n    esac\n}\n\n", f);
    usage_emit(f, bash_main, func, program->name);
}

/* ---- all ---- */

static const struct {
    const char *name;
    void (*print)(FILE *f, const struct usage *program);
} shells[] = {
    [USAGE_BASH] = {"bash", usage_bash},
    [USAGE_ZSH] = {"zsh", usage_zsh},
    [USAGE_FISH] = {"fish", usage_fish},
};

bool
usage_shell_parse(const char *name, enum usage_shell *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(shells); i++)
        if (strcmp(shells[i].name, name) == 0) {
            *ret = (enum usage_shell)i;
            return true;
        }
    return false;
}

void
usage_completion(FILE *f, const struct usage *program, enum usage_shell shell)
{
    shells[shell].print(f, program);
}
