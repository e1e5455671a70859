/* SPDX-License-Identifier: Apache-2.0
 *
 * pgpu-sim: the simulated node and its stand-ins, one verb each.
 */
#include "sim/verbs.h"

int
main(int argc, char **argv)
{
    struct usage_args a;
    int rc = usage_parse(&sim_usage, argc, argv, &a);

    return rc >= 0 ? rc : a.path[a.depth - 1]->run(NULL, a.argc, a.argv);
}
