// SPDX-License-Identifier: Apache-2.0

// Package nri012 drives pgpud's NRI plugin with the newest adaptation: a method for each event, split
// lists, validation, CDI names, and a say in what becomes of requests that the plugin does not answer.
package nri012

import (
	"context"
	"testing"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/runtime-tools/generate"
	spec "github.com/opencontainers/runtime-spec/specs-go"
	"pgpu.local/peers/nrikit"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

var flavour = nrikit.Flavour{
	Runtimes: []nrikit.RuntimeName{
		{Name: "containerd", Version: "v2.3.0", CDI: true}, {Name: "containerd", Version: "v2.0.11"},
		{Name: "containerd", Version: "1.7.30", CDI: true}, {Name: "cri-o", Version: "1.36.1", CDI: true},
		{Name: "cri-o", Version: "1.33.0"}, {Name: "something-else", Version: ""},
		{Name: "containerd", Version: "2.4.0-beta.0-12-g1234567.m", CDI: true},
	},
	Dedicated: true, SplitSync: true, Validates: true,
	Block: func(a *adaptation.Adaptation) func() { return a.BlockPluginSync().Unblock },
	SpecOptions: func(dirs ...string) []generate.GeneratorOption {
		return []generate.GeneratorOption{generate.WithCDIDeviceInjector(func(s *spec.Spec, devices []string) error {
			cache, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
			if err != nil {
				return err
			}
			_, err = cache.InjectDevices(s, devices...)
			return err
		})}
	},
}

func TestRegistration(t *testing.T) { nrikit.Registration(t, flavour) }
func TestEvents(t *testing.T)       { nrikit.Events(t, flavour) }
func TestInjection(t *testing.T)    { nrikit.Injection(t, flavour) }
func TestRefusals(t *testing.T)     { nrikit.Refusals(t, flavour) }
func TestConflicts(t *testing.T)    { nrikit.Conflicts(t, flavour) }
func TestSynchronize(t *testing.T)  { nrikit.Synchronize(t, flavour) }
func TestRelease(t *testing.T)      { nrikit.Release(t, flavour) }
func TestAgain(t *testing.T)        { nrikit.Again(t, flavour) }
func TestMessages(t *testing.T)     { nrikit.Messages(t, flavour) }
func TestAnswers(t *testing.T)      { nrikit.Answers(t, flavour) }
func TestLate(t *testing.T)         { nrikit.Late(t, flavour, true) }
func TestReconnects(t *testing.T)   { nrikit.Reconnects(t, flavour, 1000) }
func TestLaunched(t *testing.T)     { nrikit.Launched(t, flavour) }

// What only this version has: by which of the two ways a node gets into a container.
func TestCDINamesWhereTheRuntimeInjectsThem(t *testing.T) {
	for _, rt := range flavour.Runtimes[:4] {
		r := nrikit.NewRig(t, flavour, nrikit.RigOptions{Runtime: nrikit.Options{Name: rt.Name, Version: rt.Version}})
		r.Up()
		g := r.Guest("guest", nrikit.Confidential, 2)
		g.Run()
		c := g.Bare()
		reply, err := r.Adaptation().CreateContainer(context.Background(), &api.CreateContainerRequest{Pod: g.Pod, Container: c.Message(g.Pod)})
		if err != nil {
			t.Fatal(err)
		}
		names, nodes := len(reply.Adjust.GetCDIDevices()), len(reply.Adjust.GetLinux().GetDevices())
		if rt.CDI && (names != 2 || nodes != 0) || !rt.CDI && (names != 0 || nodes != 2) {
			t.Errorf("%s %s: %d CDI names, %d nodes: %v", rt.Name, rt.Version, names, nodes, reply.Adjust)
		}
		// The events that 0.10 has added are not subscribed to, and do no harm.
		if _, err := r.Adaptation().UpdatePodSandbox(context.Background(), &api.UpdatePodSandboxRequest{Pod: g.Pod}); err != nil {
			t.Error(err)
		}
		if err := r.Adaptation().PostUpdatePodSandbox(context.Background(), &api.PostUpdatePodSandboxRequest{Pod: g.Pod}); err != nil {
			t.Error(err)
		}
	}
}
