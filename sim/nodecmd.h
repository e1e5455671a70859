/* SPDX-License-Identifier: Apache-2.0
 *
 * The verbs `node` and `ctl` of pgpu-sim. Return the exit status; print one-line errors to stderr.
 */
#ifndef PGPU_SIM_NODECMD_H
#define PGPU_SIM_NODECMD_H

int sim_node_main(int argc, char **argv);
int sim_ctl_main(int argc, char **argv);

#endif
