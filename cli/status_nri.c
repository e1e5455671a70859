/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status_nri.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *
str(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static bool
truth(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

static long long
num(json_object *o, const char *key)
{
    json_object *v;

    return json_object_object_get_ex(o, key, &v) ? (long long)json_object_get_int64(v) : 0;
}

static void
print_session(json_object *s)
{
    (void)printf("NRI %s: ", str(s, "socket"));
    if (!truth(s, "up")) {
        (void)printf("down%s%s\n", str(s, "why")[0] ? ": " : "", str(s, "why"));
        return;
    }
    (void)printf("%s %s%s%s", str(s, "runtime"), str(s, "version"),
                 str(s, "nri_version")[0] ? ", NRI " : "", str(s, "nri_version"));
    (void)printf("; %s, %s", truth(s, "injects_cdi") ? "injects CDI" : "device nodes only",
                 truth(s, "validates") ? "validates" : "no validation");
    if (str(s, "last_event")[0])
        (void)printf("; last %s %.1f s ago", str(s, "last_event"),
                     (double)num(s, "last_event_ms") / 1000);
    (void)printf("; %lld refused, %lld late\n", num(s, "refusals"), num(s, "timeouts"));
}

static void
print_sandbox(json_object *s)
{
    json_object *list;

    (void)printf("%-12.12s %-12s %s/%s %s", str(s, "id"), str(s, "class"), str(s, "namespace"),
                 str(s, "pod"), str(s, "handler"));
    if (json_object_object_get_ex(s, "devices", &list))
        for (size_t i = 0; i < json_object_array_length(list); i++)
            (void)printf("%s%s", i ? "," : " ",
                         json_object_get_string(json_object_array_get_idx(list, i)));
    if (str(s, "initdata_digest")[0])
        (void)printf(" initdata %s:%s", str(s, "initdata_algorithm"), str(s, "initdata_digest"));
    if (num(s, "findings") > 0)
        (void)printf(" (%lld findings, see the log)", num(s, "findings"));
    (void)putchar('\n');
}

void
status_nri_print(json_object *nri)
{
    json_object *list;

    if (json_object_object_get_ex(nri, "sessions", &list))
        for (size_t i = 0; i < json_object_array_length(list); i++)
            print_session(json_object_array_get_idx(list, i));
    if (!json_object_object_get_ex(nri, "sandboxes", &list) || json_object_array_length(list) == 0)
        return;
    (void)printf("\n%-12s %-12s %s\n", "SANDBOX", "CLASS", "POD, HANDLER, DEVICES");
    for (size_t i = 0; i < json_object_array_length(list); i++)
        print_sandbox(json_object_array_get_idx(list, i));
}
