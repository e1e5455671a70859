// SPDX-License-Identifier: Apache-2.0

// Package katapolicy asks the Rego engine what an agent policy says of a container, and compares it
// with what our guard makes of the same policy. The policies are our own: the two that decide as
// genpolicy's do were written after its rules, of which nothing is copied.
package katapolicy

import (
	"context"
	"maps"
	"os/exec"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"pgpu.local/peers/kit"
)

// ours are the annotations that pgpud adds by default (nri/guard.c).
var ours = []string{
	"nvidia.com/pgpu.cc-mode",
	"nvidia.com/pgpu.devices",
	"nvidia.com/pgpu.initdata-digest",
	"nvidia.com/pgpu.iommu-backend",
	"nvidia.com/pgpu.iommu-groups",
	"nvidia.com/pgpu.numa-nodes",
	"nvidia.com/pgpu.tee",
}

// Request is the part of a CreateContainerRequest that an NRI plugin can change.
type Request struct {
	Annotations map[string]string
	Env         []string
	Devices     []string // "vfio3", ...
}

// asKata is what the agent is asked for a container with one GPU, without anything of ours.
func asKata() Request {
	return Request{
		Annotations: map[string]string{
			"io.kubernetes.cri.container-type":         "container",
			"io.kubernetes.cri.sandbox-name":           "model",
			"io.katacontainers.pkg.oci.container_type": "pod_container",
			"cdi.k8s.io/vfio3":                         "nvidia.com/gpu=0",
		},
		Env:     []string{"PATH=/usr/bin", "HOSTNAME=model"},
		Devices: []string{"vfio3"},
	}
}

// with adds annotations, given as "key=value" or "key".
func (r Request) with(annotations ...string) Request {
	r.Annotations = maps.Clone(r.Annotations)
	for _, a := range annotations {
		key, value, _ := strings.Cut(a, "=")
		r.Annotations[key] = value
	}
	return r
}

func (r Request) input() map[string]any {
	devices := []any{}
	for _, d := range r.Devices {
		devices = append(devices, map[string]any{
			"id": d, "container_path": "/dev/vfio/devices/" + d, "type_": "vfio-pci-gk", "vm_path": "",
			"options": []any{"0000:41:00.0=02/00"},
		})
	}
	return map[string]any{
		"OCI": map[string]any{
			"Annotations": r.Annotations,
			"Process":     map[string]any{"Env": r.Env},
		},
		"devices": devices,
	}
}

// Policy is one that the engine has read.
type Policy struct {
	text  string
	query rego.PreparedEvalQuery
}

// compile reads the policy in the version of the language that the agent's engine takes by default.
func compile(text string) (*Policy, error) { return compileAs(text, ast.RegoV0) }

func compileAs(text string, version ast.RegoVersion) (*Policy, error) {
	q, err := rego.New(rego.Query("x = data.agent_policy"), rego.Module("policy.rego", text),
		rego.SetRegoVersion(version)).PrepareForEval(context.Background())
	return &Policy{text, q}, err
}

func mustCompile(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := compile(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// allows is the agent's verdict: the rule is true, or an object that says "allowed"; a request that
// fails passes where the policy says that failing requests do.
func (p *Policy) allows(t testing.TB, r Request) bool {
	t.Helper()
	found, err := p.query.Eval(context.Background(), rego.EvalInput(r.input()))
	if err != nil {
		return false // such as two values for one rule: the agent refuses
	}
	if len(found) != 1 {
		return false // no such package
	}
	said, _ := found[0].Bindings["x"].(map[string]any)
	switch v := said["CreateContainerRequest"].(type) {
	case bool:
		if v {
			return true
		}
	case map[string]any:
		if v["allowed"] == true {
			return true
		}
	}
	return said["AllowRequestsFailingPolicy"] == true
}

// guard is our own reading of the policy: which of the keys would be added.
func guard(t testing.TB, policy string, keys []string) map[string]bool {
	t.Helper()
	cmd := exec.Command(kit.Bin(t, "tests/peers/policy_verdict"), keys...)
	cmd.Stdin = strings.NewReader(policy)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("policy_verdict: %v", err)
	}
	lines := strings.Fields(string(out))
	if len(lines) != len(keys) {
		t.Fatalf("policy_verdict: %q", out)
	}
	verdict := map[string]bool{}
	for i, key := range keys {
		if lines[i] != "allowed" && lines[i] != "held" {
			t.Fatalf("policy_verdict: %q", out)
		}
		verdict[key] = lines[i] == "allowed"
	}
	return verdict
}
