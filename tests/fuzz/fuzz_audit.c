/* SPDX-License-Identifier: Apache-2.0
 *
 * A hostile audit log: reading it ends, in bounded memory, and its records can be shown. What it
 * calls whole must be what it would call whole again.
 */
#include "base/chain.h"
#include "cli/act_text.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void
on_problem(void *ctx, const struct chain_problem *p)
{
    size_t *n = ctx;

    FUZZ_ASSERT(p->text && p->text[0] && p->file);
    (*n)++;
}

static void
on_record(void *ctx, const char *file, uint64_t line, uint64_t seq, const char *text, size_t len)
{
    json_object *o = act_parse(text, len);
    struct buf out;
    const char *s;

    (void)ctx;
    (void)file;
    FUZZ_ASSERT(line > 0 && seq > 0 && len < CHAIN_LINE_MAX);
    buf_init(&out, 1u << 20);
    if (o)
        act_text(o, &out);
    s = buf_cstr(&out);
    for (; s && *s; s++)
        FUZZ_ASSERT((unsigned char)*s >= 0x20 && *s != 0x7f);
    buf_fini(&out);
    (void)json_object_put(o);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct chain_check c;
    size_t seen[2] = {0, 0};
    struct err e = ERR_INIT;
    int fd;

    if (size > FUZZ_MAX)
        return 0;
    fd = memfd_create("audit.log", MFD_CLOEXEC);
    FUZZ_ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    for (int i = 0; i < 2; i++) {
        FUZZ_ASSERT(lseek(fd, 0, SEEK_SET) == 0);
        chain_check_init(&c, on_problem, &seen[i]);
        c.record = i ? NULL : on_record;
        FUZZ_ASSERT(chain_check_fd(&c, "audit.log", fd, &e) == 0);
        chain_check_end(&c, true);
        FUZZ_ASSERT(c.problems == seen[i]);
    }
    FUZZ_ASSERT(seen[0] == seen[1]);
    (void)close(fd);
    return 0;
}
