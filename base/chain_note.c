/* SPDX-License-Identifier: Apache-2.0
 *
 * The note of a chain's newest record.
 */
#include "base/chain.h"
#include "base/cleanup.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

void
chain_boot_id(char ret[CHAIN_ID_MAX])
{
    _cleanup_free_ char *text = NULL;
    struct err ignored = ERR_INIT;
    size_t len;

    (void)str_copy(ret, CHAIN_ID_MAX, "-");
    if (fs_read_file(AT_FDCWD, BOOT_ID, 64, &text, &len, &ignored) < 0)
        return;
    text[strcspn(text, "\n")] = '\0';
    if (text[0] && !strchr(text, ' '))
        (void)str_copy(ret, CHAIN_ID_MAX, text);
}

int
chain_note_text(const struct chain_head *h, const char *boot, const char *log,
                char ret[CHAIN_NOTE_MAX])
{
    return snprintf(ret, CHAIN_NOTE_MAX, "%" PRIu64 " %s %s %s\n", h->seq, h->hash, boot, log);
}

/* Every part has to be there; `boot` and `log` NULL: whatever they are. */
static bool
read_note(const char *path, const char *boot, const char *log, struct chain_head *ret)
{
    _cleanup_free_ char *text = NULL;
    struct err ignored = ERR_INIT;
    size_t len;
    char *end, *hash, *space;
    uint64_t seq;

    if (!path[0] || fs_read_file(AT_FDCWD, path, CHAIN_NOTE_MAX, &text, &len, &ignored) < 0 ||
        strlen(text) != len || text[0] < '1' || text[0] > '9')
        return false;
    text[strcspn(text, "\n")] = '\0';
    errno = 0;
    seq = strtoull(text, &end, 10);
    hash = end + 1;
    if (errno || *end != ' ' || strlen(hash) < CHAIN_HEX || !chain_is_hash(hash) ||
        hash[CHAIN_HEX - 1] != ' ' || !(space = strchr(hash + CHAIN_HEX, ' ')))
        return false;
    *space = '\0';
    if ((boot && strcmp(hash + CHAIN_HEX, boot) != 0) || (log && strcmp(space + 1, log) != 0))
        return false;
    ret->seq = seq;
    memcpy(ret->hash, hash, CHAIN_HEX - 1);
    ret->hash[CHAIN_HEX - 1] = '\0';
    return true;
}

bool
chain_expected(const char *note, const char *beside, const char *log, struct chain_head *ret)
{
    char boot[CHAIN_ID_MAX];

    chain_boot_id(boot);
    return read_note(note, boot, log, ret) || read_note(beside, NULL, NULL, ret);
}
