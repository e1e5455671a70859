/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints the state tables as docs/architecture.md shows them.
 */
#include "daemon/states.h"

#include <stdio.h>

int
main(void)
{
    struct buf out;

    buf_init(&out, 1u << 16);
    unit_states_markdown(&out);
    (void)fwrite(buf_peek(&out), 1, buf_left(&out), stdout);
    buf_fini(&out);
    return 0;
}
