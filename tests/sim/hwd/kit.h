/* SPDX-License-Identifier: Apache-2.0
 *
 * A simulated node, a pgpu-hwd on it, and a client that speaks the protocol. Everything lives in a
 * private temporary directory. One thread; failures end the test through cmocka.
 */
#ifndef PGPU_TESTS_SIM_HWD_KIT_H
#define PGPU_TESTS_SIM_HWD_KIT_H

#include "hwd/protocol.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define KIT_UNITS 32

struct kit {
    char dir[64];
    pid_t sim, hwd;
    bool real; /* the machine's own hardware and kernel events: guests of tests/vm */
};

struct client {
    int fd;
    uint64_t seq;
    unsigned n;
    struct hwd_facts f[KIT_UNITS];
    unsigned n_progress;
    uint32_t phases; /* bit per phase seen in progress */
    unsigned gone;
    bool closed; /* the service closed the connection */
};

/* Prints why and returns false where FUSE cannot be mounted. */
bool kit_possible(void);

/* `node`: further words for `pgpu-sim node`; `yaml`: configuration of pgpu-hwd. */
struct kit *kit_start(const char *node, const char *yaml);
/* pgpu-hwd on the machine itself, whatever hardware it has. */
struct kit *kit_start_real(const char *yaml);
void kit_stop(struct kit *k);
void kit_start_hwd(struct kit *k, const char *yaml);
int kit_end_hwd(struct kit *k, int sig); /* wait status */

/* Runs `pgpu-sim ctl WORDS`; fails the test when the command fails. */
void kit_ctl(const struct kit *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Runs pgpuctl; returns its exit status, output (both streams) in buf. */
int kit_pgpuctl(const struct kit *k, char *buf, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Opens a path below the node's root; -1 with errno. */
int kit_open(const struct kit *k, const char *path, int flags);
/* Whole text of a file below the root, "" where there is none. */
void kit_read(const struct kit *k, char *buf, size_t size, const char *path);

uint64_t kit_now_ms(void);
void kit_sleep_ms(unsigned ms);
struct pci_addr kit_addr(const char *s);

struct client *client_open(const struct kit *k); /* synced */
int client_connect_raw(const struct kit *k);
void client_close(struct client *c);
/* Sends; returns the sequence number. */
uint64_t client_send(struct client *c, enum hwd_op op, const char *unit, enum cc_mode mode,
                     uint32_t flags, uint32_t arg, uint32_t deadline_ms);
/* Reads until the result of `seq`; fails after `ms`. */
struct hwd_message client_result(struct client *c, uint64_t seq, unsigned ms);
/* Both. */
struct hwd_message client_do(struct client *c, enum hwd_op op, const char *unit, enum cc_mode mode,
                             uint32_t flags);
/* Reads what is there; false when nothing came within `ms`. */
bool client_pump(struct client *c, unsigned ms);
const struct hwd_facts *client_facts(struct client *c, const char *unit);
/* Pumps until (facts.flags & mask) == want and facts.use == use (use -1: any); fails after `ms`. */
const struct hwd_facts *client_wait(struct client *c, const char *unit, uint32_t mask,
                                    uint32_t want, int use, unsigned ms);

#define assert_ok(m)                                                                               \
    do {                                                                                           \
        const struct hwd_message m_ = (m);                                                         \
                                                                                                   \
        if (m_.err_class != ERR_CLASS_NONE)                                                        \
            fail_msg("%s: %s", reason_name((enum reason)m_.reason), m_.text);                      \
    } while (0)
#define assert_refused(m, r)                                                                       \
    do {                                                                                           \
        const struct hwd_message m_ = (m);                                                         \
                                                                                                   \
        if (m_.err_class == ERR_CLASS_NONE || m_.reason != (uint32_t)(r))                          \
            fail_msg("expected %s, got %s: %s", reason_name(r),                                    \
                     reason_name((enum reason)m_.reason), m_.text);                                \
    } while (0)

#endif
