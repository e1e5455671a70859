/* SPDX-License-Identifier: Apache-2.0
 *
 * Inner parts of planning that query and verification share. Pure.
 */
#ifndef PGPU_CCMODE_PLAN_H
#define PGPU_CCMODE_PLAN_H

#include "ccmode/cc.h"

/* The member that holds a knob's value or permission; NULL for a knob we do not keep. */
int *cc_knob_slot(struct cc_knobs *k, unsigned knob);

/* All members -1. */
void cc_knobs_init(struct cc_knobs *k);

/* What these knobs will make active at the next reset. */
enum cc_mode cc_knobs_mode(const struct cc_chip *c, const struct cc_knobs *k);

/* Reads the listed knobs in order into their members; a missing one stays -1. */
int cc_knobs_read(struct cc_session *s, const uint8_t *list, unsigned n, struct cc_knobs *k,
                  struct err *e);

#endif
