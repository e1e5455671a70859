/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pages.h"

#include "base/cleanup.h"
#include "daemon/config_watch.h"
#include "daemon/control.h"
#include "daemon/health.h"
#include "daemon/http.h"
#include "daemon/metrics.h"
#include "daemon/node.h"

#include <string.h>

static unsigned
page_metrics(void *ctx, const struct http_request *req, struct buf *out, const char **ret_type)
{
    struct node *n = ctx;
    enum metrics_format f =
        http_wants_openmetrics(req->accept) ? METRICS_OPENMETRICS : METRICS_TEXT;
    struct err e = ERR_INIT;

    *ret_type = metrics_content_type(f);
    return meters_print(n->meters, f, out, &e) < 0 ? 500 : 200;
}

static unsigned
put_health(const struct health *h, const struct http_request *req, struct buf *out,
           const char **ret_type)
{
    if (strstr(req->accept, "application/json")) {
        *ret_type = "application/json";
        health_json(h, out);
    } else {
        health_text(h, out);
    }
    return h->ok ? 200 : 503;
}

static unsigned
page_live(void *ctx, const struct http_request *req, struct buf *out, const char **ret_type)
{
    struct health h;

    health_live(ctx, &h);
    return put_health(&h, req, out, ret_type);
}

static unsigned
page_ready(void *ctx, const struct http_request *req, struct buf *out, const char **ret_type)
{
    struct health h;

    health_ready(ctx, &h);
    return put_health(&h, req, out, ret_type);
}

static const struct http_page pages[] = {
    {"/metrics", "for Prometheus: text 0.0.4, or OpenMetrics 1.0 where it is asked for",
     page_metrics},
    {"/livez", "200 while the event loop beats", page_live},
    {"/readyz", "200 when pods can be served, else 503 with the reasons", page_ready},
};

static int
answer_metrics(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    struct node *n = ctx;
    bool om = call->argc == 1 && strcmp(call->argv[0], "openmetrics") == 0;

    return meters_print(n->meters, om ? METRICS_OPENMETRICS : METRICS_TEXT, out, e);
}

static const struct request requests[] = {
    {.name = "metrics", .args = "[openmetrics]", .run = answer_metrics},
    {.name = NULL},
};

int
pages_new(struct node *n, struct control *c, const char *config_path, struct err *e)
{
    struct http_options o = {
        .listen = n->conf->http.listen, .pages = pages, .n_pages = ARRAY_SIZE(pages), .ctx = n};
    int r = meters_new(n, &n->meters, e);

    if (r >= 0)
        r = config_watch_new(n, config_path, 0, &n->config_watch, e);
    if (r < 0)
        return r;
    control_add(c, health_requests, n);
    control_add(c, requests, n);
    return http_new(n->loop, &o, &n->http, e);
}

void
pages_stop(struct node *n)
{
    if (!n)
        return;
    http_free(n->http);
    config_watch_free(n->config_watch);
    n->http = NULL;
    n->config_watch = NULL;
}
