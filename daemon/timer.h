/* SPDX-License-Identifier: Apache-2.0
 *
 * One-shot timers on the loop, and the clock that they and all "since" fields use.
 */
#ifndef PGPU_DAEMON_TIMER_H
#define PGPU_DAEMON_TIMER_H

#include <systemd/sd-event.h>

#include <stdint.h>

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);

/* (Re)arms *timer to call `cb` once after `delay_ns`. Creates it on first use; free it with
 * sd_event_source_unrefp. Dies on allocation failure only. */
void timer_arm(sd_event *loop, sd_event_source **timer, uint64_t delay_ns,
               sd_event_time_handler_t cb, void *ctx);
void timer_stop(sd_event_source *timer); /* NULL is fine */

#endif
