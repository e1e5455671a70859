/* SPDX-License-Identifier: Apache-2.0
 *
 * What the rows are made of: each performs one operation on whatever the backend shows and prints
 * "operation -> result", without any address or number that could differ between machines.
 */
#include "conformance_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- names ---- */

const char *
row_address(const struct rows *r, const char *name, size_t len)
{
    const struct {
        const char *name, *addr;
    } all[] = {{"gpu", r->s->gpu},     {"twin", r->s->twin},   {"pair", r->s->pair},
               {"audio", r->s->audio}, {"port", r->s->port},   {"bridge", r->s->bridge},
               {"lame", r->s->lame},   {"spare", r->s->spare}, {NULL, NULL}};
    size_t i;

    for (i = 0; all[i].name; i++)
        if (strlen(all[i].name) == len && strncmp(name, all[i].name, len) == 0)
            return all[i].addr;
    return NULL;
}

const char *
row_path(const struct rows *r, const char *path, char *buf, size_t size)
{
    size_t len = strcspn(path, "/");
    const char *addr = row_address(r, path, len), *rest = path + len;

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

/* "$gpu" and "$dma", a newline may follow; all else stands for itself. */
static const char *
expand_text(const struct rows *r, const char *text, char *buf, size_t size)
{
    size_t len = strcspn(text, "\n");
    const char *word = text[0] == '$' ? row_address(r, text + 1, len - 1) : NULL;

    if (len == 4 && strncmp(text, "$dma", 4) == 0)
        word = r->s->dma_driver;
    if (!word)
        return text;
    (void)snprintf(buf, size, "%s%s", word, text + len);
    return buf;
}

/* ---- what a row prints ---- */

const char *
row_result(int r)
{
    if (r >= 0)
        return "OK";
    return r == -EINPROGRESS ? "blocks" : strerrorname_np(-r);
}

void
say(struct rows *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vfprintf(r->out, fmt, ap);
    va_end(ap);
    (void)fputc('\n', r->out);
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

int
quiet(struct rows *r, const char *path, const char *text)
{
    char buf[512], word[128];
    const char *t = expand_text(r, text, word, sizeof(word));

    return r->b->write(r->b->ctx, row_path(r, path, buf, sizeof(buf)), t, strlen(t));
}

void
W(struct rows *r, const char *path, const char *text)
{
    char buf[64];

    say(r, "write %s \"%s\" -> %s", path, shown(text, buf), row_result(quiet(r, path, text)));
}

void
R(struct rows *r, const char *path)
{
    char buf[512], text[4096] = "";
    int e = r->b->read(r->b->ctx, row_path(r, path, buf, sizeof(buf)), text, sizeof(text));

    say(r, "read %s -> %s", path, e < 0 ? row_result(e) : text[0] ? text : "(empty)");
}

static double
seconds_now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void
late(struct rows *r, const char *path, const char *text, double seconds)
{
    double start = seconds_now(), took;
    char buf[64];
    int e = quiet(r, path, text);

    took = (seconds_now() - start) / r->b->scale;
    say(r, "write %s \"%s\" -> %s, %s %g s", path, shown(text, buf), row_result(e),
        took < seconds ? "before" : "not before", seconds);
}

void
driver_of(struct rows *r, const char *who)
{
    char path[64], buf[512], text[512];
    const char *name = "none";

    (void)snprintf(path, sizeof(path), "%s/driver", who);
    if (r->b->readlink(r->b->ctx, row_path(r, path, buf, sizeof(buf)), text, sizeof(text)) >= 0) {
        name = strrchr(text, '/') ? strrchr(text, '/') + 1 : text;
        if (strcmp(name, r->s->dma_driver) == 0)
            name = "dma";
    }
    say(r, "driver of %s -> %s", who, name);
}

/* Emulation reads a sleeping BAR as 0, hardware as all-ones: both are dead. */
void
bar_of(struct rows *r, const char *who)
{
    char path[64], buf[512];
    uint32_t v = 0;
    int e;

    (void)snprintf(path, sizeof(path), "%s/resource0", who);
    e = r->b->resource0(r->b->ctx, row_path(r, path, buf, sizeof(buf)), 0, false, &v);
    say(r, "BAR0 of %s -> %s", who,
        e < 0                        ? row_result(e)
        : v == 0 || v == 0xffffffffu ? "dead"
                                     : "alive");
}

void
decode_of(struct rows *r, const char *who)
{
    char path[64], buf[512];
    uint16_t v = 0;
    int e;

    (void)snprintf(path, sizeof(path), "%s/config", who);
    e = r->b->pread(r->b->ctx, row_path(r, path, buf, sizeof(buf)), &v, sizeof(v), 4);
    say(r, "memory decode of %s -> %s", who,
        e < 0         ? row_result(e)
        : v == 0xffff ? "all ones"
        : v & 2       ? "on"
                      : "off");
}

void
mode_of(struct rows *r, const char *label, const char *path)
{
    char buf[512];
    int m = r->b->mode(r->b->ctx, row_path(r, path, buf, sizeof(buf)));

    if (m < 0)
        say(r, "mode of %s -> %s", label, row_result(m));
    else
        say(r, "mode of %s -> %04o", label, (unsigned)m);
}

void
modprobe(struct rows *r, const char *module, bool load)
{
    say(r, "%s the module %s -> %s", load ? "load" : "unload", module,
        row_result(r->b->modprobe(r->b->ctx, module, load)));
}

void
hardware(struct rows *r, const char *verb, const char *who, const char *arg)
{
    say(r, "%s %s: %s -> %s", verb, who, arg,
        row_result(r->b->hardware(r->b->ctx, verb, who, row_address(r, who, strlen(who)), arg)));
}

/* Scratch register of the model: any reset clears it (sim/gpu_bar.c). */
#define MARK_REGISTER 0x001458
#define MARK 0x5eed1458u

void
mark(struct rows *r, const char *who)
{
    char path[64], buf[512];
    uint32_t v = MARK;

    (void)snprintf(path, sizeof(path), "%s/resource0", who);
    say(r, "mark %s -> %s", who,
        row_result(r->b->resource0(r->b->ctx, row_path(r, path, buf, sizeof(buf)), MARK_REGISTER,
                                   true, &v)));
}

void
mark_of(struct rows *r, const char *who)
{
    char path[64], buf[512];
    uint32_t v = 0;
    int e;

    (void)snprintf(path, sizeof(path), "%s/resource0", who);
    e = r->b->resource0(r->b->ctx, row_path(r, path, buf, sizeof(buf)), MARK_REGISTER, false, &v);
    say(r, "mark of %s -> %s", who, e < 0 ? row_result(e) : v == MARK ? "there" : "gone");
}

/* ---- VFIO nodes ---- */

const char *
group_node(struct rows *r, const char *who, char *buf, size_t size)
{
    char path[64], full[512], text[512];

    (void)snprintf(path, sizeof(path), "%s/iommu_group", who);
    if (r->b->readlink(r->b->ctx, row_path(r, path, full, sizeof(full)), text, sizeof(text)) < 0)
        return "/dev/vfio/none";
    (void)snprintf(buf, size, "/dev/vfio/%s", strrchr(text, '/') + 1);
    return buf;
}

/* The cdev's number is not shown anywhere but as a directory name; few are ever in use. */
const char *
cdev_node(struct rows *r, const char *who, char *buf, size_t size)
{
    char path[64], full[512];
    int i;

    for (i = 0; i < 64; i++) {
        (void)snprintf(path, sizeof(path), "%s/vfio-dev/vfio%d", who, i);
        if (r->b->mode(r->b->ctx, row_path(r, path, full, sizeof(full))) >= 0)
            break;
    }
    (void)snprintf(buf, size, "/dev/vfio/devices/vfio%d", i);
    return buf;
}

int
open_node(struct rows *r, const char *label, const char *path, struct node **ret)
{
    int e = r->b->open(r->b->ctx, path, O_RDWR, ret);

    say(r, "open %s -> %s", label, row_result(e));
    if (e < 0)
        *ret = NULL;
    return e;
}

int
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
    if (e < 0)
        u->container = NULL;
    else
        e = b->set_container(b->ctx, u->group, u->container);
    if (e >= 0 && device)
        e = b->get_device(b->ctx, u->group, row_address(r, who, strlen(who)), &u->device);
    return e;
}

void
user_close(struct rows *r, struct user *u)
{
    r->b->close(r->b->ctx, u->device);
    r->b->close(r->b->ctx, u->group);
    r->b->close(r->b->ctx, u->container);
}

/* ---- pending writes ---- */

struct pending *
begin(struct rows *r, const char *path, const char *text)
{
    char buf[512], t[64], word[128];
    struct pending *p = r->b->start(r->b->ctx, row_path(r, path, buf, sizeof(buf)),
                                    expand_text(r, text, word, sizeof(word)));
    int e = r->b->wait(r->b->ctx, p, r->b->blocked_ms);

    say(r, "write %s \"%s\" by another process -> %s", path, shown(text, t), row_result(e));
    return e == -EINPROGRESS ? p : NULL;
}

void
finish(struct rows *r, struct pending *p, const char *what)
{
    int e = p ? r->b->wait(r->b->ctx, p, r->b->patience_ms) : -ENOENT;

    say(r, "then %s -> %s", what, row_result(e));
}

void
kill_writer(struct rows *r, struct pending *p, const char *what)
{
    if (p)
        r->b->abandon(r->b->ctx, p);
    say(r, "kill the writer of %s", what);
}

void
eventually(struct rows *r, const char *path, const char *want)
{
    struct timespec nap = {.tv_nsec = 10000000};
    double end = seconds_now() + r->b->patience_ms / 1000.0;
    char buf[512], text[512] = "";
    int e;

    (void)row_path(r, path, buf, sizeof(buf));
    for (;;) {
        e = r->b->read(r->b->ctx, buf, text, sizeof(text));
        if ((e >= 0 && strcmp(text, want) == 0) || seconds_now() > end)
            break;
        (void)nanosleep(&nap, NULL);
    }
    say(r, "later read %s -> %s", path, e < 0 ? row_result(e) : text);
}

void
bind_vfio(struct rows *r, const char *who)
{
    char path[64], at[64];

    (void)snprintf(path, sizeof(path), "%s/driver_override", who);
    (void)snprintf(at, sizeof(at), "$%s", who);
    (void)quiet(r, path, "vfio-pci");
    (void)quiet(r, "vfio/bind", at);
}

void
release(struct rows *r, const char *who)
{
    char path[64], at[64];

    (void)snprintf(path, sizeof(path), "%s/driver_override", who);
    (void)snprintf(at, sizeof(at), "$%s", who);
    (void)quiet(r, path, "\n");
    (void)quiet(r, "vfio/unbind", at);
}

/* ---- the sections ---- */

static bool
wanted(struct rows *r, const struct row_section *s, bool iommufd, const char *only)
{
    if (only && !strstr(s->name, only))
        return false;
    if (!s->needs)
        return r->s->gpu != NULL;
    if (strcmp(s->needs, "iommufd") == 0)
        return iommufd && r->s->gpu;
    if (strcmp(s->needs, "no iommufd") == 0)
        return !iommufd && r->s->gpu;
    return row_address(r, s->needs, strlen(s->needs)) != NULL;
}

void
conformance_run(const struct backend *b, const struct subjects *s, const char *only,
                char **ret_text)
{
    const struct row_section *const all[] = {sections_of_binding, sections_of_state,
                                             sections_of_vfio};
    bool iommufd = b->mode(b->ctx, "/dev/iommu") >= 0;
    struct rows r = {.b = b, .s = s};
    const struct row_section *at;
    size_t size = 0;

    r.out = open_memstream(ret_text, &size);
    if (!r.out)
        abort();
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        for (at = all[i]; at->name; at++) {
            if (!wanted(&r, at, iommufd, only))
                continue;
            say(&r, "%s# %s%s%s%s", ftell(r.out) > 0 ? "\n" : "", at->name, at->needs ? " [" : "",
                at->needs ? at->needs : "", at->needs ? "]" : "");
            at->run(&r);
        }
    (void)fclose(r.out);
}
