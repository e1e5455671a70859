// SPDX-License-Identifier: Apache-2.0

package katapolicy

import (
	"encoding/json"
	"strings"
	"testing"
)

const open = `package agent_policy

default CreateContainerRequest := true
`

const closed = `package agent_policy

default CreateContainerRequest := false
`

const failing = closed + `
default AllowRequestsFailingPolicy := true
`

// What genpolicy's rules decide of annotations, environment and devices of a container, written anew; the
// names that the guard looks for are genpolicy's. In one thing its releases differ: keys were judged
// alone, and are judged with patterns for values, by a rule of another name, since GPUs are known to it
// (kata-containers pull request 12108).
const common = `
default CreateContainerRequest := false

CreateContainerRequest := {"allowed": true, "ops": []} {
	some want in policy_data.containers
	type := "io.kubernetes.cri.container-type"
	want.OCI.Annotations[type] == input.OCI.Annotations[type]
	known_keys(want)
	every variable in input.OCI.Process.Env {
		known_variable(want, variable)
	}
	gpus(want)
}

known_variable(want, variable) {
	variable == want.OCI.Process.Env[_]
}

known_variable(_, variable) {
	regex.match(policy_data.request_defaults.CreateContainerRequest.allow_env_regex[_], variable)
}

gpus(want) {
	of_devices := {n | n := trim_prefix(input.devices[_].container_path, "/dev/vfio/devices/vfio")}
	of_keys := {n | some key, _ in input.OCI.Annotations; startswith(key, "cdi.k8s.io/vfio"); n := trim_prefix(key, "cdi.k8s.io/vfio")}
	of_devices == of_keys
	count(of_devices) == count(input.devices)
	count(of_devices) == count(want.devices)
}
`

const imports = `package agent_policy

import future.keywords.every
import future.keywords.in
`

const byKey = imports + common + `
known_keys(want) {
	every key, _ in input.OCI.Annotations {
		allow_anno_key(key, want.OCI)
	}
}

allow_anno_key(key, _) {
	startswith(key, "io.kubernetes.cri.")
}

allow_anno_key(key, _) {
	regex.match("^cdi\\.k8s\\.io/vfio[0-9]+$", key)
}

allow_anno_key(key, oci) {
	some known, _ in oci.Annotations
	known == key
}
`

const byPattern = imports + common + `
known_keys(want) {
	every key, value in input.OCI.Annotations {
		allow_anno_key_value(key, value, want)
	}
}

allow_anno_key_value(key, _, _) {
	startswith(key, "io.kubernetes.cri.")
}

allow_anno_key_value(key, _, want) {
	some known, _ in want.OCI.Annotations
	known == key
}

allow_anno_key_value(key, value, want) {
	some keys, values in want.runtime_anno_patterns
	regex.match(keys, key)
	regex.match(values, value)
}
`

// rules are both, by the name of the rule that judges annotations.
var rules = map[string]string{"allow_anno_key": byKey, "allow_anno_key_value": byPattern}

// pause and workload are containers of a policy's data; a workload's pod has these annotations.
func pause() map[string]any {
	return map[string]any{
		"OCI": map[string]any{
			"Annotations": map[string]any{"io.kubernetes.cri.container-type": "sandbox"},
			"Process":     map[string]any{"Env": []any{}},
		},
		"devices": []any{},
	}
}

func workload(keys ...string) map[string]any {
	annotations := map[string]any{
		"io.kubernetes.cri.container-type":         "container",
		"io.katacontainers.pkg.oci.container_type": "pod_container",
	}
	for _, key := range keys {
		annotations[key] = "whatever the pod had"
	}
	return map[string]any{
		"OCI": map[string]any{
			"Annotations": annotations,
			"Process":     map[string]any{"Env": []any{"PATH=/usr/bin"}},
		},
		"devices":               []any{map[string]any{"container_path": "/dev/vfio/devices/vfio"}},
		"runtime_anno_patterns": map[string]any{`^cdi\.k8s\.io/vfio[0-9]+$`: `^nvidia\.com/gpu=[0-9]+$`},
	}
}

// generated is rules and data, as genpolicy puts them together.
func generated(rules string, containers ...map[string]any) string {
	data, err := json.MarshalIndent(map[string]any{
		"containers": containers,
		"request_defaults": map[string]any{
			"CreateContainerRequest": map[string]any{"allow_env_regex": []any{"^HOSTNAME=[a-z]+$"}},
		},
	}, "", "  ")
	if err != nil {
		panic(err)
	}
	return rules + "\npolicy_data := " + string(data) + "\n"
}

// What an edit of a container does under a policy that was made for its pod.
func TestWhatAPolicyLetsThrough(t *testing.T) {
	outer := "cdi.k8s.io/pgpu=nvidia.com/pgpu=0000:41:00.0"
	variable := asKata()
	variable.Env = append(variable.Env, "NVIDIA_VISIBLE_DEVICES=all")
	twice := asKata().with("cdi.k8s.io/vfio4=nvidia.com/gpu=1")
	twice.Devices = append(twice.Devices, "vfio4")
	requests := []struct {
		what string
		r    Request
		open bool // the policy without our annotations lets it through
		ours bool // so does the one with them
	}{
		{"as Kata makes it", asKata(), true, true},
		{"with our annotations", asKata().with(ours...), false, true},
		{"with an outer CDI annotation", asKata().with(outer), false, false},
		{"with ours and an outer CDI annotation", asKata().with(ours...).with(outer), false, false},
		{"with one more variable", variable, false, false},
		{"with one more GPU", twice, false, false},
		{"with the annotation of a GPU that it lacks", asKata().with("cdi.k8s.io/vfio4=nvidia.com/gpu=1"), false, false},
	}
	for name, text := range rules {
		plain := mustCompile(t, generated(text, pause(), workload()))
		known := mustCompile(t, generated(text, pause(), workload(ours...)))
		for _, q := range requests {
			if have := plain.allows(t, q.r); have != q.open {
				t.Errorf("%s, a policy without our annotations, a request %s: %v", name, q.what, have)
			}
			if have := known.allows(t, q.r); have != q.ours {
				t.Errorf("%s, a policy with our annotations, a request %s: %v", name, q.what, have)
			}
		}
	}
	for name, text := range map[string]string{"open": open, "failing": failing} {
		p := mustCompile(t, text)
		for _, q := range requests {
			if !p.allows(t, q.r) {
				t.Errorf("%s, a request %s: refused", name, q.what)
			}
		}
	}
	if mustCompile(t, closed).allows(t, asKata()) {
		t.Error("closed: let through")
	}
}

// The guard may be stricter than a policy, for a reason; laxer only where that is known.
var verdicts = []struct {
	name, text string
	stricter   string // why keys are held back that the policy would let through
	laxer      string // why keys are added that the policy does not let through: a known fault
}{
	{name: "open", text: open},
	{name: "open, with = and on one line", text: "package agent_policy default CreateContainerRequest = true"},
	{name: "open, other requests are not", text: open + "default ExecProcessRequest := false\n"},
	{name: "open, but for a comment", text: open + "# CreateContainerRequest := false { true }\n"},
	{name: "open, but for a string", text: open + "x := \"CreateContainerRequest := false\"\n"},
	{name: "open, but for a raw string", text: open + "x := `\nCreateContainerRequest := false\n`\n"},
	{name: "closed", text: closed},
	{name: "open in a comment", text: closed + "# default CreateContainerRequest := true\n"},
	{name: "failing requests pass", text: failing},
	{name: "failing requests do not", text: closed + "default AllowRequestsFailingPolicy := false\n"},
	{name: "another package", text: strings.Replace(open, "agent_policy", "other", 1)},
	{name: "a package below", text: strings.Replace(open, "agent_policy", "agent_policy.sub", 1)},
	{name: "a rule besides the default", text: open + "CreateContainerRequest := false { input.OCI }\n"},
	{
		name: "a rule besides the default that never holds", text: open + "CreateContainerRequest := false { input.nothing }\n",
		stricter: "a rule is not evaluated",
	},
	{
		name: "a rule instead of a default", text: "package agent_policy\nCreateContainerRequest { input.OCI }\n",
		stricter: "a rule is not evaluated",
	},
	{name: "generated, keys unknown", text: generated(byKey, pause(), workload())},
	{name: "generated, keys known", text: generated(byKey, pause(), workload(ours...))},
	{name: "generated, one key known", text: generated(byKey, pause(), workload(ours[1]))},
	{name: "generated, known of both containers", text: generated(byKey, pause(), workload(ours...), workload(ours...))},
	{
		name: "generated, known of one container", text: generated(byKey, pause(), workload(ours...), workload()),
		stricter: "the host does not know which of them a container is",
	},
	{name: "generated, known of the sandbox alone", text: generated(byKey, func() map[string]any {
		p := pause()
		p["OCI"].(map[string]any)["Annotations"].(map[string]any)[ours[0]] = "x"
		return p
	}(), workload())},
	{name: "generated, keys as values", text: generated(byKey, pause(), func() map[string]any {
		w := workload()
		w["OCI"].(map[string]any)["Annotations"].(map[string]any)["example.com/x"] = ours[0]
		return w
	}())},
	{
		name: "generated, keys with escapes", stricter: "escapes are not decoded",
		text: strings.ReplaceAll(generated(byKey, pause(), workload(ours...)), "nvidia.com/", "nvidia.com\\u002f"),
	},
	{name: "generated by patterns, keys unknown", text: generated(byPattern, pause(), workload())},
	{
		name: "generated by patterns, keys known", text: generated(byPattern, pause(), workload(ours...)),
		stricter: "the rule's newer name is not known to the guard",
	},
	{
		name: "a rule of genpolicy's name that compares values", laxer: "the rule is known by its name alone",
		text: generated(strings.ReplaceAll(byKey, "known == key", "known == key\n\toci.Annotations[key] == input.OCI.Annotations[key]"),
			pause(), workload(ours...)),
	},
}

func TestTheGuardHoldsBackWhatThePolicyRejects(t *testing.T) {
	for _, v := range verdicts {
		t.Run(v.name, func(t *testing.T) {
			p := mustCompile(t, v.text)
			held, lax := 0, 0
			for key, added := range guard(t, v.text, ours) {
				allowed := p.allows(t, asKata().with(key+"=x"))
				switch {
				case added && !allowed && v.laxer != "":
					lax++
				case added && !allowed:
					t.Errorf("%s would be added, and the agent would refuse the container", key)
				case allowed && !added:
					if held++; v.stricter == "" {
						t.Errorf("%s is held back for nothing", key)
					}
				}
			}
			if v.laxer != "" && lax == 0 {
				t.Errorf("no longer laxer than the policy: %s", v.laxer)
			}
			if v.stricter != "" && held == 0 {
				t.Errorf("no longer stricter than the policy: %s", v.stricter)
			}
		})
	}
}
