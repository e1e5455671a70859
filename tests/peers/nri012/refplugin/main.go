// SPDX-License-Identifier: Apache-2.0

// Command refplugin is the yardstick of the NRI benchmark: a plugin on upstream's Go stub that does the
// same minimal work as pgpud for each event, from a table that it reads once. It knows nothing of
// hardware, kubelet or ownership beyond that table.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"github.com/sirupsen/logrus"
)

// Device is one GPU of a container.
type Device struct {
	ID, CDI, Node string
	Verified      bool
}

type plugin struct {
	table map[string][]Device // "namespace/pod/container"
	mu    sync.Mutex
	owner map[string]string // device to sandbox
}

var handlers = []string{"kata-qemu-nvidia-gpu-snp*", "kata-qemu-nvidia-gpu-tdx*", "kata-snp-nvidia-gpu*",
	"kata-qemu-nvidiagpu-confidential*", "kata-cc*", "kata-qemu-nvidia-gpu*"}

func guarded(pod *api.PodSandbox) bool {
	for _, glob := range handlers {
		if ok, _ := path.Match(glob, pod.GetRuntimeHandler()); ok {
			return true
		}
	}
	return false
}

func (p *plugin) Configure(context.Context, string, string, string) (stub.EventMask, error) {
	return api.MustParseEventMask("RunPodSandbox", "StopPodSandbox", "RemovePodSandbox", "CreateContainer",
		"ValidateContainerAdjustment"), nil
}

func (p *plugin) Synchronize(context.Context, []*api.PodSandbox, []*api.Container) ([]*api.ContainerUpdate, error) {
	return nil, nil
}

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	if !guarded(pod) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	prefix := pod.GetNamespace() + "/" + pod.GetName() + "/"
	for key, devices := range p.table {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		for _, d := range devices {
			if !d.Verified {
				return fmt.Errorf("%s is not verified", d.ID)
			}
			if have := p.owner[d.ID]; have != "" && have != pod.GetId() {
				return fmt.Errorf("%s belongs to sandbox %s", d.ID, have)
			}
			p.owner[d.ID] = pod.GetId()
		}
	}
	return nil
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d, sandbox := range p.owner {
		if sandbox == pod.GetId() {
			delete(p.owner, d)
		}
	}
	return nil
}

func (p *plugin) RemovePodSandbox(ctx context.Context, pod *api.PodSandbox) error {
	return p.StopPodSandbox(ctx, pod)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	if !guarded(pod) {
		return nil, nil, nil
	}
	p.mu.Lock()
	devices := p.table[pod.GetNamespace()+"/"+pod.GetName()+"/"+c.GetName()]
	p.mu.Unlock()
	adjust := &api.ContainerAdjustment{}
	var ids []string
	for _, d := range devices {
		if !d.Verified {
			return nil, nil, fmt.Errorf("%s is not verified", d.ID)
		}
		ids = append(ids, d.ID)
		there := false
		for _, have := range c.GetLinux().GetDevices() {
			there = there || have.GetPath() == d.Node
		}
		if !there {
			adjust.AddCDIDevice(&api.CDIDevice{Name: d.CDI})
		}
	}
	if len(ids) > 0 {
		adjust.AddAnnotation("nvidia.com/pgpu.devices", strings.Join(ids, ","))
		adjust.AddAnnotation("nvidia.com/pgpu.count", fmt.Sprint(len(ids)))
		adjust.AddAnnotation("nvidia.com/pgpu.cc-mode", "on")
	}
	return adjust, nil, nil
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, r *api.ValidateContainerAdjustmentRequest) error {
	if !guarded(r.GetPod()) {
		return nil
	}
	for _, d := range r.GetAdjust().GetLinux().GetDevices() {
		if strings.HasPrefix(d.GetPath(), "/dev/vfio/") {
			return fmt.Errorf("%s was added by another plugin", d.GetPath())
		}
	}
	if r.GetAdjust().GetHooks().Hooks() != nil {
		return fmt.Errorf("a hook was added by another plugin")
	}
	return nil
}

func main() {
	socket := flag.String("socket", api.DefaultSocketPath, "the runtime's socket")
	file := flag.String("table", "", `devices by "namespace/pod/container", JSON`)
	flag.Parse()
	logrus.SetOutput(io.Discard)
	p := &plugin{owner: map[string]string{}}
	if b, err := os.ReadFile(*file); err != nil {
		log.Fatal(err)
	} else if err := json.Unmarshal(b, &p.table); err != nil {
		log.Fatal(err)
	}
	s, err := stub.New(p, stub.WithPluginName("reference"), stub.WithPluginIdx("10"), stub.WithSocketPath(*socket),
		stub.WithOnClose(func() { os.Exit(0) }))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(s.Run(context.Background()))
}
