/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses to listen on, as the configuration writes them: "127.0.0.1:9407", "[::1]:9407",
 * ":9407" (every address of the host), "unix:/run/pgpu/http.sock", "" (nowhere). No names: what a
 * resolver answers is no place to listen on.
 */
#ifndef PGPU_DAEMON_LISTEN_H
#define PGPU_DAEMON_LISTEN_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/socket.h>

struct listen_addr {
    struct sockaddr_storage sa; /* ss_family AF_UNSPEC: nowhere */
    socklen_t len;
    bool every; /* ":PORT": IPv6 and IPv4 where the host has both */
};

/* False and *why set for a text that is none of the forms above. `ret` may be NULL. */
bool listen_parse(const char *text, struct listen_addr *ret, const char **why);

/* A listening, non-blocking socket; `text` is for messages. A socket file that nobody listens on is
 * replaced, anything else in its place is left alone: BUSY. */
int listen_open(const struct listen_addr *a, const char *text, struct err *e);

/* Of "unix:/path" the path, else NULL. */
const char *listen_unix_path(const char *text);

#endif
