/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of nri/policy.h. The policies have the shape of kata: src/kata-opa/allow-all.rego and of
 * what genpolicy makes of src/tools/genpolicy/rules.rego.
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "nri/policy.h"
#include "tests/unit/base/test_support.h"

#define KEY "nvidia.com/pgpu.cc-mode"

#define ALLOW_ALL                                                                                  \
    "# Copyright\npackage agent_policy\n\ndefault CopyFileRequest := true\n"                       \
    "default CreateContainerRequest := true\ndefault ExecProcessRequest := true\n"

/* Rules that decide of annotations as genpolicy's do: up to 2025, and since. */
#define START                                                                                      \
    "package agent_policy\nimport future.keywords.in\nimport future.keywords.every\n"              \
    "default CreateContainerRequest := false\n"                                                    \
    "CreateContainerRequest := {\"ops\": [], \"allowed\": true} {\n"                               \
    "  some p_container in policy_data.containers\n  print(\"trying\", input.OCI.Annotations)\n"   \
    "  S_NAME == input.OCI.Annotations[NAME_KEY]\n  allow_anno(p_container, input.OCI)\n}\n"       \
    "NAME_KEY = \"io.kubernetes.cri.sandbox-name\"\nS_NAME = \"model\"\n"
#define PREFIX "{\n  startswith(i_key, \"io.kubernetes.cri.\")\n}\n"
#define OLD_CALL                                                                                   \
    "allow_anno(p, i_oci) {\n  not i_oci.Annotations\n}\n"                                         \
    "allow_anno(p, i_oci) {\n  print(\"a (\", i_oci.Annotations)\n"                                \
    "  i_keys := object.keys(i_oci.Annotations)\n  print(i_keys)\n"                                \
    "  every i_key in i_keys {\n    allow_anno_key(i_key, p.OCI)\n  }\n}\n"
#define OLD_OTHER "allow_anno_key(i_key, p_oci) " PREFIX
#define OLD_KNOWN                                                                                  \
    "allow_anno_key(i_key, p_oci) {\n  some p_key, _ in p_oci.Annotations\n  p_key == i_key\n"     \
    "  print(\"yes\")\n}\n"
#define RULES START OLD_CALL OLD_OTHER OLD_KNOWN

#define NEW_CALL                                                                                   \
    "allow_anno(p, i_oci) if {\n  not i_oci.Annotations\n}\n"                                      \
    "allow_anno(p, i_oci) if {\n  every k, v in i_oci.Annotations {\n"                             \
    "    allow_anno_key_value(k, v, p)\n  }\n}\n"
#define NEW_KNOWN                                                                                  \
    "allow_anno_key_value(i_key, i_value, p) if {\n  some p_key, _ in p.OCI.Annotations\n"         \
    "  p_key == i_key\n}\n"
#define NEW_PATTERNS                                                                               \
    "allow_anno_key_value(i_key, i_value, p) if {\n  some k, v in p.runtime_anno_patterns\n"       \
    "  regex.match(k, i_key)\n  regex.match(v, i_value)\n}\n"
#define NEW_RULES START "import future.keywords.if\n" NEW_CALL NEW_KNOWN NEW_PATTERNS

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
    {false, RULES "x { print(\"" DATA(CONTAINER(", \"" KEY "\": \"on\""))},
};

/* Rules, and whether they let the key of the data through. */
static const struct {
    bool allows;
    const char *rules;
} judging[] = {
    {true, RULES},
    {true, NEW_RULES},
    /* other words for the same */
    {true, START NEW_CALL
     "allow_anno_key_value(a, _, c) if { some b, _ in c.OCI.Annotations; a == b }\n"},
    {true, START NEW_KNOWN "allow_anno(p, i) if {\n  bad := {k | some k, v in i.Annotations; not "
                           "allow_anno_key_value(k, v, p)}\n  count(bad) == 0\n}\n"},
    {true,
     START OLD_KNOWN "f(w) { every k, _ in input.OCI.Annotations { allow_anno_key(k, w.OCI) } }\n"},
    {true, NEW_RULES "allow_anno_key_value(k, v, p) if { input.OCI.Annotations[k] == \"x\" }\n"},
    /* of no clause alone: no clause, another one, more in it, a value, an end with else */
    {false, START},
    {false, START OLD_CALL OLD_OTHER},
    {false, START NEW_CALL NEW_PATTERNS},
    {false, START OLD_CALL "allow_anno_key(k, o) { some x, _ in o.Annotations; x != k }\n"},
    {false, START OLD_CALL "allow_anno_key(k, o) { some x, _ in o.Labels; x == k }\n"},
    {false, START OLD_CALL "allow_anno_key(k, o) { some x, _ in o.Annotations; x == o }\n"},
    {false, START OLD_CALL "allow_anno_key(k, o) {\n  some x, _ in o.Annotations\n  x == k\n"
                           "  o.Annotations[k] == input.OCI.Annotations[k]\n}\n"},
    {false, START OLD_CALL "allow_anno_key(k, o) = false { some x, _ in o.Annotations; x == k }\n"},
    {false, RULES "allow_anno_key(k, o) := false { k == \"x\" }\n"},
    {false, RULES "default allow_anno_key(_, _) := false\n"},
    {false, START OLD_CALL "allow_anno_key(k, o) { some x, _ in o.Annotations; x == k } else := "
                           "false { k == \"x\" }\n"},
    {false, "package agent_policy\nallow_anno_key(k, o) { some x, _ in o.Annotations"},
    /* the call is another one */
    {false, RULES "f { allow_anno_key(\"x\", input.OCI) }\n"},
    {false,
     START OLD_KNOWN "f(w) { every k, v in input.OCI.Annotations { allow_anno_key(k, w.OCI); "
                     "v == \"x\" } }\n"},
    {false, START OLD_KNOWN "f(w) { keys := object.keys(input.OCI.Annotations)\n every k in keys { "
                            "allow_anno_key(k, w.OCI) }\n count(keys) == 4 }\n"},
    /* look-ups of one key */
    {true, RULES "f { input.OCI.Annotations[\"a.b/c\"] == \"x\" }\n"},
    {true, RULES "f(k) { not input.OCI.Annotations[k] }\n"},
    {true, RULES "f(a, k) := {\"x\": 1} if { not input.OCI.Annotations[k] }\n"},
    {true, RULES "f { k := \"a.b/c\"; input.OCI.Annotations[k] }\n"},
    {false, RULES "f { input.OCI.Annotations[\"" KEY "\"] == \"x\" }\n"},
    {false, RULES "f { k := \"" KEY "\"; not input.OCI.Annotations[k] }\n"},
    {false, RULES "f { input.OCI.Annotations[\"nvidia.com\\u002fpgpu.cc-mode\"] == \"x\" }\n"},
    {false, RULES "f { input.OCI.Annotations["},
    {false, RULES "f(_) { input.OCI.Annotations[_] == \"x\" }\n"},
    {false, RULES "allow_anno_key(a, b) { z := a; z == b }\nf { input.OCI.Annotations[z] == 1 }\n"},
    {false, RULES "f { input.OCI.Annotations[_] == \"x\" }\n"},
    {false, RULES "f { input.OCI.Annotations[k] == \"x\"; startswith(k, \"a\") }\n"},
    {false, RULES "f { some k; input.OCI.Annotations[k] == \"x\" }\n"},
    {true, RULES "f(k) = x { x := input.OCI.Annotations[k] }\n"},
    {false, RULES "g(k) { k == 1 }\nf { input.OCI.Annotations[k] == \"x\" }\n"},
    {false, RULES "g(k) := 1\nf { input.OCI.Annotations[k] == \"x\" }\n"},
    {false, RULES "g(k) = k\nf if { input.OCI.Annotations[k] == \"x\" }\n"},
    {false, RULES "f { a := [k | k := 1]; input.OCI.Annotations[k] == a }\n"},
    {false, RULES "f { input.OCI.Annotations[i_key] == \"x\" }\n"},
    {false, RULES "k := 1 { true }\nf { input.OCI.Annotations[k] == \"x\" }\n"},
    {false, RULES "f { input.OCI.Annotations[concat(\"\", [\"a\"])] == \"x\" }\n"},
    /* all of them */
    {false, RULES "f { count(input.OCI.Annotations) == 4 }\n"},
    {false, RULES "f { a := input.OCI.Annotations; count(a) == 4 }\n"},
    {false, RULES "f { input.OCI.Annotations == {} }\n"},
    {false, RULES "f { input.OCI[\"Annotations\"][_] == \"x\" }\n"},
    {false, RULES "f { object.get(input.OCI, \"Annotations\", {}) == {} }\n"},
    {false, RULES "f { some \"Annotations\", v in input.OCI; v == {} }\n"},
    {false, RULES "f { some Annotations in input.OCI; Annotations == {} }\n"},
    {false, RULES "f { every k, v in input.OCI.Annotations { v != \"x\" } }\n"},
    /* those that start with something else */
    {true, RULES "f { some k, _ in input.OCI.Annotations; startswith(k, \"cdi.k8s.io/\") }\n"},
    {true, RULES "P = \"cdi.k8s.io/\"\nf { some k, _ in i.Annotations; startswith(k, P) }\n"},
    {true, RULES "P := \"cdi.k8s.io/\"\nf(a) := [s | some k, _ in a; startswith(k, P)\n s := k]\n"
                 "g { f(input.OCI.Annotations) == [] }\n"},
    {false, RULES "f { some k, _ in input.OCI.Annotations; startswith(k, \"nvidia.com/\") }\n"},
    {false, RULES "f { some k, _ in input.OCI.Annotations; endswith(k, \"x\") }\n"},
    {false, RULES "f { some k, _ in input.OCI.Annotations; not startswith(k, \"x\") }\n"},
    {false, RULES "P = \"a\"\nP = \"b\"\nf { some k, _ in i.Annotations; startswith(k, P) }\n"},
    {false, RULES "f { P := \"a\"; some k, _ in i.Annotations; startswith(k, P) }\n"},
    {false,
     RULES "f(a) := [k | some k, _ in a; startswith(k, \"\")]\ng { f(i.Annotations) == [] }\n"},
    {false, RULES "f(a) := [k | some k, _ in a; startswith(k, \"x\")\n count(a) == 4]\n"
                  "g { f(i.Annotations) == [] }\n"},
    {false,
     RULES "f(a) := [k | some k, _ in a; startswith(k, \"x\")]\nf(a) := [] { count(a) == 9 }\n"
           "g { f(i.Annotations) == [] }\n"},
    {false, RULES "g { f(input.OCI.Annotations) == [] }\n"},
    {false, RULES "f(a) := [k | some k, _ in a; startswith(k, \"x\")]\n"
                  "g { x.f(input.OCI.Annotations) == [] }\n"},
    {false,
     RULES "g { f(i.Annotations) == [] }\nf(a) := [k | some k, _ in a; startswith(k, \"x\")\n"},
};

static void
rules_are_believed_for_what_they_do_and_not_for_their_names(void **state)
{
    (void)state;
    static const char data[] = "\n" DATA(PAUSE ", " CONTAINER(", \"" KEY "\": \"on\""));

    for (size_t k = 0; k < ARRAY_SIZE(judging); k++) {
        char rego[8192];
        int n = snprintf(rego, sizeof(rego), "%s%s", judging[k].rules, data);

        assert_true(n > 0 && (size_t)n < sizeof(rego));
        if (policy_allows_annotation(rego, (size_t)n, KEY) != judging[k].allows)
            fail_msg("should be %s:\n%s", judging[k].allows ? "allowed" : "held back",
                     judging[k].rules);
    }
}

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

/* Every look-up is one, but to find that out takes the square of their number. */
static void
a_policy_that_takes_long_to_read_is_held_back(void **state)
{
    (void)state;
    for (size_t n = 10; n <= 9000; n *= 30) {
        _cleanup_(buf_fini) struct buf b;

        buf_init(&b, 1024 * 1024);
        (void)buf_put_str(&b, RULES "f(k) {\n");
        for (size_t i = 0; i < n; i++)
            (void)buf_put_str(&b, "x.Annotations[k]\n");
        (void)buf_put_str(&b, "}\n" DATA(PAUSE ", " CONTAINER(", \"" KEY "\": \"on\"")));
        assert_false(buf_failed(&b));
        assert_int_equal(policy_allows_annotation((const char *)b.data, b.len, KEY), n < 1000);
    }
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
        cmocka_unit_test(rules_are_believed_for_what_they_do_and_not_for_their_names),
        cmocka_unit_test(a_policy_that_takes_long_to_read_is_held_back),
        cmocka_unit_test(the_text_need_not_end_in_a_nul),
        cmocka_unit_test(the_annotation_is_decoded_as_the_go_shim_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
