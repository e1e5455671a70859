/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows: what was measured on Linux 6.12 with the real vfio-pci, performed in order on whatever
 * the backend shows, and printed as "operation -> result" without any address or number that could
 * differ between machines. Every section leaves the devices as it found them: unbound, no override.
 */
#include "conformance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKED_MS 150   /* a write that has not come back by then is blocked */
#define PATIENCE_MS 9000 /* one that should come back */

struct rows {
    const struct backend *b;
    const struct subjects *s;
    FILE *out;
};

/* ---- names ---- */

static const char *
address(const struct rows *r, const char *name, size_t len)
{
    const struct {
        const char *name, *addr;
    } all[] = {{"gpu", r->s->gpu},
               {"twin", r->s->twin},
               {"pair", r->s->pair},
               {"audio", r->s->audio},
               {"bridge", r->s->bridge}};
    size_t i;

    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strlen(all[i].name) == len && strncmp(name, all[i].name, len) == 0)
            return all[i].addr;
    return NULL;
}

/* "gpu/reset", "bus/rescan", "vfio/bind", "dma/bind" or an absolute path. */
static const char *
expand(const struct rows *r, const char *path, char *buf, size_t size)
{
    size_t len = strcspn(path, "/");
    const char *addr = address(r, path, len), *rest = path + len;

    if (addr)
        (void)snprintf(buf, size, "/sys/bus/pci/devices/%s%s", addr, rest);
    else if (strncmp(path, "bus/", 4) == 0)
        (void)snprintf(buf, size, "/sys/bus/pci%s", rest);
    else if (strncmp(path, "vfio/", 5) == 0)
        (void)snprintf(buf, size, "/sys/bus/pci/drivers/vfio-pci%s", rest);
    else if (strncmp(path, "dma/", 4) == 0)
        (void)snprintf(buf, size, "/sys/bus/pci/drivers/%s%s", r->s->dma_driver, rest);
    else
        (void)snprintf(buf, size, "%s", path);
    return buf;
}

/* "$gpu" stands for its address, "$dma" for the host driver, a newline may follow; all else stands
 * for itself. */
static const char *
expand_text(const struct rows *r, const char *text, char *buf, size_t size)
{
    size_t len = strcspn(text, "\n");
    const char *word = text[0] == '$' ? address(r, text + 1, len - 1) : NULL;

    if (len == 4 && strncmp(text, "$dma", 4) == 0)
        word = r->s->dma_driver;
    if (!word)
        return text;
    (void)snprintf(buf, size, "%s%s", word, text + len);
    return buf;
}

/* ---- what a row prints ---- */

static const char *
result(int r)
{
    if (r >= 0)
        return "OK";
    return r == -EINPROGRESS ? "blocks" : strerrorname_np(-r);
}

static void say(struct rows *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
say(struct rows *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vfprintf(r->out, fmt, ap);
    va_end(ap);
    (void)fputc('\n', r->out);
}

static void
section(struct rows *r, const char *name)
{
    say(r, "%s# %s", ftell(r->out) > 0 ? "\n" : "", name);
}

/* Newlines in what is written are shown as \n. */
static const char *
shown(const char *text, char buf[static 64])
{
    size_t i, n = 0;

    for (i = 0; text[i] && n < 60; i++) {
        if (text[i] == '\n') {
            buf[n++] = '\\';
            buf[n++] = 'n';
        } else {
            buf[n++] = text[i];
        }
    }
    buf[n] = '\0';
    return buf;
}

static int
quiet(struct rows *r, const char *path, const char *text)
{
    char buf[512], word[128];
    const char *t = expand_text(r, text, word, sizeof(word));

    return r->b->write(r->b->ctx, expand(r, path, buf, sizeof(buf)), t, strlen(t));
}

static void
W(struct rows *r, const char *path, const char *text)
{
    char buf[64];

    say(r, "write %s \"%s\" -> %s", path, shown(text, buf), result(quiet(r, path, text)));
}

static void
R(struct rows *r, const char *path)
{
    char buf[512], text[4096] = "";
    int e = r->b->read(r->b->ctx, expand(r, path, buf, sizeof(buf)), text, sizeof(text));

    say(r, "read %s -> %s", path, e < 0 ? result(e) : text[0] ? text : "(empty)");
}

static void
driver_of(struct rows *r, const char *who)
{
    char path[64], buf[512], text[512];
    const char *name = "none";

    (void)snprintf(path, sizeof(path), "%s/driver", who);
    if (r->b->readlink(r->b->ctx, expand(r, path, buf, sizeof(buf)), text, sizeof(text)) >= 0) {
        name = strrchr(text, '/') ? strrchr(text, '/') + 1 : text;
        if (strcmp(name, r->s->dma_driver) == 0)
            name = "dma";
    }
    say(r, "driver of %s -> %s", who, name);
}

/* Emulation reads a sleeping BAR as 0, hardware as all-ones: both are dead. */
static void
bar_of(struct rows *r, const char *who)
{
    char path[64], buf[512];
    uint32_t v = 0;
    int e;

    (void)snprintf(path, sizeof(path), "%s/resource0", who);
    e = r->b->resource0(r->b->ctx, expand(r, path, buf, sizeof(buf)), &v);
    say(r, "BAR0 of %s -> %s", who,
        e < 0                        ? result(e)
        : v == 0 || v == 0xffffffffu ? "dead"
                                     : "alive");
}

/* ---- VFIO nodes ---- */

static const char *
group_node(struct rows *r, const char *who, char *buf, size_t size)
{
    char path[64], full[512], text[512];

    (void)snprintf(path, sizeof(path), "%s/iommu_group", who);
    if (r->b->readlink(r->b->ctx, expand(r, path, full, sizeof(full)), text, sizeof(text)) < 0)
        return "/dev/vfio/none";
    (void)snprintf(buf, size, "/dev/vfio/%s", strrchr(text, '/') + 1);
    return buf;
}

/* The cdev's number is not shown anywhere but as a directory name; few are ever in use. */
static const char *
cdev_node(struct rows *r, const char *who, char *buf, size_t size)
{
    char path[64], full[512];
    int i;

    for (i = 0; i < 64; i++) {
        (void)snprintf(path, sizeof(path), "%s/vfio-dev/vfio%d/dev", who, i);
        if (r->b->mode(r->b->ctx, expand(r, path, full, sizeof(full))) >= 0)
            break;
    }
    (void)snprintf(buf, size, "/dev/vfio/devices/vfio%d", i);
    return buf;
}

static int
open_node(struct rows *r, const char *label, const char *path, struct node **ret)
{
    int e = r->b->open(r->b->ctx, path, O_RDWR, ret);

    say(r, "open %s -> %s", label, result(e));
    if (e < 0)
        *ret = NULL;
    return e;
}

static void
mode_of(struct rows *r, const char *label, const char *path)
{
    int m = r->b->mode(r->b->ctx, path);

    if (m < 0)
        say(r, "mode of %s -> %s", label, result(m));
    else
        say(r, "mode of %s -> %04o", label, (unsigned)m);
}

/* A VMM of the legacy kind. */
struct user {
    struct node *group, *container, *device;
};

static int
user_open(struct rows *r, const char *who, bool device, struct user *u)
{
    const struct backend *b = r->b;
    char buf[64];
    int e = b->open(b->ctx, group_node(r, who, buf, sizeof(buf)), O_RDWR, &u->group);

    u->container = u->device = NULL;
    if (e < 0) {
        u->group = NULL;
        return e;
    }
    e = b->open(b->ctx, "/dev/vfio/vfio", O_RDWR, &u->container);
    if (e >= 0)
        e = b->set_container(b->ctx, u->group, u->container);
    if (e >= 0 && device)
        e = b->get_device(b->ctx, u->group, address(r, who, strlen(who)), &u->device);
    return e;
}

static void
user_close(struct rows *r, struct user *u)
{
    r->b->close(r->b->ctx, u->device);
    r->b->close(r->b->ctx, u->group);
    r->b->close(r->b->ctx, u->container);
}

/* ---- pending writes ---- */

static struct pending *
begin(struct rows *r, const char *path, const char *text, unsigned ms)
{
    char buf[512], t[64], word[128];
    struct pending *p = r->b->start(r->b->ctx, expand(r, path, buf, sizeof(buf)),
                                    expand_text(r, text, word, sizeof(word)));
    int e = r->b->wait(r->b->ctx, p, ms);

    say(r, "write %s \"%s\" by another process -> %s", path, shown(text, t), result(e));
    return e == -EINPROGRESS ? p : NULL;
}

static void
finish(struct rows *r, struct pending *p, const char *what)
{
    int e = p ? r->b->wait(r->b->ctx, p, PATIENCE_MS) : -ENOENT;

    say(r, "then %s -> %s", what, result(e));
}

static void
kill_writer(struct rows *r, struct pending *p, const char *what)
{
    if (p)
        r->b->abandon(r->b->ctx, p);
    say(r, "kill the writer of %s", what);
}

/* Something that must have happened "later": asks again for a while. */
static void
eventually(struct rows *r, const char *path, const char *want)
{
    char buf[512], text[512] = "";
    int i, e = 0;
    struct pending *p;

    for (i = 0; i < PATIENCE_MS / 10; i++) {
        e = r->b->read(r->b->ctx, expand(r, path, buf, sizeof(buf)), text, sizeof(text));
        if (e >= 0 && strcmp(text, want) == 0)
            break;
        /* a delay that every backend has: a write that changes nothing */
        p = r->b->start(r->b->ctx, expand(r, path, buf, sizeof(buf)), "");
        (void)r->b->wait(r->b->ctx, p, 10);
    }
    say(r, "later read %s -> %s", path, e < 0 ? result(e) : text);
}

static void
bind(struct rows *r, const char *who)
{
    char path[64], at[64];

    (void)snprintf(path, sizeof(path), "%s/driver_override", who);
    (void)snprintf(at, sizeof(at), "$%s", who);
    (void)quiet(r, path, "vfio-pci");
    (void)quiet(r, "vfio/bind", at);
}

static void
release(struct rows *r, const char *who)
{
    char path[64], at[64];

    (void)snprintf(path, sizeof(path), "%s/driver_override", who);
    (void)snprintf(at, sizeof(at), "$%s", who);
    (void)quiet(r, path, "\n");
    (void)quiet(r, "vfio/unbind", at);
}

/* ---- sections ---- */

static void
rows_override(struct rows *r)
{
    static char page[4200], fits[4100];

    section(r, "driver_override");
    R(r, "gpu/driver_override");
    W(r, "gpu/driver_override", "vfio-pci\n");
    R(r, "gpu/driver_override");
    driver_of(r, "gpu");
    W(r, "gpu/driver_override", "no-such-driver");
    R(r, "gpu/driver_override");
    W(r, "gpu/driver_override", "a b");
    R(r, "gpu/driver_override");
    W(r, "gpu/driver_override", "");
    R(r, "gpu/driver_override");
    memset(page, 'x', 4095);
    say(r, "write gpu/driver_override, 4095 bytes -> %s",
        result(quiet(r, "gpu/driver_override", page)));
    memset(fits, 'x', 4094);
    say(r, "write gpu/driver_override, 4094 bytes -> %s",
        result(quiet(r, "gpu/driver_override", fits)));
    W(r, "gpu/driver_override", "\n");
    R(r, "gpu/driver_override");
}

static void
rows_probe(struct rows *r)
{
    section(r, "drivers_probe");
    W(r, "bus/drivers_probe", "$gpu");
    driver_of(r, "gpu");
    W(r, "gpu/driver_override", "no-such-driver");
    W(r, "bus/drivers_probe", "$gpu");
    driver_of(r, "gpu");
    W(r, "bus/drivers_probe", "ffff:ff:1f.7");
    W(r, "bus/drivers_probe", "01:00.0");
    W(r, "bus/drivers_probe", "garbage");
    W(r, "gpu/driver_override", "vfio-pci");
    W(r, "bus/drivers_probe", "$gpu");
    driver_of(r, "gpu");
    W(r, "bus/drivers_probe", "$gpu");
    driver_of(r, "gpu");
    release(r, "gpu");
}

static void
rows_bind(struct rows *r)
{
    char node[64];

    section(r, "bind and unbind");
    W(r, "vfio/bind", "$gpu");
    W(r, "gpu/driver_override", "no-such-driver");
    W(r, "vfio/bind", "$gpu");
    W(r, "vfio/bind", "ffff:ff:1f.7");
    W(r, "vfio/bind", "01:00.0");
    W(r, "vfio/bind", "garbage");
    W(r, "/sys/bus/pci/drivers/no-such-driver/bind", "$gpu");
    W(r, "gpu/driver/unbind", "$gpu");
    W(r, "vfio/unbind", "$gpu");
    W(r, "gpu/driver_override", "vfio-pci");
    mode_of(r, "group node", group_node(r, "gpu", node, sizeof(node)));
    W(r, "vfio/bind", "$gpu\n");
    W(r, "vfio/bind", "$gpu");
    driver_of(r, "gpu");
    mode_of(r, "group node", group_node(r, "gpu", node, sizeof(node)));
    mode_of(r, "container", "/dev/vfio/vfio");
    W(r, "vfio/bind", "$gpu");
    W(r, "gpu/driver_override", "no-such-driver");
    driver_of(r, "gpu");
    W(r, "vfio/bind", "$gpu");
    W(r, "gpu/driver_override", "\n");
    W(r, "gpu/driver/unbind", "$gpu");
    driver_of(r, "gpu");
    mode_of(r, "group node", group_node(r, "gpu", node, sizeof(node)));
    W(r, "gpu/driver/unbind", "$gpu");
}

static void
rows_bridge(struct rows *r)
{
    section(r, "a bridge");
    driver_of(r, "bridge");
    W(r, "bridge/driver/unbind", "$bridge");
    W(r, "bridge/driver_override", "vfio-pci");
    W(r, "vfio/bind", "$bridge");
    driver_of(r, "bridge");
    W(r, "bus/drivers_probe", "$bridge");
    driver_of(r, "bridge");
    W(r, "bridge/driver_override", "\n");
    W(r, "bus/drivers_probe", "$bridge");
    driver_of(r, "bridge");
    R(r, "bridge/reset");
}

static void
rows_new_id(struct rows *r)
{
    char vendor[32] = "", device[32] = "", path[512], id[80];

    section(r, "new_id and remove_id");
    (void)r->b->read(r->b->ctx, expand(r, "gpu/vendor", path, sizeof(path)), vendor,
                     sizeof(vendor));
    (void)r->b->read(r->b->ctx, expand(r, "gpu/device", path, sizeof(path)), device,
                     sizeof(device));
    (void)snprintf(id, sizeof(id), "%s %s", vendor + 2, device + 2);
    W(r, "vfio/new_id", "nonsense");
    say(r, "write vfio/new_id ID -> %s", result(quiet(r, "vfio/new_id", id)));
    driver_of(r, "gpu");
    driver_of(r, "twin");
    say(r, "write vfio/new_id ID -> %s", result(quiet(r, "vfio/new_id", id)));
    say(r, "write vfio/remove_id ID -> %s", result(quiet(r, "vfio/remove_id", id)));
    driver_of(r, "gpu");
    say(r, "write vfio/remove_id ID -> %s", result(quiet(r, "vfio/remove_id", id)));
    release(r, "gpu");
    release(r, "twin");
    release(r, "pair");
}

static void
rows_reset(struct rows *r)
{
    struct user u;

    section(r, "reset and reset_method");
    R(r, "gpu/reset_method");
    W(r, "gpu/reset", "1");
    W(r, "gpu/reset", "0");
    W(r, "gpu/reset", "x");
    W(r, "gpu/reset_method", "flr");
    R(r, "gpu/reset_method");
    W(r, "gpu/reset", "1\n");
    W(r, "gpu/reset_method", "bus flr");
    R(r, "gpu/reset_method");
    W(r, "gpu/reset", "1");
    W(r, "gpu/reset_method", "no-such-method");
    W(r, "gpu/reset_method", "pm");
    W(r, "gpu/reset_method", "");
    R(r, "gpu/reset_method");
    W(r, "gpu/reset_method", "\n");
    R(r, "gpu/reset_method");
    W(r, "gpu/reset", "1");
    W(r, "gpu/reset_method", "default");
    R(r, "gpu/reset_method");
    bind(r, "gpu");
    W(r, "gpu/reset", "1");
    R(r, "gpu/power_state");
    say(r, "open the device as a VMM does -> %s", result(user_open(r, "gpu", true, &u)));
    W(r, "gpu/reset", "1");
    user_close(r, &u);
    release(r, "gpu");
}

static void
rows_enable(struct rows *r)
{
    section(r, "enable");
    W(r, "gpu/enable", "0");
    W(r, "gpu/enable", "1");
    R(r, "gpu/enable");
    R(r, "gpu/power_state");
    W(r, "gpu/enable", "1");
    R(r, "gpu/enable");
    W(r, "gpu/enable", "0");
    W(r, "gpu/enable", "0");
    W(r, "gpu/enable", "0");
    R(r, "gpu/enable");
    bind(r, "gpu");
    W(r, "gpu/enable", "1");
    W(r, "gpu/enable", "0");
    release(r, "gpu");
}

static void
rows_power(struct rows *r)
{
    static const char param[] = "/sys/module/vfio_pci/parameters/disable_idle_d3";

    section(r, "power and BAR0");
    bar_of(r, "gpu");
    bind(r, "gpu");
    R(r, "gpu/power/control");
    R(r, "gpu/power_state");
    R(r, "gpu/power/runtime_status");
    bar_of(r, "gpu");
    W(r, "gpu/power/control", "on");
    R(r, "gpu/power_state");
    bar_of(r, "gpu");
    W(r, "gpu/power/control", "auto");
    R(r, "gpu/power_state");
    bar_of(r, "gpu");
    W(r, "gpu/power/control", "sometimes");
    release(r, "gpu");
    bar_of(r, "gpu");
    W(r, "gpu/reset", "1");
    bar_of(r, "gpu");
    W(r, param, "1");
    R(r, param);
    bind(r, "gpu");
    R(r, "gpu/power_state");
    bar_of(r, "gpu");
    release(r, "gpu");
    W(r, param, "0");
    W(r, "gpu/d3cold_allowed", "0");
    R(r, "gpu/d3cold_allowed");
    W(r, "gpu/d3cold_allowed", "1");
}

static void
rows_remove(struct rows *r)
{
    char path[512], text[4096] = "";

    section(r, "remove and rescan");
    W(r, "gpu/driver_override", "vfio-pci");
    W(r, "gpu/remove", "0");
    R(r, "gpu/driver_override");
    W(r, "gpu/remove", "1");
    R(r, "gpu/vendor");
    W(r, "gpu/remove", "1");
    W(r, "bus/drivers_probe", "$gpu");
    W(r, "bus/rescan", "1");
    driver_of(r, "gpu");
    R(r, "gpu/driver_override");
    (void)r->b->read(r->b->ctx, expand(r, "gpu/resource", path, sizeof(path)), text, sizeof(text));
    say(r, "line 0 of gpu/resource -> %s",
        strncmp(text, "0x0000000000000000 ", 19) == 0 ? "zero" : "assigned");
    bar_of(r, "gpu");
}

static void
rows_group_type(struct rows *r)
{
    section(r, "type of an IOMMU group");
    W(r, "gpu/iommu_group/type", "no-such-type");
    W(r, "gpu/iommu_group/type", "identity");
    R(r, "gpu/iommu_group/type");
    W(r, "gpu/iommu_group/type", "auto");
}

static void
rows_group_open(struct rows *r)
{
    char node[64];
    struct node *a, *b;
    struct user u;

    section(r, "a group node");
    bind(r, "gpu");
    group_node(r, "gpu", node, sizeof(node));
    open_node(r, "group", node, &a);
    R(r, "gpu/power_state");
    open_node(r, "group again", node, &b);
    r->b->close(r->b->ctx, b);
    r->b->close(r->b->ctx, a);
    open_node(r, "group after close", node, &a);
    r->b->close(r->b->ctx, a);
    say(r, "open the device as a VMM does -> %s", result(user_open(r, "gpu", true, &u)));
    R(r, "gpu/power_state");
    open_node(r, "group while held", node, &b);
    r->b->close(r->b->ctx, b);
    bar_of(r, "gpu");
    if (u.device) {
        uint32_t v = 0;

        say(r, "read BAR0 by VFIO -> %s", result(r->b->vfio_bar0(r->b->ctx, u.device, &v)));
        bar_of(r, "gpu");
    }
    user_close(r, &u);
    R(r, "gpu/power_state");
    W(r, "gpu/power/control", "on");
    bar_of(r, "gpu");
    release(r, "gpu");
}

static void
rows_viable(struct rows *r)
{
    struct user u;

    section(r, "a group with a sibling on a host driver");
    W(r, "audio/driver_override", "$dma");
    W(r, "dma/bind", "$audio");
    driver_of(r, "audio");
    W(r, "audio/driver_override", "vfio-pci");
    W(r, "vfio/bind", "$audio");
    W(r, "vfio/unbind", "$audio");
    bind(r, "pair");
    say(r, "open the device as a VMM does -> %s", result(user_open(r, "pair", true, &u)));
    user_close(r, &u);
    W(r, "audio/driver/unbind", "$audio");
    say(r, "open the device as a VMM does -> %s", result(user_open(r, "pair", true, &u)));
    W(r, "audio/driver_override", "$dma");
    W(r, "dma/bind", "$audio");
    W(r, "bus/drivers_probe", "$audio");
    driver_of(r, "audio");
    user_close(r, &u);
    W(r, "dma/bind", "$audio");
    (void)quiet(r, "dma/unbind", "$audio");
    (void)quiet(r, "audio/driver_override", "\n");
    release(r, "pair");
}

static void
rows_pending_unbind(struct rows *r)
{
    struct pending *unbind, *reset, *enable;
    struct node *n;
    struct user u;
    char node[64];

    section(r, "unbind while a VMM holds the device");
    bind(r, "gpu");
    say(r, "container without device -> %s", result(user_open(r, "gpu", false, &u)));
    W(r, "vfio/unbind", "$gpu");
    user_close(r, &u);
    bind(r, "gpu");
    group_node(r, "gpu", node, sizeof(node));
    say(r, "open the device as a VMM does -> %s", result(user_open(r, "gpu", true, &u)));
    unbind = begin(r, "gpu/driver/unbind", "$gpu", BLOCKED_MS);
    driver_of(r, "gpu");
    mode_of(r, "group node", node);
    open_node(r, "group", node, &n);
    R(r, "gpu/vendor");
    W(r, "gpu/driver_override", "\n");
    W(r, "bus/drivers_probe", "$gpu");
    bind(r, "twin");
    driver_of(r, "twin");
    W(r, "twin/reset", "1");
    release(r, "twin");
    driver_of(r, "twin");
    reset = begin(r, "gpu/reset", "1", BLOCKED_MS);
    kill_writer(r, reset, "reset");
    enable = begin(r, "gpu/enable", "1", BLOCKED_MS);
    kill_writer(r, enable, "enable");
    user_close(r, &u);
    finish(r, unbind, "unbind");
    eventually(r, "gpu/enable", "1");
    W(r, "gpu/enable", "0");

    section(r, "unbind whose writer is killed");
    bind(r, "gpu");
    say(r, "open the device as a VMM does -> %s", result(user_open(r, "gpu", true, &u)));
    unbind = begin(r, "gpu/driver/unbind", "$gpu", BLOCKED_MS);
    kill_writer(r, unbind, "unbind");
    mode_of(r, "group node", node);
    (void)quiet(r, "gpu/driver_override", "\n");
    user_close(r, &u);
    W(r, "gpu/reset", "1");
    driver_of(r, "gpu");
    mode_of(r, "group node", node);
}

static void
rows_pending_remove(struct rows *r)
{
    struct pending *remove;
    struct user u;

    section(r, "remove while a VMM holds the device");
    bind(r, "gpu");
    say(r, "open the device as a VMM does -> %s", result(user_open(r, "gpu", true, &u)));
    remove = begin(r, "gpu/remove", "1", BLOCKED_MS);
    R(r, "gpu/vendor");
    W(r, "gpu/remove", "1");
    user_close(r, &u);
    finish(r, remove, "remove");
    R(r, "gpu/vendor");
    W(r, "bus/rescan", "1");
    driver_of(r, "gpu");
}

static void
rows_cdev(struct rows *r)
{
    const struct backend *b = r->b;
    struct node *a, *c, *group, *iommufd = NULL;
    struct pending *unbind;
    struct user u;
    char cdev[64], node[64];

    section(r, "iommufd and the cdev");
    if (b->open(b->ctx, "/dev/iommu", O_RDWR, &iommufd) < 0) {
        say(r, "open /dev/iommu -> none: this kernel has no iommufd");
        return;
    }
    bind(r, "gpu");
    cdev_node(r, "gpu", cdev, sizeof(cdev));
    group_node(r, "gpu", node, sizeof(node));
    mode_of(r, "cdev", cdev);
    open_node(r, "cdev", cdev, &a);
    R(r, "gpu/power_state");
    open_node(r, "cdev again", cdev, &c);
    say(r, "bind the first to iommufd -> %s",
        result(a ? b->bind_iommufd(b->ctx, a, iommufd) : -EBADF));
    say(r, "bind the second to iommufd -> %s",
        result(c ? b->bind_iommufd(b->ctx, c, iommufd) : -EBADF));
    R(r, "gpu/power_state");
    open_node(r, "group while the cdev is bound", node, &group);
    b->close(b->ctx, group);
    b->close(b->ctx, a);
    R(r, "gpu/power_state");
    say(r, "open the device as a VMM does -> %s", result(user_open(r, "gpu", true, &u)));
    say(r, "bind the second to iommufd -> %s",
        result(c ? b->bind_iommufd(b->ctx, c, iommufd) : -EBADF));
    user_close(r, &u);
    unbind = begin(r, "gpu/driver/unbind", "$gpu", BLOCKED_MS);
    mode_of(r, "cdev", cdev);
    b->close(b->ctx, c);
    finish(r, unbind, "unbind");
    (void)quiet(r, "gpu/driver_override", "\n");
    b->close(b->ctx, iommufd);
}

void
conformance_run(const struct backend *b, const struct subjects *s, char **ret_text)
{
    struct rows r = {.b = b, .s = s};
    size_t size = 0;

    r.out = open_memstream(ret_text, &size);
    if (!r.out)
        abort();
    rows_override(&r);
    rows_probe(&r);
    rows_bind(&r);
    rows_bridge(&r);
    rows_new_id(&r);
    rows_reset(&r);
    rows_enable(&r);
    rows_power(&r);
    rows_remove(&r);
    rows_group_type(&r);
    rows_group_open(&r);
    rows_viable(&r);
    rows_pending_unbind(&r);
    rows_pending_remove(&r);
    rows_cdev(&r);
    (void)fclose(r.out);
}
