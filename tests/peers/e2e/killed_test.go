// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"pgpu.local/peers/kit"
)

// vm is the process of a pod's running sandbox; its parent is the shim.
func (r *Rig) vm(pod string) (pid, shim int) {
	r.t.Helper()
	id := r.Sandbox(pod).ID
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	s, err := r.runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	must(r.t, err)
	var info struct{ Pid int }
	must(r.t, json.Unmarshal([]byte(s.GetInfo()["info"]), &info))
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", info.Pid))
	must(r.t, err)
	// after the name: state, parent
	_, rest, _ := strings.Cut(string(stat), ") ")
	var state string
	_, err = fmt.Sscan(rest, &state, &shim)
	must(r.t, err)
	if shim <= 1 {
		r.t.Fatalf("the VM %d has no shim", info.Pid)
	}
	return info.Pid, shim
}

// The VM, or its shim, dies. The kubelet makes another sandbox without asking for a GPU again: it is
// given the same one, scrubbed.
func TestAKilledVMOrShimIsReplacedWithTheSameGPUScrubbed(t *testing.T) {
	r := start(t, containerd2, 2, kit.Options{})
	for _, name := range []string{"vm", "shim"} {
		r.Run(PodSpec{Name: name, Restart: v1.RestartPolicyAlways})
		id, first := r.Holds(name, 1)[0], r.Sandbox(name)
		resets := r.Function(id).Resets
		victim, shim := r.vm(name)
		if name == "shim" {
			victim = shim
		}
		must(t, syscall.Kill(victim, syscall.SIGKILL))
		r.Await(name, func(p *v1.Pod) bool {
			c := p.Status.ContainerStatuses
			return len(c) == 1 && c[0].State.Running != nil && c[0].RestartCount > 0
		})
		if again := r.Sandbox(name); again.ID == first.ID {
			t.Errorf("%s: the sandbox is the same", name)
		}
		if got := r.Holds(name, 1)[0]; got != id {
			t.Errorf("%s: the pod had %s, now %s", name, id, got)
		}
		// the dead VM's close and the scrubbing, then the new VM's open
		if now := r.Function(id).Resets; now < resets+3 {
			t.Errorf("%s: %s reached the next VM unscrubbed: %d resets, then %d", name, id, resets, now)
		}
	}
	r.End("vm", "shim")
}

// Pods are deleted by force: their objects are gone while the VMs still run, and the same names come
// again at once. Nobody gets a GPU that was not scrubbed.
func TestForceDeletedPodsComeAgainAtOnce(t *testing.T) {
	const gpus = 4
	r := start(t, containerd2, gpus, kit.Options{})
	resets := map[string]int{}
	for i := range gpus {
		r.Create(PodSpec{Name: fmt.Sprint("web-", i)})
	}
	for i := range gpus {
		name := fmt.Sprint("web-", i)
		r.Running(name)
		id := r.Holds(name, 1)[0]
		resets[id] = r.Function(id).Resets
	}
	for i := range gpus {
		r.Delete(0, fmt.Sprint("web-", i))
	}
	for i := range gpus {
		r.again(fmt.Sprint("web-", i))
	}
	for i := range gpus {
		name := fmt.Sprint("web-", i)
		id := r.Holds(name, 1)[0]
		if now := r.Function(id).Resets; now < resets[id]+3 {
			t.Errorf("%s reached the second %s unscrubbed: %d resets, then %d", id, name, resets[id], now)
		}
	}
	for i := range gpus {
		r.Delete(0, fmt.Sprint("web-", i))
	}
}

// again creates the pod until the kubelet admits it, as its controller would.
func (r *Rig) again(name string) {
	r.t.Helper()
	kit.Eventually(r.t, 2*limit, func() error {
		r.Create(PodSpec{Name: name})
		p := r.Await(name, func(p *v1.Pod) bool { return p.Status.Phase != v1.PodPending && p.Status.Phase != "" })
		if p.Status.Phase == v1.PodRunning {
			return nil
		}
		r.Delete(0, name)
		return fmt.Errorf("%s: %s %s", name, p.Status.Reason, p.Status.Message)
	})
	r.Running(name)
}
