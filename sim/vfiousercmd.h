/* SPDX-License-Identifier: Apache-2.0
 *
 * The verb `vfio-user` of pgpu-sim. Returns the exit status; prints one-line errors to stderr.
 */
#ifndef PGPU_SIM_VFIOUSERCMD_H
#define PGPU_SIM_VFIOUSERCMD_H

int sim_vfiouser_main(int argc, char **argv);

#endif
