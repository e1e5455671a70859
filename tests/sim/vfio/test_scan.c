/* SPDX-License-Identifier: Apache-2.0
 *
 * Discovery on simulated nodes of several shapes.
 */
#include "vfio/scan.h"

#include "node.h"
#include "vfio/group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void
shape_and_viability(const struct vfio_inventory *inv, const struct vfio_fn *fn, enum reason shape)
{
    struct vfio_group g;
    struct err e = ERR_INIT;

    if (vfio_group_of(inv, fn, &g, &e) < 0)
        fail_msg("%s", e.msg);
    if (vfio_group_shape(&g, &e) < 0)
        assert_int_equal(e.reason, shape);
    else
        assert_int_equal(shape, REASON_NONE);
}

static void
eight_gpus_quickly(void **state)
{
    static const char *const args[] = {"--gpus", "8", NULL};
    struct vfio_inventory *inv = NULL;
    struct timespec a, b;
    struct node n;
    unsigned gpus = 0;
    double best = 1e9;

    (void)state;
    node_start(&n, args);
    for (int i = 0; i < 5; i++) {
        vfio_inventory_free(inv);
        (void)clock_gettime(CLOCK_MONOTONIC, &a);
        inv = node_scan(&n);
        (void)clock_gettime(CLOCK_MONOTONIC, &b);
        double ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
        best = ms < best ? ms : best;
    }
    print_message("scan of %u functions: %.1f ms\n", inv->n, best);
    for (unsigned i = 0; i < inv->n; i++) {
        if (inv->fn[i].kind != VFIO_KIND_GPU)
            continue;
        gpus++;
        assert_int_equal(inv->fn[i].reason, REASON_NONE);
        assert_int_equal(inv->fn[i].vendor, 0x10de);
        assert_true(inv->fn[i].iommu_group >= 0);
        shape_and_viability(inv, &inv->fn[i], REASON_NONE);
    }
    assert_int_equal(gpus, 8);
    vfio_inventory_free(inv);
    node_stop(&n);
}

static void
shapes_by_hot_plug(void **state)
{
    static const char *const args[] = {"--gpus", "1", NULL};
    struct vfio_inventory *inv;
    const struct vfio_fn *fn;
    struct node n;

    (void)state;
    node_start(&n, args);
    (void)node_ctl(&n, "plug 0000:e1:00.0 h100-pcie group=900");
    (void)node_ctl(&n, "plug 0000:e2:00.0 h100-pcie group=900");
    (void)node_ctl(&n, "plug 0000:e3:00.0 nvswitch group=901");
    (void)node_ctl(&n, "plug 0000:e4:00.0 nvswitch group=901");
    (void)node_ctl(&n, "plug 0001:e5:00.0 h100-pcie group=-2 numa=-1");
    (void)node_ctl(&n, "plug 0000:e6:00.0 h100-pcie garbage=class");
    (void)node_ctl(&n, "plug 0000:e7:00.0 h100-pcie missing=numa_node+reset_method+power_state");
    inv = node_scan(&n);
    fn = vfio_find(inv, (struct pci_addr){.bus = 0xe1});
    assert_non_null(fn);
    shape_and_viability(inv, fn, REASON_GROUP_SHARED);
    fn = vfio_find(inv, (struct pci_addr){.bus = 0xe3});
    assert_non_null(fn);
    assert_int_equal(fn->kind, VFIO_KIND_NVSWITCH);
    shape_and_viability(inv, fn, REASON_NONE);
    fn = vfio_find(inv, (struct pci_addr){.domain = 1, .bus = 0xe5});
    assert_non_null(fn);
    assert_int_equal(fn->iommu_group, -1);
    assert_int_equal(fn->numa_node, -1);
    fn = vfio_find(inv, (struct pci_addr){.bus = 0xe6});
    assert_non_null(fn);
    assert_int_equal(fn->reason, REASON_UNREADABLE);
    fn = vfio_find(inv, (struct pci_addr){.bus = 0xe7});
    assert_non_null(fn);
    assert_int_equal(fn->reason, REASON_NONE);
    vfio_inventory_free(inv);
    node_stop(&n);
}

static int
plug_and_unplug(struct node *n, struct pci_addr a)
{
    (void)a;
    for (int i = 0; i < 20; i++) {
        (void)node_ctl(n, "plug 0000:e1:00.0 h100-pcie");
        (void)usleep(2000);
        (void)node_ctl(n, "unplug 0000:e1:00.0");
        for (int k = 0; k < 200; k++) {
            if (!strstr(node_ctl(n, "show"), "0000:e1:00.0"))
                break;
            (void)usleep(2000);
        }
    }
    return 0;
}

/* A function that comes and goes while the bus is read is there, or not, and harms no other. */
static void
scan_while_functions_come_and_go(void **state)
{
    static const char *const args[] = {"--gpus", "2", NULL};
    struct node n;
    pid_t pid;
    int status, scans = 0;

    (void)state;
    node_start(&n, args);
    pid = node_fork(plug_and_unplug, &n, (struct pci_addr){0});
    while (waitpid(pid, &status, WNOHANG) == 0) {
        struct vfio_inventory *inv = node_scan(&n);
        unsigned good = 0;

        for (unsigned i = 0; i < inv->n; i++)
            good += inv->fn[i].kind == VFIO_KIND_GPU && inv->fn[i].addr.bus != 0xe1 &&
                    inv->fn[i].reason == REASON_NONE;
        assert_int_equal(good, 2);
        vfio_inventory_free(inv);
        scans++;
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    print_message("%d scans\n", scans);
    node_stop(&n);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_gpus_quickly),
        cmocka_unit_test(shapes_by_hot_plug),
        cmocka_unit_test(scan_while_functions_come_and_go),
    };

    if (!node_possible())
        return 77;
    return cmocka_run_group_tests_name("sim.vfio.scan", tests, NULL, NULL);
}
