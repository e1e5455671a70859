/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of the confidential-computing modes. No state.
 */
#include "base/cc_mode.h"

#include <string.h>

const char *
cc_mode_name(enum cc_mode m)
{
    switch (m) {
    case CC_MODE_OFF:
        return "off";
    case CC_MODE_ON:
        return "on";
    case CC_MODE_DEVTOOLS:
        return "devtools";
    case CC_MODE_PPCIE:
        return "ppcie";
    case CC_MODE_INVALID:
        return "invalid";
    case CC_MODE_UNKNOWN:
        break;
    }
    return "unknown";
}

bool
cc_mode_parse(const char *s, enum cc_mode *ret)
{
    static const enum cc_mode settable[] = {CC_MODE_OFF, CC_MODE_ON, CC_MODE_DEVTOOLS,
                                            CC_MODE_PPCIE};

    for (size_t i = 0; i < sizeof(settable) / sizeof(settable[0]); i++) {
        if (strcmp(s, cc_mode_name(settable[i])) == 0) {
            *ret = settable[i];
            return true;
        }
    }
    return false;
}
