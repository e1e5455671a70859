/* SPDX-License-Identifier: Apache-2.0
 *
 * Logging to stderr as logfmt or JSON lines, with key/value fields and rate-limited repeats.
 *
 * Only programs (daemon/, cli/, sim/ and the mains) log above debug; libraries return errors.
 * The sink is the one global of the project. Threads: safe to call from any thread; one record is
 * one write(2). A record that equals one of the last few (same level, message and fields) within
 * 5 s is counted, not printed; the count is printed with the next different or later one.
 *
 *   log_info("device ready", "device", id, "took_ms", LOG_NUM(ms));
 *
 * Values are escaped; NULL is printed as an empty value.
 */
#ifndef PGPU_BASE_LOG_H
#define PGPU_BASE_LOG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LVL_DEBUG, LOG_LVL_INFO, LOG_LVL_WARN, LOG_LVL_ERROR };
enum log_format { LOG_FMT_LOGFMT, LOG_FMT_JSON };

/* `program` is printed with every record and must outlive the logging. Defaults without a call:
 * program "pgpu", logfmt, info. */
void log_init(const char *program, enum log_format format, enum log_level level);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/* "debug" … "error"; "logfmt", "json". Return false and leave the output for other names. */
bool log_level_from_name(const char *name, enum log_level *ret);
bool log_format_from_name(const char *name, enum log_format *ret);

/* kv[0] is the message, then key, value, key, value… n counts all of them. */
void log_emit(enum log_level level, const char *const *kv, size_t n);

const char *log_num_(char *buf, size_t size, long long v);
#define LOG_NUM(v) log_num_((char[24]){0}, 24, (long long)(v))

#define LOG_AT_(lvl, ...)                                                                          \
    log_emit((lvl), (const char *const[]){__VA_ARGS__},                                            \
             sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_LVL_DEBUG))                                                            \
            LOG_AT_(LOG_LVL_DEBUG, __VA_ARGS__);                                                   \
    } while (0)
#define log_info(...) LOG_AT_(LOG_LVL_INFO, __VA_ARGS__)
#define log_warn(...) LOG_AT_(LOG_LVL_WARN, __VA_ARGS__)
#define log_error(...) LOG_AT_(LOG_LVL_ERROR, __VA_ARGS__)

#endif
