/* SPDX-License-Identifier: Apache-2.0
 *
 * The texts of the kernel, taken apart: pure functions without I/O, so that they can be fuzzed.
 * Private to vfio/ and its tests.
 */
#ifndef PGPU_VFIO_PARSE_H
#define PGPU_VFIO_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "0x10de": 1 to 8 hex digits after 0x, nothing else, at most `max`. */
bool vfio_parse_hex(const char *s, uint32_t max, uint32_t *ret);

/* "-1", "17": a decimal in [min, max], nothing else. */
bool vfio_parse_int(const char *s, int min, int max, int *ret);

/* "vfio3" → 3. */
bool vfio_parse_cdev(const char *s, int *ret);
/* "511:3", a `dev` attribute. */
bool vfio_parse_devnum(const char *s, unsigned *ret_major, unsigned *ret_minor);

/* Line `line` of the `resource` attribute ("0x<start> 0x<end> 0x<flags>"). A BAR that is not there
 * is three zeros and has size 0; false only for malformed text. */
bool vfio_parse_resource(const char *text, unsigned line, uint64_t *ret_start, uint64_t *ret_size,
                         uint64_t *ret_flags);

/* One word of a blank-separated list, such as reset_method's? */
bool vfio_list_has(const char *list, const char *word);

/* A kernel uevent as it comes from netlink: "action@devpath\0KEY=value\0…". True where it is well
 * formed; *ret_relevant says whether its subsystem is pci, vfio or vfio-dev. */
bool vfio_parse_uevent(const char *p, size_t len, bool *ret_relevant);

/* One line of modules.alias, "alias vfio_pci:v…d…sv…sd…bc…sc…i… module". Returns the number of
 * wildcards in the pattern if it matches `modalias` ("v000010DEd…", without the bus in front), else
 * -1. The module's name is copied to `module`. */
int vfio_match_alias(const char *line, size_t len, const char *modalias, char *module, size_t size);

/* The product name in the text of a pci.ids file; false where vendor or device is not in it. */
bool vfio_ids_name(const char *text, size_t len, uint16_t vendor, uint16_t device, char *buf,
                   size_t size);

#endif
