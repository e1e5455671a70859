/* SPDX-License-Identifier: Apache-2.0
 *
 * Confidential-computing modes as people name them; one list for configuration, protocol, CLI and
 * register code. "ppcie" (Protected PCIe) protects a whole group of GPUs and NVSwitches.
 */
#ifndef PGPU_BASE_CC_MODE_H
#define PGPU_BASE_CC_MODE_H

#include <stdbool.h>
#include <stdint.h>

enum cc_mode {
    CC_MODE_OFF = 0,
    CC_MODE_ON = 1,
    CC_MODE_DEVTOOLS = 2,
    CC_MODE_PPCIE = 3,
    CC_MODE_INVALID = 4, /* register state 2: devtools knob without the CC knob */
    CC_MODE_UNKNOWN = 5, /* not read yet, or not readable */
};

/* "off", "on", "devtools", "ppcie", "invalid", "unknown". Never NULL. */
const char *cc_mode_name(enum cc_mode m);

/* Accepts the four settable modes only. */
bool cc_mode_parse(const char *s, enum cc_mode *ret);

#endif
