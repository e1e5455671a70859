/* SPDX-License-Identifier: Apache-2.0
 *
 * Interrupts of a vfio-user device. See sim/vfiouser_irq.h.
 */
#include "sim/vfiouser_irq.h"

#include "base/cleanup.h"

#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DATA_MASK (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_DATA_EVENTFD)
#define ACTION_MASK                                                                                \
    (VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_ACTION_TRIGGER)

void
vfu_irqs_init(struct vfu_irqs *q, unsigned msi, unsigned msix)
{
    memset(q, 0, sizeof(*q));
    memset(q->fd, 0xff, sizeof(q->fd));
    q->count[VFIO_PCI_INTX_IRQ_INDEX] = 1;
    q->count[VFIO_PCI_MSI_IRQ_INDEX] = msi < VFU_VECTORS_MAX ? msi : VFU_VECTORS_MAX;
    q->count[VFIO_PCI_MSIX_IRQ_INDEX] = msix < VFU_VECTORS_MAX ? msix : VFU_VECTORS_MAX;
    q->count[VFIO_PCI_ERR_IRQ_INDEX] = 1;
    q->count[VFIO_PCI_REQ_IRQ_INDEX] = 1;
}

static void
close_all(struct vfu_irqs *q, unsigned index)
{
    for (unsigned i = 0; i < VFU_VECTORS_MAX; i++)
        fd_close(&q->fd[index][i]);
}

void
vfu_irqs_close(struct vfu_irqs *q)
{
    for (unsigned i = 0; i < VFU_IRQS; i++)
        close_all(q, i);
    q->masked = false;
}

int
vfu_irqs_info(const struct vfu_irqs *q, struct vfu_irq_info *i)
{
    if (i->index >= VFU_IRQS)
        return -EINVAL;
    i->argsz = sizeof(*i);
    i->count = q->count[i->index];
    i->flags = VFIO_IRQ_INFO_EVENTFD;
    if (i->index == VFIO_PCI_INTX_IRQ_INDEX)
        i->flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
    else
        i->flags |= VFIO_IRQ_INFO_NORESIZE;
    return 0;
}

/* Anything else could block whoever writes to it. */
static bool
is_eventfd(int fd)
{
    char path[32], target[32];
    ssize_t n;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    return strcmp(target, "anon_inode:[eventfd]") == 0;
}

static int
signal_fd(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    uint64_t one = 1;

    if (fd < 0)
        return -ENOTCONN;
    if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT))
        return -EBUSY;
    return write(fd, &one, sizeof(one)) == (ssize_t)sizeof(one) ? 0 : -EBUSY;
}

int
vfu_irqs_raise(struct vfu_irqs *q, unsigned index, unsigned vector)
{
    int r;

    if (index >= VFU_IRQS || vector >= q->count[index])
        return -EINVAL;
    if (index == VFIO_PCI_INTX_IRQ_INDEX && q->masked)
        return -EBUSY;
    r = signal_fd(q->fd[index][vector]);
    if (r == 0 && index == VFIO_PCI_INTX_IRQ_INDEX)
        q->masked = true;
    return r;
}

/* Descriptors: as many as vectors to set them, none to take them away. */
static int
set_eventfds(struct vfu_irqs *q, const struct vfu_irq_set *s, struct vfu_msg *m)
{
    unsigned i;

    if (m->n_fd != 0 && m->n_fd != s->count)
        return -EINVAL;
    for (i = 0; i < m->n_fd; i++)
        if (!is_eventfd(m->fd[i]))
            return -EINVAL;
    for (i = 0; i < s->count; i++) {
        int *to = &q->fd[s->index][s->start + i];

        fd_close(to);
        *to = vfu_msg_take_fd(m, i);
    }
    return 0;
}

static bool
wanted(const struct vfu_irq_set *s, const uint8_t *bools, unsigned i)
{
    return !(s->flags & VFIO_IRQ_SET_DATA_BOOL) || bools[i] != 0;
}

/* "Trigger" without descriptors: a loopback, as if the device had raised the interrupt; of no
 * vectors at all: the kind is switched off. */
static int
trigger(struct vfu_irqs *q, const struct vfu_irq_set *s, struct vfu_msg *m, const uint8_t *bools)
{
    if (s->flags & VFIO_IRQ_SET_DATA_EVENTFD)
        return set_eventfds(q, s, m);
    if (s->count == 0) {
        close_all(q, s->index);
        return 0;
    }
    for (unsigned i = 0; i < s->count; i++)
        if (wanted(s, bools, i))
            (void)vfu_irqs_raise(q, s->index, s->start + i);
    return 0;
}

static int
mask(struct vfu_irqs *q, const struct vfu_irq_set *s, const uint8_t *bools)
{
    if (s->index != VFIO_PCI_INTX_IRQ_INDEX)
        return -EINVAL;
    /* An eventfd here would mask or unmask whenever it is signalled, for which nobody waits. */
    if (s->flags & VFIO_IRQ_SET_DATA_EVENTFD)
        return -ENOTSUP;
    if (s->count > 0 && wanted(s, bools, 0))
        q->masked = (s->flags & VFIO_IRQ_SET_ACTION_MASK) != 0;
    return 0;
}

static bool
one_bit(uint32_t v)
{
    return v != 0 && (v & (v - 1)) == 0;
}

int
vfu_irqs_set(struct vfu_irqs *q, const struct vfu_irq_set *s, struct vfu_msg *m)
{
    uint32_t data = s->flags & DATA_MASK, action = s->flags & ACTION_MASK;
    size_t bools = data == VFIO_IRQ_SET_DATA_BOOL ? s->count : 0;

    if ((s->flags & ~(uint32_t)(DATA_MASK | ACTION_MASK)) || !one_bit(data) || !one_bit(action))
        return -EINVAL;
    if (s->index >= VFU_IRQS || s->start > q->count[s->index] ||
        s->count > q->count[s->index] - s->start)
        return -EINVAL;
    if (buf_left(&m->body) != bools || (m->n_fd > 0 && data != VFIO_IRQ_SET_DATA_EVENTFD))
        return -EINVAL;
    if (action == VFIO_IRQ_SET_ACTION_TRIGGER)
        return trigger(q, s, m, buf_peek(&m->body));
    return mask(q, s, buf_peek(&m->body));
}
