/* SPDX-License-Identifier: Apache-2.0
 *
 * The kata-agent's policy (Rego), as far as the host can tell what it will refuse. The host cannot
 * evaluate it; it reads it to hold back what would surely or possibly be rejected. Any thread.
 */
#ifndef PGPU_NRI_POLICY_H
#define PGPU_NRI_POLICY_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Carries the policy as base64. The Go shim hands it to the guest; runtime-rs does not read it and
 * takes the policy from the initdata's "policy.rego". */
#define POLICY_ANNOTATION "io.katacontainers.config.agent.policy"

/* Would the policy let a container through that carries an annotation of this key, beyond those
 * that it knows? Conservative: true only where that is certain, that is
 *   - the policy allows every CreateContainerRequest by default and has no rule about it, or lets
 *     requests that fail it through (`default AllowRequestsFailingPolicy := true`);
 *   - or it judges annotations as genpolicy's do (kata: src/tools/genpolicy/rules.rego, of 2023 to
 *     2026), the data of every container but the sandbox's has this key among its annotations
 * (these rules compare keys, not values), and nothing else in it can notice one annotation more.
 * Rules are known by what they do, not by their names. Comments, strings and prints of the policy
 * do not count. Time is about linear in `len`. */
bool policy_allows_annotation(const char *rego, size_t len, const char *key);

/* Decodes the value of POLICY_ANNOTATION as the Go shim does: standard base64, line breaks in it
 * are skipped. *ret is NUL-terminated and the caller's (free); ret_len counts what may hold NULs.
 * -EINVAL: no base64; -E2BIG: longer than an object's annotations can be. */
int policy_decode(const char *annotation, size_t len, char **ret, size_t *ret_len, struct err *e);

#endif
