/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices to the bytes of a CDI spec. No state; the same input gives the same bytes, so that a file
 * that is already right can be recognised by comparing.
 */
#include "cdi/cdi.h"
#include "cdi/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What NVIDIA's sandbox device plugin writes too, and the newest version that needs nothing newer
 * than a device name that starts with a digit. Kata's Go shim reads up to 0.6.0. */
#define CDI_VERSION "0.5.0"

/* Callers have refused everything but printable ASCII, so two characters are left to escape. */
static void
put_string(struct buf *out, const char *s)
{
    buf_put_str(out, "\"");
    for (const char *p = s; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_put_str(out, "\\");
        buf_put(out, p, 1);
    }
    buf_put_str(out, "\"");
}

static int
name_cmp(const void *a, const void *b)
{
    const char *const *x = a;
    const char *const *y = b;

    return strcmp(*x, *y);
}

/* Two devices of one name make the whole file invalid, and with it every GPU pod of the node. */
static int
check_unique(const char *kind, const struct cdi_device *dev, size_t n, struct err *e)
{
    const char **names = calloc(n, sizeof(*names));
    int rc = 0;

    if (!names)
        return err_set(e, ENOMEM, ERR_CLASS_RETRY, "CDI spec of %s: no memory", kind);
    for (size_t i = 0; i < n; i++)
        names[i] = dev[i].name;
    qsort(names, n, sizeof(*names), name_cmp);
    for (size_t i = 1; i < n && rc == 0; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            rc = err_set(e, EEXIST, ERR_CLASS_INVALID, "CDI spec of %s: device %s stands twice",
                         kind, names[i]);
    }
    free(names);
    return rc;
}

static int
check(const char *kind, const struct cdi_device *dev, size_t n, struct err *e)
{
    const char *why = cdi_kind_refused(kind);

    if (why)
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "CDI kind \"%.300s\": %s", kind, why);
    if (n == 0)
        return err_set(e, EINVAL, ERR_CLASS_INVALID,
                       "CDI spec of %s: a spec without devices is refused by its readers", kind);
    for (size_t i = 0; i < n; i++) {
        why = cdi_device_refused(dev[i].name);
        if (why)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "CDI device name \"%.100s\" of %s: %s",
                           dev[i].name, kind, why);
        why = cdi_node_refused(dev[i].node_path);
        if (why)
            return err_set(e, EINVAL, ERR_CLASS_INVALID, "CDI device %s of %s: node \"%.200s\" %s",
                           dev[i].name, kind, dev[i].node_path, why);
    }
    return check_unique(kind, dev, n, e);
}

/* One device a line: the file is read by people with grep when something is wrong. */
static void
put_device(struct buf *out, const struct cdi_device *d, int last)
{
    buf_put_str(out, "    {\"name\": ");
    put_string(out, d->name);
    buf_put_str(out, ", \"containerEdits\": {\"deviceNodes\": [{\"path\": ");
    put_string(out, d->node_path);
    buf_put_str(out, last ? "}]}}\n" : "}]}},\n");
}

int
cdi_render(const char *kind, const struct cdi_device *dev, size_t n, struct buf *out, struct err *e)
{
    int rc = check(kind, dev, n, e);

    if (rc < 0)
        return rc;
    buf_put_str(out, "{\n  \"cdiVersion\": \"" CDI_VERSION "\",\n  \"kind\": ");
    put_string(out, kind);
    buf_put_str(out, ",\n  \"devices\": [\n");
    for (size_t i = 0; i < n; i++)
        put_device(out, &dev[i], i + 1 == n);
    buf_put_str(out, "  ]\n}\n");
    if (buf_failed(out))
        return err_set(e, EFBIG, ERR_CLASS_INVALID,
                       "CDI spec of %s: %zu devices do not fit into %zu bytes", kind, n, out->max);
    return 0;
}

int
cdi_file_name(const char *kind, char *buf, size_t size, struct err *e)
{
    const char *why = cdi_kind_refused(kind);
    size_t vendor = 0;

    if (why || !cdi_split_kind(kind, &vendor))
        return err_set(e, EINVAL, ERR_CLASS_INVALID, "CDI kind \"%.300s\": %s", kind,
                       why ? why : "is not <vendor>/<class>");
    /* GenerateSpecName of the CDI libraries: <vendor>-<class>. */
    int k = snprintf(buf, size, "%.*s-%s.json", (int)vendor, kind, kind + vendor + 1);
    if (k < 0 || (size_t)k >= size) {
        if (size > 0)
            buf[0] = '\0';
        return err_set(e, ENAMETOOLONG, ERR_CLASS_INVALID,
                       "CDI kind \"%.300s\": file name too long", kind);
    }
    return 0;
}
