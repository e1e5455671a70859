/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner of the series. Their text form is in metrics_print.c.
 */
#include "base/metrics.h"

#include "base/metrics_impl.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t
count_labels(const struct metric_family *f)
{
    size_t n = 0;

    while (n < METRIC_LABELS_MAX && f->label[n])
        n++;
    return n;
}

/* [a-zA-Z_][a-zA-Z0-9_]*; colons are for rules */
static bool
is_name(const char *s)
{
    if (!s || !*s || (*s >= '0' && *s <= '9'))
        return false;
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
              *s == '_'))
            return false;
    return true;
}

static bool
ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n > m + 1 && s[n - m - 1] == '_' && strcmp(s + n - m, end) == 0;
}

static const char *
table_fault(const struct metric_family *f)
{
    if (!is_name(f->name))
        return "not a metric name";
    if (ends_with(f->name, "total") || ends_with(f->name, "info"))
        return "the suffix is added by the type";
    if (!f->help || !*f->help)
        return "no help text";
    if (f->unit && !ends_with(f->name, f->unit))
        return "the name does not end in the unit";
    if (f->max == 0)
        return "no limit of series";
    for (size_t i = 0; i < count_labels(f); i++)
        if (!is_name(f->label[i]) || strcmp(f->label[i], "le") == 0)
            return "not a label name";
    if (f->type == METRIC_HISTOGRAM && (!f->buckets || f->n_buckets == 0))
        return "no buckets";
    for (size_t i = 1; f->type == METRIC_HISTOGRAM && i < f->n_buckets; i++)
        if (!(f->buckets[i] > f->buckets[i - 1]))
            return "buckets do not grow";
    if (f->type == METRIC_STATES && (!f->states || f->n_states == 0 || count_labels(f) == 0))
        return "no states, or no label for them";
    return NULL;
}

int
metrics_new(const struct metric_family *family, size_t n, struct metrics **ret, struct err *e)
{
    struct metrics *m;

    for (size_t i = 0; i < n; i++) {
        const char *fault = table_fault(&family[i]);

        for (size_t j = 0; j < i && !fault; j++)
            if (strcmp(family[i].name, family[j].name) == 0)
                fault = "two families of this name";
        if (fault)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "metric %s: %s",
                           family[i].name ? family[i].name : "?", fault);
    }
    m = calloc(1, sizeof(*m));
    if (!m || !(m->set = calloc(n ? n : 1, sizeof(*m->set)))) {
        free(m);
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "metrics");
    }
    m->family = family;
    m->n = n;
    *ret = m;
    return 0;
}

static void
series_free(struct series *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < METRIC_LABELS_MAX; i++)
        free(s->label[i]);
    free(s->bucket);
    free(s);
}

void
metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++) {
        metric_clear(m, i);
        free(m->set[i].series);
    }
    free(m->set);
    free(m);
}

/* Labels that the caller gives: of a state set all but the last. */
size_t
metrics_given_labels(const struct metric_family *f)
{
    return count_labels(f) - (f->type == METRIC_STATES ? 1 : 0);
}

static bool
is_of(const struct series *s, const char *const *labels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *v = labels && labels[i] ? labels[i] : "";

        if (strncmp(s->label[i], v, METRIC_VALUE_MAX - 1) != 0)
            return false;
    }
    return true;
}

static struct series *
series_new(const struct metric_family *f, const char *const *labels, size_t n)
{
    struct series *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        s->label[i] = strndup(labels && labels[i] ? labels[i] : "", METRIC_VALUE_MAX - 1);
        if (!s->label[i]) {
            series_free(s);
            return NULL;
        }
    }
    if (f->type == METRIC_HISTOGRAM) {
        s->bucket = calloc(f->n_buckets + 1, sizeof(*s->bucket));
        if (!s->bucket) {
            series_free(s);
            return NULL;
        }
    }
    return s;
}

/* NULL: there is no room for one more. */
static struct series *
get(struct metrics *m, size_t f, const char *const *labels)
{
    struct series_set *set = &m->set[f];
    size_t n = metrics_given_labels(&m->family[f]);
    struct series *s;

    for (size_t i = 0; i < set->n; i++)
        if (is_of(set->series[i], labels, n))
            return set->series[i];
    if (set->n == set->cap && set->n < m->family[f].max) {
        size_t cap = set->cap ? set->cap * 2 : 4;
        struct series **more = realloc(set->series, cap * sizeof(struct series *));

        if (more) {
            set->series = more;
            set->cap = cap;
        }
    }
    s = set->n < set->cap && set->n < m->family[f].max ? series_new(&m->family[f], labels, n)
                                                       : NULL;
    if (s)
        set->series[set->n++] = s;
    else
        m->dropped++;
    return s;
}

void
metric_add(struct metrics *m, size_t f, const char *const *labels, double v)
{
    struct series *s = get(m, f, labels);

    if (s && v >= 0) /* a counter never goes down; NaN is not a number of things */
        s->value += v;
}

void
metric_set(struct metrics *m, size_t f, const char *const *labels, double v)
{
    struct series *s = get(m, f, labels);

    if (s)
        s->value = v;
}

void
metric_observe(struct metrics *m, size_t f, const char *const *labels, double v)
{
    const struct metric_family *fam = &m->family[f];
    struct series *s = isnan(v) ? NULL : get(m, f, labels);
    size_t i = 0;

    if (!s)
        return;
    while (i < fam->n_buckets && v > fam->buckets[i])
        i++;
    s->bucket[i]++;
    s->value += v;
}

void
metric_state(struct metrics *m, size_t f, const char *const *labels, size_t state)
{
    struct series *s = get(m, f, labels);

    if (s)
        s->value = (double)state;
}

void
metric_clear(struct metrics *m, size_t f)
{
    for (size_t i = 0; i < m->set[f].n; i++)
        series_free(m->set[f].series[i]);
    m->set[f].n = 0;
}

static void
forget_in(struct metrics *m, size_t f, size_t label, const char *value)
{
    struct series_set *set = &m->set[f];
    size_t k = 0;

    for (size_t i = 0; i < set->n; i++)
        if (strcmp(set->series[i]->label[label], value) == 0)
            series_free(set->series[i]);
        else
            set->series[k++] = set->series[i];
    set->n = k;
}

void
metrics_forget(struct metrics *m, const char *name, const char *value)
{
    for (size_t f = 0; f < m->n; f++)
        for (size_t i = 0; i < metrics_given_labels(&m->family[f]); i++)
            if (strcmp(m->family[f].label[i], name) == 0)
                forget_in(m, f, i, value);
}

unsigned long long
metrics_dropped(const struct metrics *m)
{
    return m->dropped;
}
