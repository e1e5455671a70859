/* SPDX-License-Identifier: Apache-2.0
 *
 * Descriptor ownership. No state.
 */
#include "base/cleanup.h"

#include <errno.h>
#include <unistd.h>

void
fd_close(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
    errno = saved;
}

int
take_fd(int *fd)
{
    int v = *fd;

    *fd = -1;
    return v;
}
