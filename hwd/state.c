/* SPDX-License-Identifier: Apache-2.0
 *
 * Lock files and records. Called from worker processes; no state of its own.
 */
#include "hwd/state.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_MAX 512
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static int
check_private(int fd, const char *path, struct err *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "look at %s", path);
    if (st.st_uid != geteuid())
        return err_reason(e, EPERM, ERR_CLASS_FATAL, REASON_PERMISSION,
                          "use %s: it belongs to uid %u, not to us (uid %u)", path,
                          (unsigned)st.st_uid, (unsigned)geteuid());
    if (!(st.st_mode & 077))
        return 0;
    /* What others could only look into is closed: the kubelet makes the directories of a pod with
     * mode 0755. Where they could write, what stands there may be theirs. */
    if (st.st_mode & 022 || fchmod(fd, 0700) < 0)
        return err_reason(e, EPERM, ERR_CLASS_FATAL, REASON_PERMISSION,
                          "use %s: mode %04o lets others in; chmod it to 0700", path,
                          (unsigned)st.st_mode & 07777u);
    return 0;
}

int
hwd_state_open(const char *path, struct err *e)
{
    static const char *const subdirs[] = {"lock", "former"};
    _cleanup_fd_ int fd = -1;
    int r = fs_mkdirs(path, 0700, e);

    if (r < 0)
        return r;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_FATAL, "open directory %s", path);
    r = check_private(fd, path, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(subdirs); i++)
        if (mkdirat(fd, subdirs[i], 0700) < 0 && errno != EEXIST)
            return err_errno(e, errno, ERR_CLASS_FATAL, "make directory %s/%s", path, subdirs[i]);
    return take_fd(&fd);
}

static int
lock_busy(int fd, struct pci_addr unit, struct err *e)
{
    char who[64] = "";
    ssize_t n = pread(fd, who, sizeof(who) - 1, 0);

    who[n > 0 ? n : 0] = '\0';
    who[strcspn(who, "\n")] = '\0';
    return err_reason(e, EBUSY, ERR_CLASS_BUSY, REASON_OP_PENDING,
                      "lock %s: process %s is working on it", PCI_STR(unit),
                      who[0] ? who : "(unknown)");
}

int
hwd_state_lock(int dirfd, struct pci_addr unit, int *ret_fd, struct err *e)
{
    char name[48], who[64];
    _cleanup_fd_ int fd = -1;
    int n;

    if (dirfd < 0) {
        *ret_fd = -1;
        return 0;
    }
    (void)snprintf(name, sizeof(name), "lock/%s", PCI_STR(unit));
    fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "open lock of %s", PCI_STR(unit));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            return lock_busy(fd, unit, e);
        return err_errno(e, errno, ERR_CLASS_RETRY, "lock %s", PCI_STR(unit));
    }
    /* The content is for people only, so a short write does not matter. The file is never removed:
     * two processes would end up with two locks. */
    n = snprintf(who, sizeof(who), "%d (%s)\n", (int)getpid(), program_invocation_short_name);
    if (ftruncate(fd, 0) < 0 || pwrite(fd, who, (size_t)n, 0) < 0)
        errno = 0;
    *ret_fd = take_fd(&fd);
    return 0;
}

/* ---- records ---- */

static void
boot_id(char *buf, size_t size)
{
    _cleanup_fd_ int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

    buf[n > 0 ? n : 0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
}

/* Finds "key=value\n" and copies the value. */
static bool
field(const char *text, const char *key, char *buf, size_t size)
{
    size_t kl = strlen(key);

    for (const char *l = text; l && *l; l = strchr(l, '\n') ? strchr(l, '\n') + 1 : NULL) {
        size_t n = strcspn(l, "\n");

        if (n <= kl || strncmp(l, key, kl) != 0 || l[kl] != '=' || n - kl - 1 >= size)
            continue;
        memcpy(buf, l + kl + 1, n - kl - 1);
        buf[n - kl - 1] = '\0';
        return true;
    }
    return false;
}

static int
record_dir(int dirfd, struct err *e)
{
    int fd = openat(dirfd, "former", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return err_errno(e, errno, ERR_CLASS_RETRY, "open the directory of former drivers");
    return fd;
}

void
hwd_state_load(int dirfd, struct pci_addr fn, struct hwd_record *ret)
{
    struct hwd_record rec = {0};
    struct err e = ERR_INIT;
    char boot[64], now[64];
    _cleanup_free_ char *text = NULL;
    size_t len;
    _cleanup_fd_ int fd = dirfd < 0 ? -1 : record_dir(dirfd, &e);

    memset(ret, 0, sizeof(*ret));
    if (fd < 0 || fs_read_file(fd, PCI_STR(fn), RECORD_MAX, &text, &len, &e) < 0)
        return;
    boot_id(now, sizeof(now));
    if (!field(text, "boot", boot, sizeof(boot)) || strcmp(boot, now) != 0 ||
        !field(text, "driver", rec.former.driver, sizeof(rec.former.driver)) ||
        !field(text, "power", rec.power.control, sizeof(rec.power.control)) ||
        !field(text, "d3cold", rec.power.d3cold_allowed, sizeof(rec.power.d3cold_allowed)))
        return;
    rec.former.known = true;
    *ret = rec;
}

int
hwd_state_store(int dirfd, struct pci_addr fn, const struct hwd_record *rec, struct err *e)
{
    char text[RECORD_MAX], boot[64];
    _cleanup_fd_ int fd = -1;
    int n, r;

    if (dirfd < 0)
        return 0;
    fd = record_dir(dirfd, e);
    if (fd < 0)
        return fd;
    boot_id(boot, sizeof(boot));
    n = snprintf(text, sizeof(text), "boot=%s\ndriver=%s\npower=%s\nd3cold=%s\n", boot,
                 rec->former.driver, rec->power.control, rec->power.d3cold_allowed);
    r = fs_publish(fd, PCI_STR(fn), text, (size_t)n, 0600, e);
    return r < 0 ? err_prefix(e, "remember the former driver of %s", PCI_STR(fn)) : 0;
}

int
hwd_state_drop(int dirfd, struct pci_addr fn, struct err *e)
{
    _cleanup_fd_ int fd = dirfd < 0 ? -1 : record_dir(dirfd, e);

    if (dirfd < 0)
        return 0;
    return fd < 0 ? fd : fs_withdraw(fd, PCI_STR(fn), e);
}
