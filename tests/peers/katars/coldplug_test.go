// SPDX-License-Identifier: Apache-2.0

package katars

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgpu.local/peers/kit"
)

// start is a node with a kubelet, all of whose GPUs can be had.
func start(t *testing.T, gpus int, o kit.Options) *kit.Node {
	t.Helper()
	needsCrate(t)
	if why := cannot(); why != "" {
		t.Skip("the shim's paths are fixed, and there is no mount namespace of our own: ", why)
	}
	o.SimKubelet = true
	o.NodeArgs = append([]string{"--gpus", fmt.Sprint(gpus)}, o.NodeArgs...)
	n := kit.StartNode(t, o)
	n.AwaitHealthy(gpus)
	return n
}

// of is the sandbox of a pod that was granted these.
func of(n *kit.Node, grants ...kit.Grant) Sandbox {
	s := Sandbox{Node: n.Dir}
	for _, g := range grants {
		for _, id := range g.IDs {
			s.Names = append(s.Names, g.Resource+"="+id)
		}
	}
	return s
}

// agrees compares what a shim found with what the kubelet was given: the same nodes, each with one
// function, which is the one that the device's ID names.
func agrees(t *testing.T, f Found, iommufd bool, grants ...kit.Grant) {
	t.Helper()
	if f.Error != "" {
		t.Fatal(f.Error)
	}
	var have, want []string
	for _, g := range grants {
		for _, d := range g.Response.Devices {
			want = append(want, d.HostPath)
		}
		want = append(want, g.IDs...)
	}
	for _, d := range f.Functions {
		have = append(append(have, d.Node), d.Addresses...)
		if d.IOMMUFD != iommufd {
			t.Errorf("%s goes to the VM by iommufd: %v", d.Node, d.IOMMUFD)
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	if len(want) == 0 || !slices.Equal(have, want) {
		t.Errorf("the shim has %v, the kubelet was given %v", have, want)
	}
}

func TestTheShimFindsWhatThePodWasGiven(t *testing.T) {
	n := start(t, 8, kit.Options{})
	for pod, count := range map[string]int{"one": 1, "two": 2, "five": 5} {
		g := n.Admit("default", pod, "main", count)
		agrees(t, Shim(t, of(n, g)), true, g)
	}
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
	f := Shim(t, of(n, answer.Granted...))
	agrees(t, f, true, answer.Granted...)
	if len(f.Functions) != 12 {
		t.Errorf("%d devices", len(f.Functions))
	}
}

func TestGroupNodesAreTakenWithoutIommufd(t *testing.T) {
	n := start(t, 2, kit.Options{
		NodeArgs: []string{"--no-iommufd"},
		HwdYAML:  "vfio_node: group\n",
	})
	g := n.Admit("default", "plain", "main", 2)
	f := Shim(t, of(n, g))
	agrees(t, f, false, g)
	for _, d := range f.Functions {
		if strings.HasPrefix(d.Node, cdevs) {
			t.Errorf("%s is no group", d.Node)
		}
	}
}

func TestACompanionIsNotAmongTheFunctionsBehindANode(t *testing.T) {
	n := start(t, 1, kit.Options{NodeArgs: []string{"--companions", "audio"}})
	g := n.Admit("default", "one", "main", 1)
	agrees(t, Shim(t, of(n, g)), true, g)
}

func TestANameThatNobodyOffersFailsTheSandbox(t *testing.T) {
	n := start(t, 1, kit.Options{})
	s := Sandbox{Node: n.Dir, Names: []string{kit.Kind + "=vfio0"}}
	if f := Shim(t, s); !strings.Contains(f.Error, "unresolvable") {
		t.Errorf("%+v", f)
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
	shims := 0
	meanwhile := func(id string, wanted bool) {
		for until := time.Now().Add(30 * time.Second); ; {
			agrees(t, Shim(t, of(n, g)), true, g)
			shims++
			if _, there := n.CDINodes()[kit.Kind+"="+id]; there == wanted {
				return
			}
			if t.Failed() || time.Now().After(until) {
				t.Fatalf("%s in the file: not %v", id, wanted)
			}
		}
	}
	for id := range units {
		if id == g.IDs[0] {
			continue
		}
		n.Ctl("unplug %s", id)
		meanwhile(id, false)
		n.Ctl("plug %s", id)
		meanwhile(id, true)
	}
	t.Logf("%d shims", shims)
}

func TestTheShimFindsThePodsGPUsWhileTheDaemonIsAway(t *testing.T) {
	n := start(t, 2, kit.Options{})
	g := n.Admit("default", "one", "main", 1)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		n.Stop(kit.Pgpud, sig)
		agrees(t, Shim(t, of(n, g)), true, g)
		n.Start(kit.Pgpud)
		agrees(t, Shim(t, of(n, g)), true, g)
	}
}
