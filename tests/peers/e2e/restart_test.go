// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	v1 "k8s.io/api/core/v1"

	"pgpu.local/peers/kit"
)

// standing is a running pod with a GPU, as it must be found after whatever was restarted.
type standing struct {
	r         *Rig
	name, id  string
	container string
	sandbox   string
	resets    int
}

func (r *Rig) stand(name string) *standing {
	r.t.Helper()
	r.Run(PodSpec{Name: name})
	s := &standing{r: r, name: name, id: r.Holds(name, 1)[0], sandbox: r.Sandbox(name).ID}
	s.container, s.resets = r.Pod(name).Status.ContainerStatuses[0].ContainerID, r.Function(s.id).Resets
	return s
}

// Stands: the pod was not touched, and its GPU is known to be its.
func (s *standing) Stands(after string) {
	r := s.r
	r.t.Helper()
	r.Connected()
	r.Allocatable(r.gpus)
	if got := r.Holds(s.name, 1); got[0] != s.id {
		r.t.Fatalf("%s: the pod had %s, now %s", after, s.id, got[0])
	}
	p := r.Pod(s.name)
	if c := p.Status.ContainerStatuses; p.Status.Phase != v1.PodRunning || len(c) != 1 || c[0].ContainerID != s.container || c[0].RestartCount != 0 {
		r.t.Fatalf("%s: the pod does not run on: %s %+v", after, p.Status.Phase, c)
	}
	if now := r.Sandbox(s.name).ID; now != s.sandbox {
		r.t.Fatalf("%s: the pod has another sandbox", after)
	}
	if now := r.Function(s.id).Resets; now != s.resets {
		r.t.Fatalf("%s: the GPU was reset under its VM: %d, then %d", after, s.resets, now)
	}
	r.Settle(s.id)
}

// Alone: another pod can have all the other GPUs, and has none of this one's.
func (s *standing) Alone(after string) {
	r := s.r
	r.t.Helper()
	r.Run(PodSpec{Name: "rest", GPUs: []int{r.gpus - 1}})
	if others := r.Holds("rest", r.gpus-1); slices.Contains(others, s.id) {
		r.t.Fatalf("%s: %s given twice", after, s.id)
	}
	r.End("rest")
	s.Stands(after)
}

// Settle waits until all other GPUs are ready.
func (r *Rig) Settle(except string) {
	r.t.Helper()
	kit.Eventually(r.t, limit, func() error {
		units, err := r.Units()
		for _, u := range units {
			if u.ID != except && u.State != "ready" {
				return fmt.Errorf("%s is %s", u.ID, u.State)
			}
		}
		return err
	})
}

// Every service of the node goes and comes while a pod runs, by order and by force.
func TestAPodRunsOnWhileEverythingAroundItRestarts(t *testing.T) {
	r := start(t, containerd2, 3, kit.Options{})
	s := r.stand("standing")
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		for what, act := range map[string]func(){
			"containerd": func() { r.Containerd.Restart(t, sig) },
			"kubelet":    func() { r.kubelet.Restart(t, sig) },
			"pgpud": func() {
				r.Stop(kit.Pgpud, sig)
				r.Start(kit.Pgpud)
			},
			"pgpu-hwd": func() {
				r.Stop(kit.Hwd, sig)
				r.Start(kit.Hwd)
			},
		} {
			act()
			s.Stands(fmt.Sprintf("%s ended by %v and started again", what, sig))
		}
		s.Alone(fmt.Sprintf("after the restarts by %v", sig))
	}
	r.End("standing")
}

// An upgrade as a package does it: other files in the place of the running ones, then restarts.
func TestAPodRunsOnWhileThePackageIsUpgraded(t *testing.T) {
	dir := binaries(t)
	r := start(t, containerd2, 2, kit.Options{})
	s := r.stand("standing")
	for _, p := range []string{"daemon/pgpud", "hwd/pgpu-hwd"} {
		path := filepath.Join(dir, p)
		must(t, copyFile(path, path+".new", "\n"))
		must(t, os.Rename(path+".new", path))
	}
	r.Stop(kit.Pgpud, syscall.SIGTERM)
	r.Stop(kit.Hwd, syscall.SIGTERM)
	r.Start(kit.Hwd)
	r.Start(kit.Pgpud)
	for _, p := range []string{kit.Pgpud, kit.Hwd} {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", r.Pid(p)))
		must(t, err)
		if filepath.Dir(filepath.Dir(exe)) != dir {
			t.Errorf("%s runs from %s", p, exe)
		}
	}
	s.Stands("the upgrade")
	s.Alone("the upgrade")
	r.End("standing")
}

// The pod ends while the daemon is away: its GPU is scrubbed all the same.
func TestAPodEndsWhileTheDaemonIsAway(t *testing.T) {
	r := start(t, containerd2, 2, kit.Options{})
	s := r.stand("leaving")
	r.Stop(kit.Pgpud, syscall.SIGKILL)
	r.End("leaving")
	r.Start(kit.Pgpud)
	r.Unit(s.id, "ready", limit)
	if now := r.Function(s.id).Resets; now < s.resets+2 {
		t.Errorf("%s is offered again after %d resets, it had %d in use: no scrubbing", s.id, now, s.resets)
	}
}

// binaries has the node's programs run from a copy, which a test may change.
func binaries(t *testing.T) string {
	t.Helper()
	if why := cannot(); why != "" {
		t.Skip(why)
	}
	dir := t.TempDir()
	for _, p := range []string{"sim/pgpu-sim", "hwd/pgpu-hwd", "daemon/pgpud"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o755))
		must(t, copyFile(kit.Bin(t, p), filepath.Join(dir, p), ""))
	}
	t.Setenv("PGPU_BIN_DIR", dir)
	return dir
}

func copyFile(from, to, more string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		_, err = io.WriteString(out, more)
	}
	if e := out.Close(); err == nil {
		err = e
	}
	return err
}
