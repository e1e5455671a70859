/* SPDX-License-Identifier: Apache-2.0
 *
 * How doctor's areas read the host: bounded, only regular files, never beyond the root.
 */
#ifndef PGPU_CLI_DOCTOR_FILES_H
#define PGPU_CLI_DOCTOR_FILES_H

#include "cli/doctor.h"

#include <sys/stat.h>

/* A whole file, NUL-terminated (free()); -errno where it cannot be read, -E2BIG beyond `max`. NUL
 * bytes become blanks, so /proc/PID/cmdline is one text. */
int doctor_read(const struct fs_root *root, const char *path, size_t max, char **ret);

/* The first line of a small file without white space at its end; false where there is none. */
bool doctor_line(const struct fs_root *root, const char *path, char *buf, size_t size);

/* lstat-like without opening: follows links inside the root. 0 or -errno. */
int doctor_stat(const struct fs_root *root, const char *path, struct stat *ret);

/* A path of a configuration as it is below the host root: where the host root is a directory like
 * /host and the path begins with it, that part is cut (programs that were started on a tree of
 * files have such paths). The result points into `path`. */
const char *doctor_path(const struct doctor *d, const char *path);

/* Connects to a Unix socket below the host root and hangs up. 0: somebody listens; -errno. */
int doctor_knock(const struct doctor *d, const char *path, int type);

/* A path that open(2) and connect(2) take for `path` below the host root, "/proc/self/fd/N"; the
 * descriptor is to be closed after. Returns it, or -errno. */
int doctor_real(const struct fs_root *root, const char *path, int flags, char *buf, size_t size);

/* Replaces the first `from` in `text` by `to` as far as it fits. */
void doctor_rename(char *text, size_t size, const char *from, const char *to);

/* The word of a blank-separated list "a=b c" that begins with `key` ("iommu="), its value into
 * buf; the last one wins, as for the kernel. */
bool doctor_word(const char *list, const char *key, char *buf, size_t size);
/* Is `word` one of the words? */
bool doctor_has_word(const char *list, const char *word);

/* Version of an installed Debian package as "1.34.1-1"; false where it is not installed or the
 * host has no dpkg. */
bool doctor_dpkg(const struct doctor *d, const char *package, char *buf, size_t size);
/* "v1.34.1", "2:1.34": the first two numbers; false where there are none. An epoch is skipped. */
bool doctor_version(const char *text, unsigned *ret_major, unsigned *ret_minor);
/* OpenShift's release by /etc/os-release; false elsewhere. */
bool doctor_openshift(const struct doctor *d, unsigned *ret_major, unsigned *ret_minor);

#endif
