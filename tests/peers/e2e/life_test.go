// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"testing"

	"pgpu.local/peers/kit"
)

// life is one pod's, from admission to release.
func life(t *testing.T, release release) {
	r := start(t, release, 2, kit.Options{})
	r.Run(PodSpec{Name: "one"})
	id := r.Holds("one", 1)[0]
	resets := r.Function(id).Resets
	r.End("one")
	r.Unit(id, "ready", limit)
	if now := r.Function(id).Resets; now < resets+2 {
		t.Errorf("%s is offered again after %d resets, it had %d in use: no scrubbing", id, now, resets)
	}
}

func TestAPodGetsAGPUAndGivesItBack(t *testing.T) { life(t, containerd2) }

// several pods at once: more than one GPU in a container, more than one container with GPUs, none.
func several(t *testing.T, release release) {
	r := start(t, release, 6, kit.Options{})
	r.Run(PodSpec{Name: "three", GPUs: []int{3}}, PodSpec{Name: "pair", GPUs: []int{1, 0, 2}}, PodSpec{Name: "none", GPUs: []int{0}},
		PodSpec{Name: "plain", GPUs: []int{0}, Handler: plainHandler})
	ids := append(r.Holds("three", 3), r.Holds("pair", 3)...)
	slices.Sort(ids)
	if len(slices.Compact(slices.Clone(ids))) != 6 {
		t.Errorf("a GPU is in two VMs: %v", ids)
	}
	if s := r.Sandbox("none"); len(s.Names) != 0 || len(s.Opened) != 0 {
		t.Errorf("a pod that asked for none has %v", s.Names)
	}
	// each container of a VM has its own and no other
	first, second := r.Container("pair", "c0"), r.Container("pair", "c2")
	opened := slices.Sorted(slices.Values(r.Sandbox("pair").Opened))
	have := append(vfio(&first.Spec), vfio(&second.Spec)...)
	slices.Sort(have)
	if len(vfio(&first.Spec)) != 1 || len(vfio(&second.Spec)) != 2 || !slices.Equal(have, opened) {
		t.Errorf("the containers have %v and %v, their VM %v", vfio(&first.Spec), vfio(&second.Spec), opened)
	}
	if c := r.Container("pair", "c1"); len(vfio(&c.Spec)) != 0 {
		t.Errorf("a container that asked for none has %v", vfio(&c.Spec))
	}
	r.End("three", "pair", "none", "plain")
}

func TestSeveralGPUsAndSeveralContainers(t *testing.T) { several(t, containerd2) }
