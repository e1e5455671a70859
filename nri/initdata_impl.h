/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the initdata reader: the findings (initdata_rules.c), from text to document (initdata.c).
 */
#ifndef PGPU_NRI_INITDATA_IMPL_H
#define PGPU_NRI_INITDATA_IMPL_H

#include "nri/initdata.h"

enum initdata_rule_id {
    RULE_EMPTY,
    RULE_ANNOTATION_SIZE,
    RULE_BASE64,
    RULE_LINE_BREAKS,
    RULE_GZIP,
    RULE_GZIP_TRAILING,
    RULE_TOML_SIZE,
    RULE_TOML,
    RULE_VERSION,
    RULE_ALGORITHM,
    RULE_DATA,
    RULE_DATA_VALUE,
    RULE_UNKNOWN_KEY,
    RULE_AA,
    RULE_AA_URL,
    RULE_CDH,
    RULE_CDH_KBC,
    RULE_POLICY,
    RULES
};

/* Adds one finding; when the report is full only the count of errors goes on. */
void initdata_find(struct initdata_report *r, enum initdata_rule_id rule, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The rules about what the document says. Fills version, algorithm, data and policy. -ENOMEM. */
int initdata_check_document(struct initdata_report *r, struct initdata *i, struct err *e);

#endif
