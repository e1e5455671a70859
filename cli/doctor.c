/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl doctor: the list of areas, the findings, the verb. Owner of nothing but the findings.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ONLY_MAX 64

const struct doctor_area *const doctor_areas[] = {
    &doctor_tee,   &doctor_kernel,   &doctor_iommu,    &doctor_devices,
    &doctor_modes, &doctor_kubelet,  &doctor_cdi,      &doctor_runtime,
    &doctor_kata,  &doctor_operator, &doctor_services, &doctor_audit,
};

size_t
doctor_area_count(void)
{
    return ARRAY_SIZE(doctor_areas);
}

const char *
doctor_status_name(enum doctor_status s)
{
    static const char *const names[] = {"ok", "unknown", "info", "warning", "error"};

    return (unsigned)s < ARRAY_SIZE(names) ? names[s] : "unknown";
}

const char *
doctor_cure_of(const struct doctor_check *c)
{
    return c->cure ? c->cure : reason_cure(reason_from_name(c->code));
}

const struct doctor_check *
doctor_find(const char *code, const struct doctor_area **ret_area)
{
    for (size_t i = 0; i < doctor_area_count(); i++)
        for (size_t k = 0; k < doctor_areas[i]->n; k++)
            if (strcasecmp(doctor_areas[i]->checks[k].code, code) == 0) {
                *ret_area = doctor_areas[i];
                return &doctor_areas[i]->checks[k];
            }
    return NULL;
}

/* ---- findings ---- */

static bool
wanted(const struct doctor *d, const struct doctor_area *a, const struct doctor_check *c)
{
    if (!d->only)
        return true;
    for (char *const *w = d->only; *w; w++)
        if (strcasecmp(*w, a->name) == 0 || (c && strcasecmp(*w, c->code) == 0))
            return true;
    return false;
}

/* What is printed comes from files that others write. */
static void
printable(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f)
            *s = '?';
}

__attribute__((format(printf, 5, 0))) static struct doctor_finding *
add(struct doctor *d, const struct doctor_check *c, enum doctor_status s, const char *object,
    const char *fmt, va_list ap)
{
    struct doctor_finding *f = d->n < DOCTOR_FINDINGS_MAX ? &d->v[d->n] : NULL;

    if (!f) {
        d->dropped++;
        return NULL;
    }
    memset(f, 0, sizeof(*f));
    f->area = d->area;
    f->check = c;
    f->status = s;
    (void)snprintf(f->object, sizeof(f->object), "%s", object ? object : "");
    (void)vsnprintf(f->seen, sizeof(f->seen), fmt, ap);
    printable(f->object);
    printable(f->seen);
    d->n++;
    return f;
}

void
doctor_ok(struct doctor *d, const struct doctor_check *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)add(d, c, DOCTOR_OK, NULL, fmt, ap);
    va_end(ap);
}

void
doctor_bad(struct doctor *d, const struct doctor_check *c, const char *object, const char *fmt, ...)
{
    struct doctor_finding *f;
    va_list ap;

    va_start(ap, fmt);
    f = add(d, c, c->severity, object, fmt, ap);
    va_end(ap);
    if (f)
        (void)snprintf(f->cure, sizeof(f->cure), "%s", doctor_cure_of(c));
}

void
doctor_unknown(struct doctor *d, const struct doctor_check *c, const char *object, const char *fmt,
               ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)add(d, c, DOCTOR_UNKNOWN, object, fmt, ap);
    va_end(ap);
}

void
doctor_cure(struct doctor *d, const char *fmt, ...)
{
    struct doctor_finding *f = d->n > 0 ? &d->v[d->n - 1] : NULL;
    va_list ap;

    if (!f || d->dropped > 0)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(f->cure, sizeof(f->cure), fmt, ap);
    va_end(ap);
    printable(f->cure);
}

void
doctor_severity(struct doctor *d, enum doctor_status s)
{
    if (d->n > 0 && d->dropped == 0)
        d->v[d->n - 1].status = s;
}

/* ---- the run ---- */

static bool
area_wanted(const struct doctor *d, const struct doctor_area *a)
{
    for (size_t k = 0; k < a->n; k++)
        if (wanted(d, a, &a->checks[k]))
            return true;
    return false;
}

/* Who asks for a code gets an answer: an empty list would look like health. */
static void
answer_codes(struct doctor *d, const struct doctor_area *a, size_t from)
{
    for (size_t k = 0; d->only && k < a->n; k++) {
        bool named = false, said = false;

        for (char *const *w = d->only; *w; w++)
            named = named || strcasecmp(*w, a->checks[k].code) == 0;
        for (size_t i = from; i < d->n; i++)
            said = said || d->v[i].check == &a->checks[k];
        if (named && !said)
            doctor_unknown(d, &a->checks[k], NULL,
                           "not found, and not known to be fine: it may not apply to this host");
    }
}

static void
run_areas(struct doctor *d)
{
    size_t kept = 0, from;

    for (size_t i = 0; i < doctor_area_count(); i++) {
        d->area = doctor_areas[i];
        if (!area_wanted(d, d->area))
            continue;
        from = d->n;
        d->area->run(d);
        answer_codes(d, d->area, from);
    }
    for (size_t i = 0; i < d->n; i++)
        if (wanted(d, d->v[i].area, d->v[i].check))
            d->v[kept++] = d->v[i];
    d->n = kept;
}

static int
exit_status(const struct doctor *d)
{
    enum doctor_status worst = DOCTOR_OK;

    for (size_t i = 0; i < d->n; i++)
        if (d->v[i].status > worst)
            worst = d->v[i].status;
    return worst == DOCTOR_ERROR || d->dropped > 0 ? 2 : worst == DOCTOR_WARNING ? 1 : 0;
}

/* ---- the verb ---- */

struct args {
    struct doctor_options o;
    size_t n_only;
    char *only[ONLY_MAX + 1];
    char text[1024]; /* what `only` points into */
};

static bool
known_filter(const char *word)
{
    const struct doctor_area *area = NULL;

    for (size_t i = 0; i < doctor_area_count(); i++)
        if (strcasecmp(doctor_areas[i]->name, word) == 0)
            return true;
    return doctor_find(word, &area) != NULL;
}

/* --only kata,NO_IOMMU --only cdi */
static int
take_only(const struct usage_args *u, struct args *a)
{
    size_t used = 0;
    char *save = NULL;
    const char *v;

    for (unsigned i = 0; (v = usage_nth(u, "--only", i)); i++) {
        int n = snprintf(a->text + used, sizeof(a->text) - used, "%s,", v);

        if (n < 0 || (size_t)n >= sizeof(a->text) - used)
            return usage_wrong(u, "too much in --only");
        used += (size_t)n;
    }
    for (char *w = strtok_r(a->text, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        if (!known_filter(w))
            return usage_wrong(u, "no such area or code: %s (--list shows them)", w);
        if (a->n_only == ONLY_MAX)
            return usage_wrong(u, "too much in --only");
        a->only[a->n_only++] = w;
    }
    return -1;
}

/* Named conditions are seen in status, events and metrics: no check has to have their name. */
static int
explain_reason(enum reason r, bool json)
{
    json_object *o;

    if (!json) {
        (void)printf(
            "%s: why a device is not offered, or an operation failed\n           cure %s\n",
            reason_name(r), reason_cure(r));
        return 0;
    }
    o = json_object_new_object();
    (void)json_object_object_add(o, "code", json_object_new_string(reason_name(r)));
    (void)json_object_object_add(o, "cure", json_object_new_string(reason_cure(r)));
    (void)puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)json_object_put(o);
    return 0;
}

static int
explain(const struct usage_args *u, const char *code, bool json)
{
    const struct doctor_area *area = NULL;
    const struct doctor_check *k = doctor_find(code, &area);

    if (!k && reason_from_name(code) != REASON_NONE)
        return explain_reason(reason_from_name(code), json);
    if (!k)
        return usage_wrong(u, "no such code: %s (--list shows them)", code);
    doctor_explain(area, k, json);
    return 0;
}

static int
examine(const struct cli *c, const struct args *a, bool verbose)
{
    struct doctor d = {.c = c, .only = a->n_only ? a->only : NULL};
    struct err e = ERR_INIT;
    int rc = 2;

    if (doctor_gather(&d, c, &a->o, &e) < 0) {
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
    } else {
        run_areas(&d);
        if (c->json)
            doctor_print_json(&d);
        else
            doctor_print(&d, verbose);
        rc = exit_status(&d);
    }
    doctor_release(&d);
    return rc;
}

static int
run(const void *ctx, int argc, char **argv)
{
    const struct cli *c = ctx;
    struct args a = {.n_only = 0};
    struct usage_args u;
    int rc = usage_parse(&verb_doctor, argc, argv, &u);

    if (rc >= 0)
        return rc;
    a.o.host = usage_value(&u, "--host", NULL);
    a.o.config = usage_value(&u, "--config", NULL);
    a.o.offline_only = usage_flag(&u, "--offline");
    if (usage_flag(&u, "--explain"))
        return explain(&u, usage_value(&u, "--explain", ""), c->json);
    if (usage_flag(&u, "--list")) {
        doctor_list(c->json);
        return 0;
    }
    rc = take_only(&u, &a);
    return rc >= 0 ? rc : examine(c, &a, usage_flag(&u, "--verbose"));
}

static const struct usage_opt options[] = {
    {"--only", "LIST", "areas and codes, separated by commas; may be repeated", NULL, 0},
    {"--host", "DIR",
     "the host's /proc, /etc, /run, /var and /opt below DIR (default: that of --root); paths in "
     "configurations that begin with DIR are taken as they are",
     "dir", 0},
    {"--config", "FILE", "pgpud's configuration (default /etc/pgpu/pgpud.yaml of the host)", "file",
     0},
    {"--offline", NULL, "do not ask pgpud and pgpu-hwd", NULL, 0},
    {"--verbose", NULL, "say why each finding matters", NULL, 'v'},
    {"--explain", "CODE", "what a code means, and nothing else", NULL, 0},
    {"--list", NULL, "all codes, and nothing else", NULL, 0},
    {NULL, NULL, NULL, NULL, 0},
};

const struct usage verb_doctor = {
    .name = "doctor",
    .args = "",
    .summary = "what keeps this host's GPUs from being handed out, and the cure",
    .text = "Looks at the host (confidential VMs, IOMMU and VFIO, each GPU, kubelet, CDI files, "
            "container runtime and NRI, Kata, other GPU software) and at pgpud and pgpu-hwd. "
            "Changes nothing, starts nothing and opens no VFIO device; works with the services "
            "stopped, in a container with the host's root mounted (--root /host), and without "
            "root: what cannot be read is \"unknown\", not fine.\n\n"
            "With --json a list of objects with the texts area, code, title, severity (ok, "
            "unknown, info, warning, error), object, seen, why and cure.\n\n"
            "Exit status: 0 fine, 1 warnings, 2 errors or wrong usage.",
    .opts = options,
    .run = run,
};
