/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes to a YAML document, by libyaml, from which the parsers of all three consumers were ported.
 * No state.
 */
#include "cdi/lint.h"

#include <stdio.h>

/* Whether anything but the end of the stream follows. */
static bool
has_more(yaml_parser_t *p)
{
    yaml_document_t next;

    if (!yaml_parser_load(p, &next))
        return true;
    bool more = yaml_document_get_root_node(&next) != NULL;
    yaml_document_delete(&next);
    return more;
}

/* Whether a double-quoted scalar holds an escaped slash, which JSON writers may produce. libyaml
 * reads it since 0.2.1; the Go port in both Go libraries calls it an unknown escape character. */
static bool
has_slash_escape(yaml_document_t *doc, const char *data, size_t len)
{
    size_t byte = 0, chars = 0; /* marks count characters */
    const yaml_node_t *n;

    for (int i = 1; (n = yaml_document_get_node(doc, i)) != NULL; i++) {
        if (n->type != YAML_SCALAR_NODE || n->data.scalar.style != YAML_DOUBLE_QUOTED_SCALAR_STYLE)
            continue;
        bool escaped = false;
        for (; byte < len && chars < n->end_mark.index; byte++) {
            bool inside = chars >= n->start_mark.index;

            if (inside && escaped && data[byte] == '/')
                return true;
            escaped = inside && !escaped && data[byte] == '\\';
            /* a character ends where the next byte is not a continuation */
            if (byte + 1 >= len || ((unsigned char)data[byte + 1] & 0xc0) != 0x80)
                chars++;
        }
    }
    return false;
}

bool
lint_doc_load(const char *data, size_t len, struct lint_doc *ret, char *why, size_t why_size)
{
    yaml_parser_t p;

    if (!yaml_parser_initialize(&p)) {
        (void)snprintf(why, why_size, "no memory");
        return false;
    }
    yaml_parser_set_input_string(&p, (const unsigned char *)data, len);

    bool ok = yaml_parser_load(&p, &ret->doc) != 0;
    if (ok) {
        ret->root = yaml_document_get_root_node(&ret->doc);
        ret->more = ret->root && has_more(&p);
        ret->slash_escape = has_slash_escape(&ret->doc, data, len);
    } else {
        (void)snprintf(why, why_size, "%s in line %zu", p.problem ? p.problem : "unreadable",
                       p.problem_mark.line + 1);
    }
    yaml_parser_delete(&p);
    return ok;
}

void
lint_doc_free(struct lint_doc *d)
{
    yaml_document_delete(&d->doc);
}
