/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpuctl status: what every GPU is doing and why, asked of pgpud through its control socket.
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/status_nri.h"

#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX (4u << 20)

static const char usage[] =
    "Usage: pgpuctl status [--json]\n"
    "What every device is doing and why, as pgpud sees it (--control SOCKET, default\n"
    "/run/pgpu/control.sock); the runtimes it talks to over NRI, and the sandboxes it guards.\n\n"
    "Exit status: 0 every listed device is Healthy, 1 some are not or pgpud does not answer,\n"
    "2 wrong usage.\n";

static int
ask(const char *path, const char *line, struct buf *out, struct err *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 5};
    char tmp[8192];
    ssize_t n;
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || !str_copy(sa.sun_path, sizeof(sa.sun_path), path))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "%s: not a usable socket path", path);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "ask pgpud at %s", path);
    if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "ask pgpud at %s", path);
    while ((n = recv(fd, tmp, sizeof(tmp), 0)) > 0)
        if (!buf_put(out, tmp, (size_t)n))
            return err_set(e, EMSGSIZE, ERR_CLASS_INVALID, "ask pgpud at %s: answer too long",
                           path);
    if (n < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "ask pgpud at %s", path);
    return 0;
}

static void
print_unit(json_object *u)
{
    char mode[32], what[64];
    const char *why = json_str(u, "why");
    const char *reason = json_str(u, "reason");

    (void)snprintf(mode, sizeof(mode), "%s/%s", json_str(u, "mode_active"),
                   json_str(u, "mode_configured"));
    (void)snprintf(what, sizeof(what), "%s%s%s", json_str(u, "state"),
                   json_str(u, "phase")[0] ? ":" : "", json_str(u, "phase"));
    (void)printf("%-13s %-20s %-20s %-9s %-17s %-14s", json_str(u, "id"), json_str(u, "resource"),
                 what,
                 !json_truth(u, "listed")   ? "-"
                 : json_truth(u, "healthy") ? "Healthy"
                                            : "Unhealthy",
                 mode, json_str(u, "driver"));
    if (json_str(u, "pod")[0])
        (void)printf(" %s/%s", json_str(u, "namespace"), json_str(u, "pod"));
    if (strcmp(reason, "NONE") != 0)
        (void)printf(" %s", reason);
    if (why[0])
        (void)printf(": %s", why);
    (void)putchar('\n');
    if (strcmp(reason, "NONE") != 0 && json_str(u, "cure")[0] &&
        strcmp(json_str(u, "state"), "found") != 0)
        (void)printf("%-13s -> %s\n", "", json_str(u, "cure"));
}

/* Returns the exit status. */
static int
print_status(json_object *o)
{
    json_object *list, *u;
    int status = 0;

    (void)printf("pgpud %s  mode %s  prepare %s  manage %s  pgpu-hwd %s%s%s\n",
                 json_str(o, "version"), json_str(o, "mode"), json_str(o, "prepare"),
                 json_str(o, "manage"), json_str(o, "hwd"), json_str(o, "hwd_why")[0] ? ": " : "",
                 json_str(o, "hwd_why"));
    if (json_object_object_get_ex(o, "resources", &list))
        for (size_t i = 0; i < json_object_array_length(list); i++) {
            u = json_object_array_get_idx(list, i);
            (void)printf("%s: kubelet %s%s%s%s%s\n", json_str(u, "name"), json_str(u, "link"),
                         json_str(u, "link_why")[0] ? ": " : "", json_str(u, "link_why"),
                         json_truth(u, "cdi_ok") ? "" : "; CDI: ", json_str(u, "cdi_why"));
        }
    (void)printf("\n%-13s %-20s %-20s %-9s %-17s %-14s %s\n", "DEVICE", "RESOURCE", "STATE",
                 "KUBELET", "MODE(act/conf)", "DRIVER", "DETAIL");
    if (json_object_object_get_ex(o, "units", &list))
        for (size_t i = 0; i < json_object_array_length(list); i++) {
            u = json_object_array_get_idx(list, i);
            print_unit(u);
            if (json_truth(u, "listed") && !json_truth(u, "healthy"))
                status = 1;
        }
    if (json_object_object_get_ex(o, "nri", &list)) {
        (void)putchar('\n');
        status_nri_print(list);
    }
    return status;
}

int
cli_status(const struct cli *c, int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct buf out;
    json_object *o;
    const char *text;
    int status = 1;

    if (argc > 1) {
        bool help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;

        (void)fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    buf_init(&out, ANSWER_MAX);
    if (ask(c->control, "status\n", &out, &e) < 0 || !(text = buf_cstr(&out))) {
        (void)fprintf(stderr, "pgpuctl: %s\n", e.msg);
        (void)fputs("pgpuctl: is pgpud running? `pgpuctl devices` works without it\n", stderr);
        buf_fini(&out);
        return 1;
    }
    o = json_tokener_parse(text);
    if (!json_object_is_type(o, json_type_object)) {
        (void)fputs("pgpuctl: pgpud's answer is no JSON object\n", stderr);
    } else if (c->json) {
        (void)fputs(text, stdout);
        status = 0;
    } else {
        status = print_status(o);
    }
    (void)json_object_put(o);
    buf_fini(&out);
    return status;
}
