/* SPDX-License-Identifier: Apache-2.0
 *
 * Waking a function and letting it sleep again. Stateless; blocks for up to about a second, and in
 * the kernel for as long as it likes.
 */
#include "vfio/bind.h"

#include "base/cleanup.h"
#include "vfio/clock.h"
#include "vfio/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WAKE_TIMEOUT HW_SEC(1)
#define WAKE_POLL HW_MS(5)

/* A function may need 10 ms from D3hot to D0 (PCI Power Management 1.2, §5.4). */
#define D3HOT_DELAY HW_MS(10)

/* Sets one power attribute and remembers its former text; absent attributes are no error (older
 * kernels, functions without power management). */
static int
set_saving(const struct fs_root *root, struct pci_addr a, const char *attr, const char *want,
           char *saved, size_t size, struct err *e)
{
    char now[32];
    struct err sub = ERR_INIT;
    int r = vfio_attr_read(root, a, attr, now, sizeof(now), &sub);

    if (r == -ENOENT && vfio_present(root, a))
        return 0;
    if (r >= 0) {
        if (strcmp(now, want) == 0)
            return 0;
        if (!str_copy(saved, size, now))
            return err_reason(e, EBADMSG, ERR_CLASS_HW, REASON_POWER_STATE,
                              "read %s: unexpected text \"%s\"", attr, now);
        r = vfio_attr_write(root, a, attr, want, &sub);
    }
    if (r < 0) {
        *e = sub;
        return vfio_name_error(root, a, REASON_POWER_STATE, ERR_CLASS_HW, e);
    }
    return 0;
}

/* Offset of the power management control register, 0 where the function has none or does not
 * answer. */
static unsigned
find_pmcsr(int fd)
{
    uint8_t at = 0, cap[2];

    if (pread(fd, &at, 1, PCI_CAPABILITY_LIST) != 1)
        return 0;
    /* 48 capabilities fit into the header's 192 bytes: a longer chain is a loop */
    for (int i = 0; i < 48 && at >= 0x40; i++) {
        at &= 0xfc;
        if (pread(fd, cap, sizeof(cap), at) != (ssize_t)sizeof(cap))
            return 0;
        if (cap[0] == PCI_CAP_ID_PM)
            return at + PCI_PM_CTRL;
        at = cap[1];
    }
    return 0;
}

/* Asks the function itself, and wakes it where the kernel believes that it is awake already (left
 * in D3hot by firmware, or put there behind the kernel's back). True if it is in D0 now. */
static bool
force_d0(const struct fs_root *root, struct pci_addr a)
{
    char path[VFIO_PATH_MAX];
    struct err sub = ERR_INIT;
    uint8_t ctrl[2];
    unsigned at;
    _cleanup_fd_ int fd = fs_open(root, vfio_path(path, a, "config"), O_RDWR, 0, &sub);

    if (fd < 0 || !(at = find_pmcsr(fd)) ||
        pread(fd, ctrl, sizeof(ctrl), (off_t)at) != (ssize_t)sizeof(ctrl))
        return false;
    if ((ctrl[0] & PCI_PM_CTRL_STATE_MASK) == 0)
        return true;
    ctrl[0] &= (uint8_t)~PCI_PM_CTRL_STATE_MASK;
    if (pwrite(fd, ctrl, sizeof(ctrl), (off_t)at) != (ssize_t)sizeof(ctrl))
        return false;
    clock_sleep_ns(D3HOT_DELAY);
    return pread(fd, ctrl, sizeof(ctrl), (off_t)at) == (ssize_t)sizeof(ctrl) &&
           (ctrl[0] & PCI_PM_CTRL_STATE_MASK) == 0;
}

static int
wait_d0(const struct fs_root *root, struct pci_addr a, struct err *e)
{
    const uint64_t end = clock_now_ns() + WAKE_TIMEOUT;

    for (;;) {
        char state[32];
        struct err sub = ERR_INIT;
        int r = vfio_attr_read(root, a, "power_state", state, sizeof(state), &sub);

        /* Unbound functions that no driver ever enabled say "unknown"; the register reads that
         * follow decide. Kernels before 5.11 lack the attribute. */
        if ((r >= 0 && (strcmp(state, "D0") == 0 || strcmp(state, "unknown") == 0)) ||
            (r == -ENOENT && vfio_present(root, a))) {
            (void)force_d0(root, a);
            return 0;
        }
        if (r < 0) {
            *e = sub;
            return vfio_name_error(root, a, REASON_POWER_STATE, ERR_CLASS_HW, e);
        }
        if (clock_now_ns() >= end && force_d0(root, a))
            return 0;
        if (clock_now_ns() >= end)
            return err_reason(e, ETIMEDOUT, ERR_CLASS_HW, REASON_POWER_STATE,
                              "still in %s after %u ms", state,
                              (unsigned)(WAKE_TIMEOUT / HW_MS(1)));
        clock_sleep_ns(WAKE_POLL);
    }
}

/* A function without a driver can be enabled through the kernel, which lockdown allows. */
static int
enable_decode(const struct fs_root *root, struct pci_addr a, int fd, uint16_t command,
              struct err *e)
{
    char driver[64];
    const uint16_t want = (uint16_t)(command | PCI_COMMAND_MEMORY);
    const uint8_t bytes[2] = {(uint8_t)(want & 0xff), (uint8_t)(want >> 8)};
    ssize_t n = pwrite(fd, bytes, sizeof(bytes), PCI_COMMAND);
    int num = n < 0 ? errno : EIO;

    if (n == (ssize_t)sizeof(bytes))
        return 0;
    if (num != EPERM)
        return err_reason(e, num, ERR_CLASS_HW, REASON_POWER_STATE,
                          "enable memory decode: write config: %s", strerror(num));
    if (vfio_driver_of(root, a, driver, sizeof(driver), e) == 0 && !driver[0]) {
        if (vfio_attr_write(root, a, "enable", "1", e) >= 0)
            return 0;
        return vfio_name_error(root, a, REASON_POWER_STATE, ERR_CLASS_HW, e);
    }
    err_clear(e);
    return err_reason(e, EPERM, ERR_CLASS_INVALID, REASON_LOCKDOWN,
                      "enable memory decode: write config: %s", strerror(EPERM));
}

static int
ensure_decode(const struct fs_root *root, struct pci_addr a, struct err *e)
{
    char path[VFIO_PATH_MAX];
    uint8_t b[2];
    uint16_t command;
    _cleanup_fd_ int fd = fs_open(root, vfio_path(path, a, "config"), O_RDWR, 0, e);

    if (fd < 0)
        return vfio_name_error(root, a, REASON_POWER_STATE, ERR_CLASS_HW, e);
    if (pread(fd, b, sizeof(b), PCI_COMMAND) != (ssize_t)sizeof(b))
        return err_reason(e, EIO, ERR_CLASS_HW, REASON_POWER_STATE, "read config: too short");
    command = (uint16_t)(b[0] | b[1] << 8);
    if (command == 0xffff)
        return err_reason(e, ENODEV, ERR_CLASS_HW, REASON_DEVICE_GONE,
                          "configuration space reads all-ones");
    if (command & PCI_COMMAND_MEMORY)
        return 0;
    return enable_decode(root, a, fd, command, e);
}

/* The plan: forbid D3cold before waking, so that the function cannot sink deeper than it is; keep
 * it awake; wait for D0; memory decode on, which a hot-plugged function has off. */
int
vfio_power_wake(const struct fs_root *root, struct pci_addr a, struct vfio_power_saved *ret,
                struct err *e)
{
    int r;

    *ret = (struct vfio_power_saved){0};
    r = set_saving(root, a, "d3cold_allowed", "0", ret->d3cold_allowed, sizeof(ret->d3cold_allowed),
                   e);
    if (r == 0)
        r = set_saving(root, a, "power/control", "on", ret->control, sizeof(ret->control), e);
    if (r == 0)
        r = wait_d0(root, a, e);
    if (r == 0)
        r = ensure_decode(root, a, e);
    if (r < 0)
        return err_prefix(e, "wake %s", PCI_STR(a));
    return 0;
}

int
vfio_power_restore(const struct fs_root *root, struct pci_addr a,
                   const struct vfio_power_saved *saved, struct err *e)
{
    struct err first = ERR_INIT, second = ERR_INIT;
    int r = 0, s = 0;

    /* In this order: a write to d3cold_allowed resumes the function and thereby cancels the
     * suspend that `auto` has only just asked for, so that it would stay awake for ever (Linux
     * 6.12, d3cold_allowed_store). Both are tried whatever becomes of the first. */
    if (saved->d3cold_allowed[0])
        r = vfio_attr_write(root, a, "d3cold_allowed", saved->d3cold_allowed, &first);
    if (saved->control[0])
        s = vfio_attr_write(root, a, "power/control", saved->control, &second);
    if (r >= 0 && s >= 0)
        return 0;
    *e = r < 0 ? first : second;
    (void)vfio_name_error(root, a, REASON_POWER_STATE, ERR_CLASS_HW, e);
    return err_prefix(e, "restore the power policy of %s", PCI_STR(a));
}
