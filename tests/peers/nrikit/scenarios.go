// SPDX-License-Identifier: Apache-2.0

package nrikit

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"pgpu.local/peers/kit"
)

// Registration: pgpud is there first, then runtimes of several names and versions come and go behind
// the same socket. Each is registered with, and shown as what it says it is.
func Registration(t *testing.T, f Flavour) {
	r := NewRig(t, f, RigOptions{})
	for _, rt := range f.Runtimes {
		r.o.Name, r.o.Version = rt.Name, rt.Version
		// Not r.Up: where name and version promise more than this NRI has, the first try may fail.
		mark := Mark()
		r.Runtime.Start()
		AwaitSaid(t, mark, Limit, fmt.Sprintf("plugin %q connected", Plugin))
		s := r.external()
		if s.Runtime != rt.Name || s.Version != rt.Version || !s.Up || s.CDI != rt.CDI || s.StateChange == f.Dedicated && s.Events["RunPodSandbox"] > 0 {
			t.Errorf("%s %s is shown as %+v", rt.Name, rt.Version, s)
		}
		if s.Validates != f.Validates {
			t.Errorf("%s %s: validation %v", rt.Name, rt.Version, s.Validates)
		}
		if f.Dedicated != (s.NRIVersion != "") {
			t.Errorf("NRI version %q", s.NRIVersion)
		}
		r.Runtime.Stop(false)
		within(t, func() error {
			if s := r.external(); s.Up || s.Why == "" {
				return fmt.Errorf("still up, or down without a reason: %+v", s)
			}
			return nil
		})
	}
}

// Events: a pod's whole life, and a pod that is none of our business.
func Events(t *testing.T, f Flavour) {
	r := NewRig(t, f, RigOptions{})
	r.Up()
	mark := Mark()
	before := r.external()

	stranger := Pod("stranger", "", map[string]string{"a": "b"})
	must(t, r.RunPod(stranger))
	c := NewContainer("main")
	want := c.Clone(t)
	must(t, r.Create(stranger, c))
	equal(t, "a container that is none of our business", c.Spec, want)
	must(t, r.Life(stranger, c))
	r.StopPod(stranger)
	r.RemovePod(stranger)

	for _, handler := range []string{Confidential, Plain, "kata-qemu-nvidia-gpu-snp-runtime-rs"} {
		g := r.Guest("guest", handler, 1)
		r.run(g)
		c := g.Given()
		r.create(g, c)
		equal(t, "nodes", c.Nodes(), g.Nodes)
		must(t, r.Life(g.Pod, c))
		// what was never there, and what is told twice
		r.StopPod(g.Pod)
		r.StopPod(g.Pod)
		g.Leave()
		r.StopPod(Pod("never", Confidential, nil))
		r.RemovePod(Pod("never-either", Confidential, nil))
	}
	// Kata pods without a GPU
	idle := &Guest{Pod: Pod("idle", Confidential, nil), rig: r}
	idle.Run()
	c = NewContainer("main")
	want = c.Clone(t)
	r.create(idle, c)
	equal(t, "devices of a container without a GPU", c.Spec.Linux, want.Linux)
	r.StopPod(idle.Pod)
	r.RemovePod(idle.Pod)

	after := r.external()
	for event, times := range map[string]int{"RunPodSandbox": 5, "CreateContainer": 5} {
		if n := after.Events[event] - before.Events[event]; n < times {
			t.Errorf("%d %s counted, want at least %d", n, event, times)
		}
	}
	if after.Refusals != before.Refusals || after.Timeouts != 0 || after.StateChange == f.Dedicated {
		t.Errorf("after all events: %+v", after)
	}
	if bad := Said(mark, "deprecated", "closing plugin", "closed", "error "); len(bad) > 0 {
		t.Errorf("the runtime complains: %v", bad)
	}
	if _, updates := r.Counts(); updates != 0 {
		t.Errorf("%d unasked updates", updates)
	}
}

// Injection: containers whose nodes the kubelet's way has lost, on runtimes that inject CDI names and on
// those that would drop them in silence; and containers that have everything.
func Injection(t *testing.T, f Flavour) {
	for _, rt := range f.Runtimes {
		if rt.Liar {
			continue
		}
		t.Run(rt.Name+"-"+rt.Version, func(t *testing.T) {
			r := NewRig(t, f, RigOptions{Runtime: Options{Name: rt.Name, Version: rt.Version}})
			r.Up()
			for handler, count := range map[string]int{Confidential: 3, Plain: 1} {
				g := r.Guest("guest-"+handler, handler, count)
				r.run(g)
				r.inject(g, g.Bare())
				r.inject(g, g.Given())
				// a restart of the container: the same again
				r.inject(g, g.Bare())
				g.Leave()
			}
		})
	}
}

// inject creates the container and compares everything in its spec.
func (r *Rig) inject(g *Guest, c *Container) {
	r.t.Helper()
	before := c.Clone(r.t)
	had := len(before.Linux.Devices) > 0
	r.create(g, c)
	equal(r.t, "nodes", c.Nodes(), g.Nodes)
	for _, d := range c.Spec.Linux.Devices {
		if d.Type != "c" || d.Major == 0 {
			r.t.Errorf("not a character device with numbers: %+v", d)
		}
	}
	rules := len(c.Spec.Linux.Resources.Devices) - len(before.Linux.Resources.Devices)
	if had && rules != 0 || !had && rules != len(g.Nodes) {
		r.t.Errorf("%d new rules for %d nodes", rules, len(g.Nodes))
	}
	ours := c.Ours()
	if ours["nvidia.com/pgpu.devices"] == "" {
		r.t.Errorf("annotations: %v", ours)
	}
	for _, id := range g.IDs {
		if !strings.Contains(ours["nvidia.com/pgpu.devices"], id) {
			r.t.Errorf("%s is not among the devices: %v", id, ours)
		}
	}
	// everything else is as it was
	rest := c.Clone(r.t)
	rest.Linux.Devices, rest.Linux.Resources.Devices = before.Linux.Devices, before.Linux.Resources.Devices
	for k := range ours {
		delete(rest.Annotations, k)
	}
	equal(r.t, "the rest of the spec", rest, before)
}

// Refusals: what must not run, and that the text says why.
func Refusals(t *testing.T, f Flavour) {
	r := NewRig(t, f, RigOptions{})
	r.Up()
	mine, other := r.Guest("mine", Confidential, 1), r.Guest("other", Confidential, 1)
	r.run(other)
	r.run(mine)

	wrong := func(what string, c *Container, names ...string) {
		t.Helper()
		before := c.Clone(t)
		refused(t, r.Create(mine.Pod, c), what, names...)
		equal(t, "the spec of a refused container", c.Spec, before)
	}
	c := mine.Bare()
	c.Spec.Annotations["cdi.k8s.io/mine"] = kit.Kind + "=" + other.IDs[0]
	wrong("a device ID of the tenant's choice", c, other.IDs[0])
	wrong("another pod's node", func() *Container { c := mine.Given(); c.AddNode(other.Nodes[0], vfioMajor, 99); return c }(), other.IDs[0])
	c = other.Given()
	wrong("another pod's node alone", c, other.IDs[0])

	// The other GPU goes: its pod's next container is refused, this one's is not.
	r.Ctl("unplug %s", other.IDs[0])
	within(t, func() error {
		u, err := r.Units()
		if err != nil {
			return err
		}
		if u[other.IDs[0]].Healthy {
			return fmt.Errorf("%s is still healthy", other.IDs[0])
		}
		return nil
	})
	refused(t, r.Create(other.Pod, other.Bare()), "a container whose GPU is gone", other.IDs[0])
	r.create(mine, mine.Bare())

	// A sandbox whose GPU went between Allocate and RunPodSandbox.
	late := r.Guest("late", Confidential, 1)
	r.Ctl("unplug %s", late.IDs[0])
	within(t, func() error {
		u, err := r.Units()
		if err != nil {
			return err
		}
		if u[late.IDs[0]].Healthy {
			return fmt.Errorf("%s is still healthy", late.IDs[0])
		}
		return nil
	})
	refused(t, r.RunPod(late.Pod), "a sandbox whose GPU is gone", late.IDs[0])
	if s := r.external(); !s.Up || s.Refusals < 5 {
		t.Errorf("after the refusals: %+v", s)
	}
}

// Conflicts: a second plugin wants what we want, and one that wants what it must not have.
func Conflicts(t *testing.T, f Flavour) {
	r := NewRig(t, f, RigOptions{Runtime: f.nodes()})
	r.Up()
	g := r.Guest("guest", Confidential, 1)
	r.run(g)
	numbered := func(path string, minor int64) *api.ContainerAdjustment {
		a := &api.ContainerAdjustment{}
		a.AddDevice(&api.LinuxDevice{Path: path, Type: "c", Major: vfioMajor, Minor: minor})
		return a
	}
	_, own := Numbers(g.Nodes[0])
	annotation := func(key string) *api.ContainerAdjustment {
		a := &api.ContainerAdjustment{}
		a.AddAnnotation(key, "meddled")
		return a
	}
	harmless := func() *api.ContainerAdjustment {
		a := annotation("example.com/harmless")
		a.AddEnv("HARMLESS", "1")
		a.AddMount(&api.Mount{Destination: "/harmless", Source: "/tmp", Type: "bind", Options: []string{"ro"}})
		return a
	}
	hook := func() *api.ContainerAdjustment {
		a := &api.ContainerAdjustment{}
		a.AddHooks(&api.Hooks{CreateRuntime: []*api.Hook{{Path: "/usr/bin/meddle"}}})
		return a
	}
	const both = "both tried to set"
	for _, m := range []struct {
		name, index string
		adjust      *api.ContainerAdjustment
		refusal     []string // nil: it goes through
		guard       bool     // found by ValidateContainerAdjustment only
	}{
		{"harmless before us", "05", harmless(), nil, false},
		{"harmless after us", "20", harmless(), nil, false},
		{"our node before us", "05", numbered(g.Nodes[0], own), nil, false},
		{"our node after us", "20", numbered(g.Nodes[0], own), []string{both, "meddler"}, false},
		{"our annotation before us", "05", annotation("nvidia.com/pgpu.devices"), nil, false}, // theirs then
		{"our annotation after us", "20", annotation("nvidia.com/pgpu.devices"), []string{both, "meddler"}, false},
		{"foreign VFIO node after us", "20", numbered("/dev/vfio/devices/vfio77", 77), []string{"vfio77"}, true},
		{"foreign VFIO node before us", "05", numbered("/dev/vfio/77", 77), []string{"/dev/vfio/77"}, true},
		{"another GPU by another name after us", "20", numbered("/dev/harmless", own^1), []string{"/dev/harmless"}, true},
		{"another GPU by another name before us", "05", numbered("/dev/harmless", own^1), []string{"GPU"}, false},
		{"hook", "20", hook(), []string{"hook"}, true},
	} {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			if m.guard && !f.Validates {
				t.Skip("this NRI has no validation")
			}
			end := r.StartMeddler(t, m.index, &Meddler{Adjust: func(*api.Container) *api.ContainerAdjustment { return m.adjust }})
			c := g.Bare()
			before := c.Clone(t)
			err := r.Create(g.Pod, c)
			switch {
			case m.refusal != nil:
				refused(t, err, m.name, m.refusal...)
				equal(t, "the spec", c.Spec, before)
			case err != nil:
				t.Error(err)
			default:
				equal(t, "nodes", c.Nodes(), g.Nodes)
			}
			// a pod that is not guarded is not our business, whatever the other does
			if m.refusal != nil {
				must(t, r.Create(Pod("stranger", "runc", nil), NewContainer("main")))
			}
			end()
			r.create(g, g.Bare())
		})
	}
}

// crowd gives the runtime pods and containers whose synchronization takes about so many bytes.
func crowd(r *Runtime, pods int, bytes int) {
	pad := max(0, (bytes/pods-1200)/2)
	for i := range pods {
		p := Pod(fmt.Sprint("crowd-", i), []string{"", Confidential, Plain}[i%3], map[string]string{"pad": strings.Repeat("p", pad)})
		c := NewContainer("main")
		c.Spec.Annotations["pad"] = strings.Repeat("c", pad)
		r.Adopt(p, c.Message(p))
	}
}

// Synchronize: a node with 500 pods, one of which owns a GPU. After a restart of pgpud, and of the
// runtime, it does so still; its end is seen from its sandbox.
func Synchronize(t *testing.T, f Flavour) {
	size := 3 << 20
	if f.SplitSync {
		size = 11 << 20
	}
	r := NewRig(t, f, RigOptions{Node: kit.Options{PodPoll: "10m"}})
	crowd(r.Runtime, 500, size)
	r.Up()
	g := r.Guest("owner", Confidential, 1)
	r.run(g)
	r.create(g, g.Given())
	vm := g.vm()
	r.Unit(g.IDs[0], "in_use", Limit)
	resets := r.Function(g.IDs[0]).Resets

	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		mark := Mark()
		r.Node.Stop(kit.Pgpud, sig)
		r.Node.Start(kit.Pgpud)
		r.AwaitPlugin(mark, Plugin)
		r.owned(g)
	}
	mark := Mark()
	r.Runtime.Stop(false)
	r.Runtime.Start()
	r.AwaitPlugin(mark, Plugin)
	r.owned(g)
	r.create(g, g.Bare())
	if now := r.Function(g.IDs[0]).Resets; now != resets {
		t.Errorf("%s was reset under its owner", g.IDs[0])
	}
	if f.SplitSync && len(Said(mark, "oversized message")) == 0 {
		t.Error("the synchronization was not split")
	}
	r.release(g, vm)

	lost := r.Guest("lost", Confidential, 1)
	r.run(lost)
	r.create(lost, lost.Given())
	r.endsUnseen(lost)
}

// owned waits until pgpud says that the sandbox has its GPUs.
func (r *Rig) owned(g *Guest) {
	r.t.Helper()
	within(r.t, func() error {
		u, err := r.Units()
		if err != nil {
			return err
		}
		for _, id := range g.IDs {
			if u[id].Sandbox != g.Pod.Id || u[id].State != "in_use" && u[id].State != "allocated" {
				return fmt.Errorf("%s of %s is %+v", id, g.Pod.Id, u[id])
			}
		}
		return nil
	})
}

// Ended while nobody told: with the next synchronization its GPU is free.
func (r *Rig) endsUnseen(g *Guest) {
	r.t.Helper()
	resets := r.Function(g.IDs[0]).Resets
	mark := Mark()
	r.Runtime.Stop(false)
	r.forget(g.Pod)
	r.Runtime.Start()
	r.AwaitPlugin(mark, Plugin)
	within(r.t, func() error {
		if r.Function(g.IDs[0]).Resets == resets {
			return fmt.Errorf("%s was not reset after its sandbox was no longer there", g.IDs[0])
		}
		return nil
	})
	r.End(g.Pod.Namespace, g.Pod.Name)
}

// release ends the pod, VM first, and says how long it took until the GPU was being scrubbed. With
// the longest pod_poll nothing but StopPodSandbox can have told pgpud.
func (r *Rig) release(g *Guest, vm func()) {
	r.t.Helper()
	if vm != nil {
		vm()
	}
	resets := map[string]int{}
	for _, id := range g.IDs {
		resets[id] = r.Function(id).Resets
	}
	r.StopPod(g.Pod)
	stopped := time.Now()
	within(r.t, func() error {
		u, err := r.Units()
		if err == nil && u[g.IDs[0]].Operation == "" && r.Function(g.IDs[0]).Resets == resets[g.IDs[0]] {
			err = fmt.Errorf("nobody scrubs %s: %+v", g.IDs[0], u[g.IDs[0]])
		}
		return err
	})
	begun := ago(stopped)
	kit.Eventually(r.t, Limit, func() error {
		for _, id := range g.IDs {
			if r.Function(id).Resets == resets[id] {
				return fmt.Errorf("%s was not reset after its sandbox had stopped", id)
			}
		}
		return nil
	})
	r.t.Logf("the scrub had begun %v and was done %v after StopPodSandbox", begun, ago(stopped))
	r.RemovePod(g.Pod)
	r.End(g.Pod.Namespace, g.Pod.Name)
}

// Release: StopPodSandbox alone is what makes pgpud scrub.
func Release(t *testing.T, f Flavour) {
	r := NewRig(t, f, RigOptions{Node: kit.Options{PodPoll: "10m"}})
	r.Up()
	for i := range 3 {
		g := r.Guest(fmt.Sprint("guest-", i), Confidential, 2)
		r.run(g)
		r.create(g, g.Given())
		vm := g.vm()
		r.release(g, vm)
		r.AwaitHealthy(gpus)
	}
}

// Again: a sandbox ends and the kubelet makes another one for the same pod, with the same GPUs, as it does
// after a crash of the VM. The next sandbox is refused while the old VM has a GPU, and gets its GPUs after
// they were scrubbed.
func Again(t *testing.T, f Flavour) {
	r := NewRig(t, f, RigOptions{})
	r.Up()
	g := r.Guest("guest", Confidential, 2)
	for i := range 4 {
		within(t, func() error {
			u, err := r.Units()
			for _, id := range g.IDs {
				if err == nil && (u[id].State != "allocated" || u[id].Operation != "") {
					err = fmt.Errorf("%s is %s (%s)", id, u[id].State, u[id].Operation)
				}
			}
			return err
		})
		vm := g.vm() // it boots before anybody is told
		r.run(g)
		r.inject(g, g.Bare())
		r.owned(g)
		r.Unit(g.IDs[0], "in_use", Limit)
		resets := r.Function(g.IDs[0]).Resets
		r.StopPod(g.Pod)
		r.RemovePod(g.Pod)
		r.Unit(g.IDs[0], "releasing", Limit)
		g.Pod = NextSandbox(g.Pod)
		refused(t, r.RunPod(g.Pod), "a sandbox whose GPU the old VM has open", g.IDs[0])
		vm()
		within(t, func() error {
			if now := r.Function(g.IDs[0]).Resets; now < resets+2 { // the close's and ours
				return fmt.Errorf("%d: %s has %d resets, had %d", i, g.IDs[0], now, resets)
			}
			return nil
		})
		g.Pod = NextSandbox(g.Pod)
	}
}

// Messages: requests from a few bytes to nearly the 4 MiB that a message may have. In between lie 4096,
// where one frame becomes two, and the size of a socket's buffer.
func Messages(t *testing.T, f Flavour) {
	r := NewRig(t, f, RigOptions{})
	r.Up()
	mark := Mark()
	g := r.Guest("guest", Confidential, 1)
	r.run(g)
	for _, size := range []int{1, 2500, 3000, 3500, 4000, 4096, 5000, 8192, 70000, 1 << 20, 4<<20 - 16000} {
		c := g.Bare()
		for at := 0; at < size; at += 16000 {
			c.Spec.Process.Env = append(c.Spec.Process.Env, fmt.Sprintf("PAD%d=%s", at, strings.Repeat("x", min(16000, size-at)-10*min(1, size/16000))))
		}
		r.create(g, c)
		equal(t, "nodes", c.Nodes(), g.Nodes)
	}
	// What is too long never leaves a new runtime; an old one sends it. The connection lives on.
	c := g.Bare()
	c.Spec.Process.Env = append(c.Spec.Process.Env, "PAD="+strings.Repeat("x", 4<<20))
	if err := r.Create(g.Pod, c); err == nil {
		t.Error("more than 4 MiB was sent")
	}
	r.inject(g, g.Bare())
	if bad := Said(mark, "closing plugin", "closed"); len(bad) > 0 {
		t.Error(bad)
	}
}

// Answers: what pgpud adds to a container takes many times the 4096 bytes that the other side's reader
// takes at once.
func Answers(t *testing.T, f Flavour) {
	for _, many := range []int{3, 4, 5, 31} {
		t.Run(fmt.Sprint(many), func(t *testing.T) {
			text := strings.Repeat("x", 900)
			yaml := "  handlers:\n    - {match: \"" + Confidential + "\", set: long}\n  sets:\n    - name: long\n      annotations:\n" +
				"        - \"nvidia.com/pgpu.devices={devices}\"\n"
			for i := range many {
				yaml += fmt.Sprintf("        - \"nvidia.com/pgpu.long-%d={devices} %s\"\n", i, text)
			}
			r := NewRig(t, f, RigOptions{NRIYAML: yaml})
			r.Up()
			mark := Mark()
			g := r.Guest("guest", Confidential, 2)
			r.run(g)
			for range 5 {
				c := g.Bare()
				r.inject(g, c)
				for i := range many {
					if v := c.Ours()[fmt.Sprintf("nvidia.com/pgpu.long-%d", i)]; !strings.HasSuffix(v, text) || !strings.Contains(v, g.IDs[1]) {
						t.Fatalf("annotation %d: %q", i, v)
					}
				}
			}
			if bad := Said(mark, "closing plugin", "closed"); len(bad) > 0 {
				t.Error(bad)
			}
		})
	}
}

// Late: pgpud is stopped while it is asked. The runtime goes on without it, or fails the request if
// pgpud has asked for that and the runtime knows how; pgpud comes back by itself.
func Late(t *testing.T, f Flavour, failClosed bool) {
	r := NewRig(t, f, RigOptions{})
	r.Up()
	g := r.Guest("guest", Confidential, 1)
	r.run(g)
	for range 2 {
		mark := Mark()
		c := g.Bare()
		before := c.Clone(t)
		r.signal(syscall.SIGSTOP)
		SetRequestTimeout(time.Second)
		begun := time.Now()
		err := r.Create(g.Pod, c)
		SetRequestTimeout(Limit)
		r.signal(syscall.SIGCONT)
		t.Logf("answered after %v: %v", ago(begun), err)
		if failClosed != (err != nil) {
			t.Errorf("a container that pgpud was not asked about: %v", err)
		}
		equal(t, "the spec without an answer", c.Spec, before)
		AwaitSaid(t, mark, Limit, "closing plugin "+Plugin)
		r.AwaitPlugin(mark, Plugin)
		r.inject(g, g.Bare())
	}
	if s := r.external(); s.Connects < 3 {
		t.Errorf("%d connects", s.Connects)
	}
}

// Reconnects: runtimes come and go, some of them killed so that their socket stays behind. Nothing of
// that stays in pgpud.
func Reconnects(t *testing.T, f Flavour, times int) {
	if s := os.Getenv("PGPU_PEERS_NRI_RECONNECTS"); s != "" {
		n, err := strconv.Atoi(s)
		must(t, err)
		times = n
	}
	r := NewRig(t, f, RigOptions{})
	r.Up()
	g := r.Guest("guest", Confidential, 1)
	r.run(g)
	r.create(g, g.Given())
	var fds, threads, rss [2]int
	begun := time.Now()
	warm := min(100, times/4)
	for i := range times {
		r.Runtime.Stop(i%3 == 0)
		mark := Mark()
		r.Runtime.Start()
		AwaitSaid(t, mark, Limit, fmt.Sprintf("plugin %q connected", Plugin))
		if i%100 == 0 {
			r.inject(g, g.Bare())
		}
		if i == warm {
			fds[0], threads[0], rss[0] = r.Footprint(kit.Pgpud)
		}
	}
	r.inject(g, g.Bare())
	r.owned(g)
	fds[1], threads[1], rss[1] = r.Footprint(kit.Pgpud)
	t.Logf("%d reconnects in %v; pgpud after %d and after all: %d and %d descriptors, %d and %d threads, %d and %d kB",
		times, ago(begun), warm, fds[0], fds[1], threads[0], threads[1], rss[0], rss[1])
	if fds[1] > fds[0]+2 || threads[1] > threads[0]+4 || rss[1] > rss[0]+4096 && !r.Sanitized(kit.Pgpud) {
		t.Error("pgpud grows")
	}
	if s := r.external(); s.Connects < times {
		t.Errorf("%d connects", s.Connects)
	}
}
