/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a fuzz harness over a directory of inputs without libFuzzer: every file as it is, every
 * prefix of it (of long files some), and a fixed number of damaged copies. Always the same inputs
 * in the same order, so that a failure repeats.
 */
#include "tests/fuzz/fuzz.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FILES_MAX 10000
#define PREFIXES 200
#define DAMAGED 300

/* What is being tried, for the message of a crash. */
static struct {
    const char *file;
    const char *how;
    unsigned number;
} now;

/* xorshift64 (Marsaglia 2003): cheap, and the same everywhere. */
static uint64_t
next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void
try_one(const uint8_t *data, size_t size, const char *how, unsigned number)
{
    /* An exact copy on the heap, so that a sanitizer sees one byte too far. */
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (!copy)
        abort();
    memcpy(copy, data, size);
    now.how = how;
    now.number = number;
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void
damage(uint8_t *data, size_t size, uint64_t *seed)
{
    static const uint8_t nasty[] = {0x00, 0xff, 0x7f, 0x80, '"', '\\', '{', '[', '\n', ':', '&'};
    uint64_t edits = 1 + next_random(seed) % 4;

    for (uint64_t i = 0; i < edits; i++) {
        uint64_t r = next_random(seed);
        uint8_t *at = data + (r >> 8) % size;

        if (r % 3 == 0)
            *at = nasty[(r >> 40) % sizeof(nasty)];
        else if (r % 3 == 1)
            *at = (uint8_t)(*at ^ (1u << ((r >> 40) % 8)));
        else
            *at = (uint8_t)(r >> 48 & 0xff);
    }
}

static void
replay(const char *file, const uint8_t *data, size_t size)
{
    size_t stride = size / PREFIXES + 1;

    now.file = file;
    try_one(data, size, "whole", 0);
    for (size_t n = 0; n < size; n += stride)
        try_one(data, n, "prefix", (unsigned)n);

    uint64_t seed = 0x9e3779b97f4a7c15u ^ size;
    for (unsigned i = 0; size > 0 && i < DAMAGED; i++) {
        uint8_t *copy = malloc(size);

        if (!copy)
            abort();
        memcpy(copy, data, size);
        damage(copy, size, &seed);
        try_one(copy, size, "damaged", i);
        free(copy);
    }
}

static void
say_where(void)
{
    if (now.file)
        (void)fprintf(stderr, "while trying %s, %s %u\n", now.file, now.how, now.number);
}

int
main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    struct fs_root dir;
    char **names = NULL;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
        return 2;
    }
    if (fs_root_open(&dir, argv[1], &e) < 0 || fs_list(&dir, ".", FILES_MAX, &names, &e) < 0) {
        (void)fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    /* Runs when a sanitizer ends the process with exit(); abort() leaves a core instead. */
    (void)atexit(say_where);
    int files = 0;
    for (size_t i = 0; names[i]; i++, files++) {
        _cleanup_free_ char *data = NULL;
        _cleanup_fd_ int fd = fs_open(&dir, ".", O_RDONLY | O_DIRECTORY, 0, &e);
        size_t len = 0;

        if (fd < 0 || fs_read_file(fd, names[i], FUZZ_MAX, &data, &len, &e) < 0) {
            (void)fprintf(stderr, "%s\n", e.msg);
            return 1;
        }
        replay(names[i], (const uint8_t *)data, len);
    }
    now.file = NULL;
    fs_names_free(names);
    fs_root_close(&dir);
    (void)printf("%d corpus files\n", files);
    if (files == 0)
        (void)fprintf(stderr, "no corpus in %s\n", argv[1]);
    return files > 0 ? 0 : 1;
}
