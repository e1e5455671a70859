/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the lint: warnings about what is accepted and hurts later.
 */
#ifndef PGPU_CDI_LINT_BITES_H
#define PGPU_CDI_LINT_BITES_H

#include "cdi/lint.h"

/* For a file that the consumer accepted. */
void lint_bites(struct lint_ctx *c);

#endif
