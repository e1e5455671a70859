/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/confine.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Rights of Landlock ABI 1 (Linux 5.13); later ABIs only add rights that we then do not restrict.
 */
#define FS_READ                                                                                    \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE)
#define FS_ALL ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
/* To read a directory, and to write, replace and remove regular files in it. */
#define FS_FILES                                                                                   \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE |  \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG)

/* Written to when we could still write to the hardware's files: the driver core's probe file. */
#define SYSFS_PROBE "/sys/bus/pci/drivers_probe"

static void
drop_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};

    for (unsigned long cap = 0; cap <= 63; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno == EINVAL)
            break; /* past the last one this kernel knows */
    if (syscall(SYS_capset, &head, none) < 0)
        log_warn("capabilities could not be dropped", "why", strerror(errno));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        log_warn("no_new_privs could not be set", "why", strerror(errno));
}

static void
allow(int ruleset, const char *path, unsigned long long rights)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = rights};
    _cleanup_fd_ int fd = open(path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        return;
    rule.parent_fd = fd;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        log_warn("Landlock rule failed", "path", path, "why", strerror(errno));
}

/* The first component: the kubelet may remove and make its directories anew, and a rule on one that
 * is gone would not hold for its successor. */
static void
allow_top_of(int ruleset, const char *path)
{
    char top[256];
    const char *slash = strchr(path + 1, '/');
    size_t n = slash ? (size_t)(slash - path) : strlen(path);

    if (n < 2 || n >= sizeof(top))
        return;
    memcpy(top, path, n);
    top[n] = '\0';
    if (strcmp(top, "/sys") != 0 && strcmp(top, "/dev") != 0 && strcmp(top, "/proc") != 0)
        allow(ruleset, top, FS_ALL);
}

/* The tree it is named in, and the one it is in: /var/run is a link to /run, and Landlock goes by
 * where a file is. What is not there yet will be made below what is. */
static void
allow_tree_of(int ruleset, const char *path)
{
    char named[PATH_MAX], real[PATH_MAX];
    char *slash;

    allow_top_of(ruleset, path);
    if (!str_copy(named, sizeof(named), path))
        return;
    while (!realpath(named, real)) {
        slash = strrchr(named, '/');
        if (!slash || slash == named)
            return;
        *slash = '\0';
    }
    allow_top_of(ruleset, real);
}

/* A directory that others may remove and make anew: a rule on it would end with it, so what it is
 * in is allowed, with the rights that a file takes and no more. Not where that is as wide as /etc
 * or /etc/kubernetes: then the directory alone. */
static void
allow_remade(int ruleset, const char *path)
{
    char parent[PATH_MAX];
    char *slash;
    size_t depth = 0;

    allow(ruleset, path, FS_FILES);
    if (!str_copy(parent, sizeof(parent), path))
        return;
    slash = strrchr(parent, '/');
    if (!slash)
        return;
    *slash = '\0';
    for (const char *p = parent; *p; p++)
        depth += *p == '/';
    if (depth >= 3)
        allow(ruleset, parent, FS_FILES);
}

static void
enter_landlock(const struct config *c)
{
    static const char *const readable[] = {"/etc", "/usr", "/lib", "/lib64", "/proc"};
    struct landlock_ruleset_attr attr = {.handled_access_fs = FS_ALL};
    _cleanup_fd_ int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

    if (fd < 0) {
        log_warn("this kernel has no Landlock: run pgpud where it sees only its own directories",
                 "why", strerror(errno));
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(readable); i++)
        allow(fd, readable[i], FS_READ);
    allow_tree_of(fd, c->kubelet.plugin_dir);
    allow_tree_of(fd, c->kubelet.pod_resources);
    allow_tree_of(fd, c->cdi_dir);
    allow_tree_of(fd, c->state_dir);
    allow_tree_of(fd, c->hwd_socket);
    allow_tree_of(fd, c->control_socket);
    if (listen_unix_path(c->http.listen))
        allow_tree_of(fd, listen_unix_path(c->http.listen));
    if (c->audit.file[0])
        allow_tree_of(fd, c->audit.file);
    if (c->validations.enabled)
        allow_tree_of(fd, c->validations.dir);
    else
        allow(fd, c->validations.dir, FS_ALL); /* cc-manager's file is looked for */
    if (c->nfd.labels != NFD_OFF)
        allow_remade(fd, c->nfd.dir);
    for (size_t i = 0; i < c->nri.sockets.n; i++)
        allow_tree_of(fd, c->nri.sockets.v[i]);
    if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        log_warn("Landlock could not be entered", "why", strerror(errno));
}

void
confine_enter(const struct config *c)
{
    drop_capabilities();
    enter_landlock(c);
    _cleanup_fd_ int fd = open(SYSFS_PROBE, O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        log_warn("pgpud can still write to /sys: a hole in it would reach the hardware; run it in "
                 "a mount namespace that holds only its directories");
}
