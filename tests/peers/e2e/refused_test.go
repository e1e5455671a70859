// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"

	"pgpu.local/peers/kit"
)

// refused: sandboxes that the guard refuses, and one that the runtime does. The reason is in the pod's
// event, the VM is gone, nobody keeps the GPU. One of them is tried again by the kubelet and succeeds.
func refused(t *testing.T, release release) {
	r := start(t, release, 4, kit.Options{PgpudYAML: `nri:
  sockets: [/var/run/nri/nri.sock]
  handlers:
    - {match: "kata-*-snp", class: confidential, tee: snp}
    - {match: "runc", class: none}
`})
	// used by somebody between the hand-over and the VM: refused, scrubbed meanwhile, then accepted
	must(t, os.WriteFile(intruder(), nil, 0o600))
	r.Create(PodSpec{Name: "used"})
	r.Event("used", "FailedCreatePodSandBox", "(rule cc)")
	used := r.Sandbox("used")

	// the tenant names a GPU that the kubelet did not give to the pod
	thief := PodSpec{Name: "thief", GPUs: []int{0}, Annotations: map[string]string{"cdi.k8s.io/mine": used.Names[0]}}
	r.Create(thief)
	r.Event("thief", "FailedCreatePodSandBox", "(rule devices)")
	// a RuntimeClass whose handler the runtime does not have: no VM ever opens the GPU
	r.Create(PodSpec{Name: "unknown", Handler: unknownHandler})
	r.Event("unknown", "FailedCreatePodSandBox", unknownHandler)
	for _, s := range r.Sandboxes(t) {
		if name := s.GetMetadata().GetName(); name == "thief" || name == "unknown" {
			t.Errorf("the sandbox of %s was not cleaned up: %v", name, s.GetState())
		}
	}
	r.Delete(1, "thief", "unknown")
	r.Gone("thief", "unknown")

	r.Running("used")
	again := r.Sandbox("used")
	if again.ID == used.ID {
		t.Error("the refused sandbox runs")
	}
	r.Holds("used", 1)
	if !slices.Equal(again.Names, used.Names) {
		t.Errorf("the pod was allocated %v, its second sandbox has %v", used.Names, again.Names)
	}
	r.End("used")
}

func TestRefusedSandboxes(t *testing.T) { refused(t, containerd2) }

// A GPU that is not confidential is none for a confidential VM, whatever the daemon is configured to.
func TestAGPUWithoutConfidentialModeIsRefused(t *testing.T) {
	r := start(t, containerd2, 1, kit.Options{PgpudYAML: "mode: off\n", HwdYAML: "modes: [on, off]\n"})
	r.Create(PodSpec{Name: "open"})
	r.Event("open", "FailedCreatePodSandBox", "(rule cc)")
	r.Delete(1, "open")
	r.Gone("open")
}

// The handler asks for an annotation, the pod has a GPU by a handler without VM: the first is refused,
// and what the guard does not look at runs without a VM's GPU being touched.
func TestTheHandlersConditionsAndAHandlerThatIsNotGuarded(t *testing.T) {
	r := start(t, containerd2, 2, kit.Options{PgpudYAML: `nri:
  sockets: [/var/run/nri/nri.sock]
  handlers:
    - {match: "kata-*-snp", class: confidential, tee: snp, require: [example.com/wanted]}
`})
	r.Create(PodSpec{Name: "bare"})
	r.Create(PodSpec{Name: "plain", Handler: plainHandler})
	r.Event("bare", "FailedCreatePodSandBox", "(rule annotations)", "example.com/wanted")
	r.Running("plain")
	if c := r.Container("plain", "c0"); len(vfio(&c.Spec)) != 1 || len(keys(&c.Spec, "nvidia.com/")) != 0 {
		t.Errorf("a container that is not guarded has %v %v", vfio(&c.Spec), keys(&c.Spec, "nvidia.com/"))
	}
	r.Delete(1, "bare", "plain")
	r.Gone("bare", "plain")
}

// Armed ahead: a GPU that cannot be armed is not offered, and the pod that wants it is told by the
// kubelet. It is offered again when it has recovered, by itself.
func TestAGPUThatCannotBeArmedIsNotOffered(t *testing.T) {
	const gpus = 2
	r := start(t, containerd2, gpus, kit.Options{PgpudYAML: "health_interval: 200ms\n"})
	id := r.anyGPU()
	r.Ctl("fault %s off-bus", id)
	r.Allocatable(gpus - 1)
	r.Create(PodSpec{Name: "both", GPUs: []int{gpus}})
	p := r.Await("both", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodFailed })
	t.Logf("%s: %s", p.Status.Reason, p.Status.Message)
	if !strings.Contains(p.Status.Message, kit.Kind) {
		t.Errorf("the pod's status does not name the resource: %s", p.Status.Message)
	}
	r.Run(PodSpec{Name: "one"})
	if got := r.Holds("one", 1); got[0] == id {
		t.Errorf("%s was handed out", id)
	}
	r.Ctl("fault %s clear", id)
	r.Allocatable(gpus)
	r.End("both", "one")
}

// Untouched until asked for: Allocate itself fails, and the pod's status has the device and the reason.
func TestAGPUThatCannotBeArmedInAllocateFailsThePodWithTheReason(t *testing.T) {
	r := start(t, containerd2, 1, kit.Options{PgpudYAML: "prepare: allocate\n"})
	id := r.anyGPU()
	r.Ctl("fault %s mode-not-latched", id)
	r.Create(PodSpec{Name: "one"})
	p := r.Await("one", func(p *v1.Pod) bool { return p.Status.Phase == v1.PodFailed })
	t.Logf("%s: %s", p.Status.Reason, p.Status.Message)
	if p.Status.Reason != "UnexpectedAdmissionError" || !strings.Contains(p.Status.Message, id) {
		t.Errorf("the pod's status: %s: %s", p.Status.Reason, p.Status.Message)
	}
	if list, err := r.Records("one"); err != nil || len(list) != 0 {
		t.Errorf("a sandbox was made: %v %v", list, err)
	}
	r.End("one")
	r.Ctl("fault %s clear", id)
	r.Settled()
}

func (r *Rig) anyGPU() string {
	r.t.Helper()
	units, err := r.Units()
	must(r.t, err)
	for id := range units {
		return id
	}
	r.t.Fatal("no GPU")
	return ""
}

// How long the kubelet's sync loop, in which every pod of the node waits for its turn, stands still in
// an Allocate. It is measured and told; what is asserted is only that both pods run.
func TestHowLongAnAllocateHoldsTheKubelet(t *testing.T) {
	const metric = "kubelet_device_plugin_alloc_duration_seconds_"
	var told []string
	for _, prepare := range []string{"eager", "allocate"} {
		t.Run(prepare, func(t *testing.T) {
			r := start(t, containerd2, 2, kit.Options{PgpudYAML: "prepare: " + prepare + "\n", TimeScale: "0.5"})
			sum, count := r.kubelet.Metric(t, metric+"sum", kit.Kind), r.kubelet.Metric(t, metric+"count", kit.Kind)
			r.Create(PodSpec{Name: "gpu", GPUs: []int{2}})
			r.Create(PodSpec{Name: "neighbour", GPUs: []int{0}, Handler: plainHandler})
			r.Running("gpu", "neighbour")
			calls := r.kubelet.Metric(t, metric+"count", kit.Kind) - count
			if calls != 1 {
				t.Errorf("%v calls of Allocate", calls)
			}
			told = append(told, fmt.Sprintf("prepare: %s: in Allocate for 2 GPUs for %.0f ms, hardware at half of its real time", prepare,
				1000*(r.kubelet.Metric(t, metric+"sum", kit.Kind)-sum)))
			r.End("gpu", "neighbour")
		})
	}
	for _, line := range told {
		t.Log(line)
	}
}
