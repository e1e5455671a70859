/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status_view.h"

#include "base/cleanup.h"
#include "cli/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
status_span(char *buf, size_t size, int64_t ms)
{
    long long s = ms / 1000;

    if (ms < 0)
        (void)snprintf(buf, size, "%s", "");
    else if (ms < 1000)
        (void)snprintf(buf, size, "%lld ms", (long long)ms);
    else if (s < 60)
        (void)snprintf(buf, size, "%lld.%lld s", s, (long long)ms % 1000 / 100);
    else if (s < 3600)
        (void)snprintf(buf, size, "%lldm%02llds", s / 60, s % 60);
    else if (s < 48 * 3600LL)
        (void)snprintf(buf, size, "%lldh%02lldm", s / 3600, s % 3600 / 60);
    else
        (void)snprintf(buf, size, "%lldd", s / 86400);
}

/* ---- header ---- */

static unsigned
line(struct buf *out, unsigned width, const char *text)
{
    grid_line(out, text, width);
    return 1;
}

static unsigned
mode_line(json_object *o, struct buf *out, unsigned width)
{
    const char *mode = json_str(o, "mode"), *config = json_str(o, "mode_config");
    json_object *c;
    char text[1200];

    if (!json_object_object_get_ex(o, "mode_change", &c))
        return 0;
    if (json_truth(c, "changing"))
        (void)snprintf(text, sizeof(text), "mode change: %s -> %s since %s: %.900s",
                       json_str(c, "from"), mode, json_str(c, "since"), json_str(c, "progress"));
    else if (strcmp(mode, config) != 0)
        (void)snprintf(text, sizeof(text),
                       "mode %s was set by an operator (%s) until the host is started anew: the "
                       "configuration says %s",
                       mode, json_str(c, "since"), config);
    else
        return 0;
    return line(out, width, text);
}

static unsigned
labels_line(json_object *o, struct buf *out, unsigned width)
{
    json_object *l, *set;
    struct buf text;
    const char *s;

    if (!json_object_object_get_ex(o, "labels", &l))
        return 0;
    buf_init(&text, 4096);
    (void)buf_put_str(&text, "labels:");
    if (!json_truth(l, "written"))
        (void)buf_putf(&text, " none: %s", json_str(l, "why"));
    else if (json_object_object_get_ex(l, "set", &set)) {
        json_object_object_foreach(set, key, val)
        {
            if (strncmp(key, "nvidia.com/", 11) == 0)
                (void)buf_putf(&text, " %s=%s", key, json_object_get_string(val));
        }
        (void)buf_putf(&text, " (until %s)%s%s", json_str(l, "until"),
                       json_str(l, "why")[0] ? "; " : "", json_str(l, "why"));
    }
    s = buf_cstr(&text);
    (void)line(out, width, s ? s : "labels: ?");
    buf_fini(&text);
    return 1;
}

static unsigned
validations_line(json_object *o, struct buf *out, unsigned width)
{
    json_object *v, *list;
    struct buf text;
    const char *s;

    if (!json_object_object_get_ex(o, "validations", &v) || !json_truth(v, "enabled"))
        return 0;
    buf_init(&text, 1024);
    (void)buf_put_str(&text, "validations:");
    if (json_object_object_get_ex(v, "written", &list))
        for (size_t i = 0; i < json_object_array_length(list); i++)
            (void)buf_putf(&text, " %s",
                           json_object_get_string(json_object_array_get_idx(list, i)));
    if (json_str(v, "why")[0])
        (void)buf_putf(&text, "; %s", json_str(v, "why"));
    s = buf_cstr(&text);
    (void)line(out, width, s ? s : "validations: ?");
    buf_fini(&text);
    return 1;
}

unsigned
status_header(json_object *o, struct buf *out, unsigned width)
{
    json_object *list, *nri;
    char text[512];
    unsigned n, up = 0, all = 0;

    if (json_object_object_get_ex(o, "nri", &nri) &&
        json_object_object_get_ex(nri, "sessions", &list)) {
        all = (unsigned)json_object_array_length(list);
        for (size_t i = 0; i < all; i++)
            up += json_truth(json_object_array_get_idx(list, i), "up");
    }
    (void)snprintf(text, sizeof(text),
                   "pgpud %s  mode %s  prepare %s  manage %s  NRI %u of %u up  pgpu-hwd %s%s%.200s",
                   json_str(o, "version"), json_str(o, "mode"), json_str(o, "prepare"),
                   json_str(o, "manage"), up, all, json_str(o, "hwd"),
                   json_str(o, "hwd_why")[0] ? ": " : "", json_str(o, "hwd_why"));
    n = line(out, width, text);
    if (json_object_object_get_ex(o, "resources", &list))
        for (size_t i = 0; i < json_object_array_length(list); i++) {
            json_object *r = json_object_array_get_idx(list, i);

            (void)snprintf(text, sizeof(text), "%s: kubelet %s%s%.150s; CDI %s%.150s",
                           json_str(r, "name"), json_str(r, "link"),
                           json_str(r, "link_why")[0] ? ": " : "", json_str(r, "link_why"),
                           json_truth(r, "cdi_ok") ? "ok" : "", json_str(r, "cdi_why"));
            n += line(out, width, text);
        }
    n += mode_line(o, out, width);
    n += labels_line(o, out, width);
    n += validations_line(o, out, width);
    return n;
}

/* ---- cells ---- */

#define CELL 96

static void
cell_state(json_object *u, char *buf)
{
    (void)snprintf(buf, CELL, "%s%s%s", json_str(u, "state"), json_str(u, "phase")[0] ? ":" : "",
                   json_str(u, "phase"));
}

static void
cell_age(json_object *u, char *buf)
{
    status_span(buf, CELL, json_int(u, "since_ms"));
}

static void
cell_health(json_object *u, char *buf)
{
    (void)snprintf(buf, CELL, "%s",
                   !json_truth(u, "listed")   ? ""
                   : json_truth(u, "healthy") ? "Healthy"
                                              : "Unhealthy");
}

static void
cell_mode(json_object *u, char *buf)
{
    (void)snprintf(buf, CELL, "%s/%s", json_str(u, "mode_active"), json_str(u, "mode_configured"));
}

static void
number(json_object *u, const char *key, char *buf)
{
    int64_t v = json_int(u, key);

    buf[0] = '\0';
    if (v >= 0)
        (void)snprintf(buf, CELL, "%lld", (long long)v);
}

static void
cell_numa(json_object *u, char *buf)
{
    number(u, "numa_node", buf);
}

/* "7 vfio3": the IOMMU group and what a VMM opens. */
static void
cell_group(json_object *u, char *buf)
{
    const char *node = json_str(u, "node");
    const char *slash = strrchr(node, '/');
    char group[24];

    number(u, "iommu_group", buf);
    (void)snprintf(group, sizeof(group), "%.20s", buf);
    (void)snprintf(buf, CELL, "%s%s%.60s", group, slash ? " " : "", slash ? slash + 1 : "");
}

static void
cell_holder(json_object *u, char *buf)
{
    long long pid = (long long)json_int(u, "holder_pid");

    if (strcmp(json_str(u, "use"), "held") != 0)
        (void)snprintf(buf, CELL, "%s", "");
    else if (pid > 0)
        (void)snprintf(buf, CELL, "%.40s[%lld]", json_str(u, "holder"), pid);
    else
        (void)snprintf(buf, CELL, "%s", "?");
}

static void
cell_reset(json_object *u, char *buf)
{
    char took[24], ago[24];
    json_object *r;

    buf[0] = '\0';
    if (!json_object_object_get_ex(u, "reset", &r) || !json_str(r, "rung")[0])
        return;
    status_span(took, sizeof(took), json_int(r, "took_ms"));
    status_span(ago, sizeof(ago), json_int(r, "ago_ms"));
    (void)snprintf(buf, CELL, "%.20s %s, %s ago", json_str(r, "rung"), took, ago);
}

static int64_t
reset_count(json_object *u)
{
    json_object *r;

    return json_object_object_get_ex(u, "reset", &r) ? json_int(r, "count") : 0;
}

static void
cell_resets(json_object *u, char *buf)
{
    (void)snprintf(buf, CELL, "%lld", (long long)reset_count(u));
}

/* The phases of the last preparation that took longest: "reboot 1.8 s, reset 120 ms". */
static void
cell_phases(json_object *u, char *buf)
{
    static const char *const not_phases[] = {"total_ms", "knobs_written", "resets"};
    const char *first = "", *second = "";
    int64_t most = 0, next = 0;
    char a[24], b[24];
    json_object *v;

    buf[0] = '\0';
    if (!json_object_object_get_ex(u, "evidence", &v))
        return;
    json_object_object_foreach(v, key, val)
    {
        int64_t ms = json_object_get_int64(val);
        bool phase = true;

        for (size_t i = 0; i < ARRAY_SIZE(not_phases); i++)
            phase &= strcmp(key, not_phases[i]) != 0;
        if (!phase || ms <= next)
            continue;
        if (ms > most) {
            second = first;
            next = most;
            first = key;
            most = ms;
        } else {
            second = key;
            next = ms;
        }
    }
    status_span(a, sizeof(a), most);
    status_span(b, sizeof(b), next);
    if (most > 0)
        (void)snprintf(buf, CELL, "%.20s %s%s%.20s%s%s", first, a, next ? ", " : "", second,
                       next ? " " : "", next ? b : "");
}

static void
cell_driver(json_object *u, char *buf)
{
    (void)snprintf(buf, CELL, "%.90s", json_str(u, "driver"));
}

static void
cell_access(json_object *u, char *buf)
{
    (void)snprintf(buf, CELL, "%.90s", json_str(u, "access"));
}

static void
cell_id(json_object *u, char *buf)
{
    (void)snprintf(buf, CELL, "%.90s", json_str(u, "id"));
}

static void
cell_resource(json_object *u, char *buf)
{
    (void)snprintf(buf, CELL, "%.90s", json_str(u, "resource"));
}

static const struct column {
    const char *title;
    void (*text)(json_object *u, char *buf);
    bool wide;
} columns[] = {
    {"DEVICE", cell_id, false},       {"RESOURCE", cell_resource, false},
    {"STATE", cell_state, false},     {"AGE", cell_age, true},
    {"KUBELET", cell_health, false},  {"MODE(act/conf)", cell_mode, false},
    {"DRIVER", cell_driver, false},   {"NUMA", cell_numa, true},
    {"GROUP", cell_group, true},      {"ACCESS", cell_access, true},
    {"HOLDER", cell_holder, true},    {"RESETS", cell_resets, true},
    {"LAST RESET", cell_reset, true}, {"LONGEST PHASES", cell_phases, true},
};
#define STATE_TITLE "STATE"

/* Who has it, how far it is, and why it is not offered. */
static void
put_detail(json_object *u, struct buf *out)
{
    const char *reason = json_str(u, "reason"), *why = json_str(u, "why");
    int64_t expected = json_int(u, "expected_ms");
    char done[24], all[24];
    const char *sep = "";

    if (json_str(u, "pod")[0]) {
        (void)buf_putf(out, "%s/%s", json_str(u, "namespace"), json_str(u, "pod"));
        sep = " ";
    }
    if (json_str(u, "operation")[0] && strcmp(json_str(u, "state"), "ready") != 0) {
        status_span(done, sizeof(done), json_int(u, "elapsed_ms"));
        status_span(all, sizeof(all), expected);
        (void)buf_putf(out, "%s%s for %s%s%s%s", sep, json_str(u, "operation"), done,
                       expected > 0 ? " of about " : "", expected > 0 ? all : "",
                       strcmp(reason, "NONE") != 0 || why[0] ? ";" : "");
        sep = " ";
    }
    if (strcmp(reason, "NONE") != 0) {
        (void)buf_putf(out, "%s%s", sep, reason);
        sep = "";
    }
    if (why[0])
        (void)buf_putf(out, "%s%s", sep[0] ? sep : ": ", why);
}

static enum grid_colour
colour_of(json_object *u)
{
    static const struct {
        const char *state;
        enum grid_colour colour;
    } colours[] = {
        {"ready", GRID_GOOD},  {"allocated", GRID_GOOD}, {"in_use", GRID_GOOD},
        {"arming", GRID_BUSY}, {"releasing", GRID_BUSY}, {"quarantined", GRID_BAD},
        {"stuck", GRID_BAD},   {"gone", GRID_BAD},
    };

    for (size_t i = 0; i < ARRAY_SIZE(colours); i++)
        if (strcmp(json_str(u, "state"), colours[i].state) == 0)
            return colours[i].colour;
    return GRID_PLAIN;
}

/* ---- order and choice ---- */

static const char *const sort_names[] = {"device", "state", "age", "resets"};

const char *
status_sort_name(enum status_sort s)
{
    return s < STATUS_SORTS ? sort_names[s] : "";
}

static int
compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* qsort_r of a context is what it takes for more than one order. */
static int
compare(const void *a, const void *b, void *ctx)
{
    json_object *x = *(json_object *const *)a, *y = *(json_object *const *)b;
    int r = 0;

    switch (*(const enum status_sort *)ctx) {
    case STATUS_BY_STATE:
        r = strcmp(json_str(x, "state"), json_str(y, "state"));
        break;
    case STATUS_BY_AGE: /* what changed last comes first */
        r = compare_numbers(json_int(x, "since_ms"), json_int(y, "since_ms"));
        break;
    case STATUS_BY_RESETS:
        r = compare_numbers(reset_count(y), reset_count(x));
        break;
    case STATUS_BY_DEVICE:
    case STATUS_SORTS:
        break;
    }
    return r ? r : strcmp(json_str(x, "id"), json_str(y, "id"));
}

static bool
matches(const char *const *cells, unsigned n, const char *filter)
{
    if (!filter || !filter[0])
        return true;
    for (unsigned i = 0; i < n; i++)
        if (strcasestr(cells[i], filter))
            return true;
    return false;
}

static bool
add_row(struct grid *g, json_object *u, bool wide, const char *filter)
{
    char text[ARRAY_SIZE(columns)][CELL];
    const char *cells[ARRAY_SIZE(columns) + 1];
    struct buf detail;
    const char *s;
    unsigned n = 0, state = 0;
    bool shown;

    for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
        if (columns[i].wide && !wide)
            continue;
        columns[i].text(u, text[n]);
        if (strcmp(columns[i].title, STATE_TITLE) == 0)
            state = n;
        cells[n] = text[n];
        n++;
    }
    buf_init(&detail, 2048);
    put_detail(u, &detail);
    s = buf_cstr(&detail);
    cells[n++] = s ? s : "";
    shown = matches(cells, n, filter);
    if (shown) {
        grid_row(g, cells);
        grid_paint(g, state, colour_of(u));
    }
    buf_fini(&detail);
    return shown;
}

struct grid *
status_grid(json_object *status, bool wide, enum status_sort sort, const char *filter,
            unsigned *ret_bad)
{
    static const char *titles[2][ARRAY_SIZE(columns) + 1];
    json_object *list = NULL, **units;
    struct grid *g;
    size_t count;
    unsigned n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
        if (wide || !columns[i].wide)
            titles[wide][n++] = columns[i].title;
    titles[wide][n++] = "DETAIL";
    g = grid_new(titles[wide], n);
    *ret_bad = 0;
    if (!json_object_object_get_ex(status, "units", &list))
        return g;
    count = json_object_array_length(list);
    units = calloc(count + 1, sizeof(*units));
    if (!units)
        abort();
    for (size_t i = 0; i < count; i++)
        units[i] = json_object_array_get_idx(list, i);
    qsort_r(units, count, sizeof(units[0]), compare, &sort);
    for (size_t i = 0; i < count; i++) {
        json_object *u = units[i];
        char cure[400];

        *ret_bad += json_truth(u, "listed") && !json_truth(u, "healthy");
        if (!add_row(g, u, wide, filter) || strcmp(json_str(u, "reason"), "NONE") == 0 ||
            !json_str(u, "cure")[0] || strcmp(json_str(u, "state"), "found") == 0)
            continue;
        (void)snprintf(cure, sizeof(cure), "%-13s -> %.350s", "", json_str(u, "cure"));
        grid_note(g, cure);
    }
    free(units);
    return g;
}
