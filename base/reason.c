/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and cures of the named conditions, generated from the table in reason.h. No state.
 */
#include "base/reason.h"

#include <string.h>

static const struct {
    const char *name;
    const char *cure;
} reasons[REASON_COUNT] = {
#define REASON_ROW(n, c) [REASON_##n] = {#n, c},
    REASON_TABLE(REASON_ROW)
#undef REASON_ROW
};

/* Numbers may come out of a protocol message: anything can be in them. */
static int
known(enum reason r)
{
    return (unsigned)r < (unsigned)REASON_COUNT;
}

const char *
reason_name(enum reason r)
{
    return known(r) ? reasons[r].name : "UNKNOWN";
}

const char *
reason_cure(enum reason r)
{
    return known(r) ? reasons[r].cure : "";
}

enum reason
reason_from_name(const char *name)
{
    for (unsigned i = 0; i < REASON_COUNT; i++)
        if (strcmp(reasons[i].name, name) == 0)
            return (enum reason)i;
    return REASON_NONE;
}
