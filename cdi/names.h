/* SPDX-License-Identifier: Apache-2.0
 *
 * What may stand as kind, device name and node path: the CDI specification's rules, and for what we
 * write ourselves the narrower ones that every consumer accepts. Pure functions, any thread.
 */
#ifndef PGPU_CDI_NAMES_H
#define PGPU_CDI_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Longest vendor (a DNS subdomain) and class (a DNS label) by CDI SPEC.md, "kind". */
#define CDI_VENDOR_MAX 253
#define CDI_CLASS_MAX 63
/* The kubelet's device plugin API asks for IDs of at most 63 characters (deviceplugin/v1beta1
 * api.proto, message Device), and our device names are those IDs. */
#define CDI_DEVICE_MAX 63

/* Where a kind splits: vendor is kind[0..vendor_len), class is kind + vendor_len + 1. False where
 * there is no '/' with text on both sides. */
bool cdi_split_kind(const char *kind, size_t *ret_vendor_len);

/* Vendor or class: a letter first, a letter or digit last, in between also _ - and dot. */
bool cdi_part_valid(const char *s, size_t len);

/* Device name: letter or digit at both ends, in between also _ - dot and colon. */
bool cdi_device_name_valid(const char *s);

/* For what we write. NULL if `kind` is right, else the reason, a phrase. */
const char *cdi_kind_refused(const char *kind);
const char *cdi_device_refused(const char *name);
const char *cdi_node_refused(const char *path);

#endif
