/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel events as rows.
 */
#include "conformance_rows.h"

#include <string.h>

/* The value of KEY in a payload of NUL-terminated strings, or NULL. */
static const char *
event_value(const char *payload, size_t len, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = payload; p < payload + len; p += strlen(p) + 1)
        if (strncmp(p, key, n) == 0 && p[n] == '=')
            return p + n + 1;
    return NULL;
}

static const char *
subject_at(const struct rows *r, const char *addr)
{
    static const char *const names[] = {"gpu", "twin", "pair", "audio", "lame", "spare"};

    for (size_t i = 0; addr && i < sizeof(names) / sizeof(names[0]); i++) {
        const char *is = row_address(r, names[i], strlen(names[i]));

        if (is && strcmp(is, addr) == 0)
            return names[i];
    }
    return NULL;
}

#define FENCE "change"

/* An event that is asked for ends the list: whatever comes later belongs to what is done later. */
static void
take_events(struct rows *r, const char *after)
{
    char payload[4096];
    size_t len = 0;
    unsigned n = 0;
    int e = quiet(r, "twin/uevent", FENCE);

    while (e >= 0) {
        const char *action, *subsystem, *who, *driver;

        e = r->b->event(r->b->ctx, payload, sizeof(payload) - 1, &len, r->b->patience_ms);
        if (e < 0)
            break;
        payload[len] = '\0';
        action = event_value(payload, len, "ACTION");
        subsystem = event_value(payload, len, "SUBSYSTEM");
        if (!action || !subsystem)
            continue;
        who = subject_at(r, event_value(payload, len, "PCI_SLOT_NAME"));
        driver = event_value(payload, len, "DRIVER");
        if (who && strcmp(who, "twin") == 0 && strcmp(action, FENCE) == 0)
            break;
        n++;
        if (!after)
            continue;
        if (strncmp(subsystem, "vfio", 4) == 0)
            say(r, "event after %s -> %s %s", after, action, subsystem);
        else if (strcmp(subsystem, "pci") == 0 && who)
            say(r, "event after %s -> %s %s%s%s", after, action, who, driver ? " driver " : "",
                driver ? driver : "");
        else
            n--;
    }
    if (after && e < 0)
        say(r, "event after %s -> %s", after, row_result(e));
    else if (after && n == 0)
        say(r, "event after %s -> none", after);
}

void
events(struct rows *r, const char *after)
{
    take_events(r, after);
}

void
events_drop(struct rows *r)
{
    take_events(r, NULL);
}
