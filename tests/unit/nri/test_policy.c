/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of nri/policy.h. The policies have the shape of kata: src/kata-opa/allow-all.rego and of
 * what genpolicy makes of src/tools/genpolicy/rules.rego.
 */
#include "base/cleanup.h"
#include "nri/policy.h"
#include "tests/unit/base/test_support.h"

#define KEY "nvidia.com/pgpu.cc-mode"

#define ALLOW_ALL                                                                                  \
    "# Copyright\npackage agent_policy\n\ndefault CopyFileRequest := true\n"                       \
    "default CreateContainerRequest := true\ndefault ExecProcessRequest := true\n"

/* The rules that matter, in genpolicy's words. */
#define RULES                                                                                      \
    "package agent_policy\nimport future.keywords.in\n"                                            \
    "default CreateContainerRequest := false\n"                                                    \
    "CreateContainerRequest {\n  some p_container in policy_data.containers\n"                     \
    "  allow_anno(p_container.OCI, input.OCI)\n}\n"                                                \
    "allow_anno_key(i_key, p_oci) {\n  startswith(i_key, \"io.kubernetes.cri.\")\n}\n"             \
    "allow_anno_key(i_key, p_oci) {\n  some p_key, _ in p_oci.Annotations\n  p_key == i_key\n}\n"

#define PAUSE                                                                                      \
    "{\"OCI\": {\"Version\": \"1.1.0\", \"Annotations\": {"                                        \
    "\"io.kubernetes.cri.container-type\": \"sandbox\"}}, \"storages\": []}"
#define CONTAINER(annotations)                                                                     \
    "{\"OCI\": {\"Version\": \"1.1.0\", \"Process\": {\"Env\": [\"A=B\"]}, \"Annotations\": {"     \
    "\"io.kubernetes.cri.container-type\": \"container\"" annotations "}}, \"storages\": []}"
#define DATA(containers) "policy_data := {\n  \"containers\": [" containers "],\n  \"x\": {}\n}\n"

static const struct {
    bool allows;
    const char *rego;
} policies[] = {
    /* every container by default */
    {true, ALLOW_ALL},
    {true, "package agent_policy default CreateContainerRequest = true"},
    {true, "package agent_policy\ndefault CreateContainerRequest := true\n"
           "default ExecProcessRequest := false\nExecProcessRequest { input.x == \"y\" }\n"},
    {true, ALLOW_ALL "# CreateContainerRequest := false { true }\n"},
    {true, ALLOW_ALL "x := \"CreateContainerRequest\"\ny := `\nCreateContainerRequest\n`\n"},
    {true, "package agent_policy\ndefault AllowRequestsFailingPolicy := true\n"},
    {true, RULES DATA(PAUSE) "default AllowRequestsFailingPolicy := true\n"},
    /* not all by default, or not only by default */
    {false, "package agent_policy\ndefault CreateContainerRequest := false\n"},
    {false, "package agent_policy\n# default CreateContainerRequest := true\n"},
    {false, "package agent_policy\nx := \"default CreateContainerRequest := true\"\n"},
    {false, "package agent_policy\nx := `\ndefault CreateContainerRequest := true\n`\n"},
    {false, "package agent_policy\ndefault ExecProcessRequest := true\n"},
    {false, "package agent_policy\ndefault CreateContainerRequestX := true\n"},
    {false, "package agent_policy\nCreateContainerRequest := true { input.x == 1 }\n"},
    {false, "package agent_policy\ndefault CreateContainerRequest == true\n"},
    {false, ALLOW_ALL "CreateContainerRequest := false { input.x == 1 }\n"},
    {false, "package other\ndefault CreateContainerRequest := true\n"},
    {false, "package agent_policy.sub\ndefault CreateContainerRequest := true\n"},
    {false, "default CreateContainerRequest := true\n"},
    {false, ""},
    {false, ALLOW_ALL "x := \"unterminated\n"},
    {false, ALLOW_ALL "x := `unterminated\n"},
    /* genpolicy's, by the annotations of its data */
    {false, RULES DATA(PAUSE ", " CONTAINER(""))},
    {true, RULES DATA(PAUSE ", " CONTAINER(", \"" KEY "\": \"on\""))},
    {true, RULES DATA(CONTAINER(", \"" KEY "\": \"\"") ", " PAUSE)},
    {false, RULES DATA(PAUSE ", " CONTAINER(", \"" KEY "\": \"on\"") ", " CONTAINER(""))},
    {true, RULES DATA(CONTAINER(", \"" KEY "\": \"a\"") ", " CONTAINER(", \"" KEY "\": \"b\""))},
    {false, RULES DATA(PAUSE)},
    {false, RULES},
    /* the key is there, but not as a key of a container's annotations */
    {false, RULES "# \"" KEY "\": \"on\"\n" DATA(PAUSE ", " CONTAINER(""))},
    {false, RULES DATA(CONTAINER("\n# , \"" KEY "\": \"on\"\n"))},
    {false, RULES DATA(CONTAINER(", \"x\": \"" KEY "\""))},
    {false, RULES DATA(CONTAINER(", \"x\": \"\\\"" KEY "\\\": 1\""))},
    {false, RULES DATA(CONTAINER(", \"x\": {\"" KEY "\": \"on\"}"))},
    {false, RULES DATA(CONTAINER(", \"" KEY ".x\": \"on\""))},
    {false, RULES DATA("{\"OCI\": {\"" KEY "\": \"x\", \"Annotations\": {}}}")},
    {false, RULES "other := {\"Annotations\": {\"" KEY "\": \"on\"}}\n" DATA(CONTAINER(""))},
    {false, RULES DATA("{\"OCI\": {}}, " CONTAINER(", \"" KEY "\": \"on\""))},
    {false, RULES DATA(CONTAINER(", \"" KEY "\": \"on\"")) "policy_data := {}\n"},
    {false, "package agent_policy\n" DATA(CONTAINER(", \"" KEY "\": \"on\""))},
    {false, RULES "policy_data := {\"containers\": [{\"OCI\": {\"Annotations\": {\"" KEY "\": "},
};

static void
only_what_surely_passes_is_said_to_pass(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(policies); k++)
        if (policy_allows_annotation(policies[k].rego, strlen(policies[k].rego), KEY) !=
            policies[k].allows)
            fail_msg("should be %s:\n%s", policies[k].allows ? "allowed" : "held back",
                     policies[k].rego);
}

static void
the_text_need_not_end_in_a_nul(void **state)
{
    (void)state;
    static const char rego[] = "package agent_policy\ndefault CreateContainerRequest := trueX";
    _cleanup_free_ char *exact = malloc(sizeof(rego) - 2);

    assert_non_null(exact);
    memcpy(exact, rego, sizeof(rego) - 2);
    assert_true(policy_allows_annotation(exact, sizeof(rego) - 2, KEY));
    assert_false(policy_allows_annotation(rego, sizeof(rego) - 1, KEY));
}

static void
the_annotation_is_decoded_as_the_go_shim_does(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_free_ char *rego = NULL;
    char *none = NULL;
    size_t len = 0;
    _cleanup_free_ char *big = malloc(256 * 1024 + 1);

    /* printf 'package agent_policy\n' | base64 */
    assert_int_equal(policy_decode("cGFja2FnZSBh\r\nZ2VudF9wb2xpY3kK\n", 31, &rego, &len, &e), 0);
    assert_string_equal(rego, "package agent_policy\n");
    assert_int_equal(len, 21);
    assert_fails(policy_decode("cGFja2Fn*SBh", 12, &none, &len, &e), e, EINVAL);
    assert_has(e.msg, POLICY_ANNOTATION);
    err_clear(&e);
    assert_non_null(big);
    memset(big, 'A', 256 * 1024 + 1);
    assert_fails(policy_decode(big, 256 * 1024 + 1, &none, &len, &e), e, E2BIG);
    assert_null(none);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_surely_passes_is_said_to_pass),
        cmocka_unit_test(the_text_need_not_end_in_a_nul),
        cmocka_unit_test(the_annotation_is_decoded_as_the_go_shim_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
