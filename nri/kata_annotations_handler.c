/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of a handler: from its name, as kata-deploy gives names
 * (tools/packaging/kata-deploy, "kata-" SHIM), and from its configuration files.
 */
#include "nri/kata_annotations_impl.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SIX                                                                                        \
    "enable_iommu|kernel_params|kernel_verity_params|default_vcpus|default_memory|cc_init_data"
#define THREE "enable_iommu|kernel_params|kernel_verity_params"

/* Shipped enable_annotations of Kata 4.1.0 (src/runtime/Makefile, src/runtime-rs/Makefile), by the
 * handler's name without "kata-" and "-runtime-rs"; the longest name that fits counts. NULL: not
 * known. */
static const struct shipped {
    const char *shim;
    enum kata_tee tee;
    bool has_go, has_rs;
    const char *go, *rs;
} shipped[] = {
    {"qemu-nvidia-gpu-snp", KATA_TEE_SNP, true, true, SIX, "cc_init_data"},
    {"qemu-nvidia-gpu-tdx", KATA_TEE_TDX, true, true, SIX, "cc_init_data"},
    {"qemu-nvidia-gpu", KATA_TEE_NONE, true, true, THREE, ""},
    {"qemu-nvidia-cpu", KATA_TEE_NONE, true, true, THREE, NULL},
    {"qemu-snp", KATA_TEE_SNP, true, true, SIX, SIX},
    {"qemu-tdx", KATA_TEE_TDX, true, true, SIX, SIX},
    {"qemu-coco-dev", KATA_TEE_NONE, true, true, SIX, SIX},
    {"qemu", KATA_TEE_NONE, true, true, NULL, NULL},
    {"clh", KATA_TEE_NONE, true, true, NULL, NULL},
    {"fc", KATA_TEE_NONE, true, false, NULL, NULL},
    {"stratovirt", KATA_TEE_NONE, true, false, NULL, NULL},
    {"remote", KATA_TEE_UNKNOWN, true, true, NULL, NULL},
    {"dragonball", KATA_TEE_NONE, false, true, NULL, NULL},
    {"cloud-hypervisor", KATA_TEE_NONE, false, true, NULL, NULL},
};

const char *
kata_flavour_name(enum kata_flavour f)
{
    return f == KATA_FLAVOUR_GO ? "go" : f == KATA_FLAVOUR_RS ? "runtime-rs" : "unknown";
}

const char *
kata_tee_name(enum kata_tee t)
{
    static const char *const names[] = {"unknown", "none", "snp", "tdx"};

    return (unsigned)t < ARRAY_SIZE(names) ? names[t] : "unknown";
}

/* The shim's name in a handler's: "kata-" SHIM, then perhaps more words. */
static const struct shipped *
find_shipped(const char *name)
{
    const struct shipped *best = NULL;
    const char *p = strncmp(name, "kata-", 5) == 0 ? name + 5 : NULL;

    for (size_t i = 0; p && i < ARRAY_SIZE(shipped); i++) {
        size_t n = strlen(shipped[i].shim);

        if (strncmp(p, shipped[i].shim, n) == 0 && (p[n] == '\0' || p[n] == '-') &&
            (!best || n > strlen(best->shim)))
            best = &shipped[i];
    }
    return best;
}

/* Is `word` one of the words of `name`, which '-' separates? */
static bool
has_word(const char *name, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = name; p; p = strchr(p, '-')) {
        p += *p == '-';
        if (strncmp(p, word, n) == 0 && (p[n] == '\0' || p[n] == '-'))
            return true;
    }
    return false;
}

static void
flavour_of_name(struct kata_handler *h, const struct shipped *s)
{
    struct kata_handler_facts *f = &h->facts;

    if (strstr(h->name, "runtime-rs")) {
        f->flavour = KATA_FLAVOUR_RS;
        (void)snprintf(h->flavour_from, sizeof(h->flavour_from), "by the handler's name");
    } else if (s && s->has_go) {
        f->flavour = KATA_FLAVOUR_GO;
        (void)snprintf(h->flavour_from, sizeof(h->flavour_from),
                       "assumed: kata-deploy names its runtime-rs handlers \"-runtime-rs\"");
    } else if (s) {
        f->flavour = KATA_FLAVOUR_RS;
        (void)snprintf(h->flavour_from, sizeof(h->flavour_from),
                       "by the handler's name: only runtime-rs has this hypervisor");
    } else {
        (void)snprintf(h->flavour_from, sizeof(h->flavour_from),
                       "the name does not tell: both runtimes use such names");
    }
}

static void
tee_of_name(struct kata_handler *h, const struct shipped *s)
{
    static const struct {
        const char *word;
        enum kata_tee tee;
    } words[] = {{"snp", KATA_TEE_SNP},
                 {"amd", KATA_TEE_SNP},
                 {"tdx", KATA_TEE_TDX},
                 {"intel", KATA_TEE_TDX}};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (has_word(h->name, words[i].word)) {
            h->facts.tee = words[i].tee;
            (void)snprintf(h->tee_from, sizeof(h->tee_from), "by \"%s\" in the handler's name",
                           words[i].word);
            return;
        }
    }
    h->facts.tee = s ? s->tee : KATA_TEE_UNKNOWN;
    (void)snprintf(h->tee_from, sizeof(h->tee_from),
                   h->facts.tee == KATA_TEE_UNKNOWN ? "the name does not tell"
                                                    : "by the handler's name");
}

static void
drop_list(struct kata_handler *h)
{
    kata_patterns_free(h->patterns, h->n_patterns);
    free(h->texts);
    free(h->unjudged);
    h->patterns = NULL;
    h->texts = h->unjudged = NULL;
    h->n_patterns = 0;
    h->facts.n_allowed = h->facts.n_unjudged = 0;
    h->facts.allowed = h->facts.unjudged = NULL;
}

/* Replaces the list of expressions; on failure it is as before. */
static int
set_list(struct kata_handler *h, const char *const *v, size_t n, struct err *e)
{
    struct kata_pattern *p = NULL;
    const char **texts = calloc(n + 1, sizeof(*texts));
    const char **unjudged = calloc(n + 1, sizeof(*unjudged));
    int rc = texts && unjudged ? kata_patterns_compile(v, n, &p, e)
                               : err_set(e, ENOMEM, ERR_CLASS_FATAL, "out of memory");

    if (rc < 0) {
        free(texts);
        free(unjudged);
        return rc;
    }
    drop_list(h);
    h->patterns = p;
    h->n_patterns = n;
    h->texts = texts;
    h->unjudged = unjudged;
    for (size_t i = 0; i < n; i++) {
        texts[i] = p[i].text;
        if (!p[i].ok)
            unjudged[h->facts.n_unjudged++] = p[i].text;
    }
    h->facts.n_allowed = n;
    h->facts.allowed = texts;
    h->facts.unjudged = unjudged;
    return 0;
}

/* The list that Kata ships for this name, where we know it. */
static int
set_shipped(struct kata_handler *h, struct err *e)
{
    const struct shipped *s = find_shipped(h->name);
    const char *list = NULL, *v[16] = {0};
    char words[160];
    size_t n = 0;
    char *save = NULL;

    if (s && h->facts.flavour != KATA_FLAVOUR_UNKNOWN)
        list = h->facts.flavour == KATA_FLAVOUR_GO ? s->go : s->rs;
    h->facts.allowed_known = list != NULL;
    if (!list) {
        (void)snprintf(h->allowed_from, sizeof(h->allowed_from),
                       "not known for this handler without its configuration file");
        return set_list(h, v, 0, e);
    }
    (void)snprintf(h->allowed_from, sizeof(h->allowed_from),
                   "as shipped by Kata 4.1.0 for kata-%s (%s); the node's file may differ", s->shim,
                   kata_flavour_name(h->facts.flavour));
    (void)snprintf(words, sizeof(words), "%s", list);
    for (char *w = strtok_r(words, "|", &save); w && n < ARRAY_SIZE(v);
         w = strtok_r(NULL, "|", &save))
        v[n++] = w;
    return set_list(h, v, n, e);
}

int
kata_handler_new(const char *name, const struct kata_handler_opts *opts, struct kata_handler **ret,
                 struct err *e)
{
    struct kata_handler *h;
    size_t n = strlen(name);

    if (n == 0 || n >= sizeof(h->name))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "a handler's name has 1 to %zu characters",
                       sizeof(h->name) - 1);
    h = calloc(1, sizeof(*h));
    if (!h)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "out of memory");
    memcpy(h->name, name, n + 1);
    if (opts)
        h->told = *opts;
    const struct shipped *s = find_shipped(name);
    flavour_of_name(h, s);
    tee_of_name(h, s);
    h->remote = has_word(name, "remote");
    if (h->told.flavour != KATA_FLAVOUR_UNKNOWN) {
        h->facts.flavour = h->told.flavour;
        (void)snprintf(h->flavour_from, sizeof(h->flavour_from), "as told");
    }
    h->facts.name = h->name;
    h->facts.flavour_from = h->flavour_from;
    h->facts.tee_from = h->tee_from;
    h->facts.allowed_from = h->allowed_from;
    h->facts.cri = h->told.cri;
    h->facts.version = h->told.version;
    h->facts.notes = h->notes;
    int rc = set_shipped(h, e);
    if (rc < 0) {
        kata_handler_free(h);
        return rc;
    }
    *ret = h;
    return 0;
}

void
kata_handler_free(struct kata_handler *h)
{
    if (!h)
        return;
    drop_list(h);
    for (size_t i = 0; i < h->n_files; i++)
        toml_free(h->files[i]);
    free(h);
}

const struct kata_handler_facts *
kata_handler_facts(const struct kata_handler *h)
{
    return &h->facts;
}

/* ---- configuration ---- */

/* The last file's value below [section] or [section.sub]. */
static const struct toml_value *
last_value(const struct kata_handler *h, const char *section, const char *sub, const char *key)
{
    for (size_t i = h->n_files; i-- > 0;) {
        const struct toml_value *t = toml_get(toml_root(h->files[i]), section);

        if (sub)
            t = toml_get(t, sub);
        const struct toml_value *v = toml_get(t, key);
        if (v)
            return v;
    }
    return NULL;
}

const struct toml_value *
kata_handler_value(const struct kata_handler *h, const char *key)
{
    return h->hypervisor ? last_value(h, "hypervisor", h->hypervisor, key) : NULL;
}

/* runtime-rs says which hypervisor it uses; Go takes the one that is there. */
static int
find_hypervisor(struct kata_handler *h, const char *file, struct err *e)
{
    const char *named = toml_string(last_value(h, "runtime", NULL, "hypervisor_name"));
    const char *found = named;

    for (size_t i = 0; !named && i < h->n_files; i++) {
        const struct toml_value *t = toml_get(toml_root(h->files[i]), "hypervisor");

        for (size_t j = 0; j < toml_count(t) && toml_type(t) == TOML_TABLE; j++) {
            const char *name = toml_key(t, j);

            if (found && strcmp(found, name) != 0)
                return err_set(e, EINVAL, ERR_CLASS_INVALID,
                               "%s: tables of several hypervisors and no runtime.hypervisor_name",
                               file);
            found = name;
        }
    }
    h->hypervisor = found;
    return 0;
}

static void
add_note(struct kata_handler *h, const char *text)
{
    size_t n = h->facts.n_notes;

    for (size_t i = 0; i < n; i++)
        if (strcmp(h->note[i], text) == 0)
            return;
    if (n == KATA_NOTES_MAX)
        return;
    (void)snprintf(h->note[n], sizeof(h->note[n]), "%s", text);
    h->notes[n] = h->note[n];
    h->facts.n_notes = n + 1;
}

/* runtime-rs refuses a file without runtime.name, hypervisor_name and agent_name; Go's has none of
 * them (kata-types update_config_by_annotation). */
static void
flavour_of_file(struct kata_handler *h, const char *file)
{
    bool rs = last_value(h, "runtime", NULL, "hypervisor_name") ||
              last_value(h, "runtime", NULL, "agent_name");
    enum kata_flavour f = rs || strstr(file, "runtime-rs") ? KATA_FLAVOUR_RS : KATA_FLAVOUR_GO;

    if (h->told.flavour != KATA_FLAVOUR_UNKNOWN) {
        if (f != h->told.flavour)
            add_note(h, "the configuration file is one of the other runtime than told");
        return;
    }
    if (h->facts.flavour == KATA_FLAVOUR_RS && f == KATA_FLAVOUR_GO) {
        /* drop-ins alone look the same */
        add_note(h, "no runtime.hypervisor_name in the files: not all of them were given, or they "
                    "are not runtime-rs's");
        return;
    }
    if (h->facts.flavour != KATA_FLAVOUR_UNKNOWN && h->facts.flavour != f)
        add_note(h, "the handler's name and its configuration file are of different runtimes: the "
                    "file counts");
    h->facts.flavour = f;
    (void)snprintf(h->flavour_from, sizeof(h->flavour_from),
                   rs ? "by runtime.hypervisor_name in the configuration file"
                   : f == KATA_FLAVOUR_RS
                       ? "by the path of the configuration file"
                       : "the configuration file has no runtime.hypervisor_name");
}

static void
tee_of_file(struct kata_handler *h)
{
    bool snp = false, confidential = false;
    enum kata_tee was = h->facts.tee;

    (void)toml_bool(kata_handler_value(h, "sev_snp_guest"), &snp);
    if (!toml_bool(kata_handler_value(h, "confidential_guest"), &confidential) && !snp)
        return;
    if (snp)
        h->facts.tee = KATA_TEE_SNP;
    else if (!confidential)
        h->facts.tee = KATA_TEE_NONE;
    else if (kata_handler_value(h, "tdx_quote_generation_service_socket_port"))
        h->facts.tee = KATA_TEE_TDX;
    else
        return; /* which one, the name says or nobody */
    if (was != KATA_TEE_UNKNOWN && was != h->facts.tee)
        add_note(h, "the handler's name and its configuration file are of different TEEs: the file "
                    "counts");
    (void)snprintf(h->tee_from, sizeof(h->tee_from), "by the configuration file");
}

/* enable_annotations of the merged files; a table without it allows nothing. */
static int
list_of_files(struct kata_handler *h, const char *file, struct err *e)
{
    const struct toml_value *list = kata_handler_value(h, "enable_annotations");
    const char *v[KATA_LIST_MAX];
    size_t n = toml_count(list);

    if (list && toml_type(list) != TOML_ARRAY)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s:%u: enable_annotations is not a list",
                       file, toml_line(list));
    if (n > KATA_LIST_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "%s:%u: more than %d enable_annotations", file,
                       toml_line(list), KATA_LIST_MAX);
    for (size_t i = 0; i < n; i++) {
        v[i] = toml_string(toml_item(list, i));
        if (!v[i])
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "%s:%u: enable_annotations holds something that is no string", file,
                           toml_line(toml_item(list, i)));
    }
    return set_list(h, v, n, e);
}

int
kata_handler_config(struct kata_handler *h, const char *file, const char *text, size_t len,
                    struct err *e)
{
    const char *hypervisor = h->hypervisor;
    struct toml *t = NULL;

    if (h->n_files == KATA_FILES_MAX)
        return err_set(e, E2BIG, ERR_CLASS_INVALID, "%s: more than %d files", file, KATA_FILES_MAX);
    int rc = toml_parse(file, text, len, NULL, &t, e);
    if (rc < 0)
        return rc;
    h->files[h->n_files++] = t;
    rc = find_hypervisor(h, file, e);
    if (rc == 0)
        rc = list_of_files(h, file, e);
    if (rc < 0) {
        h->n_files--;
        h->hypervisor = hypervisor;
        toml_free(t);
        return rc;
    }
    flavour_of_file(h, file);
    tee_of_file(h);
    h->remote = h->hypervisor && strcmp(h->hypervisor, "remote") == 0;
    h->facts.allowed_known = h->hypervisor != NULL;
    (void)snprintf(h->allowed_from, sizeof(h->allowed_from), "%s",
                   !h->hypervisor ? "no [hypervisor] table in the configuration files"
                   : kata_handler_value(h, "enable_annotations")
                       ? "by the configuration files"
                       : "the configuration files allow none");
    return 0;
}
