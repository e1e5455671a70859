/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl: the options that all verbs take, which may stand anywhere, and then the verb.
 */
#include "base/log.h"
#include "cli/cli.h"
#include "hwd/protocol.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Descriptors 0 to 2 must be taken, or a device file could end up where messages are written. */
static void
fill_stdio(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    } while (fd >= 0 && fd <= 2);
    if (fd > 2)
        (void)close(fd);
}

/* An empty NO_COLOR counts as unset: https://no-color.org. A dumb terminal shows codes as text. */
static bool
wants_colours(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && !(no && no[0]) && !(term && strcmp(term, "dumb") == 0);
}

int
main(int argc, char **argv)
{
    struct usage_args a;
    struct cli c = {0};
    int rc;

    fill_stdio();
    log_init("pgpuctl", LOG_FMT_LOGFMT, LOG_LVL_WARN);
    rc = usage_parse(&pgpuctl_usage, argc, argv, &a);
    if (rc >= 0)
        return rc;
    c.root = usage_value(&a, "--root", "/");
    c.control = usage_value(&a, "--control", "/run/pgpu/control.sock");
    c.hwd = usage_value(&a, "--hwd", strcmp(c.root, "/") == 0 ? HWD_SOCKET_DEFAULT : NULL);
    c.json = usage_flag(&a, "--json");
    c.tty = wants_colours() && !usage_flag(&a, "--no-color");
    if (!c.root[0] || !c.control[0] || (c.hwd && !c.hwd[0]))
        return usage_wrong(&a, "--root, --control and --hwd are not empty");
    return a.path[a.depth - 1]->run(&c, a.argc, a.argv);
}
