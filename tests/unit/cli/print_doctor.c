/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints the tables of docs/doctor.md.
 */
#include "cli/doctor.h"

#include <stdio.h>

int
main(void)
{
    struct buf out;

    buf_init(&out, 1u << 18);
    doctor_markdown(&out);
    (void)fwrite(buf_peek(&out), 1, buf_left(&out), stdout);
    buf_fini(&out);
    return 0;
}
