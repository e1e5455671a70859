/* SPDX-License-Identifier: Apache-2.0
 *
 * Product reconfiguration (PRC): the FSP's non-volatile settings, "knobs". What is read is the
 * configured value; the mode registers show what the last reset made active.
 */
#ifndef PGPU_CCMODE_PRC_H
#define PGPU_CCMODE_PRC_H

#include "ccmode/cc.h"

/* KNOB_MISSING where the firmware does not know the knob, FSP_* for everything else. */
int prc_read(struct cc_session *s, unsigned knob, uint16_t *ret, struct err *e);
int prc_write(struct cc_session *s, unsigned knob, uint16_t val, struct err *e);

/* -1 where the firmware lacks the knob. */
int prc_read_opt(struct cc_session *s, unsigned knob, int *ret, struct err *e);

const char *prc_knob_name(unsigned knob);  /* "CC mode"; "unnamed" */
const char *prc_error_text(uint32_t code); /* meaning of a reply's error code */

#endif
