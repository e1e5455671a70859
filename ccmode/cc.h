/* SPDX-License-Identifier: Apache-2.0
 *
 * Confidential-computing mode of one GPU or NVSwitch over its BAR0 and configuration space: which
 * chip it is, what mode is active (register latched at the last reset) and configured (firmware
 * knobs that the next reset makes active), and how to change it.
 *
 * All functions block (firmware exchanges take about 10 ms each, a boot up to seconds), use only
 * the hw_dev they are given, and keep no state between calls. They do no gate checks of driver or
 * users: the caller holds the device. Errors carry a named reason (base/reason.h).
 *
 * Progress: where a `struct cc_progress` is given, `step` is called before each phase; NULL is
 * fine.
 */
#ifndef PGPU_CCMODE_CC_H
#define PGPU_CCMODE_CC_H

#include "base/buf.h"
#include "base/cc_mode.h"
#include "base/err.h"
#include "base/hw.h"

#include <stdbool.h>
#include <stdint.h>

enum cc_arch { CC_ARCH_HOPPER, CC_ARCH_BLACKWELL_GB1, CC_ARCH_BLACKWELL_GB2, CC_ARCH_NVSWITCH3 };

struct cc_chip; /* constant description, see chip.h; static storage */

/* By class and device-ID range, no closed list. NULL where the function is no chip we know.
 * A GPU outside the known ranges, or older, is NULL too. */
const struct cc_chip *cc_chip_find(uint16_t vendor, uint16_t device, uint32_t class_code);
const char *cc_chip_name(const struct cc_chip *c); /* "gh100" */
enum cc_arch cc_chip_arch(const struct cc_chip *c);

/* May this part be switched to `m` at all? Fills `e` (MODE_UNSUPPORTED, C2C_PART) where not. */
int cc_mode_check(const struct hw_dev *d, const struct cc_chip *c, enum cc_mode m, struct err *e);

/* Time limits in ns. cc_timing_default() fills those of the chip; tests scale them. */
struct cc_timing {
    uint64_t queue;    /* FSP queue or mailbox becomes ready */
    uint64_t reply;    /* FSP answers */
    uint64_t boot;     /* boot complete after reset, each try */
    uint64_t firewall; /* BAR0 firewall goes down */
};
struct cc_timing cc_timing_default(const struct cc_chip *c);

enum cc_step { CC_STEP_BOOT, CC_STEP_QUERY, CC_STEP_WRITE, CC_STEP_RESET, CC_STEP_VERIFY };
struct cc_progress {
    void (*step)(void *ctx, enum cc_step s, const char *detail);
    void *ctx;
};

struct cc_session {
    const struct hw_dev *dev;
    const struct cc_chip *chip;
    struct cc_timing timing;
    const struct cc_progress *progress; /* optional */
    bool fsp_open;                      /* set by the first exchange; zero-initialise */
};

/* Dead or faulty device named before anything is written: configuration space, BAR0 all-ones,
 * 0xbadf…, security fault, recovery mode. */
int cc_sanity(struct cc_session *s, struct err *e);

/* Firewall down (where the chip has one) and boot complete. */
int cc_wait_boot(struct cc_session *s, struct err *e);

/* What the last reset made active: one register read, no firmware exchange. */
int cc_query_active(struct cc_session *s, enum cc_mode *ret, struct err *e);

struct cc_knobs {
    /* value, or -1 where the firmware does not know the knob or it was not asked for */
    int ccm, ccd, decoupler, ppcie, k2, k4, k34;
    /* may the host change the knob? 0 = only the BMC may */
    int ccm_inband, ccd_inband, decoupler_inband, ppcie_inband;
    int k2_inband, k4_inband, k34_inband; /* asked only where the knob is not 0 */
};

struct cc_status {
    enum cc_mode active;
    enum cc_mode configured; /* what the knobs will make active at the next reset */
    struct cc_knobs knobs;
};

/* Waits for boot, then reads active mode and all knobs the mode depends on. */
int cc_query(struct cc_session *s, struct cc_status *ret, struct err *e);

struct cc_write {
    uint8_t knob;
    uint16_t from, to;
};

#define CC_PLAN_MAX 12
struct cc_plan {
    enum cc_mode mode;
    unsigned n;
    struct cc_write w[CC_PLAN_MAX]; /* in the safe order */
    bool reset_needed;              /* something is written, or active differs from wanted */
};

/* Pure: what has to be written to get from `st` to `mode`. Fails (KNOB_LOCKED, KNOB_MISSING,
 * MODE_UNSUPPORTED) where the firmware will not let it. */
int cc_plan(const struct cc_chip *c, const struct cc_status *st, enum cc_mode mode,
            struct cc_plan *ret, struct err *e);

/* One line per write, for dry runs. */
void cc_plan_print(const struct cc_plan *p, struct buf *out);

/* Writes the knobs of the plan, reading each back; on failure writes the old values back in the
 * reverse order and says in the error whether that worked. Signals are the caller's matter. */
int cc_plan_write(struct cc_session *s, const struct cc_plan *p, struct err *e);

/* After a reset: firewall, boot, active == mode and the configured CC and devtools knobs fit.
 * MODE_NOT_LATCHED, MODE_MISMATCH, MODE_INVALID. */
int cc_verify(struct cc_session *s, enum cc_mode mode, struct cc_status *ret, struct err *e);

/* The whole change: sanity → boot → query → plan → write → reset (always, `how` first, the bus
 * reset as second try when boot or latch fails) → verify. */
int cc_set(struct cc_session *s, enum cc_mode mode, struct cc_status *ret, struct err *e);

#endif
