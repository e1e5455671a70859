/* SPDX-License-Identifier: Apache-2.0
 *
 * Runtime stand-in: child processes.
 */
#include "sim/runtime_priv.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>

static int
file_actions(posix_spawn_file_actions_t *a, const int fd[4])
{
    int r = 0;

    for (int i = 0; i < 4 && r == 0; i++) {
        if (fd[i] >= 0)
            r = posix_spawn_file_actions_adddup2(a, fd[i], i);
        else if (i < 3)
            r = posix_spawn_file_actions_addopen(a, i, "/dev/null", O_RDWR, 0);
    }
    return r;
}

/* Nothing blocked, nothing ignored: as a program expects it. */
static int
attributes(posix_spawnattr_t *a)
{
    sigset_t none, pipe;
    int r;

    sigemptyset(&none);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    r = posix_spawnattr_setsigmask(a, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(a, &pipe);
    if (r == 0)
        r = posix_spawnattr_setflags(a, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return r;
}

int
rt_spawn(const char *path, char *const argv[], char *const env[], const int fd[4], pid_t *ret_pid,
         struct err *e)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    pid_t pid;
    int r;

    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attr);
    r = file_actions(&actions, fd);
    if (r == 0)
        r = attributes(&attr);
    if (r == 0)
        r = posix_spawn(&pid, path, &actions, &attr, argv, env);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attr);
    if (r != 0)
        return err_errno(e, r, ERR_CLASS_INVALID, "run %s", path);
    *ret_pid = pid;
    return 0;
}
