/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status_nri.h"

#include "cli/json.h"

#include <stdio.h>
#include <string.h>

static void
print_session(json_object *s)
{
    (void)printf("NRI %s: ", json_str(s, "socket"));
    if (!json_truth(s, "up")) {
        (void)printf("down%s%s\n", json_str(s, "why")[0] ? ": " : "", json_str(s, "why"));
        return;
    }
    (void)printf("%s %s%s%s", json_str(s, "runtime"), json_str(s, "version"),
                 json_str(s, "nri_version")[0] ? ", NRI " : "", json_str(s, "nri_version"));
    (void)printf("; %s, %s", json_truth(s, "injects_cdi") ? "injects CDI" : "device nodes only",
                 json_truth(s, "validates")            ? "validates"
                 : json_truth(s, "validation_refused") ? "validation refused"
                                                       : "no validation");
    if (json_str(s, "last_event")[0])
        (void)printf("; last %s %.1f s ago", json_str(s, "last_event"),
                     (double)json_int(s, "last_event_ms") / 1000);
    (void)printf("; %lld refused, %lld late\n", (long long)json_int(s, "refusals"),
                 (long long)json_int(s, "timeouts"));
}

static void
print_sandbox(json_object *s)
{
    json_object *list;

    (void)printf("%-12.12s %-12s %s/%s %s", json_str(s, "id"), json_str(s, "class"),
                 json_str(s, "namespace"), json_str(s, "pod"), json_str(s, "handler"));
    if (json_object_object_get_ex(s, "devices", &list))
        for (size_t i = 0; i < json_object_array_length(list); i++)
            (void)printf("%s%s", i ? "," : " ",
                         json_object_get_string(json_object_array_get_idx(list, i)));
    if (json_str(s, "initdata_digest")[0])
        (void)printf(" initdata %s:%s", json_str(s, "initdata_algorithm"),
                     json_str(s, "initdata_digest"));
    if (json_int(s, "findings") > 0)
        (void)printf(" (%lld findings, see the log)", (long long)json_int(s, "findings"));
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
