/* SPDX-License-Identifier: Apache-2.0
 *
 * What the control sockets of the simulated node and of the vfio-user server have in common: a
 * listening socket, one line in, an answer out, and the text form of register traffic. Any thread.
 */
#ifndef PGPU_SIM_CTLSOCK_H
#define PGPU_SIM_CTLSOCK_H

#include "base/err.h"
#include "sim/gpu.h"

#include <stdbool.h>
#include <stddef.h>

/* Longest command, and longest line of register traffic. */
#define CTLSOCK_LINE_MAX 4096u
#define CTLSOCK_TRACE_MAX 256u

/* A listening socket at `path`; an old socket there is replaced, anything else is not. Returns the
 * descriptor, close-on-exec. */
int ctlsock_listen(const char *path, int type, struct err *e);

/* Reads one line, without its end; false at the end of the stream or where it is too long. */
bool ctlsock_read_line(int fd, char *buf, size_t size);
bool ctlsock_send(int fd, const char *p, size_t n);

/* "ok" and the text, or "error: " and what `e` says (r < 0). */
void ctlsock_answer(int fd, int r, const char *text, const struct err *e);

/* The format of the golden traces: R|W DEVICE.SPACE OFFSET -> or <- VALUE. As snprintf. */
int ctlsock_trace_line(char *buf, size_t size, const char *dev, const struct sim_access *a);

#endif
