/* SPDX-License-Identifier: Apache-2.0
 *
 * Completions for zsh, from the table.
 */
#include "base/usage_walk.h"

#include <string.h>

/* ---- zsh ---- */

/* 'name:help' as _describe takes it. */
static void
zsh_pair(FILE *f, const char *name, const char *help)
{
    char text[1024];

    (void)snprintf(text, sizeof(text), "%s:%s", name, help);
    (void)fputc(' ', f);
    usage_quote_sh(f, text);
}

static void
zsh_opts(FILE *f, const struct usage_opt *list)
{
    char letter[3] = "-";

    for (const struct usage_opt *o = list; o && o->name; o++) {
        (void)fputs("\n           ", f);
        zsh_pair(f, o->name, o->help);
        letter[1] = o->letter;
        if (o->letter)
            zsh_pair(f, letter, o->help);
    }
}

static void
zsh_word(FILE *f, const char *word, size_t len)
{
    (void)fprintf(f, " %.*s", (int)len, word);
}

static void
zsh_takes(FILE *f, const struct usage *program, const struct usage_opt *list)
{
    for (const struct usage_opt *o = list; o && o->name; o++) {
        if (!o->arg)
            continue;
        (void)fprintf(f, "\n            '%s' ' ", o->name);
        usage_words(program, o->words, zsh_word, f);
        (void)fputc('\'', f);
        if (o->letter) {
            (void)fprintf(f, " '-%c' ' ", o->letter);
            usage_words(program, o->words, zsh_word, f);
            (void)fputc('\'', f);
        }
    }
}

static void
zsh_node(FILE *f, const struct usage_node *n)
{
    const struct usage *v;

    (void)fputs("    ", f);
    usage_quote_sh(f, n->path);
    (void)fputs(")\n        verbs=(", f);
    for (unsigned i = 0; (v = usage_verb(n->u, i, NULL)) != NULL; i++) {
        (void)fputs("\n           ", f);
        zsh_pair(f, v->name, v->summary);
    }
    (void)fputs(")\n        opts=(", f);
    zsh_opts(f, n->u->opts);
    if (n->u != n->program)
        zsh_opts(f, n->program->opts);
    else if (n->u->version)
        (void)fputs("\n            '--version:print the version and exit'", f);
    /* a later key of an associative array wins: the verb's own stands last */
    (void)fputs("\n            '--help:print the help and exit')\n        takes=(", f);
    if (n->u != n->program)
        zsh_takes(f, n->program, n->program->opts);
    zsh_takes(f, n->program, n->u->opts);
    (void)fputs(")\n        args=(", f);
    usage_words(n->program, n->u->words, zsh_word, f);
    (void)fputs(")\n        ;;\n", f);
}

static const char zsh_main[] =
    "@F@_words()\n"
    "{\n"
    "    local w\n"
    "    local -a found\n"
    "\n"
    "    for w in \"$@\"; do\n"
    "        case $w in\n"
    "        file) _files ;;\n"
    "        dir) _files -/ ;;\n"
    "        device)\n"
    "            found=(${(f)\"$($words[1] ${root:+--root} ${root:+$root} completion devices "
    "2>/dev/null)\"})\n"
    "            compadd -a found\n"
    "            ;;\n"
    "        *) compadd -- $w ;;\n"
    "        esac\n"
    "    done\n"
    "}\n"
    "\n"
    "@F@()\n"
    "{\n"
    "    local place=@P@ value='' root='' ended='' w cur=${(Q)words[CURRENT]} i\n"
    "    local -a verbs opts args names\n"
    "    local -A takes\n"
    "\n"
    "    @F@_node $place\n"
    "    for ((i = 2; i < CURRENT; i++)); do\n"
    "        w=${(Q)words[i]}\n"
    "        names=(${verbs%%:*})\n"
    "        if [[ -n $value ]]; then\n"
    "            [[ $value == --root ]] && root=$w\n"
    "            value=''\n"
    "        elif [[ -n $ended ]]; then\n"
    "            :\n"
    "        elif [[ $w == -- ]]; then\n"
    "            ended=1\n"
    "        elif [[ $w == --root=* ]]; then\n"
    "            root=${w#*=}\n"
    "        elif [[ $w == -* ]]; then\n"
    "            (( ${+takes[$w]} )) && value=$w\n"
    "        elif (( ${names[(Ie)$w]} )); then\n"
    "            place+=\" $w\"\n"
    "            @F@_node $place\n"
    "        fi\n"
    "    done\n"
    "    if [[ -n $value ]]; then\n"
    "        @F@_words ${=takes[$value]}\n"
    "    elif [[ -z $ended && $cur == --*=* ]]; then\n"
    "        compset -P '*='\n"
    "        @F@_words ${=takes[${cur%%=*}]}\n"
    "    elif [[ -z $ended && $cur == -* ]]; then\n"
    "        _describe -o option opts\n"
    "    elif (( $#verbs )); then\n"
    "        _describe verb verbs\n"
    "    else\n"
    "        @F@_words $args\n"
    "    fi\n"
    "}\n"
    "\n"
    "if [[ $funcstack[1] == @F@ ]]; then\n"
    "    @F@ \"$@\"\n"
    "else\n"
    "    compdef @F@ @P@\n"
    "fi\n";

void
usage_zsh(FILE *f, const struct usage *program)
{
    char func[64];

    /* compinit calls the function by the name of its file */
    (void)snprintf(func, sizeof(func), "_%s", program->name);
    usage_emit(f,
               "#compdef @P@\n# zsh completion for @P@, printed from its table of verbs and "
               "options\n\n@F@_node()\n{\n    verbs=() opts=() takes=() args=()\n    case $1 in\n",
               func, program->name);
    usage_walk(program, zsh_node, f);
    (void)fputs("    esac\n}\n\n", f);
    usage_emit(f, zsh_main, func, program->name);
}
