/* SPDX-License-Identifier: Apache-2.0
 *
 * Register access of the CC-mode code: reads that name dead devices, polls with growing intervals
 * on the device's own clock, and the walk through configuration-space capabilities. Stateless.
 */
#ifndef PGPU_CCMODE_IO_H
#define PGPU_CCMODE_IO_H

#include "ccmode/cc.h"

#define CC_ADDR(s) PCI_STR((s)->dev->addr)

/* As the bus gives it; fails only where the access itself cannot be made. */
int cc_rd_raw(struct cc_session *s, uint32_t off, uint32_t *ret, struct err *e);

/* Refuses all-ones and 0xbadfxxxx with the reason for it (cc_dead). `what` names the register. */
int cc_rd(struct cc_session *s, uint32_t off, const char *what, uint32_t *ret, struct err *e);
int cc_wr(struct cc_session *s, uint32_t off, uint32_t val, struct err *e);
int cc_cfg_rd(struct cc_session *s, uint32_t off, unsigned width, uint32_t *ret, struct err *e);

static inline bool
cc_is_bad(uint32_t v)
{
    return v == UINT32_MAX || (v & 0xffff0000u) == 0xbadf0000u;
}

/* Names why register `off` read `v`: DEVICE_GONE, POWER_STATE, SEC_FAULT, BAR_DEAD. Always fills
 * `e`. */
int cc_dead(struct cc_session *s, const char *what, uint32_t off, uint32_t v, struct err *e);

/* A poll:
 *     for (cc_poll_start(s, &p, limit, &kind);;) {
 *         bool last = cc_poll_last(&p);
 *         ... read, return when satisfied ...
 *         if (last) -> timeout
 *         cc_poll_sleep(&p);
 *     }
 * The condition is always read once more after the limit, so that a late wake-up of our own
 * thread is not taken for a silent device. The interval grows with the time already waited:
 * what the poll adds to the device's own delay stays a small fraction of it. */
struct cc_poll_kind {
    uint64_t min, max; /* ns between two looks */
    unsigned fraction; /* interval = time waited / fraction, within min and max */
};
extern const struct cc_poll_kind cc_poll_reply; /* firmware exchanges, about 10 ms */
extern const struct cc_poll_kind cc_poll_boot;  /* boot and firewall, about a second */

struct cc_poll {
    const struct hw_dev *dev;
    const struct cc_poll_kind *kind;
    uint64_t start, limit;
};
void cc_poll_start(struct cc_session *s, struct cc_poll *p, uint64_t limit,
                   const struct cc_poll_kind *kind);
bool cc_poll_last(const struct cc_poll *p);
void cc_poll_sleep(const struct cc_poll *p);

/* Offset of a capability, 0 where there is none or the list is broken. */
int cc_cap_find(struct cc_session *s, uint8_t id, uint32_t *ret, struct err *e);

/* The firewall and fault words of this chip; offsets are 0 where it has none. */
struct cc_sec {
    uint32_t flags_off, firewall_bit, recovery_bit, fault_off;
};
int cc_sec_find(struct cc_session *s, struct cc_sec *ret, struct err *e);

void cc_step(const struct cc_session *s, enum cc_step step, const char *detail);

/* Boot's first half: the BAR0 firewall goes down. */
int cc_wait_firewall(struct cc_session *s, struct err *e);

/* RECOVERY_MODE where the chip says so, 0 where not or where that cannot be read. */
int cc_check_recovery(struct cc_session *s, struct err *e);

#endif
