// SPDX-License-Identifier: Apache-2.0

package devicemanager

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"pgpu.local/peers/kit"
)

const (
	gpus  = 8
	quick = 15 * time.Second
)

var current *kit.Node

func nodesOf(testing.TB) map[string]string { return current.CDINodes() }

// start gives a kubelet and an 8-GPU node whose GPUs are all allocatable. When the test ends, the
// node must be as it was: nothing leaked, everything offered, one pod can have it all.
func start(t *testing.T, o kit.Options) (*kit.Node, *Kubelet) {
	t.Helper()
	k := StartKubelet(t)
	if o.NodeArgs == nil {
		o.NodeArgs = []string{"--gpus", fmt.Sprint(gpus)}
	}
	o.PluginDir, o.PodResources = pluginDir, podResources
	n := kit.StartNode(t, o)
	current = n
	k.Await(gpus, gpus, quick)
	t.Cleanup(func() {
		if !t.Failed() {
			nothingLeaked(t, n, k)
		}
	})
	return n, k
}

func nothingLeaked(t *testing.T, n *kit.Node, k *Kubelet) {
	t.Helper()
	for _, p := range k.GetActivePods() {
		t.Errorf("pod %s was left", p.Name)
	}
	k.Await(gpus, gpus, quick)
	settled(t, n)
	p := k.Pod("all", gpus, false)
	if got := k.Run(p); len(got) != gpus {
		t.Errorf("a pod for all GPUs got %d", len(got))
	}
	k.End(p)
}

// settled: no unit is busy, none is quarantined.
func settled(t *testing.T, n *kit.Node) {
	t.Helper()
	kit.Eventually(t, quick, func() error {
		units, err := n.Units()
		if err != nil {
			return err
		}
		for _, u := range units {
			if u.State != "ready" && u.State != "found" || !u.Healthy {
				return fmt.Errorf("%s is %s, healthy %v (%s: %s)", u.ID, u.State, u.Healthy, u.Reason, u.Why)
			}
		}
		return nil
	})
}

func only(t *testing.T, got map[string]string) string {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("wanted one GPU, got %v", got)
	}
	for id := range got {
		return id
	}
	return ""
}

func verified(t *testing.T, n *kit.Node, id string) {
	t.Helper()
	if f := n.Function(id); f.Driver != "vfio-pci" || f.Active != "on" || f.Configured != "on" {
		t.Errorf("%s was handed out like this: %+v", id, f)
	}
}

func TestPodGetsAGPUAndGivesItBack(t *testing.T) {
	n, k := start(t, kit.Options{})
	p := k.Pod("a", 1, false)
	got := k.Run(p)
	id := only(t, got)
	verified(t, n, id)
	k.Await(gpus, gpus, quick) // in use is not unhealthy
	vm := n.Open(id, got[id])
	n.Unit(id, "in_use", quick)

	// the container restarts: the kubelet answers from its account, the hardware is not touched
	resets := n.Function(id).Resets
	for range 5 {
		if again := k.Options(p); again[id] != got[id] {
			t.Errorf("first %v, after a container restart %v", got, again)
		}
	}
	if now := n.Function(id).Resets; now != resets {
		t.Errorf("a container restart reset the GPU of a running VM: %d, then %d", resets, now)
	}

	// the pod ends, its VM lingers: not offered; then it goes: scrubbed and offered
	k.End(p)
	k.Await(gpus, gpus-1, quick)
	if now := n.Function(id).Resets; now != resets {
		t.Errorf("reset under a VM: %d, then %d", resets, now)
	}
	vm()
	n.Unit(id, "ready", quick)
	if now := n.Function(id).Resets; now < resets+2 {
		t.Errorf("closing resets once and scrubbing again: %d, then %d", resets, now)
	}
}

func TestSeveralGPUsAndTopology(t *testing.T) {
	n, k := start(t, kit.Options{})
	p := k.Pod("four", 4, false)
	got := k.Run(p)
	if len(got) != 4 {
		t.Fatalf("wanted 4, got %v", got)
	}
	paths := map[string]bool{}
	for id, path := range got {
		verified(t, n, id)
		paths[path] = true
	}
	if len(paths) != 4 {
		t.Errorf("two GPUs of one node: %v", got)
	}
	if err := k.Admit(k.Pod("five", 5, false)); err == nil || !strings.Contains(err.Error(), "Available: 4") {
		t.Errorf("5 of 4 free GPUs: %v", err)
	}
	k.End(p)
}

func TestInitContainerSharesItsGPU(t *testing.T) {
	for _, prepare := range []string{"eager", "allocate"} {
		t.Run(prepare, func(t *testing.T) {
			n, k := start(t, kit.Options{PgpudYAML: "prepare: " + prepare + "\n"})
			p := k.Pod("init", 1, true)
			id := only(t, k.Run(p))
			verified(t, n, id)
			for other := range n.CDINodes() {
				if u, _ := n.Units(); u[strings.TrimPrefix(other, kit.Kind+"=")].State == "allocated" && !strings.HasSuffix(other, id) {
					t.Errorf("%s is handed out too", other)
				}
			}
			k.End(p)
		})
	}
}

func TestKubeletRestarts(t *testing.T) {
	n, k := start(t, kit.Options{})
	a, b := k.Pod("a", 2, false), k.Pod("b", 1, false)
	gotA, gotB := k.Run(a), k.Run(b)
	vms := map[string]func(){}
	for id, path := range gotA {
		vms[id] = n.Open(id, path)
	}
	resets := map[string]int{}
	for id := range gotA {
		n.Unit(id, "in_use", quick)
		resets[id] = n.Function(id).Resets
	}
	for i := range 20 {
		k.Restart()
		k.Await(gpus, gpus, quick)
		for id, path := range k.Options(a) {
			if gotA[id] != path {
				t.Fatalf("restart %d: pod a had %v, now %s at %s", i, gotA, id, path)
			}
		}
		if id := only(t, k.Options(b)); gotB[id] == "" {
			t.Fatalf("restart %d: pod b had %v, now %s", i, gotB, id)
		}
		// a pod that comes and goes right after
		c := k.Pod("c", 1, false)
		id := only(t, k.Run(c))
		if gotA[id] != "" || gotB[id] != "" {
			t.Fatalf("restart %d: %s given twice", i, id)
		}
		verified(t, n, id)
		k.End(c)
	}
	for id, before := range resets {
		if now := n.Function(id).Resets; now != before {
			t.Errorf("%s was reset under its VM: %d, then %d", id, before, now)
		}
		vms[id]()
	}
	k.End(a)
	k.End(b)
}

// restartPlugin: 20 restarts of pgpud by a signal, under a running VM and with pods between them.
func restartPlugin(t *testing.T, sig syscall.Signal, times int) {
	n, k := start(t, kit.Options{})
	p := k.Pod("a", 1, false)
	got := k.Run(p)
	id := only(t, got)
	vm := n.Open(id, got[id])
	n.Unit(id, "in_use", quick)
	resets := n.Function(id).Resets
	for i := range times {
		n.Stop(kit.Pgpud, sig)
		if node := n.CDINodes()[kit.Kind+"="+id]; node != got[id] {
			t.Fatalf("restart %d: the CDI device went with the daemon: %q", i, node)
		}
		k.Await(gpus, 0, quick)
		if err := k.Admit(k.Pod("none", 1, false)); err == nil {
			t.Fatalf("restart %d: a GPU without a plugin", i)
		}
		n.Start(kit.Pgpud)
		k.Await(gpus, gpus, quick)
		if again := k.Options(p); again[id] != got[id] {
			t.Fatalf("restart %d: had %v, now %v", i, got, again)
		}
		c := k.Pod("c", 1, false)
		other := only(t, k.Run(c))
		if other == id {
			t.Fatalf("restart %d: %s given twice", i, id)
		}
		verified(t, n, other)
		k.End(c)
	}
	if now := n.Function(id).Resets; now != resets {
		t.Errorf("%s was reset under its VM: %d, then %d", id, resets, now)
	}
	vm()
	k.End(p)
}

func TestPluginRestarts(t *testing.T) { restartPlugin(t, syscall.SIGTERM, 20) }
func TestPluginKilled(t *testing.T)   { restartPlugin(t, syscall.SIGKILL, 5) }

// The pod ends while the daemon is down: the GPU must be scrubbed all the same.
func TestPodEndsWhilePluginIsDown(t *testing.T) {
	n, k := start(t, kit.Options{})
	p := k.Pod("a", 1, false)
	got := k.Run(p)
	id := only(t, got)
	vm := n.Open(id, got[id])
	n.Unit(id, "in_use", quick)
	n.Stop(kit.Pgpud, syscall.SIGKILL)
	vm()
	k.End(p)
	resets := n.Function(id).Resets
	n.Start(kit.Pgpud)
	k.Await(gpus, gpus, quick)
	n.Unit(id, "ready", quick)
	if now := n.Function(id).Resets; now <= resets {
		t.Errorf("%s is offered again without a reset: %d, then %d", id, resets, now)
	}
}

func TestHardwareServiceGoesAndComes(t *testing.T) {
	n, k := start(t, kit.Options{})
	n.Stop(kit.Hwd, syscall.SIGTERM)
	k.Await(gpus, 0, quick)
	if err := k.Admit(k.Pod("none", 1, false)); err == nil {
		t.Error("a GPU without the hardware service")
	}
	n.Start(kit.Hwd)
	k.Await(gpus, gpus, quick)
	n.Stop(kit.Hwd, syscall.SIGKILL)
	k.Await(gpus, 0, quick)
	n.Start(kit.Hwd)
	k.Await(gpus, gpus, quick)
}

// A GPU falls off the bus and comes back: the list keeps it, Unhealthy, and never forgets it.
func TestDeviceUnhealthyAndBack(t *testing.T) {
	n, k := start(t, kit.Options{PgpudYAML: "health_interval: 200ms\n"})
	var id string
	for dev := range n.CDINodes() {
		id = strings.TrimPrefix(dev, kit.Kind+"=")
		break
	}
	n.Ctl("fault %s off-bus", id)
	k.Await(gpus, gpus-1, quick)
	p := k.Pod("seven", gpus-1, false)
	if got := k.Run(p); got[id] != "" {
		t.Errorf("%s was handed out", id)
	}
	k.End(p)
	n.Ctl("fault %s clear", id)
	k.Await(gpus, gpus, quick)
}

// inFlight admits a pod for all GPUs and acts while the operation runs on the victim; "" is any GPU,
// and any operation.
func inFlight(t *testing.T, n *kit.Node, k *Kubelet, victim, operation string, act func()) error {
	t.Helper()
	p := k.Pod("all", gpus, false)
	var err error
	var done sync.WaitGroup
	done.Go(func() { err = k.Admit(p) })
	kit.Eventually(t, quick, func() error {
		units, uerr := n.Units()
		if uerr != nil {
			return uerr
		}
		for _, u := range units {
			if (u.Operation == operation || operation == "" && u.Operation != "") && (victim == "" || u.ID == victim) {
				return nil
			}
		}
		return fmt.Errorf("no %s under way", operation)
	})
	act()
	done.Wait()
	if err == nil {
		k.End(p)
	}
	return err
}

func anyGPU(t *testing.T, n *kit.Node) string {
	t.Helper()
	units, err := n.Units()
	must(t, err)
	for id := range units {
		return id
	}
	t.Fatal("no GPU")
	return ""
}

// A GPU is pulled while Allocate is preparing it, or verifying it. The kubelet dereferences the
// device when the call returns, so the list must have kept it; here a mistake is a panic.
func TestDeviceDisappearsDuringAllocate(t *testing.T) {
	for _, c := range []struct{ prepare, operation string }{{"allocate", "prepare"}, {"eager", "handover"}} {
		t.Run(c.operation, func(t *testing.T) {
			n, k := start(t, kit.Options{PgpudYAML: "prepare: " + c.prepare + "\n", TimeScale: "0.05"})
			id := anyGPU(t, n)
			n.Ctl("fault %s slow-reply=200", id)
			err := inFlight(t, n, k, id, c.operation, func() { n.Ctl("unplug %s", id) })
			if err == nil {
				t.Error("a pod got a GPU that is not there")
			} else if !strings.Contains(err.Error(), id) {
				t.Errorf("the refusal does not name %s: %v", id, err)
			} else {
				t.Log(err)
			}
			// not offered; whether it still counts in the capacity is the list's business
			kit.Eventually(t, 2*quick, func() error {
				if _, a := k.Capacity(); a != gpus-1 {
					return fmt.Errorf("allocatable %d, want %d", a, gpus-1)
				}
				return nil
			})
			n.Ctl("plug %s", id)
			n.Ctl("fault %s clear", id)
			k.Await(gpus, gpus, 2*quick)
		})
	}
}

// A GPU is pulled and put back at once while Allocate works on it: another part at the same address.
// Whatever the operation made of that, the GPU must be offered again without anybody's help.
func TestDeviceBouncesDuringAllocate(t *testing.T) {
	for _, c := range []struct{ prepare, operation string }{{"allocate", "prepare"}, {"eager", "handover"}} {
		t.Run(c.operation, func(t *testing.T) {
			n, k := start(t, kit.Options{PgpudYAML: "prepare: " + c.prepare + "\n", TimeScale: "0.05"})
			id := anyGPU(t, n)
			for range 5 {
				n.Ctl("fault %s slow-reply=100", id)
				err := inFlight(t, n, k, id, "", func() {
					n.Ctl("unplug %s", id)
					n.Ctl("plug %s", id)
				})
				t.Log(err)
				n.Ctl("fault %s clear", id)
				k.Await(gpus, gpus, quick)
				settled(t, n)
			}
		})
	}
}

// The kubelet goes while Allocate is under way: the pod is lost, the GPUs are not.
func TestKubeletRestartsDuringAllocate(t *testing.T) {
	n, k := start(t, kit.Options{PgpudYAML: "prepare: allocate\n", TimeScale: "0.2"})
	_ = inFlight(t, n, k, "", "prepare", func() {
		k.server.Stop()
		_ = k.manager.Stop(logger())
		// what the old manager had under way may end as it likes
	})
	k.start()
	k.Await(gpus, gpus, 2*quick)
	settled(t, n)
}

// The daemon goes while Allocate is under way.
func TestPluginKilledDuringAllocate(t *testing.T) {
	n, k := start(t, kit.Options{PgpudYAML: "prepare: allocate\n", TimeScale: "0.2"})
	err := inFlight(t, n, k, "", "prepare", func() { n.Stop(kit.Pgpud, syscall.SIGKILL) })
	if err == nil {
		t.Error("an Allocate whose plugin was killed succeeded")
	}
	n.Start(kit.Pgpud)
	k.Await(gpus, gpus, 2*quick)
}

// Allocate binds, switches and verifies by itself, several GPUs at once.
func TestAllocatePolicy(t *testing.T) {
	n, k := start(t, kit.Options{PgpudYAML: "prepare: allocate\n"})
	for dev, path := range n.CDINodes() {
		t.Errorf("%s is in the CDI file before anybody asked: %s", dev, path)
	}
	p := k.Pod("three", 3, false)
	for id := range k.Run(p) {
		verified(t, n, id)
	}
	k.End(p)
}

// admitSoon admits the pod as a scheduler would: again, while the node says that nothing is free.
func admitSoon(t *testing.T, k *Kubelet, name string) (p *v1.Pod, id, node string) {
	t.Helper()
	kit.Eventually(t, quick, func() error {
		p = k.Pod(name, 1, false)
		err := k.Admit(p)
		if err != nil && !unavailable(err) {
			t.Fatalf("pod %s: %v", name, err)
		}
		return err
	})
	got := k.Options(p)
	id = only(t, got)
	k.running[string(p.UID)+"/main"] = true
	return p, id, got[id]
}

// Many pods one after the other, six at a time: every one gets a verified GPU that was reset since
// its last user, and neither service grows.
func TestManyPods(t *testing.T) {
	n, k := start(t, kit.Options{})
	const pods, atOnce = 200, 6
	type tenant struct {
		pod *v1.Pod
		id  string
		vm  func()
	}
	var live []tenant
	resets := map[string]int{}
	var fds, threads, rss [2]int
	for i := range pods {
		if len(live) == atOnce {
			live[0].vm()
			resets[live[0].id] = n.Function(live[0].id).Resets
			k.End(live[0].pod)
			live = live[1:]
		}
		p, id, node := admitSoon(t, k, fmt.Sprint("pod-", i))
		verified(t, n, id)
		if before, used := resets[id]; used && n.Function(id).Resets <= before {
			t.Fatalf("pod %d got %s, which was not reset since its last user", i, id)
		}
		live = append(live, tenant{p, id, n.Open(id, node)})
		if i == 30 {
			fds[0], threads[0], rss[0] = n.Footprint(kit.Pgpud)
		}
	}
	for _, l := range live {
		l.vm()
		k.End(l.pod)
	}
	k.Await(gpus, gpus, quick)
	settled(t, n)
	fds[1], threads[1], rss[1] = n.Footprint(kit.Pgpud)
	t.Logf("pgpud after 30 and after %d pods: %d and %d descriptors, %d and %d threads, %d and %d kB", pods,
		fds[0], fds[1], threads[0], threads[1], rss[0], rss[1])
	if fds[1] > fds[0]+4 || threads[1] > threads[0]+4 || rss[1] > rss[0]*3/2 && !n.Sanitized(kit.Pgpud) {
		t.Error("pgpud grows")
	}
}

// A StatefulSet on a full node: the replacement reaches Allocate before any poll has seen the old pod
// go. It gets the GPU only after the old VM has left it and it was scrubbed.
func TestReplacementOnAFullNode(t *testing.T) {
	n, k := start(t, kit.Options{})
	var pods []*v1.Pod
	ids, vms := map[string]string{}, map[string]func(){}
	for i := range gpus {
		p := k.Pod(fmt.Sprint("web-", i), 1, false)
		got := k.Run(p)
		id := only(t, got)
		vms[id] = n.Open(id, got[id])
		n.Unit(id, "in_use", quick)
		pods, ids[p.Name] = append(pods, p), id
	}
	for i := range 5 {
		old := pods[i]
		id := ids[old.Name]
		resets := n.Function(id).Resets
		k.End(old)
		next := k.Pod(old.Name, 1, false)
		admitted := make(chan error, 1)
		go func() { admitted <- k.Admit(next) }()
		select {
		case err := <-admitted:
			t.Fatalf("%s was answered while the old VM held the GPU: %v", next.Name, err)
		case <-time.After(300 * time.Millisecond):
		}
		vms[id]()
		must(t, <-admitted)
		got := k.Options(next)
		if only(t, got) != id {
			t.Errorf("%s got %v on a full node, only %s was free", next.Name, got, id)
		}
		verified(t, n, id)
		if now := n.Function(id).Resets; now < resets+2 {
			t.Errorf("%s reached the next pod unscrubbed: %d resets, then %d", id, resets, now)
		}
		vms[id] = n.Open(id, got[id])
		n.Unit(id, "in_use", quick)
		pods[i] = next
	}
	for _, p := range pods {
		vms[ids[p.Name]]()
		k.End(p)
	}
}

// The plugin's own view of pods comes from the real PodResources server: an owner has a name.
func TestPodResourcesReachTheDaemon(t *testing.T) {
	n, k := start(t, kit.Options{})
	p := k.Pod("owner", 1, false)
	id := only(t, k.Run(p))
	kit.Eventually(t, quick, func() error {
		if !strings.Contains(n.Status(), "\"owner\"") {
			return fmt.Errorf("pgpud's status does not name the pod")
		}
		return nil
	})
	n.Unit(id, "allocated", quick)
	k.End(p)
}
