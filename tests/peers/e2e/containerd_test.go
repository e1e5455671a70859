// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"pgpu.local/peers/kit"
)

// Runtime handlers. What Kata's are configured with is what kata-deploy writes.
const (
	kataHandler    = "kata-qemu-nvidia-gpu-snp"
	plainHandler   = "runc"
	unknownHandler = "kata-qemu-nvidia-gpu-tdx" // a RuntimeClass without a handler in the runtime
)

// release is a containerd of the machine's tools.
type release struct {
	name    string // below tests/peers/bin
	config  string // with @…@ to be replaced
	shipped string // our own file of deploy/containerd, imported
}

var containerd2 = release{
	name: "containerd2", shipped: "v3-pgpu.toml",
	config: `version = 3
imports = ['@SHIPPED@']
root = '@DIR@/root'
state = '@DIR@/state'
disabled_plugins = ['io.containerd.internal.v1.opt']
[grpc]
  address = '@DIR@/containerd.sock'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = '@SNAPSHOTTER@'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '@IMAGE@'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = '@HANDLERS@/runc/runtime'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.@KATA@]
      runtime_type = 'io.containerd.runc.v2'
      privileged_without_host_devices = true
      pod_annotations = ['io.katacontainers.*']
      container_annotations = ['io.kubernetes.container.terminationMessage*']
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.@KATA@.options]
        BinaryName = '@HANDLERS@/@KATA@/runtime'
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['@DIR@/cni/bin']
    conf_dir = '@DIR@/cni/conf'
`}

var containerd17 = release{
	name: "containerd17", shipped: "v2-pgpu.toml",
	config: `version = 2
imports = ['@SHIPPED@']
root = '@DIR@/root'
state = '@DIR@/state'
disabled_plugins = ['io.containerd.internal.v1.opt']
[grpc]
  address = '@DIR@/containerd.sock'
[plugins.'io.containerd.grpc.v1.cri']
  sandbox_image = '@IMAGE@'
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_cdi = true
  cdi_spec_dirs = ['/etc/cdi', '/var/run/cdi']
  [plugins.'io.containerd.grpc.v1.cri'.containerd]
    snapshotter = '@SNAPSHOTTER@'
    default_runtime_name = 'runc'
    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]
        BinaryName = '@HANDLERS@/runc/runtime'
    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.@KATA@]
      runtime_type = 'io.containerd.runc.v2'
      privileged_without_host_devices = true
      pod_annotations = ['io.katacontainers.*']
      container_annotations = ['io.kubernetes.container.terminationMessage*']
      [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.@KATA@.options]
        BinaryName = '@HANDLERS@/@KATA@/runtime'
  [plugins.'io.containerd.grpc.v1.cri'.cni]
    bin_dir = '@DIR@/cni/bin'
    conf_dir = '@DIR@/cni/conf'
`}

// Containerd is a running one and a client of its CRI service.
type Containerd struct {
	release release
	dir     string
	process *process
	conn    *grpc.ClientConn
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient
}

// newContainerd writes its configuration and the handlers' files.
func newContainerd(r release) (*Containerd, error) {
	c := &Containerd{release: r, dir: filepath.Join(base, r.name)}
	for _, d := range []string{"cni/bin", "cni/conf", "records"} {
		if err := os.MkdirAll(filepath.Join(c.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	for _, h := range []string{plainHandler, kataHandler} {
		if err := c.handler(h); err != nil {
			return nil, err
		}
	}
	source, err := filepath.Abs(os.Getenv("PGPU_SOURCE_DIR"))
	if err != nil {
		return nil, err
	}
	text := strings.NewReplacer("@DIR@", c.dir, "@IMAGE@", guestImage, "@KATA@", kataHandler,
		"@HANDLERS@", filepath.Join(c.dir, "handlers"), "@SNAPSHOTTER@", snapshotter(),
		"@SHIPPED@", filepath.Join(source, "deploy/containerd", r.shipped)).Replace(r.config)
	if err := os.WriteFile(filepath.Join(c.dir, "config.toml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	c.conn, err = grpc.NewClient("unix://"+c.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	c.runtime, c.images = cri.NewRuntimeServiceClient(c.conn), cri.NewImageServiceClient(c.conn)
	return c, nil
}

func (c *Containerd) socket() string { return filepath.Join(c.dir, "containerd.sock") }

// handler makes the directory from which a handler's runtime knows what it is; see vmm/main.go.
func (c *Containerd) handler(name string) error {
	dir := filepath.Join(c.dir, "handlers", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	bin := os.Getenv(binEnv)
	text, err := json.Marshal(map[string]any{
		"Runc": filepath.Join(bin, "runc"), "Records": filepath.Join(c.dir, "records"), "VM": name != plainHandler,
		"Node": nodeLink(), "PodResources": podResources, "Intruder": intruder(),
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "vmm.json"), text, 0o600); err != nil {
		return err
	}
	return os.Symlink(filepath.Join(bin, "e2e-vmm"), filepath.Join(dir, "runtime"))
}

// snapshotter: the copying one where the kernel has no overlay file system.
func snapshotter() string {
	b, _ := os.ReadFile("/proc/filesystems")
	if strings.Contains(string(b), "\toverlay\n") {
		return "overlayfs"
	}
	return "native"
}

// start starts it and waits until it serves; what ran before goes on, in its shims.
func (c *Containerd) start() error {
	bin := filepath.Join(os.Getenv(binEnv), c.release.name)
	p, err := launch(c.release.name, "/usr/bin/env", "PATH="+bin+":"+os.Getenv("PATH"),
		filepath.Join(bin, "containerd"), "--config", filepath.Join(c.dir, "config.toml"))
	if err != nil {
		return err
	}
	c.process = p
	err = eventually(60*time.Second, func() error {
		if !p.running() {
			return fmt.Errorf("it has ended\n%s", p.tail())
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s, err := c.runtime.Status(ctx, &cri.StatusRequest{}, grpc.WaitForReady(true))
		if err != nil {
			return err
		}
		for _, cond := range s.GetStatus().GetConditions() {
			if cond.GetType() == "RuntimeReady" && !cond.GetStatus() {
				return fmt.Errorf("not ready: %s", cond.GetMessage())
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", c.release.name, err, p.tail())
	}
	return nil
}

// pull has the image fetched from the registry.
func (c *Containerd) pull() error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	_, err := c.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: guestImage}})
	if err != nil {
		return fmt.Errorf("pull: %w\n%s", err, c.process.tail())
	}
	return nil
}

// Restart ends it by the signal and starts it again.
func (c *Containerd) Restart(t testing.TB, sig syscall.Signal) {
	t.Helper()
	c.process.stop(t, sig)
	must(t, c.start())
}

// Sandboxes lists them all.
func (c *Containerd) Sandboxes(t testing.TB) []*cri.PodSandbox {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	a, err := c.runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	must(t, err)
	return a.GetItems()
}

// Containers lists them all.
func (c *Containerd) Containers(t testing.TB) []*cri.Container {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	a, err := c.runtime.ListContainers(ctx, &cri.ListContainersRequest{})
	must(t, err)
	return a.GetContainers()
}

// RemoveSandboxes removes those that have ended, with their containers; the kubelet may be at it too.
func (c *Containerd) RemoveSandboxes(t testing.TB) {
	t.Helper()
	kit.Eventually(t, limit, func() error {
		for _, s := range c.Sandboxes(t) {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			_, err := c.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: s.GetId()})
			cancel()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// intruder is the file that has the next sandbox's GPU used by somebody else before its VM; see vmm.
func intruder() string { return filepath.Join(base, "intruder") }

// nodeLink leads to the simulated node of the test that runs.
func nodeLink() string { return filepath.Join(base, "node") }
