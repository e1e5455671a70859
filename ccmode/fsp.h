/* SPDX-License-Identifier: Apache-2.0
 *
 * How messages reach the FSP (the security processor) and come back: one small table per
 * transport. Hopper and NVSwitch gen3 use a window of the FSP's EMEM, Blackwell a mailbox (MNOC).
 *
 * All callbacks are mandatory and block, up to the limits of the session's timing. After any of
 * them has failed the transport must be opened again before the next exchange.
 */
#ifndef PGPU_CCMODE_FSP_H
#define PGPU_CCMODE_FSP_H

#include "base/err.h"

#include <stdint.h>

struct cc_session;

/* Our longest reply (read knob) has 6 dwords; more than this is refused as nonsense. */
#define FSP_REPLY_WORDS 16u

struct fsp_ops {
    const char *name;
    /* Brings the transport to rest: drops stale replies, clears a queue left full by a former
     * user. FSP_STUCK where that does not work. */
    int (*open)(struct cc_session *s, struct err *e);
    /* Sends one packet of n dwords, 2 <= n <= FSP_REPLY_WORDS. */
    int (*send)(struct cc_session *s, const uint32_t *w, unsigned n, struct err *e);
    /* Waits for one packet and acknowledges it. `w` has room for FSP_REPLY_WORDS. */
    int (*recv)(struct cc_session *s, uint32_t *w, unsigned *ret_n, struct err *e);
};

extern const struct fsp_ops fsp_emem;
extern const struct fsp_ops fsp_mnoc;

#endif
