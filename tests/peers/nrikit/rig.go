// SPDX-License-Identifier: Apache-2.0

package nrikit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"pgpu.local/peers/kit"
)

// Names that the scenarios use.
const (
	Plugin       = "10-pgpu"
	Confidential = "kata-qemu-nvidia-gpu-snp"
	Plain        = "kata-qemu-nvidia-gpu"
	gpus         = 8
)

// Rig is a node with its services and kubelet, and a runtime that is not started yet.
type Rig struct {
	*kit.Node
	*Runtime
	t testing.TB
}

// RigOptions are the node's and the runtime's.
type RigOptions struct {
	Node    kit.Options
	Runtime Options
	NRIYAML string // more lines below nri:
}

// NewRig starts the node and waits until all its GPUs can be had.
func NewRig(t testing.TB, f Flavour, o RigOptions) *Rig {
	t.Helper()
	SetRequestTimeout(Limit) // a busy machine is not what is tested
	o.Node.SimKubelet = true
	o.Node.NodeArgs = append(o.Node.NodeArgs, "--gpus", fmt.Sprint(gpus))
	o.Node.PgpudYAML += "nri:\n  sockets: [\"@DIR@/run/nri.sock\"]\n" + o.NRIYAML
	n := kit.StartNode(t, o.Node)
	o.Runtime.Dir = filepath.Join(n.Dir, "run")
	r := &Rig{Node: n, Runtime: NewRuntime(t, f, o.Runtime), t: t}
	n.AwaitHealthy(gpus)
	return r
}

// Up starts the runtime and waits until it calls the plugin.
func (r *Rig) Up() {
	r.t.Helper()
	mark := Mark()
	r.Runtime.Start()
	r.AwaitPlugin(mark, Plugin)
}

// Guest is a pod with GPUs: admitted by the kubelet, its sandbox not yet told of.
type Guest struct {
	Pod   *api.PodSandbox
	IDs   []string // of the GPUs
	Nodes []string // their nodes, sorted
	node  map[string]string
	rig   *Rig
}

// Guest lets the kubelet admit a pod whose container "main" gets count GPUs.
func (r *Rig) Guest(name, handler string, count int) *Guest {
	r.t.Helper()
	g := &Guest{Pod: Pod(name, handler, nil), node: map[string]string{}, rig: r}
	g.IDs = r.Admit(g.Pod.Namespace, name, "main", count).IDs
	nodes := r.CDINodes()
	for _, id := range g.IDs {
		node := nodes[kit.Kind+"="+id]
		if node == "" {
			r.t.Fatalf("%s is not in the CDI file: %v", id, nodes)
		}
		g.Nodes = append(g.Nodes, node)
		g.node[id] = node
	}
	slices.Sort(g.Nodes)
	return g
}

// vfioMajor is the simulated kernel's number of VFIO device nodes.
const vfioMajor = 511

// Numbers of a simulated node, as a runtime that stats it would see them.
func Numbers(path string) (major, minor int64) {
	_, _ = fmt.Sscanf(filepath.Base(path), "vfio%d", &minor)
	return vfioMajor, minor
}

// vm opens the pod's first GPU as its VM does; the returned function closes it.
func (g *Guest) vm() func() { return g.rig.Open(g.IDs[0], g.node[g.IDs[0]]) }

// Bare is a container of the pod without what the kubelet gave it.
func (g *Guest) Bare() *Container {
	c := NewContainer("main")
	c.CDIDirs = []string{filepath.Join(g.rig.Node.Dir, "hostcdi")}
	HostCDI(g.rig.t, filepath.Join(g.rig.Node.Dir, "cdi"), c.CDIDirs[0], Numbers)
	return c
}

// Given is a container of the pod with the nodes that the kubelet gave it.
func (g *Guest) Given() *Container {
	c := g.Bare()
	for _, node := range g.Nodes {
		major, minor := Numbers(node)
		c.AddNode(node, major, minor)
	}
	return c
}

// What pgpud says when it did not get what it needs to judge in the time that it has, which is half a
// second. On a machine with many tests at once that happens; a kubelet tries again.
var tooSlow = []string{"is older than the pod", "does not say what is allocated", "found no answer in time"}

func (r *Rig) patiently(f func() error, next func()) {
	r.t.Helper()
	for range 20 {
		err := f()
		slow := err != nil && slices.ContainsFunc(tooSlow, func(text string) bool { return strings.Contains(err.Error(), text) })
		if !slow {
			must(r.t, err)
			return
		}
		r.t.Log("again: ", err)
		if next != nil {
			next()
		}
	}
	r.t.Fatal("too slow, again and again")
}

// run starts the pod's sandbox, which must be let through.
func (r *Rig) run(g *Guest) {
	r.t.Helper()
	r.patiently(func() error { return r.RunPod(g.Pod) }, func() { g.Pod = NextSandbox(g.Pod) })
}

// create creates the container, which must be let through.
func (r *Rig) create(g *Guest, c *Container) {
	r.t.Helper()
	r.patiently(func() error { return r.Create(g.Pod, c) }, nil)
}

// Run starts the pod's sandbox.
func (g *Guest) Run() {
	g.rig.t.Helper()
	g.rig.run(g)
}

// Leave is the end of the pod: runtime first, then kubelet.
func (g *Guest) Leave() {
	g.rig.t.Helper()
	g.rig.StopPod(g.Pod)
	g.rig.RemovePod(g.Pod)
	g.rig.End(g.Pod.Namespace, g.Pod.Name)
}

// Session is one runtime in pgpud's status.
type Session struct {
	Socket, Version, Why string
	Runtime              string
	NRIVersion           string `json:"nri_version"`
	Up, Validates        bool
	CDI                  bool `json:"injects_cdi"`
	StateChange          bool `json:"state_change"`
	Events               map[string]int
	Refusals, Timeouts   int
	Connects             int
}

// Sessions asks pgpud.
func (r *Rig) Sessions() ([]Session, error) {
	var s struct{ NRI struct{ Sessions []Session } }
	text := r.Status()
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, fmt.Errorf("%w: %.200s", err, text)
	}
	return s.NRI.Sessions, nil
}

// external is the session of our socket.
func (r *Rig) external() Session {
	r.t.Helper()
	var found Session
	kit.Eventually(r.t, Limit, func() error {
		all, err := r.Sessions()
		if err != nil {
			return err
		}
		for _, s := range all {
			if s.Socket == r.Socket() {
				found = s
				return nil
			}
		}
		return fmt.Errorf("no session of %s in %+v", r.Socket(), all)
	})
	return found
}

// refused checks that there is an error and that it names what an operator looks for.
func refused(t testing.TB, err error, what string, names ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s was not refused", what)
		return
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the refusal of %s does not name %s: %v", what, name, err)
		}
	}
	t.Logf("%s: %v", what, err)
}

func equal(t testing.TB, what string, have, want any) {
	t.Helper()
	a, err := json.MarshalIndent(have, "", " ")
	must(t, err)
	b, err := json.MarshalIndent(want, "", " ")
	must(t, err)
	if string(a) != string(b) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, a, b)
	}
}

// within waits for a condition of the test itself.
func within(t testing.TB, f func() error) {
	t.Helper()
	kit.Eventually(t, Limit, f)
}

func (r *Rig) signal(sig syscall.Signal) {
	r.t.Helper()
	p, err := os.FindProcess(r.Pid(kit.Pgpud))
	must(r.t, err)
	must(r.t, p.Signal(sig))
}

func ago(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }
