/* SPDX-License-Identifier: Apache-2.0
 *
 * Helper of the peer tests: what the guard thinks of an agent policy.
 *
 *   policy_verdict KEY... <POLICY
 *       a line for each annotation key, in their order: "allowed" or "held"
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "nri/policy.h"

#include <stdio.h>

#define POLICY_MAX (4u * 1024 * 1024)

int
main(int argc, char **argv)
{
    _cleanup_(buf_fini) struct buf policy;
    uint8_t block[4096];
    size_t n;

    buf_init(&policy, POLICY_MAX);
    while ((n = fread(block, 1, sizeof(block), stdin)) > 0)
        (void)buf_put(&policy, block, n);
    if (ferror(stdin) || !buf_cstr(&policy)) {
        (void)fputs("policy_verdict: the policy cannot be read\n", stderr);
        return 1;
    }
    for (int i = 1; i < argc; i++)
        puts(policy_allows_annotation((const char *)policy.data, policy.len, argv[i]) ? "allowed"
                                                                                      : "held");
    return 0;
}
