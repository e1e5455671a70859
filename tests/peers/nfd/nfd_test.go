// SPDX-License-Identifier: Apache-2.0

// Package nfd reads our feature file as nfd-worker does and puts its labels before nfd-master's rules.
package nfd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	_ "unsafe" // for go:linkname

	"pgpu.local/peers/kit"
	"sigs.k8s.io/node-feature-discovery/pkg/apis/nfd/validate"
	"sigs.k8s.io/node-feature-discovery/source"
	_ "sigs.k8s.io/node-feature-discovery/source/local"
)

// Where the worker looks; it has no option for it.
//
//go:linkname featureFilesDir sigs.k8s.io/node-feature-discovery/source/local.featureFilesDir
var featureFilesDir string

// labels is one pass of the worker.
func labels(t *testing.T, dir string) map[string]string {
	t.Helper()
	featureFilesDir = dir
	s := source.GetFeatureSource("local")
	if err := s.Discover(); err != nil {
		t.Fatal(err)
	}
	found, err := s.(source.LabelSource).GetLabels()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for k, v := range found {
		all[k] = fmt.Sprint(v)
	}
	return all
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func start(t *testing.T, expiry string) (*kit.Node, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgpu-nfd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	n := kit.StartNode(t, kit.Options{
		SimKubelet: true,
		NodeArgs:   []string{"--gpus", "2"},
		PgpudYAML:  fmt.Sprintf("nfd: {dir: %s, expiry: %s}\n", dir, expiry),
	})
	return n, dir
}

func TestTheWorkerReadsOurLabelsAndTheMasterTakesThem(t *testing.T) {
	_, dir := start(t, "60s")
	eventually(t, "the node is never ready", func() bool {
		return labels(t, dir)["nvidia.com/cc.ready.state"] == "true"
	})
	got := labels(t, dir)
	for k, want := range map[string]string{
		"nvidia.com/cc.mode.state":                      "on",
		"pgpu.feature.node.kubernetes.io/gpus":          "2",
		"pgpu.feature.node.kubernetes.io/gpus-verified": "2",
	} {
		if got[k] != want {
			t.Errorf("%s is %q, not %q", k, got[k], want)
		}
	}
	for k, v := range got {
		if err := validate.Label(k, v); err != nil {
			t.Errorf("the master refuses %s=%s: %v", k, v, err)
		}
	}
	// What is being written is no feature file to the worker.
	if err := os.WriteFile(filepath.Join(dir, ".pgpu.tmp"), []byte("nvidia.com/cc.mode.state=half\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if s := labels(t, dir)["nvidia.com/cc.mode.state"]; s != "on" {
		t.Errorf("a temporary file counts: %s", s)
	}
}

func TestTheWorkerDropsTheLabelsOfADeadDaemon(t *testing.T) {
	n, dir := start(t, "3s")
	eventually(t, "the node is never ready", func() bool {
		return labels(t, dir)["nvidia.com/cc.ready.state"] == "true"
	})
	n.Stop(kit.Pgpud, syscall.SIGKILL)
	eventually(t, "the labels of a dead pgpud stay", func() bool { return len(labels(t, dir)) == 0 })
	data, err := os.ReadFile(filepath.Join(dir, "pgpu"))
	if err != nil || !strings.Contains(string(data), "cc.ready.state=true") {
		t.Fatalf("the file is not what expired: %s %v", data, err)
	}
}
