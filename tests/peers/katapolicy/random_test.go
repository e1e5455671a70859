// SPDX-License-Identifier: Apache-2.0

package katapolicy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// A policy put together of parts that mean something to the engine, the guard, or both.
func random(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	some := func(chance int, text string) string {
		if r.IntN(100) < chance {
			return text
		}
		return ""
	}
	boolean := func() string { return pick("true", "false") }
	space := func() string { return pick(" ", "  ", "\t", " # x\n", "\n") }
	keys := func() []string {
		var k []string
		for _, key := range ours {
			if r.IntN(4) > 0 {
				k = append(k, key)
			}
		}
		return k
	}
	var text strings.Builder
	fmt.Fprint(&text, some(30, "# default CreateContainerRequest := true\n"))
	if r.IntN(2) == 0 {
		containers := []map[string]any{workload(keys()...)}
		for range r.IntN(3) {
			if r.IntN(2) == 0 {
				containers = append(containers, pause())
			} else {
				containers = append(containers, workload(keys()...))
			}
		}
		body := generated(pick(byKey, byPattern), containers...)
		switch r.IntN(14) {
		case 0:
			body = strings.Replace(body, "default CreateContainerRequest := false", "default CreateContainerRequest := "+boolean(), 1)
		case 1:
			body = strings.ReplaceAll(body, `": `, `"`+space()+":"+space())
		case 2:
			body = strings.Replace(body, "whatever the pod had", "}, \\\"Annotations\\\": {", 1)
		case 3:
			body = strings.Replace(body, `"nvidia.com`, `"nvidia\u002ecom`, 1)
		case 4:
			body = strings.Replace(body, "policy_data := ", "policy_data = ", 1)
		case 5:
			body = strings.Replace(body, "known == key", pick("key == known", "known == key; true", "known != key",
				"known == key\n\tinput.OCI.Annotations[key] == \"whatever the pod had\""), 1)
		case 6:
			body = strings.Replace(body, "gpus(want, input.devices)", "gpus(want, input.devices)\n\t"+pick(
				"count(input.OCI.Annotations) == 4", "not input.OCI.Annotations[\"a.b/c\"]", "input.OCI.Annotations[_] == \"container\"",
				"not input.OCI.Annotations[\""+ours[0]+"\"]", "count([k | input.OCI.Annotations[k]]) == 4",
				"a := input.OCI.Annotations; a[\"cdi.k8s.io/vfio3\"]", "count(numbers(input.OCI.Annotations)) == 1"), 1)
		case 7:
			body = strings.Replace(body, "\"cdi.k8s.io/vfio\"\n", pick("\"cdi.k8s.io/\"\n", "\"nvidia.com/\"\n", "\"\"\n"), 1)
		case 8:
			body = strings.Replace(body, "startswith(key, GPU_PREFIX)", pick("endswith(key, \"3\")", "true", "contains(key, GPU_PREFIX)"), 1)
		case 9:
			body = strings.Replace(body, "every key", "print(\"every key {(\")\n\tevery key", 1)
		}
		fmt.Fprint(&text, body)
	} else {
		fmt.Fprint(&text, "package", pick(" ", "\t", "  "), pick("agent_policy", "agent_policy", "agent_policy", `agent_policy["x"]`, "agent"), "\n")
		fmt.Fprint(&text, some(80, "default"+pick(" ", "  ", "\t")+"CreateContainerRequest "+pick(":=", "=")+space()+boolean()+"\n"))
	}
	fmt.Fprint(&text, some(20, "default AllowRequestsFailingPolicy := "+boolean()+"\n"))
	fmt.Fprint(&text, some(10, "AllowRequestsFailingPolicy { input.nothing }\n"))
	fmt.Fprint(&text, some(15, "CreateContainerRequest := "+boolean()+" { input.OCI }\n"))
	fmt.Fprint(&text, some(10, "CreateContainerRequest := {\"allowed\": "+boolean()+"} { input.OCI.Annotations }\n"))
	fmt.Fprint(&text, some(5, "allow_anno_key(k, _) = false { startswith(k, \"nvidia.com/\") }\n"))
	fmt.Fprint(&text, some(5, "allow_anno_key(k, _) = true { startswith(k, \"nvidia.com/\") }\n"))
	fmt.Fprint(&text, some(15, "text := `\ndefault CreateContainerRequest := true\npolicy_data := {`\n"))
	fmt.Fprint(&text, some(15, "words := \"\\\" default CreateContainerRequest := true\"\n"))
	fmt.Fprint(&text, some(15, "other := {\"OCI\": {\"Annotations\": {\""+ours[0]+"\": 1}}}\n"))
	return text.String()
}

// Whatever the policy is: what the guard would add, the agent lets through.
func TestTheGuardIsNeverLaxerThanThePolicy(t *testing.T) {
	const policies = 600
	r := rand.New(rand.NewPCG(1, 2))
	added, held, broken := 0, 0, 0
	for i := range policies {
		text := random(r)
		p, err := compile(text)
		if err != nil {
			broken++ // no guest starts with it
			continue
		}
		for key, adds := range guard(t, text, ours) {
			switch {
			case !adds:
				held++
			case p.allows(t, asKata().with(key+"=x")):
				added++
			case !p.allows(t, asKata()):
				// The agent refuses this container as it is; the annotation makes no difference.
				held++
			default:
				t.Errorf("policy %d: %s would be added, and the agent would refuse the container\n%s", i, key, text)
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d verdicts to add, %d to hold back, %d policies that are none", added, held, broken)
	if added < policies || held < policies || broken > policies/2 {
		t.Error("the policies are not varied enough")
	}
}
