/* SPDX-License-Identifier: Apache-2.0
 *
 * A small HTTP/1.1 server for pages that are read, never written: GET and HEAD. libmicrohttpd does
 * the protocol, without threads, inside our loop and after everything else that the loop has to do.
 *
 * Nobody who connects can hurt the main job: the number of connections, the size of a request's
 * head and the time from the first byte to the last are bounded, each connection is for one
 * request, and a body is not read. An address that cannot be had is logged and tried again.
 *
 * Loop thread.
 */
#ifndef PGPU_DAEMON_HTTP_H
#define PGPU_DAEMON_HTTP_H

#include "base/buf.h"
#include "base/err.h"

#include <systemd/sd-event.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_CONNECTIONS_MAX 16
#define HTTP_HEAD_MAX 8192 /* bytes of a request's head, and of our own, together */
#define HTTP_ANSWER_MAX (8u << 20)

struct http_request {
    const char *path;
    const char *accept; /* the header, "" = none */
};

struct http_page {
    const char *path;
    const char *about; /* for the list at "/": a phrase */
    /* Appends the body; returns the status. *ret_type is text/plain unless it sets it (static
     * text). Must not block. */
    unsigned (*run)(void *ctx, const struct http_request *req, struct buf *out,
                    const char **ret_type);
};

struct http_options {
    const char *listen; /* daemon/listen.h; "" = nowhere; borrowed */
    const struct http_page *pages;
    size_t n_pages;
    void *ctx;
    uint64_t request_time; /* ns from connecting to the end of the answer; 0 = 10 s */
    uint64_t retry_time;   /* ns until an address is tried again; 0 = 5 s */
};

struct http;

/* `o` is copied, what it points to must stay. Fails only for what cannot be an address. */
int http_new(sd_event *loop, const struct http_options *o, struct http **ret, struct err *e);
void http_free(struct http *h); /* NULL is fine */

/* "" = it listens (or was not asked to), else why not. */
const char *http_why(const struct http *h);
const char *http_listen(const struct http *h);
/* Answers given with this status since the start; 0 for the rest of the statuses together. */
uint64_t http_answers(const struct http *h, unsigned status);

/* By an Accept header: is OpenMetrics wanted at least as much as the plain text format? */
bool http_wants_openmetrics(const char *accept);

#endif
