/* SPDX-License-Identifier: Apache-2.0
 *
 * How the rules of an agent policy judge annotations. Private to policy*.c.
 */
#ifndef PGPU_NRI_POLICY_RULES_H
#define PGPU_NRI_POLICY_RULES_H

#include "nri/rego.h"

/* Do these rules let an annotation through whose key a container's data has, whatever its value?
 * True only where it can be read off them: they judge keys as genpolicy's do, and whatever else
 * they do with a container's annotations cannot notice one more of this key.
 *
 * `l` holds the whole policy but for the value of policy_data, prints, and semicolons. */
bool policy_rules_know_keys(const struct rego_list *l, const char *key);

#endif
