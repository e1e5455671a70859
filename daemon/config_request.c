/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints the configuration in force on the control socket. No state.
 */
#include "daemon/config_request.h"

#include "daemon/config.h"

#include <errno.h>
#include <string.h>

static int
print_config(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    (void)call;
    conf_print(config_keys, ctx, out);
    return buf_failed(out) ? err_errno(e, ENOMEM, ERR_CLASS_RETRY, "print the configuration") : 0;
}

const struct request config_requests[] = {
    {.name = "config", .args = "", .run = print_config},
    {.name = NULL},
};
