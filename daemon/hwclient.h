/* SPDX-License-Identifier: Apache-2.0
 *
 * The connection to pgpu-hwd: connects and reconnects for ever, checks every message, and hands
 * them on. Runs on the loop thread; never blocks.
 */
#ifndef PGPU_DAEMON_HWCLIENT_H
#define PGPU_DAEMON_HWCLIENT_H

#include "base/err.h"
#include "hwd/protocol.h"

#include <systemd/sd-event.h>

#include <stdbool.h>
#include <stdint.h>

struct hwclient;

struct hwclient_handler {
    void (*hello)(void *ctx); /* a new connection: facts of every unit follow */
    void (*facts)(void *ctx, const struct hwd_facts *f);
    void (*gone)(void *ctx, struct pci_addr unit);
    void (*up)(void *ctx);                    /* all facts of the moment have been delivered */
    void (*down)(void *ctx, const char *why); /* requests under way get no result any more */
    void (*progress)(void *ctx, const struct hwd_message *m);
    void (*result)(void *ctx, const struct hwd_message *m);
    void *ctx;
};

int hwclient_new(sd_event *loop, const char *socket, const struct hwclient_handler *h,
                 struct hwclient **ret, struct err *e);
void hwclient_free(struct hwclient *c);

bool hwclient_is_up(const struct hwclient *c);
/* Why it is not up; "" when it is. */
const char *hwclient_why(const struct hwclient *c);
/* The modes that the service allows, one bit for each enum cc_mode; 0 while there is none. */
uint32_t hwclient_modes(const struct hwclient *c);

/* Closes the connection, as if the service had; it is made anew. */
void hwclient_drop(struct hwclient *c, const char *why);

/* Fills magic, version and seq of `req` and sends it. HWD_DOWN (RETRY) where there is no service.
 */
int hwclient_send(struct hwclient *c, struct hwd_request *req, struct err *e);

#endif
