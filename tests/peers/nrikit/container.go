// SPDX-License-Identifier: Apache-2.0

package nrikit

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	spec "github.com/opencontainers/runtime-spec/specs-go"
	ocigen "github.com/opencontainers/runtime-tools/generate"

	nrigen "github.com/containerd/nri/pkg/runtime-tools/generate"
)

var serial int

// Pod makes a sandbox as containerd describes one.
func Pod(name, handler string, annotations map[string]string) *api.PodSandbox {
	serial++
	id := fmt.Sprintf("%064x", 0x5b0000+serial)
	return &api.PodSandbox{
		Id: id, Name: name, Namespace: "default", Uid: fmt.Sprintf("11111111-2222-3333-4444-%012d", serial),
		Labels:         map[string]string{"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "default"},
		Annotations:    maps.Clone(annotations),
		RuntimeHandler: handler,
		Linux: &api.LinuxPodSandbox{
			CgroupParent: "/kubepods/burstable", CgroupsPath: "/kubepods/burstable/" + id,
			Namespaces: []*api.LinuxNamespace{{Type: "network", Path: "/proc/4711/ns/net"}},
		},
		Pid: 4711,
	}
}

// NextSandbox is another sandbox of the same pod.
func NextSandbox(p *api.PodSandbox) *api.PodSandbox {
	next := Pod(p.Name, p.RuntimeHandler, p.Annotations)
	next.Uid = p.Uid
	return next
}

// Container is one on its way: the spec that the runtime has built before it asks the plugins.
type Container struct {
	ID, Name string
	Spec     *spec.Spec
	CDIDirs  []string // where the runtime looks for CDI files
}

// NewContainer makes a container with nothing of ours in it.
func NewContainer(name string) *Container {
	serial++
	return &Container{
		ID: fmt.Sprintf("%064x", 0xc70000+serial), Name: name,
		Spec: &spec.Spec{
			Version: spec.Version,
			Process: &spec.Process{Args: []string{"/bin/infer", "--model", "m"}, Env: []string{"PATH=/usr/bin", "TERM=xterm"}, Cwd: "/"},
			Root:    &spec.Root{Path: "rootfs"},
			Mounts: []spec.Mount{{Destination: "/proc", Type: "proc", Source: "proc"},
				{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}}},
			Annotations: map[string]string{"io.kubernetes.cri.container-name": name, "io.kubernetes.cri.container-type": "container"},
			Linux: &spec.Linux{
				CgroupsPath: "/kubepods/burstable/x",
				Namespaces:  []spec.LinuxNamespace{{Type: spec.PIDNamespace}, {Type: spec.MountNamespace}},
				Resources:   &spec.LinuxResources{Devices: []spec.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			},
		},
	}
}

// AddNode is a device node that the kubelet gave.
func (c *Container) AddNode(path string, major, minor int64) {
	mode := os.FileMode(0o600)
	c.Spec.Linux.Devices = append(c.Spec.Linux.Devices, spec.LinuxDevice{Path: path, Type: "c", Major: major, Minor: minor, FileMode: &mode})
	c.Spec.Linux.Resources.Devices = append(c.Spec.Linux.Resources.Devices,
		spec.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rwm"})
}

// Nodes are the paths of the spec's devices, sorted.
func (c *Container) Nodes() []string {
	var nodes []string
	for _, d := range c.Spec.Linux.Devices {
		nodes = append(nodes, d.Path)
	}
	slices.Sort(nodes)
	return nodes
}

// Ours are the annotations with our prefix.
func (c *Container) Ours() map[string]string {
	ours := map[string]string{}
	for k, v := range c.Spec.Annotations {
		if strings.HasPrefix(k, "nvidia.com/pgpu.") {
			ours[k] = v
		}
	}
	return ours
}

// message is the container as plugins see it.
func (c *Container) message(p *api.PodSandbox) *api.Container {
	return &api.Container{
		Id: c.ID, PodSandboxId: p.Id, Name: c.Name, State: api.ContainerState_CONTAINER_CREATED,
		Labels:      map[string]string{"io.kubernetes.container.name": c.Name},
		Annotations: maps.Clone(c.Spec.Annotations),
		Args:        slices.Clone(c.Spec.Process.Args),
		Env:         slices.Clone(c.Spec.Process.Env),
		Mounts:      api.FromOCIMounts(c.Spec.Mounts),
		Hooks:       api.FromOCIHooks(c.Spec.Hooks),
		Linux: &api.LinuxContainer{
			Namespaces:  api.FromOCILinuxNamespaces(c.Spec.Linux.Namespaces),
			Devices:     api.FromOCILinuxDevices(c.Spec.Linux.Devices),
			Resources:   api.FromOCILinuxResources(c.Spec.Linux.Resources, nil),
			CgroupsPath: c.Spec.Linux.CgroupsPath,
		},
	}
}

// Message is the container for a synchronization.
func (c *Container) Message(p *api.PodSandbox) *api.Container { return c.message(p) }

func (c *Container) apply(f Flavour, adjust *api.ContainerAdjustment) error {
	b, err := json.Marshal(c.Spec)
	if err != nil {
		return err
	}
	next := &spec.Spec{}
	if err := json.Unmarshal(b, next); err != nil {
		return err
	}
	var opts []nrigen.GeneratorOption
	if f.SpecOptions != nil {
		opts = f.SpecOptions(c.CDIDirs...)
	}
	g := ocigen.NewFromSpec(next)
	if err := nrigen.SpecGenerator(&g, opts...).Adjust(adjust); err != nil {
		return err
	}
	c.Spec = next
	return nil
}

// Clone is for a before and an after.
func (c *Container) Clone(t testing.TB) *spec.Spec {
	t.Helper()
	b, err := json.Marshal(c.Spec)
	must(t, err)
	s := &spec.Spec{}
	must(t, json.Unmarshal(b, s))
	return s
}

// HostCDI copies the node's CDI files as the CDI library would see them on a host: it stats nodes
// without numbers, and the simulated ones are not below the real /dev. numbers gives them.
func HostCDI(t testing.TB, from, to string, numbers func(path string) (major, minor int64)) {
	t.Helper()
	must(t, os.MkdirAll(to, 0o755))
	files, err := filepath.Glob(filepath.Join(from, "*.json"))
	must(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		var doc any
		must(t, json.Unmarshal(b, &doc))
		visitNodes(doc, func(node map[string]any) {
			path, _ := node["path"].(string)
			if _, has := node["major"]; !has {
				node["type"] = "c"
				node["major"], node["minor"] = numbers(path)
			}
		})
		b, err = json.Marshal(doc)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, filepath.Base(file)), b, 0o644))
	}
}

func visitNodes(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		if nodes, ok := v["deviceNodes"].([]any); ok {
			for _, n := range nodes {
				if node, ok := n.(map[string]any); ok {
					f(node)
				}
			}
		}
		for _, child := range v {
			visitNodes(child, f)
		}
	case []any:
		for _, child := range v {
			visitNodes(child, f)
		}
	}
}
