/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/act_text.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/pci_addr.h"
#include "cli/json.h"

#include <inttypes.h>
#include <string.h>

#define LINE_MAX_TEXT 8192
#define JSON_DEPTH 16

void
act_put_clean(struct buf *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        /* a C1 control in UTF-8: two bytes, the second below 0xa0 */
        bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;

        if (*p < 0x20 || *p == 0x7f || c1) {
            (void)buf_put_str(out, "?");
            p += c1;
        } else {
            (void)buf_put(out, p, 1);
        }
    }
}

/* ---- parts ---- */

static void
put(struct buf *out, const char *before, const char *text)
{
    if (!text[0])
        return;
    (void)buf_put_str(out, before);
    act_put_clean(out, text);
}

static void
put_list(struct buf *out, json_object *o, const char *key)
{
    json_object *list;

    if (!json_object_object_get_ex(o, key, &list) || !json_object_is_type(list, json_type_array))
        return;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        const char *s = json_object_get_string(json_object_array_get_idx(list, i));

        put(out, i ? ", " : " ", s ? s : "?");
    }
}

static void
put_pod(struct buf *out, const char *before, json_object *o)
{
    if (!json_str(o, "pod")[0])
        return;
    put(out, before, json_str(o, "namespace"));
    put(out, json_str(o, "namespace")[0] ? "/" : before, json_str(o, "pod"));
}

static void
put_why(struct buf *out, json_object *o)
{
    const char *reason = json_str(o, "reason");

    put(out, ": ", reason);
    put(out, reason[0] ? ", " : ": ", json_str(o, "text"));
}

/* ---- kinds ---- */

static void
text_state(json_object *o, struct buf *out)
{
    put(out, "", json_str(o, "device"));
    put(out, " ", json_str(o, "from"));
    put(out, " -> ", json_str(o, "to"));
    put(out, " (", json_str(o, "event"));
    (void)buf_put_str(out, ")");
    put_pod(out, " of ", o);
    put_why(out, o);
}

static void
text_operation(json_object *o, struct buf *out)
{
    json_object *v;

    put(out, "", json_str(o, "device"));
    put(out, " ", json_str(o, "operation"));
    if (!json_truth(o, "ok")) {
        (void)buf_put_str(out, " failed");
        put_why(out, o);
        return;
    }
    (void)buf_putf(out, " done in %" PRId64 " ms", json_int(o, "took_ms"));
    if (json_object_object_get_ex(o, "evidence", &v) && json_int(v, "resets") > 0)
        (void)buf_putf(out, ", %" PRId64 " reset%s", json_int(v, "resets"),
                       json_int(v, "resets") == 1 ? "" : "s");
    put(out, ", mode active ", json_str(o, "mode_active"));
    put(out, ", configured ", json_str(o, "mode_configured"));
}

static void
text_allocate(json_object *o, struct buf *out)
{
    put(out, "", json_str(o, "resource"));
    (void)buf_put_str(out, json_truth(o, "ok") ? " handed out" : " refused");
    put_list(out, o, "devices");
    put_why(out, o);
}

static void
text_refusal(json_object *o, struct buf *out)
{
    (void)buf_put_str(out, "refused");
    put_pod(out, " ", o);
    put(out, " at ", json_str(o, "what"));
    put(out, " by the rule ", json_str(o, "rule"));
    put_why(out, o);
}

static void
text_owner(json_object *o, struct buf *out)
{
    put(out, "", json_str(o, "device"));
    put_pod(out, " belongs to ", o);
    put(out, ", sandbox ", json_str(o, "sandbox"));
}

static void
text_link(json_object *o, struct buf *out)
{
    const char *kind = json_str(o, "kind");

    if (strcmp(kind, "hwd") == 0)
        (void)buf_put_str(out, "pgpu-hwd");
    else if (strcmp(kind, "runtime") == 0)
        put(out, "runtime at ", json_str(o, "what"));
    else
        put(out, "CDI file of ", json_str(o, "resource"));
    (void)buf_put_str(out, strcmp(kind, "cdi") == 0
                               ? json_truth(o, "ok") ? " written" : " cannot be written"
                           : json_truth(o, "ok") ? " up"
                                                 : " down");
    put_why(out, o);
}

static void
text_kubelet(json_object *o, struct buf *out)
{
    put(out, "", json_str(o, "resource"));
    put(out, " ", json_str(o, "what"));
    put_why(out, o);
}

static void
text_mode(json_object *o, struct buf *out)
{
    put(out, "node mode ", json_str(o, "from_mode"));
    put(out, " -> ", json_str(o, "mode"));
    put_why(out, o);
}

static void
text_request(json_object *o, struct buf *out)
{
    (void)buf_put_str(out, "\"");
    act_put_clean(out, json_str(o, "what"));
    (void)buf_putf(out, "\" by uid %" PRId64 ", pid %" PRId64 "%s", json_int(o, "uid"),
                   json_int(o, "pid"), json_truth(o, "ok") ? "" : ", refused");
    put_why(out, o);
}

static void
text_start(json_object *o, struct buf *out)
{
    put(out, "pgpud ", json_str(o, "text"));
    put(out, " serves, mode ", json_str(o, "mode"));
}

static void
text_stop(json_object *o, struct buf *out)
{
    (void)o;
    (void)buf_put_str(out, "pgpud stops; the node stays as it is");
}

static void
text_chain(json_object *o, struct buf *out)
{
    put(out, "the log: ", json_str(o, "what"));
    put(out, " ", json_str(o, "chain"));
    put_why(out, o);
}

static void
text_gap(json_object *o, struct buf *out)
{
    (void)buf_putf(out, "%" PRId64 " records are missing", json_int(o, "lost"));
    put(out, " since ", json_str(o, "since"));
    put_why(out, o);
}

static void
text_other(json_object *o, struct buf *out)
{
    const size_t before = out->len;

    put(out, "", json_str(o, "device"));
    put(out, out->len > before ? " " : "", json_str(o, "what"));
    if (strcmp(json_str(o, "ok"), "false") == 0)
        (void)buf_put_str(out, out->len > before ? " failed" : "failed");
    put_pod(out, " ", o);
    put_why(out, o);
}

static const struct {
    const char *kind;
    void (*text)(json_object *o, struct buf *out);
} kinds[] = {
    {"state", text_state},       {"operation", text_operation},
    {"allocate", text_allocate}, {"refusal", text_refusal},
    {"owner", text_owner},       {"hwd", text_link},
    {"runtime", text_link},      {"cdi", text_link},
    {"kubelet", text_kubelet},   {"mode", text_mode},
    {"request", text_request},   {"start", text_start},
    {"stop", text_stop},         {"chain", text_chain},
    {"gap", text_gap},
};

void
act_text(json_object *o, struct buf *out)
{
    const char *kind = json_str(o, "kind");

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (strcmp(kinds[i].kind, kind) == 0) {
            kinds[i].text(o, out);
            return;
        }
    text_other(o, out);
}

/* ---- lines ---- */

bool
act_is_bad(json_object *o)
{
    static const char *const bad_states[] = {"quarantined", "stuck", "gone"};
    static const char *const bad_kinds[] = {"refusal", "gap", "unlock"};
    const char *kind = json_str(o, "kind");

    for (size_t i = 0; i < ARRAY_SIZE(bad_states); i++)
        if (strcmp(json_str(o, "to"), bad_states[i]) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(bad_kinds); i++)
        if (strcmp(kind, bad_kinds[i]) == 0)
            return true;
    return strcmp(json_str(o, "ok"), "false") == 0 ||
           (strcmp(kind, "chain") == 0 && (strcmp(json_str(o, "what"), "break") == 0 ||
                                           strcmp(json_str(o, "what"), "torn") == 0));
}

static const char *
colour(json_object *o)
{
    if (act_is_bad(o))
        return "\033[31m";
    if (strcmp(json_str(o, "to"), "ready") == 0)
        return "\033[32m";
    return strcmp(json_str(o, "to"), "releasing") == 0 ? "\033[33m" : "";
}

void
act_print(json_object *o, bool colours, FILE *f)
{
    const char *c = colours ? colour(o) : "";
    struct buf line;
    const char *text;

    buf_init(&line, LINE_MAX_TEXT);
    act_put_clean(&line, json_str(o, "time"));
    (void)buf_put_str(&line, "  ");
    act_put_clean(&line, json_str(o, "kind"));
    for (size_t n = strlen(json_str(o, "kind")); n < 10; n++)
        (void)buf_put_str(&line, " ");
    (void)buf_put_str(&line, " ");
    act_text(o, &line);
    line.failed = false; /* a line that is too long is cut */
    text = buf_cstr(&line);
    (void)fprintf(f, "%s%s%s\n", c, text ? text : "?", c[0] ? "\033[0m" : "");
    buf_fini(&line);
}

json_object *
act_parse(const char *line, size_t len)
{
    struct json_tokener *t = json_tokener_new_ex(JSON_DEPTH);
    json_object *o = t && len < INT32_MAX ? json_tokener_parse_ex(t, line, (int)len) : NULL;
    size_t end = o ? json_tokener_get_parse_end(t) : 0;

    while (end < len && (line[end] == '\n' || line[end] == '\r' || line[end] == ' '))
        end++;
    json_tokener_free(t);
    if (json_object_is_type(o, json_type_object) && end == len)
        return o;
    (void)json_object_put(o);
    return NULL;
}

/* ---- filters ---- */

bool
act_device(const char *word, char ret[24])
{
    /* "41:00.0", nvidia-smi's "00000000:41:00.0" with eight digits, and the kernel's own */
    size_t len = strlen(word), colons = 0, skip = 0;
    char low[24], text[PCI_ADDR_STR];
    struct pci_addr addr;

    if (len >= sizeof(low) - sizeof("0000:"))
        return false;
    for (size_t i = 0; i < len; i++)
        colons += word[i] == ':';
    while (colons == 2 && word[skip] == '0' && strcspn(word + skip, ":") > 4)
        skip++;
    (void)snprintf(low, sizeof(low), "%s%s", colons == 1 ? "0000:" : "", word + skip);
    for (char *p = low; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'F' ? *p - 'A' + 'a' : *p);
    return pci_addr_parse(low, &addr) && str_copy(ret, 24, pci_addr_str(addr, text));
}

/* A word of the option's own list: one that is misspelt would show nothing, and seem to say that
 * nothing was wrong. */
static bool
is_kind(const struct usage_args *a, const char *word)
{
    const char *words = "";
    size_t len = strlen(word);

    for (unsigned i = 0; i < a->n_opts; i++)
        if (strcmp(a->opt[i].opt->name, "--kind") == 0 && a->opt[i].opt->words)
            words = a->opt[i].opt->words;
    for (const char *p = words; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");

        if (n == len && strncmp(p, word, n) == 0)
            return true;
        p += n;
    }
    return false;
}

int
act_filter_take(struct act_filter *f, const struct usage_args *a, bool devices)
{
    const char *k;

    *f = (struct act_filter){.n_kinds = 0};
    for (unsigned i = 0; (k = usage_nth(a, "--kind", i)); i++) {
        if (f->n_kinds == ACT_FILTER_MAX)
            return usage_wrong(a, "--kind: at most %d", ACT_FILTER_MAX);
        if (!is_kind(a, k))
            return usage_wrong(a, "--kind: there is no \"%s\"", k);
        f->kind[f->n_kinds++] = k;
    }
    for (int i = 0; devices && i < a->n; i++) {
        if (f->n_devices == ACT_FILTER_MAX)
            return usage_wrong(a, "at most %d devices", ACT_FILTER_MAX);
        if (!act_device(a->v[i], f->device[f->n_devices++]))
            return usage_wrong(a, "\"%s\" is no PCI address", a->v[i]);
    }
    return -1;
}

static bool
names_device(json_object *o, const char *device)
{
    json_object *list;

    if (strcmp(json_str(o, "device"), device) == 0)
        return true;
    if (!json_object_object_get_ex(o, "devices", &list) ||
        !json_object_is_type(list, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        const char *s = json_object_get_string(json_object_array_get_idx(list, i));

        if (s && strcmp(s, device) == 0)
            return true;
    }
    return false;
}

bool
act_filter_fits(const struct act_filter *f, json_object *o)
{
    bool kind = f->n_kinds == 0, device = f->n_devices == 0;

    for (unsigned i = 0; i < f->n_kinds; i++)
        kind = kind || strcmp(f->kind[i], json_str(o, "kind")) == 0;
    for (unsigned i = 0; i < f->n_devices; i++)
        device = device || names_device(o, f->device[i]);
    return kind && device;
}
