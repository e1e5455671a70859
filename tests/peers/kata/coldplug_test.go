// SPDX-License-Identifier: Apache-2.0

package kata

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgpu.local/peers/kit"
)

// agrees compares what a shim found with what the kubelet was given: the same nodes, each with one
// function, which is the one that the device's ID names.
func agrees(t *testing.T, f Found, grants ...kit.Grant) {
	t.Helper()
	if f.Error != "" {
		t.Fatal(f.Error)
	}
	var names, nodes, ids, addresses []string
	for _, g := range grants {
		for _, id := range g.IDs {
			names = append(names, g.Resource+"="+id)
		}
		ids = append(ids, g.IDs...)
		for _, d := range g.Response.Devices {
			nodes = append(nodes, d.HostPath)
		}
	}
	for node, behind := range f.Devices {
		if len(behind) != 1 {
			t.Errorf("behind %s: %v", node, behind)
		}
		addresses = append(addresses, behind...)
	}
	same(t, "CDI names", f.Names, names)
	same(t, "nodes", slices.Collect(maps.Keys(f.Devices)), nodes)
	same(t, "functions", addresses, ids)
}

func same(t *testing.T, what string, have, want []string) {
	t.Helper()
	slices.Sort(have)
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(have, want) {
		t.Errorf("%s: the shim has %v, the kubelet was given %v", what, have, want)
	}
}

func TestTheShimFindsWhatThePodWasGiven(t *testing.T) {
	n := start(t, 8, kit.Options{})
	grants := map[string]kit.Grant{}
	for pod, count := range map[string]int{"one": 1, "two": 2, "five": 5} {
		grants[pod] = n.Admit("default", pod, "main", count)
	}
	seen := map[string]bool{}
	for pod, g := range grants {
		f := Shim(t, of(n, pod))
		agrees(t, f, g)
		for node, behind := range f.Devices {
			if seen[node] {
				t.Errorf("%s is in two pods", node)
			}
			seen[node] = true
			closeIt := n.Open(behind[0], node)
			if n.Function(behind[0]).Holder == "" {
				t.Errorf("%s does not open %s", node, behind[0])
			}
			closeIt()
		}
	}
}

func TestTwoContainersOfAPodShareItsVM(t *testing.T) {
	n := start(t, 3, kit.Options{})
	a := n.Admit("default", "pair", "first", 1)
	b := n.Admit("default", "pair", "second", 2)
	agrees(t, Shim(t, of(n, "pair")), a, b)
}

func TestSwitchesAreFoundBesideTheGPUs(t *testing.T) {
	n := start(t, 8, kit.Options{
		NodeArgs: []string{"--nvswitches", "4"},
		PgpudYAML: `resources:
  - {name: nvidia.com/pgpu, match: gpu}
  - {name: nvidia.com/nvswitch, match: nvswitch}
`,
	})
	must(t, n.AskKubelet(nil, "wait nvidia.com/nvswitch healthy=4 30"))
	var answer struct{ Granted []kit.Grant }
	kit.Eventually(t, 30*time.Second, func() error {
		return n.AskKubelet(&answer, "run default/all %s=8,nvidia.com/nvswitch=4", kit.Kind)
	})
	f := Shim(t, of(n, "all"))
	agrees(t, f, answer.Granted...)
	if len(f.Devices) != 12 {
		t.Errorf("%d devices", len(f.Devices))
	}
}

func TestGroupNodesAreForGuestsThatAreNotConfidential(t *testing.T) {
	n := start(t, 2, kit.Options{
		NodeArgs: []string{"--no-iommufd"},
		HwdYAML:  "vfio_node: group\n",
	})
	g := n.Admit("default", "plain", "main", 2)
	s := of(n, "plain")
	s.Confidential = false
	f := Shim(t, s)
	agrees(t, f, g)
	for node := range f.Devices {
		if strings.HasPrefix(node, "/dev/vfio/devices/") {
			t.Errorf("%s is no group", node)
		}
	}
	s.Confidential = true
	if f := Shim(t, s); !strings.Contains(f.Error, "needs iommufd") {
		t.Errorf("a confidential guest got %v %q", f.Devices, f.Error)
	}
}

func TestACompanionIsNotAmongTheFunctionsBehindANode(t *testing.T) {
	n := start(t, 1, kit.Options{NodeArgs: []string{"--companions", "audio"}})
	g := n.Admit("default", "one", "main", 1)
	agrees(t, Shim(t, of(n, "one")), g)
}

func TestAPodWithoutDevicesGetsNone(t *testing.T) {
	n := start(t, 1, kit.Options{})
	if f := Shim(t, of(n, "nobody")); len(f.Devices) != 0 || len(f.Names) != 0 {
		t.Errorf("%+v", f)
	}
	n.Admit("default", "one", "main", 1)
	n.End("default", "one")
	if f := Shim(t, of(n, "one")); len(f.Devices) != 0 || len(f.Names) != 0 {
		t.Errorf("after its end: %+v", f)
	}
}

// The file is written anew whenever a GPU comes or goes. No shim ever meets half a file, or misses
// the GPUs of its pod.
func TestTheShimFindsThePodsGPUsWhileTheFileIsRewritten(t *testing.T) {
	const others = 3
	n := start(t, 1+others, kit.Options{})
	g := n.Admit("default", "steady", "main", 1)
	units, err := n.Units()
	must(t, err)
	var free []string
	for id := range units {
		if id != g.IDs[0] {
			free = append(free, id)
		}
	}
	texts := map[string]bool{}
	// meanwhile lets shims run until the file has the device, or no longer has it.
	meanwhile := func(id string, wanted bool) {
		for until := time.Now().Add(30 * time.Second); ; {
			agrees(t, Shim(t, of(n, "steady")), g)
			read(t, n, texts)
			if _, there := n.CDINodes()[kit.Kind+"="+id]; there == wanted {
				return
			}
			if t.Failed() || time.Now().After(until) {
				t.Fatalf("%s in the file: not %v", id, wanted)
			}
		}
	}
	for _, id := range free {
		n.Ctl("unplug %s", id)
		meanwhile(id, false)
		n.Ctl("plug %s", id)
		meanwhile(id, true)
	}
	if len(texts) < 1+others {
		t.Errorf("only %d versions of the file", len(texts))
	}
	t.Logf("%d versions of the file", len(texts))
}

// read remembers the CDI files as they are.
func read(t *testing.T, n *kit.Node, seen map[string]bool) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(n.Dir, "cdi/*.json"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		seen[string(b)] = true
	}
}

func TestTheShimFindsThePodsGPUsWhileTheDaemonIsAway(t *testing.T) {
	n := start(t, 2, kit.Options{})
	g := n.Admit("default", "one", "main", 1)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		n.Stop(kit.Pgpud, sig)
		agrees(t, Shim(t, of(n, "one")), g)
		n.Start(kit.Pgpud)
		agrees(t, Shim(t, of(n, "one")), g)
	}
}
