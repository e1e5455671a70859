/* SPDX-License-Identifier: Apache-2.0
 *
 * Hash-chained lines, the form of the audit log (docs/man/pgpu-audit.5). One line is one JSON
 * object
 *
 *     {"seq":7,"prev":"<64 hex>", ... ,"hash":"<64 hex>"}
 *
 * whose hash is the SHA-256 of everything in front of `,"hash":"`, and whose `prev` is the hash of
 * the line before it. Hashes are over bytes as they stand: nothing is parsed to check them.
 *
 * A chain begins with seq 1 and a prev of zeros. The first line of every file is of the kind
 * "chain" and says of which chain it is (`chain`), what it does (`what`: "begins", "continues" an
 * earlier file, or begins after a "break") and which is the oldest line that is kept (`oldest`:
 * chain and seq of the first line of the oldest file); where the file that the line before it named
 * there was taken away, `missing` names it. A line that was torn by a power cut stays,
 * and the next record, of the kind "chain" and `what` "torn", tells its length and SHA-256.
 *
 * Nobody who can write the file is kept from forging all of it; docs/security.md says what the
 * chain is worth. One thread per object.
 */
#ifndef PGPU_BASE_CHAIN_H
#define PGPU_BASE_CHAIN_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAIN_HEX 65         /* a hash as text */
#define CHAIN_LINE_MAX 16384 /* with the newline; a longer line is no record */
#define CHAIN_ID_MAX 40
#define CHAIN_FILES_MAX 128
#define CHAIN_PATH_MAX 300

/* The newest record: number and hash. seq 0: none yet, the hash is zeros. */
struct chain_head {
    uint64_t seq;
    char hash[CHAIN_HEX];
};

void chain_head_init(struct chain_head *h);

/* Appends the line that follows `head` to `out` and moves `head` on. `members`: the inside of a
 * JSON object without braces, `"time":"...","kind":"..."`. EMSGSIZE, and nothing changed, if the
 * line gets too long. */
int chain_append(struct chain_head *head, const char *members, struct buf *out, struct err *e);

/* SHA-256 as text. */
int chain_sha256(const void *data, size_t len, char ret[CHAIN_HEX], struct err *e);

/* 64 lower-case hex digits? */
bool chain_is_hash(const char *s);

/* ---- files: PATH, PATH.1 (older), PATH.2, ... ---- */

/* Those that are there, oldest first; at most CHAIN_FILES_MAX. Returns the count; a directory that
 * is not there has none. Free with free(). */
int chain_files(const char *path, char (**ret)[CHAIN_PATH_MAX], struct err *e);

/* Which chain and record a file begins with, by its first line alone; false if that is none of the
 * kind "chain". */
struct chain_origin {
    char id[CHAIN_ID_MAX];
    uint64_t seq;
};
bool chain_first(const char *path, struct chain_origin *ret);

/* ---- the note of the newest record ----
 *
 * "SEQ HASH BOOT-ID LOG\n": in pgpud's state directory, where it is as new as the log but may not
 * outlive the boot, and in LOG.head, where it follows when the disk has the record: there it may be
 * somewhat old, never ahead.
 */
#define CHAIN_NOTE_MAX 420
#define CHAIN_NOTE_SUFFIX ".head"

void chain_boot_id(char ret[CHAIN_ID_MAX]); /* "-" if it cannot be read */
/* Returns the length; CHAIN_NOTE_MAX and more: too long. */
int chain_note_text(const struct chain_head *h, const char *boot, const char *log,
                    char ret[CHAIN_NOTE_MAX]);
/* Which record must be there: by `note`, if it is of this boot and of `log`, else by `beside`. "" =
 * none. False, and *ret untouched, where neither tells. */
bool chain_expected(const char *note, const char *beside, const char *log, struct chain_head *ret);

/* ---- checking ---- */

enum chain_problem_kind {
    CHAIN_CHANGED,   /* a record's text does not match its hash */
    CHAIN_UNLINKED,  /* its prev is not the hash of the record before */
    CHAIN_MISSING,   /* records are missing before it */
    CHAIN_ORDER,     /* it stands where it does not belong, or twice */
    CHAIN_GARBAGE,   /* a line that is no record */
    CHAIN_TORN_TAIL, /* the last line has no end */
    CHAIN_BEGIN,     /* the file begins in the middle, or a chain begins without a reason */
    CHAIN_BREAK,     /* pgpud found the chain broken and began another one */
    CHAIN_OLDEST,    /* older files are missing, or were, that should be kept */
    CHAIN_CUT,       /* the expected newest record is not there */
};
const char *chain_problem_name(enum chain_problem_kind k); /* "changed", "missing", ... */

struct chain_problem {
    enum chain_problem_kind kind;
    const char *file;
    uint64_t line; /* from 1; 0 = of the file as a whole */
    uint64_t seq;  /* 0 = none */
    const char *text;
};

struct chain_check {
    /* Set by chain_check_init(); both may be NULL. `record`: every line that is one, whether or not
     * something is wrong with it. */
    void (*problem)(void *ctx, const struct chain_problem *p);
    void (*record)(void *ctx, const char *file, uint64_t line, uint64_t seq, const char *text,
                   size_t len);
    void *ctx;
    /* Results */
    uint64_t records, problems, torn; /* torn: lines that were torn, and recorded as such */
    unsigned breaks;                  /* chains that were begun after a break */
    struct chain_head head;           /* the last record's, as far as it can be told */
    struct chain_origin origin;       /* its chain, and seq 1 or that of a pruned start */
    bool tail_torn;
    uint64_t tail_bytes; /* of the torn last line */
    char tail_hash[CHAIN_HEX];
    /* What must be in it; expect.seq 0 = nothing. An empty hash: only the number. */
    struct chain_head expect;
    bool expect_seen;
    /* Inside */
    bool begun, bad_pending;
    struct {
        char file[CHAIN_PATH_MAX];
        uint64_t line, count, bytes;
        char hash[CHAIN_HEX];
    } bad;
    size_t n_firsts;
    struct chain_origin first[CHAIN_FILES_MAX]; /* first record of each file */
    struct chain_origin oldest;                 /* by the newest file; seq 0 = not said */
    char oldest_file[CHAIN_PATH_MAX];
};

void chain_check_init(struct chain_check *c,
                      void (*problem)(void *ctx, const struct chain_problem *p), void *ctx);

/* Reads the next file, oldest first, from the descriptor's position to its end. Memory: two lines.
 * Fails only where the file cannot be read; what is wrong with it are problems. */
int chain_check_fd(struct chain_check *c, const char *name, int fd, struct err *e);
int chain_check_file(struct chain_check *c, const char *path, struct err *e);

/* After the last file. `whole`: the files are all that there are, so the oldest must be among them.
 */
void chain_check_end(struct chain_check *c, bool whole);

#endif
