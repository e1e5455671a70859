// SPDX-License-Identifier: Apache-2.0

//go:build bench

package nri012

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"pgpu.local/peers/kit"
	"pgpu.local/peers/nrikit"
)

const (
	benchRounds = 3000
	benchWarm   = 300
)

// cpu of a process so far: all its threads, in ns as the scheduler counts.
func cpu(t testing.TB, pid int) (ns float64) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no schedstat of %d: %v", pid, err)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if word, _, ok := strings.Cut(string(b), " "); ok {
			n, _ := strconv.ParseFloat(word, 64)
			ns += n
		}
	}
	return ns
}

// memory in kB: all that is resident, and what is the process's own.
func memory(t testing.TB, pid int) (rss, own float64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		key, rest, _ := strings.Cut(line, ":")
		var kb float64
		_, _ = fmt.Sscan(rest, &kb)
		switch key {
		case "Rss":
			rss = kb
		case "Private_Clean", "Private_Dirty":
			own += kb
		}
	}
	return rss, own
}

type measured struct {
	latency  map[string][]time.Duration
	cpuMs    float64 // for 1,000 events
	rss, own float64
}

func (m *measured) at(event string, q float64) float64 {
	v := m.latency[event]
	slices.Sort(v)
	return float64(v[min(len(v)-1, int(q*float64(len(v))))].Nanoseconds()) / 1000
}

var benchEvents = []string{"RunPodSandbox", "CreateContainer", "StopPodSandbox", "RemovePodSandbox"}

// drive sends the events one after the other, as a runtime does: of a pod with two GPUs, whose container
// lacks their nodes every other time, and the ends of pods without. pid is the plugin's, 0 for none.
func drive(t testing.TB, r *nrikit.Rig, g *nrikit.Guest, pid int) *measured {
	t.Helper()
	m := &measured{latency: map[string][]time.Duration{}}
	ctx, a := context.Background(), r.Adaptation()
	bare, given := g.Bare(), g.Given()
	bare.ID, given.ID = strings.Repeat("a", 64), strings.Repeat("b", 64)
	containers := []*api.Container{bare.Message(g.Pod), given.Message(g.Pod)}
	ends := nrikit.Pod("other", nrikit.Confidential, nil)
	var events int
	var before float64
	for i := range benchWarm + benchRounds {
		if i == benchWarm {
			clear(m.latency)
			events = 0
			if pid != 0 {
				before = cpu(t, pid)
			}
		}
		for _, event := range benchEvents {
			var err error
			begun := time.Now()
			switch event {
			case "RunPodSandbox":
				err = a.RunPodSandbox(ctx, &api.RunPodSandboxRequest{Pod: g.Pod})
			case "CreateContainer": // with ValidateContainerAdjustment in it
				c := containers[i%2]
				var reply *api.CreateContainerResponse
				reply, err = a.CreateContainer(ctx, &api.CreateContainerRequest{Pod: g.Pod, Container: c})
				events++
				if err == nil && pid != 0 && len(reply.Adjust.GetCDIDevices()) != 2*(1-i%2) {
					t.Fatalf("container %d got %v", i%2, reply.Adjust)
				}
			case "StopPodSandbox":
				err = a.StopPodSandbox(ctx, &api.StopPodSandboxRequest{Pod: ends})
			case "RemovePodSandbox":
				err = a.RemovePodSandbox(ctx, &api.RemovePodSandboxRequest{Pod: ends})
			}
			took := time.Since(begun)
			events++
			if err != nil {
				t.Fatalf("%s: %v", event, err)
			}
			m.latency[event] = append(m.latency[event], took)
		}
	}
	if pid == 0 {
		return m
	}
	m.cpuMs = (cpu(t, pid) - before) / 1e6 / float64(events) * 1000
	m.rss, m.own = memory(t, pid)
	return m
}

func row(what string, value float64, unit string, baseline string, base float64) {
	fmt.Printf("%-46s %9.2f %-4s %6.2fx of %s (%.2f %s)\n", what, value, unit, value/base, baseline, base, unit)
}

// TestBench measures, for one runtime with one plugin at a time: pgpud, and the Go plugin on upstream's
// stub that does the same minimal work. Nothing is asserted about the numbers. Run by tests/bench/nri.
func TestBench(t *testing.T) {
	r := nrikit.NewRig(t, flavour, nrikit.RigOptions{
		Node: kit.Options{PodPoll: "10m", LogLevel: "info"}, Runtime: nrikit.Options{Direct: true}})
	r.Up()
	g := r.Guest("guest", nrikit.Confidential, 2)
	nodes := r.CDINodes()
	pgpud := drive(t, r, g, r.Pid(kit.Pgpud))
	// pgpud's other half is of no use to a plugin that knows its devices from a file
	r.Node.Stop(kit.Pgpud, syscall.SIGTERM)
	none := drive(t, r, g, 0)

	table := map[string][]map[string]any{}
	for _, id := range g.IDs {
		table["default/guest/main"] = append(table["default/guest/main"],
			map[string]any{"ID": id, "CDI": kit.Kind + "=" + id, "Node": nodes[kit.Kind+"="+id], "Verified": true})
	}
	b, err := json.Marshal(table)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.Node.Dir, "table.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	mark := nrikit.Mark()
	plugin := exec.Command("../bin/nri-refplugin", "--socket", r.Socket(), "--table", file)
	plugin.Stderr = os.Stderr
	if err := plugin.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plugin.Process.Kill(); _ = plugin.Wait() })
	r.AwaitPlugin(mark, "10-reference")
	stub := drive(t, r, g, plugin.Process.Pid)

	const base = "Go stub plugin"
	for _, event := range benchEvents {
		for _, q := range []float64{0.5, 0.99} {
			row("NRI "+event+fmt.Sprintf(" adds, p%.0f", q*100), pgpud.at(event, q)-none.at(event, q), "us", base, stub.at(event, q)-none.at(event, q))
		}
	}
	row("NRI CPU for 1000 events", pgpud.cpuMs, "ms", base, stub.cpuMs)
	row("NRI RSS (pgpud: all of it, gRPC too)", pgpud.rss/1024, "MiB", base, stub.rss/1024)
	row("NRI memory of its own (same)", pgpud.own/1024, "MiB", base, stub.own/1024)
}
