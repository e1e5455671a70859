/* SPDX-License-Identifier: Apache-2.0
 *
 * Framing of vfio-user. See sim/vfiouser_proto.h.
 */
#include "sim/vfiouser_proto.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof(struct vfu_hdr) == 16, "the header has 16 bytes");
_Static_assert(sizeof(struct vfu_dma_map) == 32, "no padding");
_Static_assert(sizeof(struct vfu_dma_unmap) == 24, "no padding");
_Static_assert(sizeof(struct vfu_region_info) == 32, "no padding");
_Static_assert(sizeof(struct vfu_irq_set) == 20, "no padding");
_Static_assert(sizeof(struct vfu_rw) == 16, "no padding");

void
vfu_msg_init(struct vfu_msg *m)
{
    memset(m, 0, sizeof(*m));
    buf_init(&m->body, VFU_BODY_MAX);
}

void
vfu_msg_clear(struct vfu_msg *m)
{
    for (unsigned i = 0; i < m->n_fd; i++)
        fd_close(&m->fd[i]);
    m->n_fd = 0;
    m->have = 0;
    buf_clear(&m->body);
}

void
vfu_msg_fini(struct vfu_msg *m)
{
    vfu_msg_clear(m);
    buf_fini(&m->body);
}

size_t
vfu_msg_want(const struct vfu_msg *m)
{
    if (m->have < sizeof(m->hdr))
        return sizeof(m->hdr) - m->have;
    return m->hdr.size - sizeof(m->hdr) - m->body.len;
}

static int
check_header(const struct vfu_hdr *h, struct err *e)
{
    if (h->size < sizeof(*h))
        return err_set(e, EPROTO, ERR_CLASS_INVALID,
                       "message %u of command %u: a size of %u is less than its header", h->id,
                       h->cmd, h->size);
    if (h->size - sizeof(*h) > VFU_BODY_MAX)
        return err_set(e, EMSGSIZE, ERR_CLASS_INVALID,
                       "message %u of command %u: %u bytes are more than %zu", h->id, h->cmd,
                       h->size, sizeof(*h) + VFU_BODY_MAX);
    if ((h->flags & VFU_TYPE) != 0)
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "message %u of command %u: flags 0x%x", h->id,
                       h->cmd, h->flags);
    return 0;
}

int
vfu_msg_feed(struct vfu_msg *m, const void *p, size_t n, struct err *e)
{
    if (n > vfu_msg_want(m))
        return err_set(e, EINVAL, ERR_CLASS_FATAL, "feed a message: more than it wants");
    if (m->have == sizeof(m->hdr))
        return buf_put(&m->body, p, n)
                   ? 0
                   : err_set(e, ENOMEM, ERR_CLASS_FATAL, "receive a message: out of memory");
    memcpy((uint8_t *)&m->hdr + m->have, p, n);
    m->have += n;
    return m->have == sizeof(m->hdr) ? check_header(&m->hdr, e) : 0;
}

int
vfu_msg_add_fds(struct vfu_msg *m, const int *fd, unsigned n, struct err *e)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++) {
        if (m->n_fd == VFU_FDS_MAX) {
            (void)close(fd[i]);
            continue;
        }
        m->fd[m->n_fd++] = fd[i];
        kept++;
    }
    if (kept < n)
        return err_set(e, EPROTO, ERR_CLASS_INVALID, "a message with more than %u descriptors",
                       VFU_FDS_MAX);
    return 0;
}

int
vfu_msg_take_fd(struct vfu_msg *m, unsigned i)
{
    return i < m->n_fd ? take_fd(&m->fd[i]) : -1;
}

static void
put_reply(struct buf *out, const struct vfu_hdr *req, int error, const void *body, size_t n)
{
    struct vfu_hdr h = {.id = req->id,
                        .cmd = req->cmd,
                        .size = (uint32_t)(sizeof(h) + n),
                        .flags = VFU_REPLY | (error ? VFU_ERROR : 0),
                        .error = (uint32_t)error};

    buf_clear(out);
    if (req->flags & VFU_NO_REPLY)
        return;
    (void)buf_put(out, &h, sizeof(h));
    if (n > 0)
        (void)buf_put(out, body, n);
}

void
vfu_reply(struct buf *out, const struct vfu_hdr *req, const void *body, size_t n)
{
    put_reply(out, req, 0, body, n);
}

void
vfu_reply_error(struct buf *out, const struct vfu_hdr *req, int num)
{
    put_reply(out, req, num, NULL, 0);
}
