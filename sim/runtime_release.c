/* SPDX-License-Identifier: Apache-2.0
 *
 * See sim/runtime_release.h. Sources: git tags of containerd/nri (pkg/api/api.proto,
 * pkg/adaptation), go.mod of each tag of containerd and cri-o, containerd
 * internal/cri/nri/nri_api_linux.go, cri-o server/nri-api.go.
 */
#include "sim/runtime_release.h"

#include "base/cleanup.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_OLD 0x07ffu
#define EVENTS_ALL 0x3fffu

static const struct {
    const char *name;
    bool always; /* a method of its own since NRI 0.2; else before 0.12 a StateChange */
} events[RT_EVENTS] = {
    [0] = {"", false},
    [RT_RUN_POD] = {"RunPodSandbox", false},
    [RT_STOP_POD] = {"StopPodSandbox", false},
    [RT_REMOVE_POD] = {"RemovePodSandbox", false},
    [RT_CREATE] = {"CreateContainer", true},
    [RT_POST_CREATE] = {"PostCreateContainer", false},
    [RT_START] = {"StartContainer", false},
    [RT_POST_START] = {"PostStartContainer", false},
    [RT_UPDATE] = {"UpdateContainer", true},
    [RT_POST_UPDATE] = {"PostUpdateContainer", false},
    [RT_STOP] = {"StopContainer", true},
    [RT_REMOVE] = {"RemoveContainer", false},
    [RT_UPDATE_POD] = {"UpdatePodSandbox", true},
    [RT_POST_UPDATE_POD] = {"PostUpdatePodSandbox", false},
    [RT_VALIDATE] = {"ValidateContainerAdjustment", true},
};

const char *
rt_event_name(enum rt_event ev)
{
    return events[ev].name;
}

static const struct rt_release releases[] = {
    {.name = "0.6", .events = EVENTS_OLD},
    {.name = "0.7",
     .events = EVENTS_OLD,
     .timeouts = true,
     .split = true,
     .cdi = true,
     .skips_bad = true},
    {.name = "0.8",
     .events = EVENTS_OLD,
     .timeouts = true,
     .split = true,
     .cdi = true,
     .skips_bad = true},
    {.name = "0.9",
     .events = EVENTS_OLD,
     .timeouts = true,
     .split = true,
     .cdi = true,
     .skips_bad = true},
    {.name = "0.10",
     .events = EVENTS_ALL,
     .timeouts = true,
     .split = true,
     .cdi = true,
     .skips_bad = true,
     .validates = true},
    {.name = "0.11",
     .events = EVENTS_ALL,
     .timeouts = true,
     .split = true,
     .cdi = true,
     .skips_bad = true,
     .validates = true},
    {.name = "0.12",
     .events = EVENTS_ALL,
     .timeouts = true,
     .split = true,
     .cdi = true,
     .skips_bad = true,
     .validates = true,
     .dedicated = true,
     .checks_name = true,
     .as_version = "v0.12.2"},
};

const struct rt_release *
rt_release_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(releases); i++) {
        size_t n = strlen(releases[i].name);

        if (strncmp(name, releases[i].name, n) == 0 && (name[n] == '\0' || name[n] == '.'))
            return &releases[i];
    }
    return NULL;
}

bool
rt_release_has(const struct rt_release *r, enum rt_event ev)
{
    return r->dedicated || events[ev].always;
}

/* ---- runtimes ---- */

struct version {
    unsigned major, minor, patch;
};

static bool
number(const char **p, unsigned *ret)
{
    char *end;
    unsigned long v;

    if (**p < '0' || **p > '9')
        return false;
    v = strtoul(*p, &end, 10);
    *p = end;
    *ret = (unsigned)v;
    return v < 10000;
}

/* "v2.3.4", "1.7.24~ds1", "1.35.6-dev". */
static bool
parse_version(const char *s, struct version *v)
{
    *v = (struct version){0};
    if (*s == 'v')
        s++;
    if (!number(&s, &v->major) || *s++ != '.' || !number(&s, &v->minor))
        return false;
    if (*s == '.') {
        s++;
        return number(&s, &v->patch);
    }
    return true;
}

static bool
at_least(const struct version *v, unsigned major, unsigned minor, unsigned patch)
{
    if (v->major != major)
        return v->major > major;
    if (v->minor != minor)
        return v->minor > minor;
    return v->patch >= patch;
}

/* From which version of the runtime on; the last that is not newer counts. Older ones than the
 * first row of a runtime have an NRI that is not played here. */
static const struct {
    const char *runtime;
    unsigned major, minor, patch;
    const char *nri;
    enum rt_cdi cdi;
} rows[] = {
    {"containerd", 1, 7, 14, "0.6", RT_CDI_DROPS},
    {"containerd", 1, 7, 26, "0.8", RT_CDI_DROPS},
    {"containerd", 1, 7, 30, "0.8", RT_CDI_IF_ENABLED},
    {"containerd", 2, 0, 0, "0.8", RT_CDI_DROPS},
    {"containerd", 2, 1, 0, "0.8", RT_CDI_INJECTS},
    {"containerd", 2, 2, 0, "0.10", RT_CDI_INJECTS},
    {"containerd", 2, 2, 1, "0.11", RT_CDI_INJECTS},
    {"containerd", 2, 3, 0, "0.12", RT_CDI_INJECTS},
    {"cri-o", 1, 30, 0, "0.6", RT_CDI_DROPS},
    {"cri-o", 1, 32, 0, "0.9", RT_CDI_DROPS},
    {"cri-o", 1, 34, 0, "0.10", RT_CDI_INJECTS},
    {"cri-o", 1, 35, 0, "0.11", RT_CDI_INJECTS},
    {"cri-o", 1, 37, 0, "0.12", RT_CDI_INJECTS},
};

static int
row_of(const char *runtime, const char *version)
{
    struct version v;
    int found = -1;

    if (!parse_version(version, &v))
        return -1;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (strcmp(rows[i].runtime, runtime) == 0 &&
            at_least(&v, rows[i].major, rows[i].minor, rows[i].patch))
            found = (int)i;
    return found;
}

const struct rt_release *
rt_release_of_runtime(const char *runtime, const char *version)
{
    int row = row_of(runtime, version);

    return row < 0 ? NULL : rt_release_of(rows[row].nri);
}

int
rt_traits_of(const char *runtime, const char *version, struct rt_traits *ret)
{
    int row = row_of(runtime, version);
    struct version v;

    if (row < 0)
        return -1;
    (void)parse_version(version, &v);
    ret->cdi = rows[row].cdi;
    ret->crio = strcmp(runtime, "cri-o") == 0;
    /* containerd 1.7: enable_cdi = false; 2.x: true. CRI-O cannot switch it off. */
    ret->cdi_on = ret->crio || at_least(&v, 2, 0, 0);
    ret->tells_cdi = !ret->crio && at_least(&v, 2, 3, 0);
    return 0;
}
