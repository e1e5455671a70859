/* SPDX-License-Identifier: Apache-2.0
 *
 * See nri/runtimes.h and nri_runtime_injects_cdi in nri/nri.h.
 */
#include "nri/runtimes.h"

#include "nri/launch.h"
#include "nri/nri.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct version {
    unsigned v[3];
    bool pre; /* alpha, beta, rc: before the release */
};

/* "v1.7.24~ds1", "2.2.0-rc.1", "1.34.0", "v2.1.4-k3s1". What is not known to be a pre-release
 * suffix is a distribution's. */
static bool
parse(const char *s, struct version *ret)
{
    static const char *const before[] = {"alpha", "beta", "rc", "pre", "dev"};
    struct version x = {0};

    if (*s == 'v')
        s++;
    for (int i = 0; i < 3; i++) {
        char *end;

        if (*s < '0' || *s > '9') {
            if (i < 2)
                return false;
            break; /* "1.34" */
        }
        unsigned long n = strtoul(s, &end, 10);
        if (n > 1000000)
            return false;
        x.v[i] = (unsigned)n;
        s = end;
        if (i < 2 && *s == '.')
            s++;
    }
    if (*s == '-' || *s == '~')
        for (size_t i = 0; i < ARRAY_SIZE(before); i++)
            x.pre = x.pre || strncmp(s + 1, before[i], strlen(before[i])) == 0;
    *ret = x;
    return true;
}

static bool
at_least(const struct version *x, unsigned major, unsigned minor, unsigned patch)
{
    const unsigned y[3] = {major, minor, patch};

    for (int i = 0; i < 3; i++)
        if (x->v[i] != y[i])
            return x->v[i] > y[i];
    return !x->pre;
}

/* A release line: from this version on, as long as major.minor stay below the next row's. */
struct since {
    const char *runtime;
    unsigned major, minor, patch;
    bool only_minor; /* this minor release alone, which got it by a backport */
};

static bool
listed(const struct since *rows, size_t n, const char *name, const char *version)
{
    struct version x;

    if (!parse(version, &x))
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct since *r = &rows[i];

        if (strcasecmp(name, r->runtime) != 0 || !at_least(&x, r->major, r->minor, r->patch))
            continue;
        if (!r->only_minor || (x.v[0] == r->major && x.v[1] == r->minor))
            return true;
    }
    return false;
}

bool
nri_runtime_injects_cdi(const char *name, const char *version)
{
    /* containerd pull request 12650 (1.7) and pkg/cdi (2.1); CRI-O server/nri-api.go. 2.0 and
     * CRI-O 1.32, 1.33 take the names and drop them in silence. */
    static const struct since rows[] = {
        {"containerd", 1, 7, 30, true}, {"containerd", 2, 1, 0, false}, {"cri-o", 1, 34, 0, false}};

    return listed(rows, ARRAY_SIZE(rows), name, version);
}

bool
nri_runtime_validates(const char *name, const char *version, const char *nri_version)
{
    /* By the NRI release in each tag's go.mod. */
    static const struct since rows[] = {{"containerd", 2, 2, 0, false}, {"cri-o", 1, 34, 0, false}};

    return nri_version[0] || listed(rows, ARRAY_SIZE(rows), name, version);
}

bool
nri_name_valid(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "_.+-";
    const size_t n = strlen(name);

    return n > 0 && n < LAUNCH_NAME_MAX && strspn(name, allowed) == n;
}

bool
nri_index_valid(const char *index)
{
    return strlen(index) == 2 && strspn(index, "0123456789") == 2;
}
