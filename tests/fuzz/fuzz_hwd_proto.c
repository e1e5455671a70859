/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets between pgpud and pgpu-hwd, as each side checks the other's: what passes has every enum
 * in range, terminated strings and a PCI address that there can be. The input lies over a packet
 * of zeros whose magic and version are right, so that a corpus outlives a change of the protocol.
 */
#include "hwd/protocol.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

static void
terminated(const char *s, size_t size)
{
    FUZZ_ASSERT(memchr(s, '\0', size) != NULL);
}

static void
request(const uint8_t *data, size_t size)
{
    struct hwd_request r = {0};
    struct err e = ERR_INIT;

    memcpy(&r, data, size < sizeof(r) ? size : sizeof(r));
    r.magic ^= HWD_PROTO_MAGIC;
    r.version ^= HWD_PROTO_VERSION;
    FUZZ_ASSERT(size == sizeof(r) || hwd_request_check(&r, size, &e) < 0);
    if (hwd_request_check(&r, sizeof(r), &e) < 0) {
        FUZZ_ASSERT(e.msg[0] != '\0');
        return;
    }
    FUZZ_ASSERT(r.op > HWD_OP_NONE && r.op < HWD_OP_COUNT);
    FUZZ_ASSERT(r.unit.dev < 32 && r.unit.fn < 8);
}

static void
message(const uint8_t *data, size_t size)
{
    struct hwd_message m;
    struct err e = ERR_INIT;

    memset(&m, 0, sizeof(m));
    memcpy(&m, data, size < sizeof(m) ? size : sizeof(m));
    m.magic ^= HWD_PROTO_MAGIC;
    m.version ^= HWD_PROTO_VERSION;
    FUZZ_ASSERT(size == sizeof(m) || hwd_message_check(&m, size, &e) < 0);
    if (hwd_message_check(&m, sizeof(m), &e) < 0) {
        FUZZ_ASSERT(e.msg[0] != '\0');
        return;
    }
    FUZZ_ASSERT(m.phase < HWD_PHASE_COUNT);
    FUZZ_ASSERT(m.unit.dev < 32 && m.unit.fn < 8);
    terminated(m.text, sizeof(m.text));
    if (m.type != HWD_MSG_FACTS && m.type != HWD_MSG_RESULT)
        return;
    terminated(m.facts.holder_comm, sizeof(m.facts.holder_comm));
    terminated(m.facts.model, sizeof(m.facts.model));
    terminated(m.facts.node, sizeof(m.facts.node));
    terminated(m.facts.text, sizeof(m.facts.text));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FUZZ_MAX)
        return 0;
    request(data, size);
    message(data, size);
    return 0;
}
