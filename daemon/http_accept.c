/* SPDX-License-Identifier: Apache-2.0
 *
 * Content negotiation, as far as the two formats of metrics need it (RFC 9110 §12.5.1).
 */
#include "base/fs.h"
#include "daemon/http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RANGE_MAX 256

static char *
trim(char *s)
{
    size_t n;

    s += strspn(s, " \t");
    n = strlen(s);
    while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
        s[--n] = '\0';
    return s;
}

/* Thousandths; what is no weight counts as 1. */
static int
weight(const char *v)
{
    char *end;
    double q = strtod(v, &end);

    return end == v || *end || !(q >= 0 && q <= 1) ? 1000 : (int)(q * 1000);
}

/* One media range with its parameters: raises the weight of the format it means. */
static void
take_range(char *range, int *om, int *text)
{
    char *save = NULL, *type = strtok_r(range, ";", &save);
    bool version = true; /* ours, or none named */
    int q = 1000;

    if (!type)
        return;
    type = trim(type);
    for (char *p = strtok_r(NULL, ";", &save); p; p = strtok_r(NULL, ";", &save)) {
        p = trim(p);
        if (strncasecmp(p, "q=", 2) == 0)
            q = weight(p + 2);
        else if (strncasecmp(p, "version=", 8) == 0)
            version = strcmp(p + 8, "1.0.0") == 0 || strcmp(p + 8, "\"1.0.0\"") == 0;
    }
    if (strcasecmp(type, "application/openmetrics-text") == 0 && version && q > *om)
        *om = q;
    else if ((strcasecmp(type, "text/plain") == 0 || strcasecmp(type, "text/*") == 0 ||
              strcmp(type, "*/*") == 0) &&
             q > *text)
        *text = q;
}

bool
http_wants_openmetrics(const char *accept)
{
    int om = 0, text = 0;

    while (*accept) {
        size_t n = strcspn(accept, ",");
        char range[RANGE_MAX];

        if (n < sizeof(range)) {
            memcpy(range, accept, n);
            range[n] = '\0';
            take_range(range, &om, &text);
        }
        accept += n + (accept[n] == ',');
    }
    return om > 0 && om >= text;
}
