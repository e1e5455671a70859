/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-sim: the simulated node and its stand-ins, one verb each.
 */
#include "sim/nodecmd.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef PGPU_SIM_HAVE_VFIO_USER
#include "sim/vfiousercmd.h"
#endif

#ifdef PGPU_SIM_HAVE_KUBELET
#include "sim/kubelet.h"
#endif

#ifdef PGPU_SIM_HAVE_RUNTIME
#include "sim/runtime.h"
#endif

#ifndef PGPU_VERSION
#define PGPU_VERSION "unknown"
#endif

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} verbs[] = {
    {"node", sim_node_main, "a node with emulated GPUs, as a FUSE file system"},
    {"ctl", sim_ctl_main, "commands to a running node or server: faults, VMMs, hot-plug, traffic"},
#ifdef PGPU_SIM_HAVE_VFIO_USER
    {"vfio-user", sim_vfiouser_main, "emulated GPUs for QEMU's vfio-user-pci"},
#endif
#ifdef PGPU_SIM_HAVE_KUBELET
    {"kubelet", sim_kubelet_main, "a kubelet stand-in: device plugins and PodResources"},
#endif
#ifdef PGPU_SIM_HAVE_KATA
    {"kata", sim_kata_main, "a Kata stand-in: PodResources, CDI, opens the device"},
#endif
#ifdef PGPU_SIM_HAVE_RUNTIME
    {"runtime", sim_runtime_main, "a container runtime stand-in: NRI plugins, pods, containers"},
#endif
};

int
main(int argc, char **argv)
{
    bool help = argc > 1 && strcmp(argv[1], "--help") == 0;
    FILE *f = help ? stdout : stderr;
    size_t i;

    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        (void)puts("pgpu-sim " PGPU_VERSION);
        return EXIT_SUCCESS;
    }
    for (i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    (void)fputs("usage: pgpu-sim VERB [OPTION...]\n\nVerbs (each has --help):\n", f);
    for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        (void)fprintf(f, "  %-9s %s\n", verbs[i].name, verbs[i].help);
    (void)fputs("\nOptions:\n  --version, --help\n", f);
    return help ? EXIT_SUCCESS : 2;
}
