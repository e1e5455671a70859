/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel uevents of the simulated node: the payload as the kernel sends it by netlink, queued under
 * the kernel's lock and delivered in order without it.
 */
#include "sim/kernel_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYLOAD_MAX 2048u /* UEVENT_BUFFER_SIZE of the kernel */

struct uev {
    struct uev *next;
    size_t len;
    char data[PAYLOAD_MAX];
};

static void add(struct uev *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
add(struct uev *u, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(u->data + u->len, sizeof(u->data) - u->len, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(u->data) - u->len)
        u->len += (size_t)n + 1; /* the NUL is part of the payload */
}

/* `text` holds newline-separated KEY=VALUE lines. */
static void
queue(struct sim_kernel *k, const char *action, const char *devpath, char *text)
{
    struct uev *u;
    char *line;

    if (!k->on_uevent)
        return;
    u = calloc(1, sizeof(*u));
    if (!u)
        return;
    add(u, "%s@%s", action, devpath);
    add(u, "ACTION=%s", action);
    add(u, "DEVPATH=%s", devpath);
    while ((line = strsep(&text, "\n")))
        if (*line)
            add(u, "%s", line);
    add(u, "SEQNUM=%lu", ++k->seqnum);
    if (k->uev_tail)
        k->uev_tail->next = u;
    else
        k->uev_head = u;
    k->uev_tail = u;
}

void
uevent_put(struct sim_kernel *k, const char *action, const char *devpath, const char *fmt, ...)
{
    char text[PAYLOAD_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    queue(k, action, devpath, text);
}

void
uevent_fn(struct sim_kernel *k, const struct fn *f, const char *action)
{
    const struct sim_model *m = f->model;
    char path_buf[512], driver[64] = "";
    const char *path = kn_path(f->dir, path_buf, sizeof(path_buf));

    if (!k->on_uevent)
        return;
    if (f->drv && strcmp(action, "unbind") != 0)
        (void)snprintf(driver, sizeof(driver), "DRIVER=%s\n", f->drv->name);
    uevent_put(k, action, path + strlen("/sys"),
               "SUBSYSTEM=pci\n%sPCI_CLASS=%X\nPCI_ID=%04X:%04X\nPCI_SUBSYS_ID=%04X:%04X\n"
               "PCI_SLOT_NAME=%s\nMODALIAS=pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X",
               driver, m->class_code, m->vendor, m->device, m->subsys_vendor, m->subsys_device,
               f->name, m->vendor, m->device, m->subsys_vendor, m->subsys_device,
               (m->class_code >> 16) & 0xff, (m->class_code >> 8) & 0xff, m->class_code & 0xff);
}

/* One thread delivers at a time, so the order is that of the queue. */
void
k_unlock(struct sim_kernel *k)
{
    struct uev *u;

    while (k->uev_head && !k->uev_busy) {
        void (*cb)(void *, const char *, size_t) = k->on_uevent;
        void *ctx = k->uevent_ctx;

        u = k->uev_head;
        k->uev_head = u->next;
        if (!k->uev_head)
            k->uev_tail = NULL;
        k->uev_busy = true;
        (void)pthread_mutex_unlock(&k->lock);
        if (cb)
            cb(ctx, u->data, u->len);
        free(u);
        (void)pthread_mutex_lock(&k->lock);
        k->uev_busy = false;
    }
    (void)pthread_mutex_unlock(&k->lock);
}
