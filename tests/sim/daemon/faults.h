/* SPDX-License-Identifier: Apache-2.0
 *
 * What the failure tests add to the harness: a VMM that opens the node as a real one does, the
 * kubelet's memory of the lists it got, a GPU as it was at boot, and lanes (the cases of one node,
 * run by a process of their own beside other lanes). Single thread; state is the caller's.
 */
#ifndef PGPU_TESTS_SIM_DAEMON_FAULTS_H
#define PGPU_TESTS_SIM_DAEMON_FAULTS_H

#include "tests/sim/daemon/harness.h"

#define F_RES "nvidia.com/pgpu"

/* Short limits, so that what never comes is not waited for long; recovery works within seconds. */
#define F_HWD_YAML                                                                                 \
    "firmware:\n  queue: 150ms\n  reply: 150ms\n  boot: 300ms\n  firewall: 300ms\n"                \
    "deadlines:\n  prepare: 5s\n  verify: 5s\n  handover: 5s\n  reset: 5s\n  probe: 2s\n"
#define F_PGPUD_YAML "arm_deadline: 5s\nallocate_deadline: 9s\n"

/* ---- a VMM ---- */

struct f_vmm {
    int cdev, iommu;
};
#define F_VMM_INIT                                                                                 \
    {                                                                                              \
        -1, -1                                                                                     \
    }
/* Opens the node as Kata's VMM does and binds it to an iommufd: the kernel resets the device. */
void f_vmm_open(struct harness *h, struct f_vmm *v, const char *id);
void f_vmm_close(struct f_vmm *v);

/* ---- what the kubelet saw ---- */

size_t f_lists(struct harness *h);                                /* lists received so far */
int f_healthy_since(struct harness *h, const char *id, size_t n); /* lists after the first n */
/* Waits a little for the last list to be this. */
void f_capacity(struct harness *h, int capacity, int allocatable);

/* ---- what the hardware says itself ---- */

bool f_is_verified(struct harness *h, const char *id); /* active and configured mode are both on */
/* Every GPU of an answer is in CC mode now, and will be after the VMM's own reset. */
void f_check_grant(struct harness *h, const struct h_grant *g);
/* Ready, verified, in the CDI file, Healthy: nothing is left of the fault. */
void f_check_ready(struct harness *h, const char *id);
/* Not offered: no CDI entry, not Healthy, still listed. */
void f_check_withdrawn(struct harness *h, const char *id);

/* ---- states ---- */

/* Both services are down, the GPU is as at boot: CC off, nothing remembered; on vfio-pci or
 * unbound. */
void f_make_raw(struct harness *h, const char *id, bool bound);
/* Waits for a state; fails with what the unit was instead. `reasons` ("A|B") may be NULL. */
void f_wait_state(struct harness *h, const char *id, const char *state, const char *reasons,
                  unsigned ms);
/* True when one of the words of "A|B" is within `text`. */
bool f_has_word(const char *text, const char *words);
/* A member of the unit's status as a number. */
int64_t f_unit_int(struct harness *h, const char *id, const char *object, const char *key);
/* Does a program's log hold this text? */
bool f_log_has(struct harness *h, const char *program, const char *text);

/* Kills everything without asking how it feels: after a failed case. */
void f_abandon(struct harness *h);

/* ---- lanes ---- */

/* Runs this program again once per lane ("PROGRAM LANE"), a few at a time, and reports each lane as
 * one test. */
int f_run_lanes(const char *group, const char *const *lanes, size_t n);

#endif
