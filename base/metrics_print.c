/* SPDX-License-Identifier: Apache-2.0
 *
 * The text form of the registry. The two formats differ in a few places only:
 *
 *                         text 0.0.4                OpenMetrics 1.0
 *   family of a counter   x_total                   x, its sample x_total
 *   family of an info     x_info, a gauge           x, its sample x_info
 *   unit                  -                         # UNIT
 *   quotes in HELP        as they are               \"
 *   end                   -                         # EOF
 */
#include "base/metrics_impl.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *
metrics_content_type(enum metrics_format f)
{
    return f == METRICS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                    : "text/plain; version=0.0.4; charset=utf-8";
}

/* Length of the valid UTF-8 sequence at `s`; 0 = it is none. RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF. */
static size_t
utf8_length(const unsigned char *s)
{
    size_t n = s[0] < 0x80                    ? 1
               : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
               : (s[0] & 0xf0) == 0xe0        ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;

    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0; /* the NUL at the end included */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* What is no UTF-8 becomes U+FFFD: one bad byte must not cost the whole scrape. */
static void
put_escaped(struct buf *out, const char *text, bool quotes)
{
    const unsigned char *s = (const unsigned char *)text;

    while (*s) {
        size_t n = utf8_length(s);

        if (n == 0)
            (void)buf_put_str(out, "\xef\xbf\xbd");
        else if (*s == '\\')
            (void)buf_put_str(out, "\\\\");
        else if (*s == '\n')
            (void)buf_put_str(out, "\\n");
        else if (*s == '"' && quotes)
            (void)buf_put_str(out, "\\\"");
        else
            (void)buf_put(out, s, n);
        s += n ? n : 1;
    }
}

/* The shortest of the common precisions that reads back as the same number. No locale is set by our
 * programs, so the decimal point is one. */
static void
put_number(struct buf *out, double v)
{
    char text[40];

    if (isnan(v)) {
        (void)buf_put_str(out, "NaN");
        return;
    }
    if (isinf(v)) {
        (void)buf_put_str(out, v > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    (void)buf_put_str(out, text);
}

/* Limits of buckets are label values: the same text in both formats, a fraction always, as
 * OpenMetrics' canonical numbers have it. */
static void
put_limit(struct buf *out, double v)
{
    char text[40];

    (void)snprintf(text, sizeof(text), "%.15g", v);
    (void)buf_putf(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

/* name_suffix{labels,extra="...",le="..."}; what is NULL is left out, `limit` with `le` false. */
struct sample {
    const char *suffix;
    const char *extra; /* value of the family's last label: of a state set */
    bool le;
    double limit; /* INFINITY for the last bucket */
};

static void
put_sample_name(struct buf *out, const struct metric_family *f, const struct series *s,
                const struct sample *what)
{
    size_t n = metrics_given_labels(f);
    const char *sep = "{";

    (void)buf_putf(out, "%s%s", f->name, what->suffix);
    for (size_t i = 0; i < n; i++, sep = ",") {
        (void)buf_putf(out, "%s%s=\"", sep, f->label[i]);
        put_escaped(out, s->label[i], true);
        (void)buf_put_str(out, "\"");
    }
    if (what->extra) {
        (void)buf_putf(out, "%s%s=\"", sep, f->label[n]);
        put_escaped(out, what->extra, true);
        (void)buf_put_str(out, "\"");
        sep = ",";
    }
    if (what->le) {
        (void)buf_putf(out, "%sle=\"", sep);
        if (isinf(what->limit))
            (void)buf_put_str(out, "+Inf");
        else
            put_limit(out, what->limit);
        (void)buf_put_str(out, "\"");
        sep = ",";
    }
    (void)buf_put_str(out, *sep == ',' ? "} " : " ");
}

static void
put_sample(struct buf *out, const struct metric_family *f, const struct series *s,
           const struct sample *what, double v)
{
    put_sample_name(out, f, s, what);
    put_number(out, v);
    (void)buf_put_str(out, "\n");
}

static void
put_histogram(struct buf *out, const struct metric_family *f, const struct series *s)
{
    uint64_t sum = 0;

    for (size_t i = 0; i <= f->n_buckets; i++) {
        sum += s->bucket[i];
        put_sample(out, f, s,
                   &(struct sample){.suffix = "_bucket",
                                    .le = true,
                                    .limit = i < f->n_buckets ? f->buckets[i] : INFINITY},
                   (double)sum);
    }
    put_sample(out, f, s, &(struct sample){.suffix = "_sum"}, s->value);
    put_sample(out, f, s, &(struct sample){.suffix = "_count"}, (double)sum);
}

static void
put_states(struct buf *out, const struct metric_family *f, const struct series *s)
{
    for (size_t i = 0; i < f->n_states; i++)
        put_sample(out, f, s, &(struct sample){.suffix = "", .extra = f->states[i]},
                   (double)i == s->value ? 1 : 0);
}

static void
put_series(struct buf *out, const struct metric_family *f, const struct series *s)
{
    switch (f->type) {
    case METRIC_HISTOGRAM:
        put_histogram(out, f, s);
        return;
    case METRIC_STATES:
        put_states(out, f, s);
        return;
    case METRIC_COUNTER:
        put_sample(out, f, s, &(struct sample){.suffix = "_total"}, s->value);
        return;
    case METRIC_INFO:
        put_sample(out, f, s, &(struct sample){.suffix = "_info"}, 1);
        return;
    case METRIC_GAUGE:
        put_sample(out, f, s, &(struct sample){.suffix = ""}, s->value);
        return;
    }
}

static void
put_head(struct buf *out, const struct metric_family *f, bool om)
{
    static const char *const om_types[] = {"counter", "gauge", "histogram", "gauge", "info"};
    static const char *const text_types[] = {"counter", "gauge", "histogram", "gauge", "gauge"};
    const char *suffix = om                          ? ""
                         : f->type == METRIC_COUNTER ? "_total"
                         : f->type == METRIC_INFO    ? "_info"
                                                     : "";

    (void)buf_putf(out, "# HELP %s%s ", f->name, suffix);
    put_escaped(out, f->help, om);
    (void)buf_putf(out, "\n# TYPE %s%s %s\n", f->name, suffix,
                   om ? om_types[f->type] : text_types[f->type]);
    if (om && f->unit)
        (void)buf_putf(out, "# UNIT %s %s\n", f->name, f->unit);
}

int
metrics_print(const struct metrics *m, enum metrics_format format, struct buf *out, struct err *e)
{
    bool om = format == METRICS_OPENMETRICS;

    for (size_t f = 0; f < m->n; f++) {
        if (m->set[f].n == 0)
            continue;
        put_head(out, &m->family[f], om);
        for (size_t i = 0; i < m->set[f].n; i++)
            put_series(out, &m->family[f], m->set[f].series[i]);
    }
    if (om)
        (void)buf_put_str(out, "# EOF\n");
    if (buf_failed(out))
        return err_set(e, EMSGSIZE, ERR_CLASS_FATAL, "the metrics are too large");
    return 0;
}
