/* SPDX-License-Identifier: Apache-2.0
 *
 * What a guest program can ask of the world outside its machine: the emulated devices' control
 * (faults, counts), hot-plug, and which device of the boot file stands where. For cmocka programs;
 * one thread at a time. Requests of several programs take turns.
 */
#ifndef PGPU_TESTS_VM_GUEST_HOST_H
#define PGPU_TESTS_VM_GUEST_HOST_H

#include <stddef.h>
#include <stdint.h>

/* One command to the host; its answer, to be freed. Fails the test where the host refuses.
 *   ctl WORDS...      to the emulated devices (`pgpu-sim ctl`): fault NAME SPEC, counts NAME, ...
 *   plug NAME         QMP device_add of a device whose boot file says `plugged = false`, or that
 * was unplugged unplug NAME       QMP device_del; returns when QEMU has let go of it yank NAME the
 * same without waiting qmp JSON          any other command; the answer is its `return` */
char *vm_host(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same; NULL where the host refuses, with the reason in why. */
char *vm_host_try(char *why, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Address of a device of the boot file, "0000:01:00.0". Static storage; fails the test where there
 * is none of that name. */
const char *vm_addr(const char *name);
/* How many devices of that model the boot has ("" any). */
unsigned vm_devices(const char *model);

/* One of the numbers that `counts NAME` prints ("flr 3"); fails the test where there is none. */
uint64_t vm_count(const char *name, const char *what);

/* Monotonic milliseconds, and a wait. */
uint64_t vm_now_ms(void);
void vm_sleep_ms(unsigned ms);

/* First line of a file, "" where it cannot be read; and the last part of a link's target. */
const char *vm_read(char *buf, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const char *vm_link(char *buf, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* One write(2); 0 or an errno. */
int vm_write(const char *path, const char *text);

/* Runs a command to its end, both streams into buf; its exit status. */
int vm_run(char *buf, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
