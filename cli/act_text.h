/* SPDX-License-Identifier: Apache-2.0
 *
 * Acts, as pgpud's events and the audit log have them in JSON, as lines for people. They come from
 * files that others may have written: control bytes are shown as '?'. One thread.
 */
#ifndef PGPU_CLI_ACT_TEXT_H
#define PGPU_CLI_ACT_TEXT_H

#include "base/buf.h"
#include "base/usage.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

/* What happened, without its time: "0000:18:00.0 ready -> allocated (handed)". */
void act_text(json_object *o, struct buf *out);

/* "TIME  KIND  TEXT", one line, coloured where `colours`. */
void act_print(json_object *o, bool colours, FILE *f);

/* Text of foreign origin, control bytes replaced. */
void act_put_clean(struct buf *out, const char *text);

/* Is something wrong, by this act? */
bool act_is_bad(json_object *o);

/* A text that is one JSON object and nothing else, such as a line of a log; else NULL. */
json_object *act_parse(const char *line, size_t len);

#define ACT_FILTER_MAX 16
struct act_filter {
    const char *kind[ACT_FILTER_MAX];
    unsigned n_kinds;
    char device[ACT_FILTER_MAX][24]; /* full addresses */
    unsigned n_devices;
};

/* Adds the words of every --kind, and the devices (with or without domain). -1, or the exit status
 * of wrong usage, which it has printed. */
int act_filter_take(struct act_filter *f, const struct usage_args *a, bool devices);
bool act_filter_fits(const struct act_filter *f, json_object *o);

/* "41:00.0", "0000:41:00.0" and what nvidia-smi prints ("00000000:2A:00.0") in the kernel's form;
 * false for what is no PCI address. */
bool act_device(const char *word, char ret[24]);

#endif
