/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything below `lock` is shared by the two threads. The descriptor that is being synced belongs
 * to the thread alone.
 */
#include "daemon/syncer.h"

#include "base/cleanup.h"
#include "daemon/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

struct syncer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int fd; /* to be synced; -1 = none */
    bool wanted, ends;
    struct syncer_state state;
};

/* With the lock held; lets go of it meanwhile. */
static void
sync_once(struct syncer *s)
{
    int fd = s->fd >= 0 ? fcntl(s->fd, F_DUPFD_CLOEXEC, 3) : -1;
    uint64_t start = now_ns(), took;
    int error;

    s->wanted = false;
    if (fd < 0)
        return;
    (void)pthread_mutex_unlock(&s->lock);
    error = fdatasync(fd) < 0 ? errno : 0;
    (void)close(fd);
    took = now_ns() - start;
    (void)pthread_mutex_lock(&s->lock);
    s->state.error = error;
    s->state.calls++;
    if (took > s->state.max_ns)
        s->state.max_ns = took;
}

static void *
run(void *arg)
{
    struct syncer *s = arg;

    (void)pthread_mutex_lock(&s->lock);
    for (;;) {
        if (s->wanted)
            sync_once(s);
        else if (s->ends)
            break;
        else
            (void)pthread_cond_wait(&s->cond, &s->lock);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

int
syncer_new(struct syncer **ret, struct err *e)
{
    struct syncer *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "start the thread that syncs the audit log");
    s->fd = -1;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->cond, NULL);
    r = pthread_create(&s->thread, NULL, run, s);
    if (r != 0) {
        (void)pthread_cond_destroy(&s->cond);
        (void)pthread_mutex_destroy(&s->lock);
        free(s);
        return err_errno(e, r, ERR_CLASS_FATAL, "start the thread that syncs the audit log");
    }
    *ret = s;
    return 0;
}

void
syncer_free(struct syncer *s)
{
    if (!s)
        return;
    (void)pthread_mutex_lock(&s->lock);
    s->ends = true;
    (void)pthread_cond_signal(&s->cond);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
    (void)pthread_cond_destroy(&s->cond);
    (void)pthread_mutex_destroy(&s->lock);
    fd_close(&s->fd);
    free(s);
}

void
syncer_set(struct syncer *s, int fd)
{
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    int old;

    (void)pthread_mutex_lock(&s->lock);
    old = s->wanted ? s->fd : -1;
    if (!s->wanted)
        fd_close(&s->fd);
    s->fd = copy;
    s->wanted = false;
    (void)pthread_mutex_unlock(&s->lock);
    /* A file is left once in a long while: not worth a queue. */
    if (old >= 0)
        (void)fdatasync(old);
    fd_close(&old);
}

void
syncer_want(struct syncer *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->wanted = true;
    (void)pthread_cond_signal(&s->cond);
    (void)pthread_mutex_unlock(&s->lock);
}

void
syncer_state(struct syncer *s, struct syncer_state *ret)
{
    (void)pthread_mutex_lock(&s->lock);
    *ret = s->state;
    (void)pthread_mutex_unlock(&s->lock);
}
