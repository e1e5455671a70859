/* SPDX-License-Identifier: Apache-2.0
 *
 * Which resource a unit is listed under. A unit is listed under one resource at most: the kubelet
 * and the scheduler count resources separately.
 */
#include "daemon/node.h"

#include "base/cleanup.h"
#include "base/fs.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

void
resource_model_name(const char *model, char *buf, size_t size)
{
    size_t n = 0;

    for (const char *p = model; *p && n + 1 < size; p++) {
        if (isalnum((unsigned char)*p))
            buf[n++] = (char)toupper((unsigned char)*p);
        else if (strchr("/. _", *p) || (*p == '[' && n > 0 && buf[n - 1] != '_'))
            buf[n++] = '_'; /* some pci.ids write "GH100[H100", most "GH100 [H100" */
        else if (*p == '-')
            buf[n++] = '-';
    }
    while (n > 0 && !isalnum((unsigned char)buf[n - 1]))
        n--;
    buf[n] = '\0';
}

static bool
matches(const char *match, const struct hwd_facts *f)
{
    char id[24];

    if (strcmp(match, "gpu") == 0)
        return f->kind == HWD_KIND_GPU;
    if (strcmp(match, "nvswitch") == 0)
        return f->kind == HWD_KIND_NVSWITCH;
    if (strncmp(match, "id:", 3) == 0) {
        (void)snprintf(id, sizeof(id), "%04x:%04x", f->vendor, f->device);
        return strcasecmp(match + 3, id) == 0;
    }
    return fnmatch(match, f->model, FNM_CASEFOLD) == 0;
}

/* Puts the model's name where the braces are; a class longer than CDI's 63 characters is cut. */
static void
expand(const char *name, const struct hwd_facts *f, char ret[RESOURCE_NAME_MAX])
{
    const char *brace = strstr(name, "{model}");
    const char *slash = strchr(name, '/');
    char model[64];
    int n;

    if (!brace || !slash) {
        (void)str_copy(ret, RESOURCE_NAME_MAX, name);
        return;
    }
    resource_model_name(f->model, model, sizeof(model));
    if (strlen(model) < 2 || strchr(f->model, ':')) /* "10de:2335": not in pci.ids */
        (void)snprintf(model, sizeof(model), "%04X", f->device);
    n = snprintf(ret, RESOURCE_NAME_MAX, "%.*s%s%s", (int)(brace - name), name, model, brace + 7);
    if (n < 0 || n >= RESOURCE_NAME_MAX)
        (void)str_copy(ret, RESOURCE_NAME_MAX, "");
    else if (strlen(ret) > (size_t)(slash - name) + 1 + 63)
        ret[(slash - name) + 1 + 63] = '\0';
}

void
resource_of(const struct config *c, const struct hwd_facts *f, char ret[RESOURCE_NAME_MAX])
{
    const struct resource_conf *r;
    size_t n = config_resources(c, &r);

    for (size_t i = 0; i < n; i++)
        if (matches(r[i].match, f)) {
            expand(r[i].name, f, ret);
            return;
        }
    ret[0] = '\0';
}
