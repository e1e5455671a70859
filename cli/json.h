/* SPDX-License-Identifier: Apache-2.0
 *
 * Members of JSON objects, with a default where they are missing.
 */
#ifndef PGPU_CLI_JSON_H
#define PGPU_CLI_JSON_H

#include <json-c/json.h>

#include <stdbool.h>
#include <stdint.h>

/* "" if absent; of the object, valid as long as it is. */
static inline const char *
json_str(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static inline bool
json_truth(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

static inline int64_t
json_int(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

#endif
