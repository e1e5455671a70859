/* SPDX-License-Identifier: Apache-2.0
 *
 * Fills what the areas share: roots, configurations, processes, devices, pgpud's account. Nothing
 * that is missing stops doctor; only a root that cannot be opened does.
 */
#include "cli/doctor.h"

#include "base/cleanup.h"
#include "base/hw.h"
#include "cli/ask.h"
#include "cli/doctor_files.h"
#include "cli/online.h"
#include "vfio/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONFIG_DEFAULT "/etc/pgpu/pgpud.yaml"
#define HWD_CONFIG "/etc/pgpu/hwd.yaml"
#define CONTROL_DEFAULT "/run/pgpu/control.sock"
#define DPKG_MAX ((size_t)32 << 20)
#define ANSWER_MAX (4u << 20)
#define AS_GIVEN (-4096) /* no -errno: the path needs no descriptor */

/* pgpud's configuration: --config names a file of ours, the default one stands on the host. */
static void
load_config(struct doctor *d, const char *named)
{
    char real[64];
    struct err e = ERR_INIT;
    int r = -ENOENT;

    d->config_path = named ? named : CONFIG_DEFAULT;
    if (named) {
        r = config_load(named, &d->conf, &e);
    } else {
        _cleanup_fd_ int fd = doctor_real(&d->host, CONFIG_DEFAULT, O_RDONLY, real, sizeof(real));

        if (fd >= 0) {
            r = config_load(real, &d->conf, &e);
            doctor_rename(e.msg, sizeof(e.msg), real, CONFIG_DEFAULT);
        } else if (fd != -ENOENT) {
            (void)err_errno(&e, -fd, ERR_CLASS_INVALID, "read %s", CONFIG_DEFAULT);
        }
    }
    d->have_config = r >= 0;
    (void)str_copy(d->config_why, sizeof(d->config_why), e.msg);
    err_clear(&e);
    if (r < 0)
        (void)config_load(NULL, &d->conf, &e);
}

static void
load_hwd_config(struct doctor *d)
{
    char real[64];
    struct err e = ERR_INIT;
    int r = -ENOENT;
    _cleanup_fd_ int fd = doctor_real(&d->host, HWD_CONFIG, O_RDONLY, real, sizeof(real));

    if (fd >= 0) {
        r = hwd_config_load(real, &d->hwd_conf, &e);
        doctor_rename(e.msg, sizeof(e.msg), real, HWD_CONFIG);
    } else if (fd != -ENOENT) {
        (void)err_errno(&e, -fd, ERR_CLASS_INVALID, "read %s", HWD_CONFIG);
    }
    d->have_hwd_config = r >= 0;
    (void)str_copy(d->hwd_config_why, sizeof(d->hwd_config_why), e.msg);
    err_clear(&e);
    if (r < 0)
        (void)hwd_config_load(NULL, &d->hwd_conf, &e);
}

/* ---- the services ---- */

/* A socket that the user named is meant as it is; else the configured one, on the host. Returns a
 * descriptor to close, AS_GIVEN, or -errno. */
static int
service_path(const struct doctor *d, const char *given, const char *dflt, const char *configured,
             char *buf, size_t size)
{
    if (given && strcmp(given, dflt) != 0) {
        (void)snprintf(buf, size, "%s", given);
        return AS_GIVEN;
    }
    buf[0] = '\0';
    return doctor_real(&d->host, doctor_path(d, configured), O_PATH, buf, size);
}

static void
ask_hwd(struct doctor *d)
{
    char path[128];
    struct err e = ERR_INIT;
    int n = -1;
    _cleanup_fd_ int fd =
        service_path(d, d->c->hwd, HWD_SOCKET_DEFAULT, d->conf.hwd_socket, path, sizeof(path));

    if (fd >= 0 || fd == AS_GIVEN)
        n = online_facts(path, &d->facts, &e);
    else
        (void)err_errno(&e, -fd, ERR_CLASS_RETRY, "%s", d->conf.hwd_socket);
    if (fd >= 0)
        doctor_rename(e.msg, sizeof(e.msg), path, d->conf.hwd_socket);
    d->hwd_up = n >= 0;
    d->n_facts = n >= 0 ? n : 0;
    (void)str_copy(d->hwd_why, sizeof(d->hwd_why), e.msg);
}

static json_object *
ask_pgpud(const char *path, const char *line, bool yaml, struct err *e)
{
    json_object *o = NULL;
    struct buf out;
    const char *text;

    buf_init(&out, ANSWER_MAX);
    if (ask_line(path, line, &out, e) >= 0 && (text = buf_cstr(&out))) {
        o = yaml && text[0] != '{' ? json_object_new_string(text) : json_tokener_parse(text);
        if (json_object_is_type(o, json_type_object) &&
            json_object_object_get_ex(o, "error", NULL)) {
            (void)json_object_put(o);
            o = NULL;
        }
    }
    buf_fini(&out);
    return o;
}

static void
ask_control(struct doctor *d)
{
    char path[128];
    struct err e = ERR_INIT;
    _cleanup_fd_ int fd =
        service_path(d, d->c->control, CONTROL_DEFAULT, d->conf.control_socket, path, sizeof(path));

    if (fd >= 0 || fd == AS_GIVEN) {
        d->status = ask_pgpud(path, "status\n", false, &e);
        if (d->status)
            d->in_force = ask_pgpud(path, "config\n", true, &e);
    } else {
        (void)err_errno(&e, -fd, ERR_CLASS_RETRY, "%s", d->conf.control_socket);
    }
    if (!d->status) {
        if (fd >= 0)
            doctor_rename(e.msg, sizeof(e.msg), path, d->conf.control_socket);
        (void)str_copy(d->status_why, sizeof(d->status_why), e.msg);
    }
}

/* ---- devices ---- */

/* A register read is free of side effects only where nothing has to be woken, no host driver talks
 * to the device and nobody uses it. */
static bool
may_read(const struct doctor *d, struct hwd_unit *u)
{
    const struct vfio_fn *f = vfio_find(&d->off.scan->inv, u->addr);
    struct vfio_holder h;
    struct err e = ERR_INIT;

    if (!u->chip || !f || (f->driver[0] && !vfio_is_vfio_driver(f->driver)))
        return false;
    if (vfio_is_vfio_driver(f->driver) && vfio_holders(&d->off.root, f, getpid(), &h, 1, &e) > 0) {
        u->facts.use = HWD_USE_HELD;
        u->facts.holder_pid = (int32_t)h.pid;
        (void)str_copy(u->facts.holder_comm, sizeof(u->facts.holder_comm), h.comm);
        return false;
    }
    return strcmp(f->power_state, "D0") == 0 || (!f->driver[0] && !f->power_state[0]);
}

/* Active modes by one register each; a device that does not answer tells its reason. */
static void
read_modes(struct doctor *d)
{
    struct hwd_units *us = d->off.units;
    struct offline_run *runs = calloc(us->n ? us->n : 1, sizeof(*runs));
    const struct offline_work w = {.op = HWD_JOB_ACTIVE, .deadline_ns = HW_MS(1000)};
    unsigned n = 0;

    if (!runs)
        return;
    for (unsigned i = 0; i < us->n; i++)
        if (may_read(d, &us->u[i]))
            runs[n++].unit = &us->u[i];
    offline_run(&d->off, &w, runs, n);
    for (unsigned i = 0; i < n; i++) {
        struct hwd_facts *f = &us->u[runs[i].unit - us->u].facts;

        if (runs[i].out.err_class == ERR_CLASS_NONE) {
            f->mode_active = runs[i].out.mode_active;
        } else if (f->reason == REASON_NONE && runs[i].out.reason != REASON_LOCKDOWN &&
                   runs[i].out.reason != REASON_STRICT_DEVMEM &&
                   runs[i].out.reason != REASON_PERMISSION) {
            f->reason = runs[i].out.reason;
            (void)snprintf(f->text, sizeof(f->text), "%.*s", (int)sizeof(f->text) - 1,
                           runs[i].out.text);
        }
    }
    free(runs);
}

static void
scan_devices(struct doctor *d)
{
    struct err e = ERR_INIT;
    char real[64] = "";
    _cleanup_fd_ int fd = doctor_real(&d->host, HWD_CONFIG, O_RDONLY, real, sizeof(real));

    d->have_scan =
        offline_open(d->c, fd >= 0 && d->have_hwd_config ? real : NULL, false, &d->off, &e) >= 0;
    (void)str_copy(d->scan_why, sizeof(d->scan_why), e.msg);
    if (!d->have_scan || d->hwd_up)
        return;
    d->off.cfg.access = HWD_ACCESS_SYSFS;
    read_modes(d);
    d->facts = calloc(d->off.units->n ? d->off.units->n : 1, sizeof(*d->facts));
    for (unsigned i = 0; d->facts && i < d->off.units->n; i++)
        d->facts[d->n_facts++] = d->off.units->u[i].facts;
}

int
doctor_gather(struct doctor *d, const struct cli *c, const struct doctor_options *o, struct err *e)
{
    int r;

    d->c = c;
    d->host.fd = d->hw.fd = -1;
    d->v = calloc(DOCTOR_FINDINGS_MAX, sizeof(*d->v));
    if (!d->v)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "doctor");
    r = fs_root_open(&d->host, o->host ? o->host : c->root, e);
    if (r >= 0)
        r = fs_root_open(&d->hw, c->root, e);
    if (r < 0)
        return r;
    (void)doctor_read(&d->host, "/var/lib/dpkg/status", DPKG_MAX, &d->dpkg);
    load_config(d, o->config);
    load_hwd_config(d);
    doctor_procs_read(&d->host, &d->procs);
    doctor_cri_read(d);
    d->asked = !o->offline_only;
    if (d->asked) {
        ask_hwd(d);
        ask_control(d);
    } else {
        (void)str_copy(d->hwd_why, sizeof(d->hwd_why), "not asked: --offline");
        (void)str_copy(d->status_why, sizeof(d->status_why), "not asked: --offline");
    }
    scan_devices(d);
    return 0;
}

void
doctor_release(struct doctor *d)
{
    if (d->have_scan)
        offline_close(&d->off);
    free(d->facts);
    (void)json_object_put(d->status);
    (void)json_object_put(d->in_force);
    doctor_procs_free(&d->procs);
    doctor_cri_free(&d->cri[0]);
    doctor_cri_free(&d->cri[1]);
    config_free(&d->conf);
    hwd_config_free(&d->hwd_conf);
    fs_root_close(&d->host);
    fs_root_close(&d->hw);
    free(d->dpkg);
    free(d->v);
}
