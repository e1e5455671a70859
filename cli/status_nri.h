/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of `pgpuctl status` that is about container runtimes.
 */
#ifndef PGPU_CLI_STATUS_NRI_H
#define PGPU_CLI_STATUS_NRI_H

struct json_object;

/* Prints `nri` of pgpud's status; NULL is fine. */
void status_nri_print(struct json_object *nri);

#endif
