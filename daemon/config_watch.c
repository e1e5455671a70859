/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config_watch.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/hw.h"
#include "base/log.h"
#include "daemon/config.h"
#include "daemon/node.h"
#include "daemon/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EVERY HW_SEC(10)
#define CONFIG_TEXT_MAX (1u << 20)

struct config_watch {
    struct node *node;
    const char *path;
    uint64_t every;
    sd_event_source *timer;
    struct stat last; /* st_ino 0: it was not there */
    bool bad, pending;
    char why[ERR_MSG_MAX]; /* of bad */
};

/* A ConfigMap is changed by pointing a link elsewhere: another inode. */
static bool
is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void
look_at(const struct config_watch *w, struct stat *ret)
{
    if (stat(w->path, ret) < 0)
        *ret = (struct stat){.st_ino = 0};
}

/* Do two configurations mean the same? By what --print-config would print. */
static bool
is_same_config(const struct config *a, const struct config *b)
{
    struct buf x, y;
    bool same;

    buf_init(&x, CONFIG_TEXT_MAX);
    buf_init(&y, CONFIG_TEXT_MAX);
    conf_print(config_keys, a, &x);
    conf_print(config_keys, b, &y);
    same = buf_left(&x) == buf_left(&y) && memcmp(buf_peek(&x), buf_peek(&y), buf_left(&x)) == 0;
    buf_fini(&x);
    buf_fini(&y);
    return same;
}

/* Reads the file; true if what is known of it is news. */
static bool
judge(struct config_watch *w)
{
    struct config conf = {0};
    struct err e = ERR_INIT;
    bool bad = config_load(w->path, &conf, &e) < 0;
    bool pending = !bad && !is_same_config(&conf, w->node->conf);
    bool news = bad != w->bad || pending != w->pending || (bad && strcmp(e.msg, w->why) != 0);

    if (!bad)
        config_free(&conf);
    w->bad = bad;
    w->pending = pending;
    (void)str_copy(w->why, sizeof(w->why), bad ? e.msg : "");
    return news;
}

static void
tell(const struct config_watch *w)
{
    const char *text = w->bad       ? w->why
                       : w->pending ? "the file has changed: in force from the next start on"
                                    : "the file is as it was read";

    if (w->bad)
        log_error("the configuration file is bad: pgpud would not start with it", "why", w->why,
                  "cure", "correct it; what was read at start stays in force until then");
    else
        log_info("configuration file", "file", w->path, "what", text);
    act_tell(&w->node->acts, &(struct act){.kind = ACT_CONFIG, .ok = !w->bad, .text = text});
}

static int
on_look(sd_event_source *s, uint64_t usec, void *ctx)
{
    struct config_watch *w = ctx;
    struct stat now;

    (void)s;
    (void)usec;
    look_at(w, &now);
    if (!is_same_file(&now, &w->last) && judge(w))
        tell(w);
    w->last = now;
    timer_arm(w->node->loop, &w->timer, w->every, on_look, w);
    return 0;
}

int
config_watch_new(struct node *n, const char *path, uint64_t every, struct config_watch **ret,
                 struct err *e)
{
    struct config_watch *w;

    *ret = NULL;
    if (!path)
        return 0;
    w = calloc(1, sizeof(*w));
    if (!w)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "watch %s", path);
    w->node = n;
    w->path = path;
    w->every = every ? every : EVERY;
    look_at(w, &w->last);
    (void)judge(w);
    if (w->bad) {
        /* It was good a moment ago: confined as we are now, we do not get at it. */
        log_debug("changes of the configuration file are not noticed", "why", w->why);
        free(w);
        return 0;
    }
    timer_arm(n->loop, &w->timer, w->every, on_look, w);
    *ret = w;
    return 0;
}

void
config_watch_free(struct config_watch *w)
{
    if (!w)
        return;
    (void)sd_event_source_unref(w->timer);
    free(w);
}

bool
config_watch_bad(const struct config_watch *w)
{
    return w && w->bad;
}

bool
config_watch_pending(const struct config_watch *w)
{
    return w && w->pending;
}
