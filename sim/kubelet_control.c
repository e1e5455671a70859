/* SPDX-License-Identifier: Apache-2.0
 *
 * Kubelet stand-in: the control socket.
 */
#include "sim/jsonctl.h"
#include "sim/kubelet.h"

#include <errno.h>
#include <stdlib.h>

#define LINE_BYTES 4096

struct sim_kubelet_control {
    struct sim_jsonctl *socket;
};

static void
command(void *target, const char *line, sim_jsonctl_done done, void *ctx)
{
    sim_kubelet_command(target, line, done, ctx);
}

int
sim_kubelet_control_new(sd_event *loop, struct sim_kubelet *k, const char *path,
                        struct sim_kubelet_control **ret, struct err *e)
{
    struct sim_kubelet_control *c = calloc(1, sizeof(*c));

    if (!c)
        return err_set(e, ENOMEM, ERR_CLASS_FATAL, "control socket %s: out of memory", path);
    if (sim_jsonctl_new(loop, path, LINE_BYTES, command, k, &c->socket, e) < 0) {
        free(c);
        return -e->num;
    }
    *ret = c;
    return 0;
}

void
sim_kubelet_control_free(struct sim_kubelet_control *c)
{
    if (!c)
        return;
    sim_jsonctl_free(c->socket);
    free(c);
}
