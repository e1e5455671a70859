/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `runtime`: containerd or CRI-O, and NRI in it.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* pgpud answers within 500 ms, with an error where it must; below that the runtime hangs up first
 * and goes on without it. */
#define REQUEST_MIN_MS 600u
#define REQUEST_GOOD_MS 2000u
#define REGISTER_MIN_MS 1000u

enum {
    C_RUNTIME_MISSING,
    C_RUNTIME_CONFIG,
    C_NRI_OFF,
    C_NRI_NO_SOCKET,
    C_NRI_CLOSED,
    C_NRI_TIMEOUT,
    C_NRI_SOCKET_SHARED,
    C_NRI_FAILS_OPEN,
    C_RUNTIME_CDI_OFF,
};

static const struct doctor_check checks[] = {
    [C_RUNTIME_MISSING] = {"RUNTIME_MISSING", DOCTOR_ERROR, "container runtime",
                           "Pods are run by containerd or CRI-O.",
                           "install and start containerd 1.7 or later, or CRI-O 1.26 or later"},
    [C_RUNTIME_CONFIG] = {"RUNTIME_CONFIG", DOCTOR_ERROR, "runtime's configuration",
                          "A runtime does not start with a configuration that it cannot read.",
                          "correct the file, and restart the runtime"},
    [C_NRI_OFF] = {"NRI_OFF", DOCTOR_WARNING, "NRI",
                   "Without NRI nothing refuses a sandbox that names somebody else's GPU, and a "
                   "pod's end is only seen in the kubelet's lists.",
                   "containerd: disable = false in [plugins.\"io.containerd.nri.v1.nri\"]; CRI-O: "
                   "enable_nri = true in [crio.nri]; restart the runtime"},
    [C_NRI_NO_SOCKET] = {"NRI_NO_SOCKET", DOCTOR_WARNING, "NRI socket",
                         "pgpud connects to the runtime by this socket.",
                         "restart the runtime; give its path to pgpud in nri.sockets"},
    [C_NRI_CLOSED] = {"NRI_CLOSED", DOCTOR_WARNING, "connections from outside",
                      "The runtime accepts only plugins that it starts itself.",
                      "disable_connections = false (CRI-O: nri_disable_connections), or install "
                      "pgpu-nri-launch as a plugin"},
    [C_NRI_TIMEOUT] = {"NRI_TIMEOUT", DOCTOR_WARNING, "NRI time limits",
                       "A runtime that hears nothing within the limit hangs up and starts the pod "
                       "as if the guard had agreed.",
                       "plugin_request_timeout = \"2s\" (CRI-O: nri_plugin_request_timeout), the "
                       "default; restart the runtime"},
    [C_NRI_SOCKET_SHARED] = {"NRI_SOCKET_SHARED", DOCTOR_ERROR, "one NRI socket per runtime",
                             "Two runtimes on one socket path: whichever starts last takes it.",
                             "give one of them another socket_path, and both to pgpud in "
                             "nri.sockets"},
    [C_NRI_FAILS_OPEN] = {"NRI_FAILS_OPEN", DOCTOR_INFO, "what happens without pgpud",
                          "While pgpud is away the runtime starts pods unguarded. A required "
                          "plugin in NRI's validator refuses containers then.",
                          "containerd 2.2: enable = true and required_plugins = [\"pgpu\"] in "
                          "[plugins.\"io.containerd.nri.v1.nri\".default_validator]; CRI-O 1.34: "
                          "[crio.nri.default_validator]"},
    [C_RUNTIME_CDI_OFF] = {"RUNTIME_CDI_OFF", DOCTOR_ERROR, "CDI in the runtime",
                           "pgpud is told to answer CDI names (`cdi_devices: true`); a runtime "
                           "without CDI drops them without a word.",
                           "enable_cdi = true for containerd's CRI plugin, or `cdi_devices: "
                           "false` in pgpud.yaml"},
};

static void
check_nri_socket(struct doctor *d, const struct doctor_cri *c)
{
    struct stat st;
    int r = doctor_stat(&d->host, doctor_path(d, c->nri_socket), &st);

    /* Never a connection: a runtime takes each for a plugin and complains in its log. */
    if (r == 0 && S_ISSOCK(st.st_mode))
        doctor_ok(d, &checks[C_NRI_NO_SOCKET], "%s", c->nri_socket);
    else if (r == 0)
        doctor_bad(d, &checks[C_NRI_NO_SOCKET], c->nri_socket, "is no socket");
    else if (r == -ENOENT)
        doctor_bad(d, &checks[C_NRI_NO_SOCKET], c->nri_socket, "does not exist");
    else
        doctor_unknown(d, &checks[C_NRI_NO_SOCKET], c->nri_socket, "%s", strerror(-r));
}

static bool
nri_socket_there(const struct doctor *d, const struct doctor_cri *c)
{
    struct stat st;

    return doctor_stat(&d->host, doctor_path(d, c->nri_socket), &st) == 0 && S_ISSOCK(st.st_mode);
}

static void
check_times(struct doctor *d, const struct doctor_cri *c)
{
    if (c->request_ms < REQUEST_MIN_MS) {
        doctor_bad(d, &checks[C_NRI_TIMEOUT], c->file,
                   "requests %u ms: less than pgpud takes to refuse", c->request_ms);
        doctor_severity(d, DOCTOR_ERROR);
    } else if (c->request_ms < REQUEST_GOOD_MS || c->register_ms < REGISTER_MIN_MS) {
        doctor_bad(d, &checks[C_NRI_TIMEOUT], c->file, "requests %u ms, registration %u ms",
                   c->request_ms, c->register_ms);
    } else {
        doctor_ok(d, &checks[C_NRI_TIMEOUT], "requests %u ms, registration %u ms", c->request_ms,
                  c->register_ms);
    }
}

static void
check_nri(struct doctor *d, const struct doctor_cri *c)
{
    if (c->nri == CRI_OFF) {
        doctor_bad(d, &checks[C_NRI_OFF], c->file, "off: %s", c->nri_from);
        return;
    }
    if (c->nri == CRI_UNKNOWN && !nri_socket_there(d, c)) {
        doctor_unknown(d, &checks[C_NRI_OFF], c->file,
                       "not set, the version of %s is not known from files, and there is no %s",
                       doctor_cri_name(c), c->nri_socket);
        return;
    }
    doctor_ok(d, &checks[C_NRI_OFF], "%s: on (%s)", doctor_cri_name(c),
              c->nri == CRI_ON ? c->nri_from : "its socket is there");
    check_nri_socket(d, c);
    check_times(d, c);
    if (c->nri_closed)
        doctor_bad(d, &checks[C_NRI_CLOSED], c->file, "connections are disabled");
    else
        doctor_ok(d, &checks[C_NRI_CLOSED], "allowed");
    if (c->validator_required)
        doctor_ok(d, &checks[C_NRI_FAILS_OPEN], "plugins are required");
    else
        doctor_bad(d, &checks[C_NRI_FAILS_OPEN], c->file, "no plugin is required");
}

static void
check_runtime(struct doctor *d, const struct doctor_cri *c)
{
    char version[96] = "version not known";

    if (c->major)
        (void)snprintf(version, sizeof(version), "%u.%u by %s", c->major, c->minor,
                       c->version_from);
    doctor_ok(d, &checks[C_RUNTIME_MISSING], "%s, %s%s", doctor_cri_name(c), version,
              c->running ? ", running" : "");
    if (c->unread && !c->broken) {
        doctor_unknown(d, &checks[C_RUNTIME_CONFIG], c->file, "%s", c->why);
        return;
    }
    if (c->broken) {
        doctor_bad(d, &checks[C_RUNTIME_CONFIG], c->file, "%s", c->why);
        return;
    }
    doctor_ok(d, &checks[C_RUNTIME_CONFIG], "%s",
              c->file[0]      ? c->file
              : c->n_docs > 0 ? "drop-ins"
                              : "none: its defaults");
    check_nri(d, c);
    if (!d->conf.cdi_devices || c->cdi == CRI_ON)
        doctor_ok(d, &checks[C_RUNTIME_CDI_OFF], "%s",
                  d->conf.cdi_devices ? "on" : "not needed: pgpud answers device nodes");
    else if (c->cdi == CRI_OFF)
        doctor_bad(d, &checks[C_RUNTIME_CDI_OFF], c->file, "off");
    else
        doctor_unknown(d, &checks[C_RUNTIME_CDI_OFF], c->file, "the version is not known");
}

static void
run(struct doctor *d)
{
    const struct doctor_cri *a = &d->cri[0], *b = &d->cri[1];

    if (!a->present && !b->present) {
        if (d->procs.readable)
            doctor_bad(d, &checks[C_RUNTIME_MISSING], NULL,
                       "neither containerd nor CRI-O: no process, package or configuration");
        else
            doctor_unknown(d, &checks[C_RUNTIME_MISSING], NULL,
                           "the host's files and processes are not visible");
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(d->cri); i++)
        if (d->cri[i].present)
            check_runtime(d, &d->cri[i]);
    if (a->present && b->present && a->nri != CRI_OFF && b->nri != CRI_OFF && a->running &&
        b->running && strcmp(a->nri_socket, b->nri_socket) == 0)
        doctor_bad(d, &checks[C_NRI_SOCKET_SHARED], a->nri_socket,
                   "containerd and CRI-O both run and name it");
}

const struct doctor_area doctor_runtime = {"runtime", "Container runtime and NRI", checks,
                                           ARRAY_SIZE(checks), run};
