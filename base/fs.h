/* SPDX-License-Identifier: Apache-2.0
 *
 * Files. Everything below a root goes through openat2(RESOLVE_IN_ROOT), so that a fixture or a
 * simulated node is a root like any other and no symlink leads out of it. All paths given to
 * functions that take a root are relative to it, with or without a leading slash.
 *
 * Blocking: reads and writes of sysfs can block for as long as the kernel likes.
 */
#ifndef PGPU_BASE_FS_H
#define PGPU_BASE_FS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A directory that stands for "/". `fd` is owned; `path` is for messages and for libpci. */
struct fs_root {
    int fd;
    char path[4096];
};

int fs_root_open(struct fs_root *r, const char *path, struct err *e);
void fs_root_close(struct fs_root *r);

/* open flags as open(2); O_CLOEXEC is added. Returns the descriptor or -errno. */
int fs_open(const struct fs_root *r, const char *path, int flags, mode_t mode, struct err *e);

/* Reads a text attribute: at most size-1 bytes, NUL-terminated, trailing white space cut. A longer
 * file or one with a NUL byte inside is an error (EMSGSIZE, EBADMSG). Returns the length. */
int fs_read_attr(const struct fs_root *r, const char *path, char *buf, size_t size, struct err *e);

/* One write(2) of `text`, as sysfs wants it. The error carries the kernel's errno. */
int fs_write_attr(const struct fs_root *r, const char *path, const char *text, struct err *e);

/* Last component of a symlink's target, e.g. the driver's name. -ENOENT where there is no link. */
int fs_link_name(const struct fs_root *r, const char *path, char *buf, size_t size, struct err *e);

/* Whole target of a symlink. */
int fs_link_target(const struct fs_root *r, const char *path, char *buf, size_t size,
                   struct err *e);

bool fs_exists(const struct fs_root *r, const char *path);

/* Sorted names of a directory without "." and ".."; at most `max` (more is an error). Free with
 * fs_names_free. Returns the count. */
int fs_list(const struct fs_root *r, const char *path, size_t max, char ***ret_names,
            struct err *e);
void fs_names_free(char **names);

/* Whole file into a fresh NUL-terminated buffer; larger than `max` is EFBIG. dirfd may be AT_FDCWD.
 * Returns 0 and sets *ret (free()) and *ret_len. */
int fs_read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len,
                 struct err *e);

/* Atomic and durable: temporary file ".<name>.tmp" in the same directory (an extension that CDI
 * consumers ignore), write, fsync, rename, fsync of the directory; the temporary file is removed
 * on failure. */
int fs_publish(int dirfd, const char *name, const void *data, size_t len, mode_t mode,
               struct err *e);

/* unlink + fsync of the directory; a missing file is success. */
int fs_withdraw(int dirfd, const char *name, struct err *e);

/* mkdir -p with `mode` for what is missing. */
int fs_mkdirs(const char *path, mode_t mode, struct err *e);

/* write(2) until everything is out. */
int fs_write_all(int fd, const void *data, size_t len, struct err *e);

/* Bounded copy; false if it does not fit (dst then holds ""). */
bool str_copy(char *dst, size_t size, const char *src);

#endif
