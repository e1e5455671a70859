/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules for kinds, device names and node paths. No state.
 */
#include "cdi/names.h"

#include <limits.h>
#include <string.h>

/* Not <ctype.h>: the rules are ASCII whatever the locale. */
static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_alnum(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9');
}

bool
cdi_split_kind(const char *kind, size_t *ret_vendor_len)
{
    const char *slash = strchr(kind, '/');

    if (!slash || slash == kind || slash[1] == '\0')
        return false;
    *ret_vendor_len = (size_t)(slash - kind);
    return true;
}

static bool
inner_valid(const char *s, size_t len, const char *also)
{
    for (size_t i = 1; i + 1 < len; i++) {
        if (!is_alnum(s[i]) && !strchr(also, s[i]))
            return false;
    }
    return true;
}

bool
cdi_part_valid(const char *s, size_t len)
{
    return len > 0 && is_letter(s[0]) && is_alnum(s[len - 1]) && inner_valid(s, len, "_-.");
}

bool
cdi_device_name_valid(const char *s)
{
    size_t len = strlen(s);

    return len > 0 && is_alnum(s[0]) && is_alnum(s[len - 1]) && inner_valid(s, len, "_-.:");
}

const char *
cdi_kind_refused(const char *kind)
{
    size_t vendor;

    if (!cdi_split_kind(kind, &vendor))
        return "is not <vendor>/<class>";

    const char *class = kind + vendor + 1;
    size_t class_len = strlen(class);

    if (!cdi_part_valid(kind, vendor) || !cdi_part_valid(class, class_len))
        return "vendor and class start with a letter, end with a letter or digit, and hold only "
               "letters, digits, _ - and .";
    if (vendor > CDI_VENDOR_MAX || class_len > CDI_CLASS_MAX)
        return "vendor has at most 253 characters, class at most 63";
    /* CDI library 0.6.0 slices name[1:len-1] without looking at the length
     * (pkg/parser/parser.go validateVendorOrClassName): one letter makes Kata's Go shim panic. */
    if (vendor < 2 || class_len < 2)
        return "a vendor or class of one letter makes Kata's Go shim panic";
    /* A dot in the class needs cdiVersion 0.6.0 (CDI SPEC.md, version table); we write 0.5.0. */
    if (strchr(class, '.'))
        return "a class with a dot needs a newer cdiVersion than the 0.5.0 that every Kata reads";
    return NULL;
}

const char *
cdi_device_refused(const char *name)
{
    if (!cdi_device_name_valid(name))
        return "starts and ends with a letter or digit, and holds only letters, digits, _ - . and "
               ":";
    if (strlen(name) > CDI_DEVICE_MAX)
        return "has at most 63 characters";
    return NULL;
}

const char *
cdi_node_refused(const char *path)
{
    if (path[0] != '/')
        return "is not absolute";
    if (strlen(path) >= PATH_MAX)
        return "is too long";
    for (const char *p = path; *p; p++) {
        if (*p <= ' ' || *p > '~')
            return "holds a character that is not printable ASCII";
    }
    if (strstr(path, "//") || strstr(path, "/../") || strstr(path, "/./"))
        return "is not in its shortest form";
    /* runtime-rs takes every device node for a VFIO group or cdev and fails on these two ("Invalid
     * VFIO group path", hypervisor vfio_device/core.rs); Kata's Go shim does not need them. */
    if (strcmp(path, "/dev/vfio/vfio") == 0 || strcmp(path, "/dev/iommu") == 0)
        return "is not a device of its own, and Kata's runtime-rs fails on it";
    return NULL;
}
