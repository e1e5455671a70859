/* SPDX-License-Identifier: Apache-2.0
 *
 * What can be asked on the control socket: tables of requests, and finding the row that a line
 * means. No sockets here. To add a request, write a row in the file that answers it
 *
 *     const struct request health_requests[] = {
 *         {.name = "health live", .args = "", .run = answer_live},
 *         {.name = NULL},
 *     };
 *
 * and hand the table over where the program is put together: control_add(control, health_requests,
 * health). Loop thread.
 */
#ifndef PGPU_DAEMON_REQUEST_H
#define PGPU_DAEMON_REQUEST_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define REQUEST_LINE_MAX 1024 /* bytes, with the newline */
#define REQUEST_WORDS_MAX 16
#define REQUEST_TABLES_MAX 16

struct client;

/* One request of one client; valid during the call. */
struct request_call {
    struct client *client; /* for client_follow() (daemon/control.h); NULL in tests */
    size_t argc;
    char *const *argv; /* the words after the name, printable ASCII, never empty */
    int pid, uid;      /* who asks, as the socket told when it connected; -1 = unknown */
};

struct request {
    const char *name; /* one word or two; the longest that fits the line wins. Ends with NULL */
    const char *args; /* for people: "[after=SEQ] [follow]"; "" = takes none */
    bool changes;     /* something: it is told as ACT_REQUEST, done or not */
    /* Appends the answer, one line of JSON or text, to `out`. On failure what it appended is
     * dropped, and {"error": e->msg} is answered. Must not block. */
    int (*run)(void *ctx, const struct request_call *call, struct buf *out, struct err *e);
};

struct request_set {
    struct {
        const struct request *rows;
        void *ctx;
    } table[REQUEST_TABLES_MAX];
    size_t n;
};

/* `rows` and `ctx` must outlive the set. */
void request_add(struct request_set *s, const struct request *rows, void *ctx);

struct request_result {
    const struct request *row; /* NULL: the line means none */
    bool ok;
    char why[ERR_MSG_MAX]; /* of a failure */
};

/* Answers one line (without its newline; changed in place) into `out`: there is always an answer.
 * `call` needs client, pid and uid. */
void request_run(const struct request_set *s, char *line, struct request_call *call,
                 struct buf *out, struct request_result *ret);

/* {"error": text} and a newline. */
void request_error(struct buf *out, const char *text);

/* "key=123" among the words: true and *ret set. */
bool request_number(const struct request_call *call, const char *key, uint64_t *ret);

#endif
