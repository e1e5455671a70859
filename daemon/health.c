/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/health.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/hw.h"
#include "daemon/audit.h"
#include "daemon/metrics.h"
#include "daemon/node.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A loop that came this late to a timer is not alive in any useful sense: an NRI answer is
 * worthless after 2 s, and a kubelet gives an admission up to minutes. */
#define LAG_LIMIT HW_SEC(30)

static void
fine(struct health *h, const char *name)
{
    h->check[h->n++] = (struct health_check){.name = name, .ok = true};
}

__attribute__((format(printf, 3, 4))) static void
fault(struct health *h, const char *name, const char *fmt, ...)
{
    struct health_check c = {.name = name};
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(c.why, sizeof(c.why), fmt, ap);
    va_end(ap);
    h->check[h->n++] = c;
    h->ok = false;
}

void
health_live(const struct node *n, struct health *ret)
{
    uint64_t age, lag = n->meters ? meters_lag(n->meters, &age) : 0;

    *ret = (struct health){.ok = true};
    if (lag > LAG_LIMIT)
        fault(ret, "loop", "the event loop was %llu s late", (unsigned long long)(lag / HW_SEC(1)));
    else
        fine(ret, "loop");
}

static void
check_kubelet(const struct node *n, struct health *h)
{
    for (size_t i = 0; i < n->n_resources; i++) {
        const struct resource_state *r = &n->resource[i];

        if (r->link == DP_LINK_STREAMING)
            continue;
        fault(h, "kubelet", "%s: %s%s%s", r->name,
              r->link == DP_LINK_REGISTERED ? "registered, but the kubelet does not read its list"
                                            : "not registered",
              r->link_why[0] ? ": " : "", r->link_why);
        return;
    }
    if (n->n_resources == 0)
        fault(h, "kubelet", "no resource is served yet");
    else
        fine(h, "kubelet");
}

static void
check_cdi(const struct node *n, struct health *h)
{
    for (size_t i = 0; i < n->n_resources; i++)
        if (!n->resource[i].cdi_ok) {
            fault(h, "cdi", "%s: %s", n->resource[i].name, n->resource[i].cdi_why);
            return;
        }
    if (!n->settled)
        fault(h, "cdi", "not written yet: waiting for the hardware service and PodResources");
    else
        fine(h, "cdi");
}

static void
check_nri(const struct node *n, struct health *h)
{
    if (n->conf->nri.sockets.n == 0)
        return;
    if (guard_is_up(n))
        fine(h, "nri");
    else
        fault(h, "nri",
              "no container runtime is connected at %s; where none offers NRI, set "
              "`nri: {sockets: []}`",
              n->conf->nri.sockets.v[0]);
}

/* Only where the log is required: otherwise GPUs are handed out without it. */
static void
check_audit(const struct node *n, struct health *h)
{
    const char *why;

    if (!n->conf->audit.required)
        return;
    if (audit_is_ok(n->audit, &why))
        fine(h, "audit");
    else
        fault(h, "audit", "audit.required, and the audit log cannot be written: %s", why);
}

void
health_ready(const struct node *n, struct health *ret)
{
    *ret = (struct health){.ok = true};
    if (hwclient_is_up(n->hw))
        fine(ret, "hwd");
    else
        fault(ret, "hwd", "the hardware service is not connected: %s", hwclient_why(n->hw));
    check_kubelet(n, ret);
    check_cdi(n, ret);
    check_nri(n, ret);
    check_audit(n, ret);
}

void
health_json(const struct health *h, struct buf *out)
{
    json_object *o = json_object_new_object(), *a = json_object_new_array();

    (void)json_object_object_add(o, "ok", json_object_new_boolean(h->ok));
    for (size_t i = 0; i < h->n; i++) {
        json_object *c = json_object_new_object();

        (void)json_object_object_add(c, "name", json_object_new_string(h->check[i].name));
        (void)json_object_object_add(c, "ok", json_object_new_boolean(h->check[i].ok));
        (void)json_object_object_add(c, "why", json_object_new_string(h->check[i].why));
        (void)json_object_array_add(a, c);
    }
    (void)json_object_object_add(o, "checks", a);
    (void)buf_put_str(out, json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE));
    (void)buf_put_str(out, "\n");
    (void)json_object_put(o);
}

void
health_text(const struct health *h, struct buf *out)
{
    for (size_t i = 0; i < h->n; i++)
        (void)buf_putf(out, "%s: %s\n", h->check[i].name, h->check[i].ok ? "ok" : h->check[i].why);
    (void)buf_put_str(out, h->ok ? "ok\n" : "not ok\n");
}

static int
answer_live(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    struct health h;

    (void)call;
    (void)e;
    health_live(ctx, &h);
    health_json(&h, out);
    return 0;
}

static int
answer_ready(void *ctx, const struct request_call *call, struct buf *out, struct err *e)
{
    struct health h;

    (void)call;
    (void)e;
    health_ready(ctx, &h);
    health_json(&h, out);
    return 0;
}

const struct request health_requests[] = {
    {.name = "health live", .args = "", .run = answer_live},
    {.name = "health ready", .args = "", .run = answer_ready},
    {.name = NULL},
};
