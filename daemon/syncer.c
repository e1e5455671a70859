/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything below `lock` is shared by the two threads. The descriptors of a round belong to the
 * thread alone.
 */
#include "daemon/syncer.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "daemon/timer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Files that were left before they were synced. More of them: the disk hangs while the log grows
 * by a file each. */
#define LEFT_MAX 16

struct round {
    int fd, dir, note_fd; /* -1 = none */
    int left[LEFT_MAX];
    size_t n_left;
    char note[SYNCER_NOTE_MAX];
    uint64_t number;
};

struct syncer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct round next; /* fd and note_fd are those that were set */
    bool wanted, ends;
    int event;
    struct syncer_state state;
};

/* ---- the thread ---- */

static bool
has_work(const struct syncer *s)
{
    return s->wanted || s->next.n_left > 0 || s->next.dir >= 0;
}

/* With the lock held. */
static struct round
take(struct syncer *s)
{
    struct round r = s->next;

    r.fd = s->wanted && s->next.fd >= 0 ? fcntl(s->next.fd, F_DUPFD_CLOEXEC, 3) : -1;
    r.note_fd = r.note[0] && s->next.note_fd >= 0 ? fcntl(s->next.note_fd, F_DUPFD_CLOEXEC, 3) : -1;
    s->next.n_left = 0;
    s->next.dir = -1;
    s->next.note[0] = '\0';
    s->wanted = false;
    return r;
}

/* 0 or the first errno. Closes everything. */
static int
work(struct round *r)
{
    int error = 0;
    size_t len = strlen(r->note);

    for (size_t i = 0; i < r->n_left; i++) {
        if (fdatasync(r->left[i]) < 0 && !error)
            error = errno;
        fd_close(&r->left[i]);
    }
    if (r->fd >= 0 && fdatasync(r->fd) < 0 && !error)
        error = errno;
    if (r->dir >= 0 && fsync(r->dir) < 0 && !error)
        error = errno;
    /* not synced itself: it may be old */
    if (!error && r->note_fd >= 0 && pwrite(r->note_fd, r->note, len, 0) == (ssize_t)len)
        (void)!ftruncate(r->note_fd, (off_t)len);
    fd_close(&r->fd);
    fd_close(&r->dir);
    fd_close(&r->note_fd);
    return error;
}

/* With the lock held. */
static void
set_error(struct syncer *s, int error)
{
    const uint64_t one = 1;

    if (s->state.error == error)
        return;
    s->state.error = error;
    (void)!write(s->event, &one, sizeof(one));
}

static void *
run(void *arg)
{
    struct syncer *s = arg;

    (void)pthread_mutex_lock(&s->lock);
    for (;;) {
        if (has_work(s)) {
            struct round r = take(s);
            uint64_t start = now_ns(), took;
            int error;

            (void)pthread_mutex_unlock(&s->lock);
            error = work(&r);
            took = now_ns() - start;
            (void)pthread_mutex_lock(&s->lock);
            set_error(s, error);
            s->state.done = r.number;
            s->state.calls++;
            if (took > s->state.max_ns)
                s->state.max_ns = took;
        } else if (s->ends) {
            break;
        } else {
            (void)pthread_cond_wait(&s->cond, &s->lock);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the loop ---- */

int
syncer_new(struct syncer **ret, struct err *e)
{
    struct syncer *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return err_errno(e, ENOMEM, ERR_CLASS_FATAL, "start the thread that syncs the audit log");
    s->next.fd = s->next.dir = s->next.note_fd = -1;
    s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->event < 0) {
        r = errno;
        free(s);
        return err_errno(e, r, ERR_CLASS_FATAL, "start the thread that syncs the audit log");
    }
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->cond, NULL);
    r = pthread_create(&s->thread, NULL, run, s);
    if (r != 0) {
        (void)pthread_cond_destroy(&s->cond);
        (void)pthread_mutex_destroy(&s->lock);
        fd_close(&s->event);
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
    fd_close(&s->next.fd);
    fd_close(&s->next.note_fd);
    fd_close(&s->event);
    free(s);
}

/* The kernel writes a file that is dropped here some time; nobody hears whether it could. */
static void
leave(struct syncer *s, int fd)
{
    struct round *r = &s->next;

    if (r->n_left == LEFT_MAX) {
        fd_close(&r->left[0]);
        memmove(&r->left[0], &r->left[1], (LEFT_MAX - 1) * sizeof(r->left[0]));
        r->n_left--;
        set_error(s, EBUSY);
    }
    r->left[r->n_left++] = fd;
}

void
syncer_set(struct syncer *s, int fd)
{
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

    (void)pthread_mutex_lock(&s->lock);
    if (s->wanted && s->next.fd >= 0)
        leave(s, s->next.fd);
    else
        fd_close(&s->next.fd);
    s->next.fd = copy;
    s->wanted = false;
    (void)pthread_cond_signal(&s->cond);
    (void)pthread_mutex_unlock(&s->lock);
}

void
syncer_dir(struct syncer *s, int fd)
{
    (void)pthread_mutex_lock(&s->lock);
    fd_close(&s->next.dir);
    s->next.dir = fd;
    (void)pthread_cond_signal(&s->cond);
    (void)pthread_mutex_unlock(&s->lock);
}

void
syncer_note_to(struct syncer *s, int fd)
{
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

    (void)pthread_mutex_lock(&s->lock);
    fd_close(&s->next.note_fd);
    s->next.note_fd = copy;
    (void)pthread_mutex_unlock(&s->lock);
}

uint64_t
syncer_want(struct syncer *s, const char *note)
{
    uint64_t number;

    (void)pthread_mutex_lock(&s->lock);
    s->wanted = true;
    number = ++s->next.number;
    (void)str_copy(s->next.note, sizeof(s->next.note), note);
    (void)pthread_cond_signal(&s->cond);
    (void)pthread_mutex_unlock(&s->lock);
    return number;
}

void
syncer_state(struct syncer *s, struct syncer_state *ret)
{
    (void)pthread_mutex_lock(&s->lock);
    *ret = s->state;
    (void)pthread_mutex_unlock(&s->lock);
}

int
syncer_event(const struct syncer *s)
{
    return s->event;
}
