/* SPDX-License-Identifier: Apache-2.0
 *
 * The real clock, for the bounded waits of vfio/. Private to vfio/.
 */
#ifndef PGPU_VFIO_CLOCK_H
#define PGPU_VFIO_CLOCK_H

#include "base/hw.h"

#include <time.h>

static inline uint64_t
clock_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return HW_SEC(t.tv_sec) + (uint64_t)t.tv_nsec;
}

static inline void
clock_sleep_ns(uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / HW_SEC(1)), .tv_nsec = (long)(ns % HW_SEC(1))};

    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) != 0)
        ; /* EINTR: the rest of the time is in t */
}

#endif
