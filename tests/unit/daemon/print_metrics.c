/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints the table of metrics as docs/metrics.md shows it.
 */
#include "daemon/metrics.h"

#include <stdio.h>

int
main(void)
{
    struct buf out;

    buf_init(&out, 1u << 16);
    meters_markdown(&out);
    (void)fwrite(buf_peek(&out), 1, buf_left(&out), stdout);
    buf_fini(&out);
    return 0;
}
