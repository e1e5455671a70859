/* SPDX-License-Identifier: Apache-2.0
 *
 * doctor's area `services`: pgpud and pgpu-hwd themselves: configuration, links, devices that are
 * not offered, room on the disk.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "cli/doctor_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define SPACE_MIN ((uint64_t)16 << 20)

#ifndef PGPU_VERSION
#define PGPU_VERSION "unknown"
#endif

enum {
    C_CONFIG_INVALID,
    C_HWD_CONFIG_INVALID,
    C_MODE_FORBIDDEN,
    C_PGPUD_DOWN,
    C_HWD_DOWN,
    C_CONFIG_CHANGED,
    C_VERSION_SKEW,
    C_KUBELET_LINK,
    C_POD_RESOURCES_ASKED,
    C_NRI_LINK,
    C_DEVICE_NOT_OFFERED,
    C_SPACE_LOW,
};

static const struct doctor_check checks[] = {
    [C_CONFIG_INVALID] = {"CONFIG_INVALID", DOCTOR_ERROR, "pgpud.yaml",
                          "pgpud does not start with a wrong configuration.",
                          "correct it; pgpud --check-config --config FILE says the same"},
    [C_HWD_CONFIG_INVALID] = {"HWD_CONFIG_INVALID", DOCTOR_ERROR, "hwd.yaml",
                              "pgpu-hwd does not start with a wrong configuration.",
                              "correct it; pgpu-hwd --check-config --config FILE says the same"},
    [C_MODE_FORBIDDEN] = {"MODE_FORBIDDEN", DOCTOR_ERROR, "mode that pgpu-hwd allows",
                          "pgpud wants a mode that pgpu-hwd's own configuration does not allow: "
                          "every GPU ends in quarantine.",
                          "add the mode to `modes` in /etc/pgpu/hwd.yaml, or change `mode` in "
                          "pgpud.yaml"},
    [C_PGPUD_DOWN] = {"PGPUD_DOWN", DOCTOR_ERROR, "pgpud", "Without pgpud the kubelet sees no GPU.",
                      "systemctl start pgpud; journalctl -u pgpud (in a container: --control "
                      "SOCKET)"},
    [C_HWD_DOWN] = {"HWD_DOWN", DOCTOR_ERROR, "pgpu-hwd",
                    "Without pgpu-hwd no GPU is verified, so none is handed out.",
                    "systemctl start pgpu-hwd; journalctl -u pgpu-hwd"},
    [C_CONFIG_CHANGED] = {"CONFIG_CHANGED", DOCTOR_WARNING, "configuration in force",
                          "The file was changed after pgpud started.",
                          "systemctl restart pgpud (running pods are not disturbed)"},
    [C_VERSION_SKEW] = {"VERSION_SKEW", DOCTOR_WARNING, "one version",
                        "The programs are released together; a mixture is not tested.",
                        "install one version, and restart the services"},
    [C_KUBELET_LINK] = {"KUBELET_LINK", DOCTOR_ERROR, "registered with the kubelet",
                        "Until the kubelet has the list, no pod gets a GPU.",
                        "look at the area `kubelet`, and at pgpud's log"},
    [C_POD_RESOURCES_ASKED] = {"POD_RESOURCES_ASKED", DOCTOR_WARNING, "pgpud hears of pods",
                               "Without PodResources no GPU is taken back when its pod ends.",
                               "look at the area `kubelet`"},
    [C_NRI_LINK] = {"NRI_LINK", DOCTOR_WARNING, "pgpud is connected over NRI",
                    "While it is not, sandboxes start unguarded.",
                    "look at the area `runtime`; nri.sockets in pgpud.yaml"},
    [C_DEVICE_NOT_OFFERED] = {"DEVICE_NOT_OFFERED", DOCTOR_WARNING, "every device is offered",
                              "A device in quarantine or stuck is missing from the node's "
                              "capacity.",
                              "see the reason's own cure; pgpuctl status"},
    [C_SPACE_LOW] = {"SPACE_LOW", DOCTOR_WARNING, "room for journal and audit log",
                     "The journal and the audit log are written before a GPU is handed out.",
                     "make room on the file system"},
};

static void
check_config(struct doctor *d)
{
    if (d->have_config)
        doctor_ok(d, &checks[C_CONFIG_INVALID], "%s", d->config_path);
    else if (!d->config_why[0])
        doctor_ok(d, &checks[C_CONFIG_INVALID], "none: every key has its default");
    else
        doctor_bad(d, &checks[C_CONFIG_INVALID], d->config_path, "%s", d->config_why);
    if (d->have_hwd_config || !d->hwd_config_why[0])
        doctor_ok(d, &checks[C_HWD_CONFIG_INVALID], "%s",
                  d->have_hwd_config ? "good" : "none: every key has its default");
    else
        doctor_bad(d, &checks[C_HWD_CONFIG_INVALID], "/etc/pgpu/hwd.yaml", "%s", d->hwd_config_why);
    if (hwd_config_mode_allowed(&d->hwd_conf, (enum cc_mode)d->conf.mode))
        doctor_ok(d, &checks[C_MODE_FORBIDDEN], "%s", cc_mode_name((enum cc_mode)d->conf.mode));
    else
        doctor_bad(d, &checks[C_MODE_FORBIDDEN], "/etc/pgpu/hwd.yaml", "mode %s is not in `modes`",
                   cc_mode_name((enum cc_mode)d->conf.mode));
}

/* ---- what pgpud tells ---- */

static void
check_in_force(struct doctor *d)
{
    const char *theirs = d->in_force && json_object_is_type(d->in_force, json_type_string)
                             ? json_object_get_string(d->in_force)
                             : NULL;
    struct buf ours;
    const char *text;

    if (!theirs) {
        doctor_unknown(d, &checks[C_CONFIG_CHANGED], NULL, "this pgpud does not tell");
        return;
    }
    buf_init(&ours, 1u << 20);
    conf_print(config_keys, &d->conf, &ours);
    text = buf_cstr(&ours);
    if (text && strcmp(text, theirs) == 0)
        doctor_ok(d, &checks[C_CONFIG_CHANGED], "as in the file");
    else
        doctor_bad(d, &checks[C_CONFIG_CHANGED], d->config_path,
                   "pgpud runs with other values than the file has now");
    buf_fini(&ours);
}

static void
check_links(struct doctor *d)
{
    json_object *list, *o;

    if (json_object_object_get_ex(d->status, "resources", &list))
        for (size_t i = 0; i < json_object_array_length(list); i++) {
            o = json_object_array_get_idx(list, i);
            if (strcmp(json_str(o, "link"), "streaming") == 0)
                doctor_ok(d, &checks[C_KUBELET_LINK], "%s", json_str(o, "name"));
            else
                doctor_bad(d, &checks[C_KUBELET_LINK], json_str(o, "name"), "%s%s%s",
                           json_str(o, "link"), json_str(o, "link_why")[0] ? ": " : "",
                           json_str(o, "link_why"));
        }
    if (strcmp(json_str(d->status, "pod_resources"), "ok") == 0 ||
        strcmp(json_str(d->status, "pod_resources"), "not asked yet") == 0)
        doctor_ok(d, &checks[C_POD_RESOURCES_ASKED], "%s", json_str(d->status, "pod_resources"));
    else
        doctor_bad(d, &checks[C_POD_RESOURCES_ASKED], NULL, "%s",
                   json_str(d->status, "pod_resources"));
}

static void
check_nri(struct doctor *d)
{
    json_object *nri, *list, *o;
    size_t up = 0;
    const char *why = "";

    if (!json_object_object_get_ex(d->status, "nri", &nri) ||
        !json_object_object_get_ex(nri, "sessions", &list))
        return;
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        o = json_object_array_get_idx(list, i);
        if (json_truth(o, "up"))
            up++;
        else
            why = json_str(o, "why");
    }
    if (up > 0)
        doctor_ok(d, &checks[C_NRI_LINK], "%zu runtime%s", up, up == 1 ? "" : "s");
    else
        doctor_bad(d, &checks[C_NRI_LINK], NULL, "no runtime is connected%s%s", why[0] ? ": " : "",
                   why);
}

static void
check_units(struct doctor *d)
{
    json_object *list, *o;
    size_t bad = 0, n = 0;

    if (!json_object_object_get_ex(d->status, "units", &list))
        return;
    n = json_object_array_length(list);
    for (size_t i = 0; i < n; i++) {
        const char *state;

        o = json_object_array_get_idx(list, i);
        state = json_str(o, "state");
        if (strcmp(state, "quarantined") != 0 && strcmp(state, "stuck") != 0 &&
            (json_int(o, "recovery_rung") == 0 || json_truth(o, "healthy")))
            continue;
        /* A device that was never claimed is quarantined too, and nobody's worry. */
        if (strcmp(json_str(o, "reason"), "NOT_CLAIMED") == 0 ||
            strcmp(json_str(o, "reason"), "DRIVER_IN_USE") == 0 ||
            strcmp(json_str(o, "reason"), "CHIP_UNKNOWN") == 0)
            continue;
        bad++;
        if (strcmp(json_str(o, "reason"), "NONE") == 0)
            doctor_bad(d, &checks[C_DEVICE_NOT_OFFERED], json_str(o, "id"), "%s", state);
        else
            doctor_bad(d, &checks[C_DEVICE_NOT_OFFERED], json_str(o, "id"), "%s, %s: %s", state,
                       json_str(o, "reason"), json_str(o, "why"));
        if (json_str(o, "cure")[0])
            doctor_cure(d, "%s", json_str(o, "cure"));
    }
    if (bad == 0)
        doctor_ok(d, &checks[C_DEVICE_NOT_OFFERED], "%zu devices, none in quarantine", n);
}

/* ---- room ---- */

static void
check_space(struct doctor *d)
{
    const char *const dirs[] = {d->conf.state_dir, "/var/log"};
    size_t good = 0;

    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        struct statvfs v;
        char real[64];
        _cleanup_fd_ int fd = doctor_real(&d->host, doctor_path(d, dirs[i]), O_RDONLY | O_DIRECTORY,
                                          real, sizeof(real));

        if (fd < 0 || fstatvfs(fd, &v) < 0)
            continue;
        if ((uint64_t)v.f_bavail * v.f_frsize < SPACE_MIN || (v.f_files > 0 && v.f_favail == 0))
            doctor_bad(d, &checks[C_SPACE_LOW], dirs[i], "%llu KiB and %llu inodes are free",
                       (unsigned long long)v.f_bavail * v.f_frsize >> 10,
                       (unsigned long long)v.f_favail);
        else
            good++;
    }
    if (good > 0)
        doctor_ok(d, &checks[C_SPACE_LOW], "enough");
}

static void
run(struct doctor *d)
{
    check_config(d);
    check_space(d);
    if (d->hwd_up)
        doctor_ok(d, &checks[C_HWD_DOWN], "answers, %d devices", d->n_facts);
    else if (!d->asked)
        doctor_unknown(d, &checks[C_HWD_DOWN], NULL, "%s", d->hwd_why);
    else
        doctor_bad(d, &checks[C_HWD_DOWN], NULL, "%s", d->hwd_why);
    if (!d->asked) {
        doctor_unknown(d, &checks[C_PGPUD_DOWN], NULL, "%s", d->status_why);
        return;
    }
    if (!d->status) {
        doctor_bad(d, &checks[C_PGPUD_DOWN], NULL, "%s", d->status_why);
        return;
    }
    doctor_ok(d, &checks[C_PGPUD_DOWN], "version %s", json_str(d->status, "version"));
    if (strcmp(json_str(d->status, "version"), PGPU_VERSION) == 0)
        doctor_ok(d, &checks[C_VERSION_SKEW], PGPU_VERSION);
    else
        doctor_bad(d, &checks[C_VERSION_SKEW], NULL, "pgpuctl %s, pgpud %s", PGPU_VERSION,
                   json_str(d->status, "version"));
    check_in_force(d);
    check_links(d);
    check_nri(d);
    check_units(d);
}

const struct doctor_area doctor_services = {"services", "pgpud and pgpu-hwd", checks,
                                            ARRAY_SIZE(checks), run};
