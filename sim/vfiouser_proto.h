/* SPDX-License-Identifier: Apache-2.0
 *
 * The vfio-user protocol on the wire, as QEMU's document docs/interop/vfio-user.rst has it: a
 * header of 16 bytes in host byte order, then a body by command. Here is what needs no device and
 * no socket: the layout, taking messages apart as their bytes come in, bounded, and making replies.
 * Not thread-safe.
 */
#ifndef PGPU_SIM_VFIOUSER_PROTO_H
#define PGPU_SIM_VFIOUSER_PROTO_H

#include "base/buf.h"
#include "base/err.h"

enum vfu_cmd {
    VFU_VERSION = 1,
    VFU_DMA_MAP = 2,
    VFU_DMA_UNMAP = 3,
    VFU_GET_INFO = 4,
    VFU_GET_REGION_INFO = 5,
    VFU_GET_IRQ_INFO = 7,
    VFU_SET_IRQS = 8,
    VFU_REGION_READ = 9,
    VFU_REGION_WRITE = 10,
    VFU_RESET = 13,
};

#define VFU_TYPE 0xfu /* of the flags: 0 command, 1 reply */
#define VFU_REPLY 1u
#define VFU_NO_REPLY 0x10u
#define VFU_ERROR 0x20u

/* Regions and interrupts are numbered as in <linux/vfio.h>. */
#define VFU_REGIONS 9u
#define VFU_REGION_CONFIG 7u
#define VFU_IRQS 5u

/* What this server takes and says so in its VERSION reply. */
#define VFU_XFER_MAX 1048576u
#define VFU_FDS_MAX 16u
#define VFU_MAPS_MAX 65535u
#define VFU_PAGE 4096u

struct vfu_hdr {
    uint16_t id, cmd;
    uint32_t size; /* header included */
    uint32_t flags, error;
};
struct vfu_version {
    uint16_t major, minor; /* then optional JSON with its NUL */
};
struct vfu_dma_map {
    uint32_t argsz, flags;
    uint64_t offset, addr, size;
};
struct vfu_dma_unmap {
    uint32_t argsz, flags;
    uint64_t addr, size;
};
struct vfu_info {
    uint32_t argsz, flags, regions, irqs;
};
struct vfu_region_info {
    uint32_t argsz, flags, index, cap_offset;
    uint64_t size, offset;
};
struct vfu_irq_info {
    uint32_t argsz, flags, index, count;
};
struct vfu_irq_set {
    uint32_t argsz, flags, index, start, count; /* then one byte each, if DATA_BOOL */
};
struct vfu_rw {
    uint64_t offset;
    uint32_t region, count; /* then the data of a write */
};

#define VFU_BODY_MAX (VFU_XFER_MAX + sizeof(struct vfu_rw))

/* One message while it comes in, with the descriptors that came along. */
struct vfu_msg {
    struct vfu_hdr hdr;
    size_t have; /* bytes of the header */
    struct buf body;
    int fd[VFU_FDS_MAX];
    unsigned n_fd;
};

void vfu_msg_init(struct vfu_msg *m);
void vfu_msg_fini(struct vfu_msg *m);
/* For the next message: descriptors closed, memory kept. */
void vfu_msg_clear(struct vfu_msg *m);

/* How many bytes to feed at most; 0: the message is complete. Reading no more than that from the
 * socket keeps each message's descriptors with it. */
size_t vfu_msg_want(const struct vfu_msg *m);
/* `n` bytes, at most what is wanted. Fails (EPROTO, EMSGSIZE) where the stream can't be trusted any
 * further: the connection has to be closed. */
int vfu_msg_feed(struct vfu_msg *m, const void *p, size_t n, struct err *e);
/* Takes over the descriptors, on failure (more than VFU_FDS_MAX: EPROTO) too. */
int vfu_msg_add_fds(struct vfu_msg *m, const int *fd, unsigned n, struct err *e);

/* Takes a descriptor out of the message; -1 if there is none at `i`. */
int vfu_msg_take_fd(struct vfu_msg *m, unsigned i);

/* Puts a whole reply into `out`, which is emptied first; nothing where the client wants none. */
void vfu_reply(struct buf *out, const struct vfu_hdr *req, const void *body, size_t n);
void vfu_reply_error(struct buf *out, const struct vfu_hdr *req, int num);

#endif
