// SPDX-License-Identifier: Apache-2.0

package crio

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"pgpu.local/peers/kit"
	"pgpu.local/peers/nrikit"
)

const timeout = "io.katacontainers.config.runtime.create_container_timeout"

// up is a node whose CRI-O has the handler of the confidential GPU pods, changed by edit.
func up(t *testing.T, version string, injects bool, edit func(*Handler)) (*nrikit.Rig, Handler) {
	t.Helper()
	h, ok := shipped(t)[nrikit.Confidential]
	if !ok || h.Type != "vm" || len(h.Allowed) != 0 {
		t.Fatalf("deploy/crio: %+v", h)
	}
	if edit != nil {
		edit(&h)
	}
	r := nrikit.NewRig(t, h.flavour(version, injects), nrikit.RigOptions{})
	r.Up()
	return r, h
}

// create is patient with a daemon that was not told of the pod in time, as a kubelet is.
func create(t *testing.T, r *nrikit.Rig, g *nrikit.Guest, c *nrikit.Container) {
	t.Helper()
	for range 20 {
		err := r.Create(g.Pod, c)
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "older than the pod") && !strings.Contains(err.Error(), "does not say") &&
			!strings.Contains(err.Error(), "no answer in time") {
			t.Fatal(err)
		}
	}
	t.Fatal("too slow, again and again")
}

// A pod's whole life, by each way that a GPU gets into its container: the kubelet's device, the kubelet's
// name for CDI, an annotation of CDI's, and nothing, which is when pgpud adds it.
func TestAPodUnderCRIO(t *testing.T) {
	for _, v := range []struct {
		version string
		injects bool
	}{{"1.36.1", true}, {"1.33.0", false}} {
		r, h := up(t, v.version, v.injects, nil)
		for _, way := range []string{"device", "name", "nothing"} {
			g := r.Guest("model-"+way, nrikit.Confidential, 2)
			g.Pod.Annotations = h.sandbox(map[string]string{"example.com/team": "a"})
			if g.Pod.Annotations[timeout] == "" || g.Pod.Annotations["example.com/team"] != "a" {
				t.Errorf("the sandbox has %v", g.Pod.Annotations)
			}
			g.Run()
			c, names := g.Bare(), []string{}
			switch way {
			case "device":
				c = g.Given()
			case "name":
				for _, id := range g.IDs {
					names = append(names, kit.Kind+"="+id)
				}
			}
			h.container(t, g, c, map[string]string{"io.kubernetes.container.restartCount": "0"}, names...)
			before := maps.Clone(c.Spec.Annotations)
			create(t, r, g, c)
			if !slices.Equal(c.Nodes(), g.Nodes) {
				t.Errorf("%s, by %s: the container has %v, the pod was given %v", v.version, way, c.Nodes(), g.Nodes)
			}
			// CRI-O's filter leaves ours, and we leave CRI-O's and write none of CDI's or Kata's.
			if ours := c.Ours(); ours["nvidia.com/pgpu.devices"] == "" || ours["nvidia.com/pgpu.cc-mode"] != "on" {
				t.Errorf("%s, by %s: annotations %v", v.version, way, ours)
			}
			for key, value := range c.Spec.Annotations {
				if strings.HasPrefix(key, "nvidia.com/pgpu.") {
					continue
				}
				if was, had := before[key]; !had || was != value {
					t.Errorf("%s, by %s: %s=%s was not there", v.version, way, key, value)
				}
			}
			must(t, r.Life(g.Pod, c))
			ids := g.IDs
			g.Leave()
			for _, id := range ids {
				r.Unit(id, "ready", nrikit.Limit)
			}
		}
	}
}

// CRI-O hands all annotations of a pod on. So a tenant's choice of GPUs reaches the guard, and Kata.
func TestASandboxThatChoosesItsGPUsIsRefused(t *testing.T) {
	r, h := up(t, "1.36.1", true, nil)
	owner := r.Guest("owner", nrikit.Confidential, 1)
	owner.Run()
	thief := nrikit.Pod("thief", nrikit.Confidential, h.sandbox(map[string]string{"cdi.k8s.io/mine": kit.Kind + "=" + owner.IDs[0]}))
	if thief.Annotations["cdi.k8s.io/mine"] == "" {
		t.Fatal("CRI-O has dropped it")
	}
	if err := r.RunPod(thief); err == nil || !strings.Contains(err.Error(), "cdi.k8s.io/") {
		t.Errorf("not refused: %v", err)
	}
	// The tear-down of the one does nothing to the other.
	c := h.container(t, owner, owner.Bare(), nil)
	create(t, r, owner, c)
	if !slices.Equal(c.Nodes(), owner.Nodes) {
		t.Errorf("the owner's container has %v", c.Nodes())
	}
}

// The pod's own value of a default annotation wins.
func TestDefaultAnnotations(t *testing.T) {
	for name, h := range shipped(t) {
		if got := h.sandbox(map[string]string{timeout: "2400"})[timeout]; got != "2400" {
			t.Errorf("%s: %s", name, got)
		}
		if got := h.sandbox(nil)[timeout]; got != h.Defaults[timeout] || got == "" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// CRI-O's annotation for host devices: dropped by the shipped handlers. Where somebody has allowed it, the
// node is in the container before the plugins are asked, and the guard refuses it.
func TestATenantNamesHostDevices(t *testing.T) {
	r, h := up(t, "1.36.1", true, nil)
	owner, thief := r.Guest("owner", nrikit.Confidential, 1), r.Guest("thief", nrikit.Confidential, 1)
	owner.Run()
	wish := map[string]string{devicesKey: owner.Nodes[0]}
	thief.Pod.Annotations = h.sandbox(wish)
	thief.Run()
	c := h.container(t, thief, thief.Bare(), nil)
	create(t, r, thief, c)
	if !slices.Equal(c.Nodes(), thief.Nodes) {
		t.Errorf("the container has %v", c.Nodes())
	}

	h.Allowed = []string{devicesKey}
	bold := r.Guest("bold", nrikit.Confidential, 1)
	bold.Pod.Annotations = h.sandbox(wish)
	bold.Run()
	c = h.container(t, bold, bold.Bare(), nil)
	if !slices.Contains(c.Nodes(), owner.Nodes[0]) {
		t.Fatal("CRI-O has not added the node")
	}
	if err := r.Create(bold.Pod, c); err == nil || !strings.Contains(err.Error(), owner.IDs[0]) {
		t.Errorf("not refused: %v", err)
	}
}

// A plugin's annotation that CRI-O takes orders from never arrives; what pgpud adds beside it does.
func TestPluginsCannotOrderCRIOAbout(t *testing.T) {
	r, h := up(t, "1.36.1", true, nil)
	g := r.Guest("guest", nrikit.Confidential, 1)
	g.Run()
	r.StartMeddler(t, "05", &nrikit.Meddler{Adjust: func(*api.Container) *api.ContainerAdjustment {
		a := &api.ContainerAdjustment{}
		a.AddAnnotation(devicesKey, "/dev/mem")
		a.AddAnnotation("example.com/x", "y")
		return a
	}})
	c := h.container(t, g, g.Bare(), nil)
	create(t, r, g, c)
	if c.Spec.Annotations[devicesKey] != "" || c.Spec.Annotations["example.com/x"] != "y" || len(c.Ours()) == 0 {
		t.Errorf("annotations %v", c.Spec.Annotations)
	}
}

// Somebody's broken CDI file keeps Kata's shims from all pods with GPUs; CRI-O still injects our devices.
func TestABrokenCDIFileOfSomebodyElse(t *testing.T) {
	r, h := up(t, "1.36.1", true, nil)
	g := r.Guest("guest", nrikit.Confidential, 1)
	g.Run()
	c := g.Bare()
	must(t, os.WriteFile(filepath.Join(c.CDIDirs[0], "other.json"), []byte("{"), 0o644))
	create(t, r, g, h.container(t, g, c, nil))
	if !slices.Equal(c.Nodes(), g.Nodes) {
		t.Errorf("the container has %v", c.Nodes())
	}
}
