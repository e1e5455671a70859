/* SPDX-License-Identifier: Apache-2.0
 *
 * Preferred allocation: must-haves first, ready ones, one NUMA node where possible.
 */
#include "base/cleanup.h"
#include "daemon/node.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct unit units[8];
static const char *ids[8];

/* Eight GPUs, four on each NUMA node. */
static struct node
make_node(void)
{
    struct node n = {.n_units = 8};

    memset(units, 0, sizeof(units));
    for (size_t i = 0; i < 8; i++) {
        (void)snprintf(units[i].id, sizeof(units[i].id), "0000:%zx1:00.0", i + 1);
        units[i].facts.numa_node = i < 4 ? 0 : 1;
        units[i].state = UNIT_READY;
        ids[i] = units[i].id;
        n.unit[i] = &units[i];
    }
    return n;
}

static size_t
prefer(struct node *n, size_t n_must, const char *const *must, size_t size, const char **ret)
{
    return prefer_devices(n, "nvidia.com/pgpu", ids, 8, must, n_must, size, ret);
}

static void
four_of_eight_come_from_one_numa_node(void **state)
{
    struct node n = make_node();
    const char *ret[8];

    (void)state;
    assert_int_equal(prefer(&n, 0, NULL, 4, ret), 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(node_find(&n, ret[i])->facts.numa_node,
                         node_find(&n, ret[0])->facts.numa_node);
}

static void
must_haves_come_first_and_pull_their_numa_node(void **state)
{
    struct node n = make_node();
    const char *must[] = {ids[5]};
    const char *ret[8];

    (void)state;
    assert_int_equal(prefer(&n, 1, must, 3, ret), 3);
    assert_string_equal(ret[0], ids[5]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(node_find(&n, ret[i])->facts.numa_node, 1);
}

static void
ready_ones_are_taken_before_others(void **state)
{
    struct node n = make_node();
    const char *ret[8];

    (void)state;
    units[0].state = UNIT_FOUND;
    units[1].state = UNIT_FOUND;
    assert_int_equal(prefer(&n, 0, NULL, 2, ret), 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(node_find(&n, ret[i])->state, UNIT_READY);
}

static void
a_single_request_keeps_a_whole_node_free(void **state)
{
    struct node n = make_node();
    const char *avail[] = {ids[0], ids[4], ids[5], ids[6], ids[7]};
    const char *ret[8];

    (void)state;
    assert_int_equal(prefer_devices(&n, "r", avail, 5, NULL, 0, 1, ret), 1);
    assert_string_equal(ret[0], ids[0]);
}

static void
unknown_ids_and_too_few_devices_are_no_error(void **state)
{
    struct node n = make_node();
    const char *avail[] = {"nonsense", ids[2]};
    const char *ret[8];

    (void)state;
    assert_int_equal(prefer_devices(&n, "r", avail, 2, NULL, 0, 5, ret), 2);
    assert_int_equal(prefer_devices(&n, "r", NULL, 0, NULL, 0, 5, ret), 0);
}

static void
gangs_are_taken_whole_or_not_at_all(void **state)
{
    struct node n = make_node();
    const char *ret[8];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        units[i].facts.gang_size = 3;
        units[i].facts.iommu_group = 7;
    }
    assert_int_equal(prefer(&n, 0, NULL, 2, ret), 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(node_find(&n, ret[i])->facts.gang_size, 0);
    const char *must[] = {ids[1]};
    assert_int_equal(prefer(&n, 1, must, 3, ret), 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(node_find(&n, ret[i])->facts.gang_size, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(four_of_eight_come_from_one_numa_node),
        cmocka_unit_test(must_haves_come_first_and_pull_their_numa_node),
        cmocka_unit_test(ready_ones_are_taken_before_others),
        cmocka_unit_test(a_single_request_keeps_a_whole_node_free),
        cmocka_unit_test(gangs_are_taken_whole_or_not_at_all),
        cmocka_unit_test(unknown_ids_and_too_few_devices_are_no_error),
    };

    return cmocka_run_group_tests_name("daemon.prefer", tests, NULL, NULL);
}
