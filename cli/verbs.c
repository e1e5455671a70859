/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of pgpuctl's verbs: one row each, in the order of --help and of the man page.
 */
#include "cli/cli.h"
#include "hwd/protocol.h"

#ifndef PGPU_VERSION
#define PGPU_VERSION "unknown"
#endif

static const struct usage *const look[] = {
    &verb_status, &verb_top,    &verb_devices, &verb_health,       &verb_wait,
    &verb_why,    &verb_events, &verb_audit,   &verb_support_dump, NULL,
};

static const struct usage *const change[] = {
    &verb_mode,
    &verb_cc,
    NULL,
};

static const struct usage *const check[] = {
    &verb_doctor, &verb_config, &verb_cdi, &verb_initdata, &verb_annotations, NULL,
};

static const struct usage *const other[] = {
    &verb_completion,
    &verb_version,
    &verb_help,
    NULL,
};

static const struct usage_group groups[] = {
    {"Look", look}, {"Change", change}, {"Check", check}, {"Other", other}, {NULL, NULL},
};

static const struct usage_opt options[] = {
    {"--root", "DIR", "hardware below DIR/sys and DIR/dev (default /)", "dir", 0},
    {"--control", "SOCKET", "pgpud's control socket (default /run/pgpu/control.sock)", "file", 0},
    {"--hwd", "SOCKET",
     "pgpu-hwd's socket (default " HWD_SOCKET_DEFAULT ", none with --root); per-device locks stand "
     "beside it",
     "file", 0},
    {"--json", NULL, "machine-readable output", NULL, 0},
    {"--no-color", NULL, "no colours on a terminal either, as with NO_COLOR set", NULL, 0},
    {NULL, NULL, NULL, NULL, 0},
};

const struct usage pgpuctl_usage = {
    .name = "pgpuctl",
    .args = "VERB ...",
    .summary = "look at and change confidential-computing GPUs of this node",
    .text = "Exit status: 0 done, 1 it failed or is not as asked, 2 wrong usage.",
    .opts = options,
    .groups = groups,
    .version = PGPU_VERSION,
};
