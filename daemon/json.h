/* SPDX-License-Identifier: Apache-2.0
 *
 * Members put into JSON objects. What does not fit into memory is missing, and no more than that.
 */
#ifndef PGPU_DAEMON_JSON_H
#define PGPU_DAEMON_JSON_H

#include <json-c/json.h>

#include <stdbool.h>
#include <stdint.h>

static inline void
put_str(json_object *o, const char *key, const char *v)
{
    (void)json_object_object_add(o, key, json_object_new_string(v));
}

static inline void
put_int(json_object *o, const char *key, int64_t v)
{
    (void)json_object_object_add(o, key, json_object_new_int64(v));
}

static inline void
put_count(json_object *o, const char *key, uint64_t v)
{
    (void)json_object_object_add(o, key, json_object_new_uint64(v));
}

static inline void
put_bool(json_object *o, const char *key, bool v)
{
    (void)json_object_object_add(o, key, json_object_new_boolean(v));
}

#endif
