// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"pgpu.local/peers/e2e/nodes"
	"pgpu.local/peers/kit"
)

// limit is for what should take a moment, on a busy machine.
const limit = 30 * time.Second

// Cluster is what is started once: API, runtime and kubelet.
type Cluster struct {
	*Containerd
	kubelet *Kubelet
	api     *api
}

var (
	clusterMu sync.Mutex
	services  *api
	clusters  *Cluster // the one that runs
)

// cluster gives one with the containerd that is asked for; another one is ended first.
func cluster(r release) (*Cluster, error) {
	clusterMu.Lock()
	defer clusterMu.Unlock()
	if services == nil {
		if err := serveImage(); err != nil {
			return nil, err
		}
		var err error
		if services, err = serveAPI(); err != nil {
			return nil, err
		}
		services.classes()
	}
	if clusters != nil && clusters.release.name == r.name {
		return clusters, nil
	}
	if clusters != nil {
		clusters.kubelet.process.stop(nil, syscall.SIGTERM)
		clusters.process.stop(nil, syscall.SIGTERM)
		_ = os.RemoveAll(kubeletDir)
		clusters = nil
	}
	c, err := newContainerd(r)
	if err != nil {
		return nil, err
	}
	if err := c.start(); err != nil {
		return nil, err
	}
	if err := c.pull(); err != nil {
		return nil, err
	}
	k, err := newKubelet(c.socket())
	if err != nil {
		return nil, err
	}
	if err := k.start(); err != nil {
		return nil, err
	}
	clusters = &Cluster{Containerd: c, kubelet: k, api: services}
	return clusters, nil
}

// Rig is a cluster's node with pgpu on simulated hardware, for one test.
type Rig struct {
	*Cluster
	*kit.Node
	t    *testing.T
	gpus int
}

// start gives a node all of whose GPUs can be had. When the test has ended nothing may be left: no
// sandbox, no GPU that is not offered.
func start(t *testing.T, r release, gpus int, o kit.Options) *Rig {
	t.Helper()
	if why := cannot(); why != "" {
		t.Skip(why)
	}
	kit.Bin(t, "daemon/pgpud")
	c, err := cluster(r)
	must(t, err)
	rig := &Rig{Cluster: c, t: t, gpus: gpus}
	c.kubelet.Await(t, 0) // the last test's are forgotten
	c.api.forget("events")
	must(t, os.RemoveAll("/dev/vfio"))
	o.NodeArgs = append([]string{"--gpus", fmt.Sprint(gpus)}, o.NodeArgs...)
	o.PluginDir, o.PodResources, o.CDIDir = pluginDir, podResources, "/var/run/cdi"
	must(t, os.RemoveAll(filepath.Join(c.Containerd.dir, "records")))
	must(t, os.MkdirAll(filepath.Join(c.Containerd.dir, "records"), 0o755))
	rig.Node = kit.StartNode(t, o)
	_ = os.Remove(nodeLink())
	must(t, os.Symlink(rig.Dir, nodeLink()))
	t.Cleanup(rig.end)
	rig.Allocatable(gpus)
	rig.Connected()
	must(t, nodes.Make(filepath.Join(rig.Dir, "root")))
	return rig
}

// end removes the test's pods and looks at what remains.
func (r *Rig) end() {
	r.DeleteAll()
	if r.t.Failed() {
		r.t.Log(r.kubelet.process.tail())
		r.t.Log(r.Containerd.process.tail())
		r.RemoveSandboxes(r.t)
		return
	}
	r.NothingLeft()
}

// NothingLeft: no sandbox or container runs, every GPU is offered again, on the node as well. Sandboxes
// that have ended are removed; the kubelet does that once a minute.
func (r *Rig) NothingLeft() {
	r.t.Helper()
	kit.Eventually(r.t, limit, func() error {
		for _, s := range r.Sandboxes(r.t) {
			if s.GetState() == cri.PodSandboxState_SANDBOX_READY {
				return fmt.Errorf("sandbox %s/%s runs", s.GetMetadata().GetNamespace(), s.GetMetadata().GetName())
			}
		}
		for _, c := range r.Containers(r.t) {
			if c.GetState() == cri.ContainerState_CONTAINER_RUNNING {
				return fmt.Errorf("container %s runs", c.GetMetadata().GetName())
			}
		}
		return nil
	})
	r.RemoveSandboxes(r.t)
	r.Settled()
	r.Allocatable(r.gpus)
}

// Settled waits until every GPU is offered: nobody has one, none is quarantined.
func (r *Rig) Settled() {
	r.t.Helper()
	kit.Eventually(r.t, limit, func() error {
		units, err := r.Units()
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

// Allocatable waits until so many GPUs are, by the kubelet's account and by the Node object.
func (r *Rig) Allocatable(count int) {
	r.t.Helper()
	r.kubelet.Await(r.t, count)
	kit.Eventually(r.t, limit, func() error {
		node := r.api.get("nodes", "", nodeName)
		if got := text(node, "status", "allocatable", kit.Kind); got != fmt.Sprint(count) {
			return fmt.Errorf("the node has %q allocatable, not %d", got, count)
		}
		return nil
	})
}

// Connected waits until pgpud has a session with the runtime.
func (r *Rig) Connected() {
	r.t.Helper()
	kit.Eventually(r.t, limit, func() error {
		if s := r.Status(); !strings.Contains(s, "containerd") {
			return fmt.Errorf("no session with containerd: %s", s)
		}
		return nil
	})
}
