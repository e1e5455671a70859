/* SPDX-License-Identifier: Apache-2.0
 *
 * Replays a recorded register trace against an emulated GPU: performs its writes and compares the
 * answer to each of its reads. One thread.
 *
 * Time stands still, except that a read of a register which software polls, and which does not
 * answer as recorded yet, is repeated while the virtual clock advances, for 20 s at most. So the
 * number of polls need not agree, the order of everything does.
 */
#ifndef PGPU_TEST_REPLAY_H
#define PGPU_TEST_REPLAY_H

#include "sim/inproc.h"

struct replay_result {
    unsigned reads, compared, masked, writes, resets, commands, mismatches;
    char first[160]; /* the first mismatch, for people */
};

/* Sets the device up as line "# case:" describes and replays. `file` is a path. */
struct replay_result replay_trace(const char *file, const char *extra_fault);

#endif
