// SPDX-License-Identifier: Apache-2.0

package katapolicy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
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
// (kata-containers pull request 12108). Of GPUs, which came with the second, both say the same here.
//
// A GPU that was plugged before the guest started has no device in the request, one that is plugged by
// it has; either way there is one annotation of Kata's for each.
const common = `
default CreateContainerRequest := false

CreateContainerRequest := {"allowed": true, "ops": []} {
	some want in policy_data.containers
	print("trying", want.OCI.Annotations, "for", input.OCI.Annotations)
	type := "io.kubernetes.cri.container-type"
	want.OCI.Annotations[type] == input.OCI.Annotations[type]
	known_keys(want)
	every variable in input.OCI.Process.Env {
		known_variable(want, variable)
	}
	gpus(want, input.devices)
}

known_variable(want, variable) {
	variable == want.OCI.Process.Env[_]
}

known_variable(_, variable) {
	regex.match(policy_data.request_defaults.CreateContainerRequest.allow_env_regex[_], variable)
}

gpus(want, devices) {
	count(devices) == 0
	count(numbers(input.OCI.Annotations)) == count(want.devices)
}

gpus(want, devices) {
	count(devices) == count(want.devices)
	every device in devices {
		gpu(want.devices[0], device)
	}
	of_devices := {n | n := trim_prefix(devices[_].container_path, policy_data.devices.vfio.device_path)}
	of_devices == numbers(input.OCI.Annotations)
	count(of_devices) == count(devices)
}

gpu(want, device) {
	number := trim_prefix(device.container_path, policy_data.devices.vfio.device_path)
	regex.match("^[0-9]+$", number)
	device.id == concat("", ["vfio", number])
	device.type_ == want.type_
	device.vm_path == want.vm_path
	count(device.options) > 0
	every option in device.options {
		regex.match("^[[:xdigit:]]{4}:[[:xdigit:]]{2}:[01][[:xdigit:]]\\.[0-7]=[[:xdigit:]]{2}/[[:xdigit:]]{2}$", option)
	}
}

GPU_PREFIX = "cdi.k8s.io/vfio"

numbers(annotations) := {n |
	some key, _ in annotations
	startswith(key, GPU_PREFIX)
	n := trim_prefix(key, GPU_PREFIX)
	regex.match("^[0-9]+$", n)
}
`

const imports = `package agent_policy

import future.keywords.every
import future.keywords.in
`

const byKey = imports + common + `
known_keys(_) {
	not input.OCI.Annotations
}

known_keys(want) {
	keys := object.keys(input.OCI.Annotations)
	print(keys)
	every key in keys {
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
	print("is", key, "known?")
	some known, _ in oci.Annotations
	known == key
}
`

// byPattern is in the words of the newer language, as genpolicy's rules are by now.
var byPattern = strings.NewReplacer(") {\n", ") if {\n", "} {\n", "} if {\n").Replace(imports+"import future.keywords.if\n"+common) + `
known_keys(want) if {
	every key, value in input.OCI.Annotations {
		allow_anno_key_value(key, value, want)
	}
}

allow_anno_key_value(key, _, _) if {
	startswith(key, "io.kubernetes.cri.")
}

allow_anno_key_value(key, _, want) if {
	some known, _ in want.OCI.Annotations
	known == key
}

allow_anno_key_value(key, value, want) if {
	some keys, values in want.runtime_anno_patterns
	regex.match(keys, key)
	regex.match(values, value)
}
`

// rules are both, by the name of the rule that judges annotations.
var rules = map[string]string{"allow_anno_key": byKey, "allow_anno_key_value": byPattern}

// edited is a text with one thing in it changed.
func edited(text, from, to string) string {
	if strings.Count(text, from) != 1 {
		panic("not once in the text: " + from)
	}
	return strings.Replace(text, from, to, 1)
}

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
		"devices": []any{map[string]any{
			"container_path": "/dev/vfio/devices/vfio", "type_": "vfio-pci-gk", "vm_path": "",
		}},
		"runtime_anno_patterns": map[string]any{`^cdi\.k8s\.io/vfio[0-9]+$`: `^nvidia\.com/gpu=[0-9]+$`},
	}
}

// generated is rules and data, as genpolicy puts them together.
func generated(rules string, containers ...map[string]any) string {
	data, err := json.MarshalIndent(map[string]any{
		"containers": containers,
		"devices":    map[string]any{"vfio": map[string]any{"device_path": "/dev/vfio/devices/vfio"}},
		"request_defaults": map[string]any{
			"CreateContainerRequest": map[string]any{"allow_env_regex": []any{"^HOSTNAME=[a-z]+$"}},
		},
	}, "", "  ")
	if err != nil {
		panic(err)
	}
	return rules + "\npolicy_data := " + string(data) + "\n"
}

type request struct {
	what string
	r    Request
	open bool // a policy that does not know our annotations lets it through
	ours bool // so does one that does
}

// What an edit of a container does under a policy that was made for its pod.
func TestWhatAPolicyLetsThrough(t *testing.T) {
	outer := "cdi.k8s.io/pgpu=nvidia.com/pgpu=0000:41:00.0"
	variable := asKata()
	variable.Env = append(variable.Env, "NVIDIA_VISIBLE_DEVICES=all")
	cold := asKata()
	cold.Devices = nil
	other := asKata()
	other.Devices = []string{"vfio4"}
	twice := asKata().with("cdi.k8s.io/vfio4=nvidia.com/gpu=1")
	twice.Devices = append(twice.Devices, "vfio4")
	requests := []request{
		{"as Kata makes it", asKata(), true, true},
		{"with our annotations", asKata().with(ours...), false, true},
		{"as Kata makes it of a GPU that the guest has", cold, true, true},
		{"of a GPU that the guest has, with our annotations", cold.with(ours...), false, true},
		{"of a GPU that the guest has, with an outer CDI annotation", cold.with(outer), false, false},
		{"of two GPUs that the guest has", cold.with("cdi.k8s.io/vfio4=nvidia.com/gpu=1"), false, false},
		{"with another GPU than its annotation names", other, false, false},
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

// The guard may be stricter than a policy, for a reason; never laxer.
var verdicts = []struct {
	name, text string
	stricter   string // why keys are held back that the policy would let through
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
	{name: "generated by patterns, keys known", text: generated(byPattern, pause(), workload(ours...))},
	{name: "generated by patterns, one key known", text: generated(byPattern, pause(), workload(ours[1]))},
	{
		name: "generated by patterns, keys fit a pattern", stricter: "patterns are not evaluated",
		text: generated(byPattern, pause(), func() map[string]any {
			w := workload()
			w["runtime_anno_patterns"] = map[string]any{`^nvidia\.com/pgpu\.`: `x`, `^cdi\.k8s\.io/vfio[0-9]+$`: `.`}
			return w
		}()),
	},
	// Rules of genpolicy's names that are not genpolicy's.
	{
		name: "an old rule that compares values",
		text: generated(edited(byKey, "known == key", "known == key\n\toci.Annotations[key] == input.OCI.Annotations[key]"),
			pause(), workload(ours...)),
	},
	{
		name: "a new rule that compares values",
		text: generated(edited(byPattern, "some known, _ in want.OCI.Annotations\n\tknown == key",
			"some known, wanted in want.OCI.Annotations\n\tknown == key\n\twanted == input.OCI.Annotations[key]"),
			pause(), workload(ours...)),
	},
	{
		name: "a rule that asks for labels", text: generated(edited(byPattern, "in want.OCI.Annotations\n\tknown",
			"in want.OCI.Labels\n\tknown"), pause(), workload(ours...)),
	},
	{
		name: "a rule that refuses what the data has",
		text: generated(edited(byKey, "\tknown == key", "\tknown != key\n\tkey == \"x\""), pause(), workload(ours...)),
	},
	{
		name: "one clause more that lets through", stricter: "clauses but the one are not evaluated",
		text: generated(byPattern+"\nallow_anno_key_value(key, _, _) if {\n\tnot startswith(key, \"io.katacontainers.\")\n"+
			"\tnot startswith(key, \"cdi.\")\n}\n", pause(), workload()),
	},
	{
		name: "one clause more that says no",
		text: generated(byKey+"\nallow_anno_key(key, _) = false {\n\tstartswith(key, \"nvidia.com/\")\n}\n", pause(), workload(ours...)),
	},
	{
		name: "keys counted",
		text: generated(edited(byPattern, "\tgpus(want, input.devices)\n", "\tgpus(want, input.devices)\n\tcount(input.OCI.Annotations) == 4\n"),
			pause(), workload(ours...)),
	},
	{
		name: "keys counted in the rule that has them as a set",
		text: generated(edited(byKey, "every key in keys {", "count(keys) == 4\n\tevery key in keys {"), pause(), workload(ours...)),
	},
	{
		name: "keys of ours refused by name",
		text: generated(edited(byPattern, "\tgpus(want, input.devices)\n", "\tgpus(want, input.devices)\n\tnot ours\n")+
			"\nours if {\n\tsome key, _ in input.OCI.Annotations\n\tstartswith(key, \"nvidia.com/\")\n}\n", pause(), workload(ours...)),
	},
	{
		name: "keys of ours refused by what they contain",
		text: generated(edited(byPattern, "\tgpus(want, input.devices)\n", "\tgpus(want, input.devices)\n\tnot ours\n")+
			"\nours if {\n\tinput.OCI.Annotations[key]\n\tcontains(key, \"pgpu\")\n}\n", pause(), workload(ours...)),
	},
	{
		name: "keys of ours refused through a function",
		text: generated(edited(byPattern, "startswith(key, GPU_PREFIX)", "contains(key, \"vfio\")\n\tcount(annotations) == 4"),
			pause(), workload(ours...)),
	},
	{
		name: "annotations under another name",
		text: generated(edited(byPattern, "\tgpus(want, input.devices)\n",
			"\tgpus(want, input.devices)\n\tcount(object.get(input.OCI, \"Annotations\", {})) == 4\n"), pause(), workload(ours...)),
	},
	{
		name: "another look-up", text: generated(edited(byPattern, "\tgpus(want, input.devices)\n",
			"\tgpus(want, input.devices)\n\tnot input.OCI.Annotations[\"example.com/x\"]\n"), pause(), workload(ours...)),
	},
}

func TestTheGuardHoldsBackWhatThePolicyRejects(t *testing.T) {
	for _, v := range verdicts {
		t.Run(v.name, func(t *testing.T) {
			p := mustCompile(t, v.text)
			held := 0
			for key, added := range guard(t, v.text, ours) {
				allowed := p.allows(t, asKata().with(key+"=x"))
				switch {
				case added && !allowed:
					t.Errorf("%s would be added, and the agent would refuse the container", key)
				case allowed && !added:
					if held++; v.stricter == "" {
						t.Errorf("%s is held back for nothing", key)
					}
				}
			}
			if v.stricter != "" && held == 0 {
				t.Errorf("no longer stricter than the policy: %s", v.stricter)
			}
		})
	}
}

// genpolicy's rules are of the older language, which the agent's engine takes by default, in words that
// the newer one has, too.
func TestNewerRulesMeanTheSameInBothVersionsOfTheLanguage(t *testing.T) {
	text := generated(byPattern, pause(), workload(ours...))
	v1, err := compileAs(text, ast.RegoV1)
	if err != nil {
		t.Fatal(err)
	}
	v0 := mustCompile(t, text)
	outer := asKata().with("cdi.k8s.io/pgpu=nvidia.com/pgpu=0")
	for _, r := range []Request{asKata(), asKata().with(ours...), outer} {
		if v0.allows(t, r) != v1.allows(t, r) {
			t.Errorf("%+v", r)
		}
	}
	if !v1.allows(t, asKata().with(ours...)) || v1.allows(t, outer) {
		t.Error("it decides nothing")
	}
}
