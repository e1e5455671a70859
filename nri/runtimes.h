/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of runtimes by name and version, since NRI has no capability flags.
 */
#ifndef PGPU_NRI_RUNTIMES_H
#define PGPU_NRI_RUNTIMES_H

#include <stdbool.h>

/* Is it certain that the runtime knows the event VALIDATE (NRI 0.10)? An older one closes the
 * plugin for asking. `nri_version` is told by NRI 0.12 and later only. */
bool nri_runtime_validates(const char *name, const char *version, const char *nri_version);

#endif
