/* SPDX-License-Identifier: Apache-2.0
 *
 * Which unit is listed under which resource.
 */
#include "base/cleanup.h"
#include "base/fs.h"
#include "daemon/node.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct hwd_facts
gpu(uint16_t device, const char *model)
{
    struct hwd_facts f = {.vendor = 0x10de, .device = device, .kind = HWD_KIND_GPU};

    (void)str_copy(f.model, sizeof(f.model), model);
    return f;
}

static void
defaults_split_gpus_and_switches(void **state)
{
    struct config c = {0};
    struct hwd_facts g = gpu(0x2330, "GH100 [H100 SXM5 80GB]");
    struct hwd_facts s = {.kind = HWD_KIND_NVSWITCH};
    char name[RESOURCE_NAME_MAX];

    (void)state;
    resource_of(&c, &g, name);
    assert_string_equal(name, "nvidia.com/pgpu");
    resource_of(&c, &s, name);
    assert_string_equal(name, "nvidia.com/nvswitch");
}

static void
the_first_match_wins_and_no_match_lists_nothing(void **state)
{
    struct resource_conf r[] = {{.name = "a.com/h200", .match = "id:10DE:2335"},
                                {.name = "a.com/h100", .match = "*H100*"},
                                {.name = "a.com/all-h", .match = "GH100*"}};
    struct config c = {.resources = {.n = 3, .elem_size = sizeof(r[0]), .v = r}};
    struct hwd_facts h200 = gpu(0x2335, "GH100 [H200 SXM 141GB]");
    struct hwd_facts h100 = gpu(0x2330, "GH100 [H100 SXM5 80GB]");
    struct hwd_facts b200 = gpu(0x2901, "GB100 [B200]");
    char name[RESOURCE_NAME_MAX];

    (void)state;
    resource_of(&c, &h200, name);
    assert_string_equal(name, "a.com/h200");
    resource_of(&c, &h100, name);
    assert_string_equal(name, "a.com/h100");
    resource_of(&c, &b200, name);
    assert_string_equal(name, "");
}

/* The spelling that users of per-model names (an empty P_GPU_ALIAS) have in their pods. */
static void
model_names_are_spelt_as_users_know_them(void **state)
{
    static const struct {
        const char *model, *name;
    } rows[] = {
        {"GH100 [H100 SXM5 80GB]", "GH100_H100_SXM5_80GB"},
        {"GH100[H100 SXM5 80GB]", "GH100_H100_SXM5_80GB"},
        {"GH100 [H200 SXM 141GB]", "GH100_H200_SXM_141GB"},
        {"a/b.c d", "A_B_C_D"},
        {"x (y)", "X_Y"},
        {"", ""},
    };
    char name[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        resource_model_name(rows[i].model, name, sizeof(name));
        assert_string_equal(name, rows[i].name);
    }
}

static void
a_model_template_makes_one_resource_per_model(void **state)
{
    struct resource_conf r[] = {{.name = "nvidia.com/{model}", .match = "gpu"}};
    struct config c = {.resources = {.n = 1, .elem_size = sizeof(r[0]), .v = r}};
    struct hwd_facts h = gpu(0x2330, "GH100 [H100 SXM5 80GB]");
    struct hwd_facts unknown = gpu(0x2abc, "10de:2abc");
    struct hwd_facts lengthy =
        gpu(1, "an extraordinarily long product name that goes on and on and "
               "on beyond sixty-three");
    char name[RESOURCE_NAME_MAX];

    (void)state;
    resource_of(&c, &h, name);
    assert_string_equal(name, "nvidia.com/GH100_H100_SXM5_80GB");
    resource_of(&c, &unknown, name);
    assert_string_equal(name, "nvidia.com/2ABC");
    resource_of(&c, &lengthy, name);
    assert_true(strlen(strchr(name, '/') + 1) <= 63);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_split_gpus_and_switches),
        cmocka_unit_test(the_first_match_wins_and_no_match_lists_nothing),
        cmocka_unit_test(model_names_are_spelt_as_users_know_them),
        cmocka_unit_test(a_model_template_makes_one_resource_per_model),
    };

    return cmocka_run_group_tests_name("daemon.resource", tests, NULL, NULL);
}
