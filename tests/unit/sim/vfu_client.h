/* SPDX-License-Identifier: Apache-2.0
 *
 * A small vfio-user client for the tests: messages by hand, and an hw_dev over them that resets as
 * a kernel does. One thread.
 */
#ifndef PGPU_TEST_VFU_CLIENT_H
#define PGPU_TEST_VFU_CLIENT_H

#include "base/hw.h"
#include "sim/vfiouser_proto.h"

struct vfuc {
    int fd;
    uint16_t id;
    struct hw_dev hw; /* after vfuc_hw() */
};

/* Connects; fails the test where nobody listens. Nothing is said yet. */
void vfuc_connect(struct vfuc *c, const char *path);
void vfuc_close(struct vfuc *c);

/* VERSION 0.0, and that it is answered. */
void vfuc_hello(struct vfuc *c);

/* Any bytes. False where the server has closed. */
bool vfuc_send(struct vfuc *c, const void *p, size_t n, const int *fd, unsigned n_fd);

/* A command and its reply; `size` is the most that the reply's body may have. Returns 0, the
 * reply's errno, or -1 where the server closed the connection or did not answer within 20 s. */
int vfuc_call(struct vfuc *c, unsigned cmd, const void *body, size_t n, void *reply, size_t size,
              size_t *ret_n);
int vfuc_call_fds(struct vfuc *c, unsigned cmd, const void *body, size_t n, const int *fd,
                  unsigned n_fd);

/* Bytes of a region. Returns as vfuc_call. */
int vfuc_read(struct vfuc *c, unsigned region, uint64_t off, void *p, uint32_t n);
int vfuc_write(struct vfuc *c, unsigned region, uint64_t off, const void *p, uint32_t n);

/* One word of configuration space or BAR0; a failing read gives all-ones, as a guest has it. */
uint32_t vfuc_cfg(struct vfuc *c, uint32_t off, unsigned width);
uint32_t vfuc_bar0(struct vfuc *c, uint32_t off);

/* Nothing comes within `ms`. */
bool vfuc_silent(struct vfuc *c, int ms);
/* The server closes within 20 s; what it still sends is dropped. */
bool vfuc_closed(struct vfuc *c);

/* Fills c->hw: the ids read from the device. */
const struct hw_dev *vfuc_hw(struct vfuc *c);

#endif
