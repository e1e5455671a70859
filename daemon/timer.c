/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/timer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t
now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void
timer_arm(sd_event *loop, sd_event_source **timer, uint64_t delay_ns, sd_event_time_handler_t cb,
          void *ctx)
{
    uint64_t at = (now_ns() + delay_ns) / 1000;
    int r;

    if (!*timer) {
        /* accuracy: 1 ms, so that short delays are short and idle wake-ups still coalesce */
        r = sd_event_add_time(loop, timer, CLOCK_MONOTONIC, at, 1000, cb, ctx);
        if (r < 0) {
            (void)fprintf(stderr, "cannot add a timer: %s\n", strerror(-r));
            abort();
        }
        return;
    }
    (void)sd_event_source_set_time(*timer, at);
    (void)sd_event_source_set_userdata(*timer, ctx);
    (void)sd_event_source_set_enabled(*timer, SD_EVENT_ONESHOT);
}

void
timer_stop(sd_event_source *timer)
{
    if (timer)
        (void)sd_event_source_set_enabled(timer, SD_EVENT_OFF);
}
