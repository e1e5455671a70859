// SPDX-License-Identifier: Apache-2.0

// Package crio is what CRI-O does around NRI for a pod of a Kata handler. CRI-O's own module could not be
// fetched, and the code in question is internal to it: the libraries here are those that it links (NRI's
// adaptation and OCI generator, CDI), and the steps between them are ours, after its sources of 2025 and
// 2026: server/sandbox_run_linux.go, server/nri-api.go, internal/factory/container, pkg/annotations.
package crio

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/runtime-tools/generate"
	spec "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/pelletier/go-toml/v2"
	"pgpu.local/peers/kit"
	"pgpu.local/peers/nrikit"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// Keys that CRI-O takes orders from, and prefixes of such (pkg/annotations, AllAllowedAnnotations). They
// are dropped unless the handler's allowed_annotations has them; all others are none of its business.
var guarded = []string{
	"io.kubernetes.cri-o.userns-mode", "io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw", "io.kubernetes.cri-o.UnifiedCgroup",
	"io.kubernetes.cri-o.ShmSize", devicesKey, "cpu-load-balancing.crio.io", "cpu-quota.crio.io", "irq-load-balancing.crio.io",
	"io.containers.trace-syscall", "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel", "io.kubernetes.cri-o.umask",
	"io.kubernetes.cri-o.PodLinuxOverhead", "io.kubernetes.cri-o.PodLinuxResources", "io.kubernetes.cri-o.LinkLogs",
	"bundle", "org.systemd.property.", "org.criu.config", "module.wasm.image/variant", "io.kubernetes.cri.container-type", "run.oci.",
}

// devicesKey names host devices, in a pod, for its containers.
const devicesKey = "io.kubernetes.cri-o.Devices"

// Handler is a table of crio.runtime.runtimes.
type Handler struct {
	Type     string            `toml:"runtime_type"`
	Defaults map[string]string `toml:"default_annotations"`
	Allowed  []string          `toml:"allowed_annotations"`
}

// shipped are the handlers of deploy/crio.
func shipped(t *testing.T) map[string]Handler {
	t.Helper()
	var file struct {
		Crio struct {
			Runtime struct {
				Runtimes map[string]Handler `toml:"runtimes"`
			} `toml:"runtime"`
		} `toml:"crio"`
	}
	text, err := os.ReadFile(kit.Source(t, "deploy/crio/99-pgpu-kata.conf"))
	must(t, err)
	must(t, toml.Unmarshal(text, &file))
	return file.Crio.Runtime.Runtimes
}

// filter drops what CRI-O must not be told by this handler's pods, and by plugins.
func (h Handler) filter(annotations map[string]string) {
	for key := range annotations {
		for _, prefix := range guarded {
			if strings.HasPrefix(key, prefix) && !slices.Contains(h.Allowed, prefix) {
				delete(annotations, key)
			}
		}
	}
}

// sandbox is what the shim and NRI's plugins are told of a pod with these annotations.
func (h Handler) sandbox(pod map[string]string) map[string]string {
	all, own := maps.Clone(h.Defaults), maps.Clone(pod)
	if all == nil {
		all = map[string]string{}
	}
	h.filter(own)
	maps.Copy(all, own)
	return all
}

// flavour is this NRI in a CRI-O with this handler. A CDI file that is broken is logged, and the devices of
// others are injected.
func (h Handler) flavour(version string, injects bool) nrikit.Flavour {
	return nrikit.Flavour{
		Runtimes:  []nrikit.RuntimeName{{Name: "cri-o", Version: version, CDI: injects}},
		Dedicated: true, SplitSync: true, Validates: true,
		Block: func(a *adaptation.Adaptation) func() { return a.BlockPluginSync().Unblock },
		SpecOptions: func(dirs ...string) []generate.GeneratorOption {
			return []generate.GeneratorOption{
				generate.WithAnnotationFilter(func(a map[string]string) (map[string]string, error) {
					h.filter(a)
					return a, nil
				}),
				generate.WithCDIDeviceInjector(func(s *spec.Spec, names []string) error { return inject(s, dirs, names) }),
			}
		},
	}
}

func inject(s *spec.Spec, dirs, names []string) error {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return err
	}
	_ = cache.Refresh()
	_, err = cache.InjectDevices(s, names...)
	return err
}

// container is one of the pod as it is before the plugins are asked: what the kubelet said, by devices or
// by names for CDI and by annotations, and CRI-O's own annotations.
func (h Handler) container(t *testing.T, g *nrikit.Guest, c *nrikit.Container, annotations map[string]string, names ...string) *nrikit.Container {
	t.Helper()
	all := maps.Clone(annotations)
	if all == nil {
		all = map[string]string{}
	}
	h.filter(all)
	_, annotated, err := cdi.ParseAnnotations(all)
	must(t, err)
	if names = append(names, annotated...); len(names) > 0 {
		must(t, inject(c.Spec, c.CDIDirs, names))
	}
	maps.Copy(all, map[string]string{
		"io.kubernetes.container.name": c.Name, "io.kubernetes.cri-o.ContainerID": c.ID, "io.kubernetes.cri-o.SandboxID": g.Pod.Id,
		"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxName": g.Pod.Name,
	})
	c.Spec.Annotations = all
	// what a tenant names where the handler lets it
	if node := g.Pod.Annotations[devicesKey]; node != "" {
		major, minor := nrikit.Numbers(node)
		c.AddNode(node, major, minor)
	}
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
