/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl: the table of verbs and the options that all of them take, which may stand anywhere.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "cli/cli.h"
#include "hwd/protocol.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef PGPU_VERSION
#define PGPU_VERSION "unknown"
#endif

static const struct verb {
    const char *name, *help;
    int (*run)(const struct cli *c, int argc, char **argv);
} verbs[] = {
    {"status", "what pgpud is doing with every device, and why", cli_status},
    {"devices", "GPUs and NVSwitches of this node", cli_devices},
    {"cc", "query, plan, set or reset the confidential-computing mode", cli_cc},
    {"cdi", "check the CDI directories", cli_cdi},
    {"initdata", "digest, check or make the initdata of a pod", cli_initdata},
    {"annotations", "what a Kata handler does with a pod's annotations", cli_annotations},
};

static void
help(FILE *f)
{
    (void)fputs("usage: pgpuctl [options] VERB ...\n\nVerbs (each has --help):\n", f);
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        (void)fprintf(f, "  %-11s %s\n", verbs[i].name, verbs[i].help);
    (void)fputs("\nOptions:\n"
                "  --root DIR        hardware below DIR/sys and DIR/dev (default /)\n"
                "  --control SOCKET  pgpud's control socket (default /run/pgpu/control.sock)\n"
                "  --hwd SOCKET      pgpu-hwd's socket (default " HWD_SOCKET_DEFAULT ",\n"
                "                    none with --root); per-device locks stand beside it\n"
                "  --json            machine-readable output\n"
                "  --version, --help\n\n"
                "Exit status: 0 done, 1 it failed or is not as asked, 2 wrong usage.\n",
                f);
}

/* Takes "--name VALUE" or "--name=VALUE" out of argv at *i. */
static bool
take_value(const char *name, int *argc, char **argv, int i, const char **ret)
{
    size_t n = strlen(name);
    int gone;

    if (strncmp(argv[i], name, n) != 0 || (argv[i][n] != '\0' && argv[i][n] != '='))
        return false;
    if (argv[i][n] == '=') {
        *ret = argv[i] + n + 1;
        gone = 1;
    } else if (i + 1 < *argc) {
        *ret = argv[i + 1];
        gone = 2;
    } else {
        *ret = "";
        gone = 1;
    }
    for (int j = i; j + gone <= *argc; j++)
        argv[j] = argv[j + gone];
    *argc -= gone;
    return true;
}

static bool
take_flag(const char *name, int *argc, char **argv, int i)
{
    if (strcmp(argv[i], name) != 0)
        return false;
    for (int j = i; j + 1 <= *argc; j++)
        argv[j] = argv[j + 1];
    (*argc)--;
    return true;
}

static void
take_common(int *argc, char **argv, struct cli *c)
{
    for (int i = 1; i < *argc;) {
        if (strcmp(argv[i], "--") == 0)
            return;
        if (take_value("--root", argc, argv, i, &c->root) ||
            take_value("--control", argc, argv, i, &c->control) ||
            take_value("--hwd", argc, argv, i, &c->hwd))
            continue;
        if (take_flag("--json", argc, argv, i))
            c->json = true;
        else
            i++;
    }
}

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

int
main(int argc, char **argv)
{
    struct cli c = {.root = "/", .control = "/run/pgpu/control.sock"};

    fill_stdio();
    log_init("pgpuctl", LOG_FMT_LOGFMT, LOG_LVL_WARN);
    take_common(&argc, argv, &c);
    if (!c.root[0] || !c.control[0] || (c.hwd && !c.hwd[0])) {
        (void)fputs("pgpuctl: an option lacks its value, see --help\n", stderr);
        return 2;
    }
    if (!c.hwd && strcmp(c.root, "/") == 0)
        c.hwd = HWD_SOCKET_DEFAULT;
    c.tty = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    if (argc < 2) {
        help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("pgpuctl " PGPU_VERSION);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(&c, argc - 1, argv + 1);
    (void)fprintf(stderr, "pgpuctl: unknown verb \"%s\", see --help\n", argv[1]);
    return 2;
}
