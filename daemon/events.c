/* SPDX-License-Identifier: Apache-2.0
 *
 * Owner of the ring of acts and of the list of followers.
 */
#include "daemon/events.h"

#include "base/cleanup.h"
#include "daemon/act_json.h"
#include "daemon/control.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct events {
    char started[ACT_TIME_MAX];
    uint64_t next; /* number of the next act */
    size_t n;      /* kept: numbers next - n .. next - 1 */
    size_t bytes;
    char *line[EVENTS_MAX]; /* of number s at s % EVENTS_MAX; with the newline */
    struct client *follower[FOLLOWERS_MAX];
};

int
events_new(struct events **ret, struct err *e)
{
    struct events *ev = calloc(1, sizeof(*ev));
    struct timespec now;

    if (!ev)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "events");
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)act_time(&now, ev->started);
    ev->next = 1;
    *ret = ev;
    return 0;
}

static char **
slot(struct events *ev, uint64_t seq)
{
    return &ev->line[seq % EVENTS_MAX];
}

static void
drop_oldest(struct events *ev)
{
    char **s = slot(ev, ev->next - ev->n);

    ev->bytes -= strlen(*s);
    free(*s);
    *s = NULL;
    ev->n--;
}

void
events_free(struct events *ev)
{
    if (!ev)
        return;
    while (ev->n > 0)
        drop_oldest(ev);
    free(ev);
}

static char *
line_of(const struct act *a, uint64_t seq)
{
    struct timespec now;
    char time[ACT_TIME_MAX], *text = NULL;
    json_object *o = json_object_new_object();
    const char *json;
    size_t len;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)json_object_object_add(o, "seq", json_object_new_uint64(seq));
    (void)json_object_object_add(o, "time", json_object_new_string(act_time(&now, time)));
    act_json_put(o, a);
    json =
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    len = strlen(json);
    text = malloc(len + 2);
    if (text) {
        memcpy(text, json, len);
        memcpy(text + len, "\n", 2);
    }
    (void)json_object_put(o);
    return text;
}

void
events_act(void *ctx, const struct act *a)
{
    struct events *ev = ctx;
    char *line;
    size_t len;

    if (!act_is_news(a) || !(line = line_of(a, ev->next)))
        return;
    len = strlen(line);
    while (ev->n > 0 && (ev->n == EVENTS_MAX || ev->bytes + len > EVENTS_BYTES_MAX))
        drop_oldest(ev);
    *slot(ev, ev->next) = line;
    ev->next++;
    ev->n++;
    ev->bytes += len;
    for (size_t i = 0; i < FOLLOWERS_MAX; i++)
        if (ev->follower[i])
            client_send(ev->follower[i], line, len);
}

/* ---- the request ---- */

static void
on_gone(void *ctx, struct client *cl)
{
    struct events *ev = ctx;

    for (size_t i = 0; i < FOLLOWERS_MAX; i++)
        if (ev->follower[i] == cl)
            ev->follower[i] = NULL;
}

static int
follow(struct events *ev, struct client *cl, struct err *e)
{
    size_t i = 0;
    int r;

    while (i < FOLLOWERS_MAX && ev->follower[i])
        i++;
    if (i == FOLLOWERS_MAX)
        return err_set(e, EBUSY, ERR_CLASS_BUSY, "there are %d followers already", FOLLOWERS_MAX);
    r = client_follow(cl, on_gone, ev, e);
    if (r >= 0)
        ev->follower[i] = cl;
    return r;
}

static int
run_events(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    struct events *ev = ctx;
    uint64_t after = 0, first = ev->next - ev->n;
    bool wants_more = false;

    for (size_t i = 0; i < call->argc; i++) {
        if (strcmp(call->argv[i], "follow") == 0)
            wants_more = true;
        else if (strncmp(call->argv[i], "after=", 6) != 0 || !request_number(call, "after", &after))
            return err_set(e, EINVAL, ERR_CLASS_INVALID,
                           "events: \"%s\" is not after=NUMBER or follow", call->argv[i]);
    }
    (void)buf_putf(out,
                   "{\"events\":1,\"started\":\"%s\",\"first\":%" PRIu64 ",\"last\":%" PRIu64 "}\n",
                   ev->started, first, ev->next - 1);
    for (uint64_t s = first; s < ev->next; s++)
        if (s > after)
            (void)buf_put_str(out, *slot(ev, s));
    return wants_more ? follow(ev, call->client, e) : 0;
}

const struct request events_requests[] = {
    {.name = "events", .args = "[after=SEQ] [follow]", .run = run_events},
    {.name = NULL},
};
