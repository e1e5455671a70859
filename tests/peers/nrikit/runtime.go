// SPDX-License-Identifier: Apache-2.0

// Package nrikit is a container runtime as far as NRI sees one, around the real adaptation of whichever
// version of github.com/containerd/nri the importing module has. The scenarios are in here too, so
// that every version is put through the same ones.
package nrikit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/runtime-tools/generate"
)

// Limit is how long anything may take that happens at once on a machine that is not loaded.
const Limit = 30 * time.Second

// Flavour is what differs between versions of NRI.
type Flavour struct {
	Runtimes  []RuntimeName // that have this NRI; the first is the usual one
	Dedicated bool          // a method for each event; else StateChange
	SplitSync bool          // lists of more than 4 MiB are sent in parts
	Validates bool          // ValidateContainerAdjustment is there
	// Block holds back plugin synchronization, as runtimes do around each of their operations; it
	// returns what ends that. nil where the version has no such thing.
	Block func(*adaptation.Adaptation) func()
	// SpecOptions make the generator inject CDI devices from these directories; nil where the
	// version does not know them.
	SpecOptions func(cdiDirs ...string) []generate.GeneratorOption
}

// RuntimeName is what a runtime calls itself.
type RuntimeName struct {
	Name, Version string
	CDI           bool // it injects CDI devices that a plugin names
	Liar          bool // its version promises more than this NRI has
}

// nodes is a runtime that does not inject CDI devices.
func (f Flavour) nodes() Options {
	for _, rt := range f.Runtimes {
		if !rt.CDI {
			return Options{Name: rt.Name, Version: rt.Version}
		}
	}
	return Options{}
}

// Options of a Runtime.
type Options struct {
	Name, Version string // as told to plugins; "" = the flavour's usual one
	Dir           string // where its directories and sockets are
	Direct        bool   // no relay: for measuring, and for runtimes that are never restarted
	More          []adaptation.Option
}

// Runtime is a container runtime with its pods.
type Runtime struct {
	t     testing.TB
	f     Flavour
	o     Options
	a     *adaptation.Adaptation
	relay *relay

	mu      sync.Mutex
	pods    []*api.PodSandbox
	ctrs    []*api.Container
	syncs   int
	updates int
}

// NewRuntime makes a runtime that is not started yet.
func NewRuntime(t testing.TB, f Flavour, o Options) *Runtime {
	t.Helper()
	if o.Name == "" {
		o.Name, o.Version = f.Runtimes[0].Name, f.Runtimes[0].Version
	}
	r := &Runtime{t: t, f: f, o: o}
	for _, d := range []string{r.PluginDir(), r.ConfigDir()} {
		must(t, os.MkdirAll(d, 0o755))
	}
	t.Cleanup(func() { r.Stop(false) })
	return r
}

// Socket is where external plugins connect.
func (r *Runtime) Socket() string { return filepath.Join(r.o.Dir, "nri.sock") }

// PluginDir is where plugins are that the runtime starts itself.
func (r *Runtime) PluginDir() string { return filepath.Join(r.o.Dir, "plugins") }

// ConfigDir is where their configuration is.
func (r *Runtime) ConfigDir() string { return filepath.Join(r.o.Dir, "conf.d") }

// Start starts it; plugins find it by themselves.
func (r *Runtime) Start() {
	r.t.Helper()
	must(r.t, r.startErr())
}

func (r *Runtime) startErr() error {
	own := r.Socket()
	if !r.o.Direct {
		own = filepath.Join(r.o.Dir, "own", "nri.sock")
	}
	opts := append([]adaptation.Option{adaptation.WithSocketPath(own), adaptation.WithPluginPath(r.PluginDir()),
		adaptation.WithPluginConfigPath(r.ConfigDir())}, r.o.More...)
	a, err := adaptation.New(r.o.Name, r.o.Version, r.synchronize, r.update, opts...)
	if err != nil {
		return err
	}
	if err := a.Start(); err != nil {
		return err
	}
	r.a = a
	if !r.o.Direct {
		r.relay, err = startRelay(r.Socket(), own)
	}
	return err
}

// Stop is the end of the runtime's process; pods live on. Its socket file stays behind if `stale`.
func (r *Runtime) Stop(stale bool) {
	if r.a == nil {
		return
	}
	if r.relay != nil {
		r.relay.cut(stale)
	}
	r.a.Stop()
	r.a, r.relay = nil, nil
}

// SetRequestTimeout is how long the adaptations of this process wait for answers and registrations.
func SetRequestTimeout(d time.Duration) {
	adaptation.SetPluginRequestTimeout(d)
	adaptation.SetPluginRegistrationTimeout(d)
}

// What the adaptation says when a plugin does not become one of those it calls.
var failures = []string{"failed to synchronize", "failed to start", "failed to initialize pre-installed", "failed to create external"}

// AwaitPlugin waits until the adaptation calls the plugin ("10-pgpu"), which is after it has been
// synchronized. Events before `mark` do not count.
func (r *Runtime) AwaitPlugin(mark int, plugin string) {
	r.t.Helper()
	AwaitSaid(r.t, mark, Limit, append(failures, fmt.Sprintf("plugin %q connected", plugin))...)
	if bad := Said(mark, failures...); len(bad) > 0 {
		r.t.Fatalf("%s: %v", plugin, bad)
	}
}

func (r *Runtime) synchronize(ctx context.Context, cb adaptation.SyncCB) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.syncs++
	_, err := cb(ctx, r.pods, r.ctrs)
	return err
}

func (r *Runtime) update(context.Context, []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.updates++
	return nil, nil
}

// Counts are the synchronizations so far, and the updates that plugins asked for unasked.
func (r *Runtime) Counts() (syncs, updates int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.syncs, r.updates
}

func (r *Runtime) block() func() {
	if r.f.Block == nil {
		return func() {}
	}
	return r.f.Block(r.a)
}

// ---- the operations of CRI ----

// RunPod tells of a new sandbox. Where a plugin refuses it, the sandbox is torn down again as
// containerd and CRI-O do it, and it never was.
func (r *Runtime) RunPod(p *api.PodSandbox) error {
	defer r.block()()
	err := r.a.RunPodSandbox(context.Background(), &api.RunPodSandboxRequest{Pod: p})
	if err != nil {
		_ = r.a.StopPodSandbox(context.Background(), &api.StopPodSandboxRequest{Pod: p})
		_ = r.a.RemovePodSandbox(context.Background(), &api.RemovePodSandboxRequest{Pod: p})
		return err
	}
	r.Adopt(p)
	return nil
}

// Adopt makes the runtime have pods and containers of which it tells in synchronizations only.
func (r *Runtime) Adopt(p *api.PodSandbox, ctrs ...*api.Container) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods = append(r.pods, p)
	r.ctrs = append(r.ctrs, ctrs...)
}

// StopPod tells that the sandbox is stopped, which means that its VM is gone.
func (r *Runtime) StopPod(p *api.PodSandbox) {
	r.t.Helper()
	defer r.block()()
	must(r.t, r.a.StopPodSandbox(context.Background(), &api.StopPodSandboxRequest{Pod: p}))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctrs = slices.DeleteFunc(r.ctrs, func(have *api.Container) bool { return have.PodSandboxId == p.Id })
}

// RemovePod tells that the sandbox is removed.
func (r *Runtime) RemovePod(p *api.PodSandbox) {
	r.t.Helper()
	defer r.block()()
	must(r.t, r.a.RemovePodSandbox(context.Background(), &api.RemovePodSandboxRequest{Pod: p}))
	r.forget(p)
}

// forget drops the pod without a word to anybody.
func (r *Runtime) forget(p *api.PodSandbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods = slices.DeleteFunc(r.pods, func(have *api.PodSandbox) bool { return have.Id == p.Id })
	r.ctrs = slices.DeleteFunc(r.ctrs, func(have *api.Container) bool { return have.PodSandboxId == p.Id })
}

// Create asks the plugins about the container and applies what they want to its OCI spec. The spec
// is unchanged where there is an error.
func (r *Runtime) Create(p *api.PodSandbox, c *Container) error {
	defer r.block()()
	reply, err := r.a.CreateContainer(context.Background(), &api.CreateContainerRequest{Pod: p, Container: c.message(p)})
	if err != nil {
		return err
	}
	if err := c.apply(r.f, reply.Adjust); err != nil {
		return fmt.Errorf("the generator: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctrs = append(r.ctrs, c.message(p))
	return nil
}

// Life is the rest of a created container's life, with every event that there is.
func (r *Runtime) Life(p *api.PodSandbox, c *Container) error {
	ctx, m := context.Background(), c.message(p)
	defer r.block()()
	for _, step := range []struct {
		name string
		call func() error
	}{
		{"PostCreateContainer", func() error {
			return r.a.PostCreateContainer(ctx, &api.PostCreateContainerRequest{Pod: p, Container: m})
		}},
		{"StartContainer", func() error { return r.a.StartContainer(ctx, &api.StartContainerRequest{Pod: p, Container: m}) }},
		{"PostStartContainer", func() error {
			return r.a.PostStartContainer(ctx, &api.PostStartContainerRequest{Pod: p, Container: m})
		}},
		{"UpdateContainer", func() error {
			_, err := r.a.UpdateContainer(ctx, &api.UpdateContainerRequest{Pod: p, Container: m, LinuxResources: &api.LinuxResources{}})
			return err
		}},
		{"PostUpdateContainer", func() error {
			return r.a.PostUpdateContainer(ctx, &api.PostUpdateContainerRequest{Pod: p, Container: m})
		}},
		{"StopContainer", func() error {
			_, err := r.a.StopContainer(ctx, &api.StopContainerRequest{Pod: p, Container: m})
			return err
		}},
		{"RemoveContainer", func() error { return r.a.RemoveContainer(ctx, &api.RemoveContainerRequest{Pod: p, Container: m}) }},
	} {
		if err := step.call(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// Adaptation is for what only some versions have.
func (r *Runtime) Adaptation() *adaptation.Adaptation { return r.a }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
