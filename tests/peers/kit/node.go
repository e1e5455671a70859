// SPDX-License-Identifier: Apache-2.0

package kit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// Options of a simulated node.
type Options struct {
	NodeArgs     []string // more arguments of pgpu-sim node
	PgpudYAML    string   // more lines of configuration
	HwdYAML      string
	PluginDir    string // the kubelet's
	PodResources string
	CDIDir       string // "" = a directory of the node's
	TimeScale    string // of the emulated hardware; "" = 0.01
	SimKubelet   bool   // start the kubelet stand-in; PluginDir and PodResources are its own then
	PodPoll      string // "" = 100ms
	LogLevel     string // pgpud's, "" = debug
}

// Node is a simulated node with both services, each a process of its own, below one directory.
type Node struct {
	Dir  string
	opt  Options
	t    testing.TB
	proc map[string]*process
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Names of the programs.
const (
	Sim     = "node"
	Hwd     = "hwd"
	Kubelet = "kubelet"
	Pgpud   = "pgpud"
)

// StartNode starts node, hardware service, kubelet stand-in where asked for, and daemon, in this order,
// and ends them with the test. "@DIR@" in the configuration is the node's directory.
func StartNode(t testing.TB, o Options) *Node {
	t.Helper()
	for _, rel := range []string{"sim/pgpu-sim", "hwd/pgpu-hwd", "daemon/pgpud"} {
		Bin(t, rel)
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skipf("the simulated node needs FUSE: %v", err)
	} else {
		f.Close()
	}
	for value, preset := range map[*string]string{&o.TimeScale: "0.01", &o.PodPoll: "100ms", &o.LogLevel: "debug"} {
		if *value == "" {
			*value = preset
		}
	}
	// Socket paths have at most 107 bytes: not below the test's long temporary directory.
	dir, err := os.MkdirTemp("", "pgpu-peer-")
	must(t, err)
	n := &Node{Dir: dir, opt: o, t: t, proc: map[string]*process{}}
	t.Cleanup(n.cleanup)
	for _, d := range []string{"root", "cdi", "nvram", "kubelet/device-plugins", "kubelet/pod-resources"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o700))
	}
	if o.CDIDir == "" {
		o.CDIDir = n.path("cdi")
	}
	n.opt.CDIDir = o.CDIDir
	if o.SimKubelet {
		o.PluginDir, o.PodResources = n.path("kubelet/device-plugins"), n.path("kubelet/pod-resources/kubelet.sock")
	}
	must(t, os.WriteFile(n.path("hwd.yaml"), []byte(o.HwdYAML), 0o600))
	must(t, os.WriteFile(n.path("pgpud.yaml"), []byte(fmt.Sprintf(`kubelet:
  plugin_dir: %s
  pod_resources: %s
cdi_dir: %s
state_dir: %s
hwd_socket: %s
control_socket: %s
audit: {file: %s}
log:
  level: %s
pod_poll: %s
kubelet_settle: 300ms
unseen_grace: 1s
recovery_delay: 50ms
%s`, o.PluginDir, o.PodResources, o.CDIDir, n.path("state"), n.path("hwd/hwd.sock"),
		n.path("state/control.sock"), n.path("audit/audit.log"), o.LogLevel, o.PodPoll,
		strings.ReplaceAll(o.PgpudYAML, "@DIR@", dir))), 0o600))
	n.Start(Sim)
	n.Start(Hwd)
	if o.SimKubelet {
		n.Start(Kubelet)
	}
	n.Start(Pgpud)
	return n
}

func (n *Node) path(rel string) string { return filepath.Join(n.Dir, rel) }

func (n *Node) command(name string) []string {
	switch name {
	case Sim:
		return append([]string{Bin(n.t, "sim/pgpu-sim"), "node", "--mount", n.path("root"), "--control", n.path("node.sock"),
			"--uevents", n.path("uevents.sock"), "--state", n.path("nvram"), "--time-scale", n.opt.TimeScale,
			"--ready-fd", "3"}, n.opt.NodeArgs...)
	case Hwd:
		return []string{Bin(n.t, "hwd/pgpu-hwd"), "--root", n.path("root"), "--socket", n.path("hwd/hwd.sock"),
			"--config", n.path("hwd.yaml"), "--uevent-socket", n.path("uevents.sock"), "--ready-fd", "3"}
	case Kubelet:
		return []string{Bin(n.t, "sim/pgpu-sim"), "kubelet", "--dir", n.path("kubelet"), "--control", n.path("kubelet.sock"),
			"--ready-fd", "3"}
	default:
		return []string{Bin(n.t, "daemon/pgpud"), "--config", n.path("pgpud.yaml"), "--ready-fd", "3"}
	}
}

// Start starts a program and waits until it serves.
func (n *Node) Start(name string) {
	n.t.Helper()
	argv := n.command(name)
	log, err := os.OpenFile(n.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(n.t, err)
	defer log.Close()
	ready, w, err := os.Pipe()
	must(n.t, err)
	defer ready.Close()
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = log, log, []*os.File{w}
	err = p.cmd.Start()
	w.Close()
	must(n.t, err)
	n.proc[name] = p
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	must(n.t, ready.SetReadDeadline(time.Now().Add(30*time.Second)))
	if line, err := io.ReadAll(io.LimitReader(ready, 6)); err != nil || string(line) != "ready\n" {
		n.t.Fatalf("%s did not become ready: %q %v\n%s", name, line, err, n.tail(name))
	}
}

// Stop sends the signal and waits for the end.
func (n *Node) Stop(name string, sig syscall.Signal) {
	n.t.Helper()
	p := n.proc[name]
	if p == nil {
		return
	}
	delete(n.proc, name)
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		n.t.Errorf("%s did not end within 20 s of %v\n%s", name, sig, n.tail(name))
		return
	}
	if sig == syscall.SIGTERM && p.err != nil {
		n.t.Errorf("%s ended badly: %v\n%s", name, p.err, n.tail(name))
	}
}

// Running is false for a program that has ended by itself.
func (n *Node) Running(name string) bool {
	p := n.proc[name]
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Pid of a running program.
func (n *Node) Pid(name string) int { return n.proc[name].cmd.Process.Pid }

func (n *Node) tail(name string) string {
	b, _ := os.ReadFile(n.path(name + ".log"))
	if len(b) > 12000 {
		b = b[len(b)-12000:]
	}
	return "--- end of " + name + ".log\n" + string(b)
}

func (n *Node) cleanup() {
	for _, name := range []string{Pgpud, Kubelet, Hwd, Sim} {
		if n.proc[name] != nil && !n.Running(name) {
			n.t.Errorf("%s has ended by itself: %v\n%s", name, n.proc[name].err, n.tail(name))
			delete(n.proc, name)
		}
		n.Stop(name, syscall.SIGTERM)
	}
	if n.t.Failed() {
		for _, name := range []string{Pgpud, Hwd} {
			n.t.Log(n.tail(name))
		}
	}
	if err := syscall.Unmount(n.path("root"), syscall.MNT_DETACH); err == nil {
		n.t.Error("pgpu-sim left its root mounted")
	}
	if n.t.Failed() && os.Getenv("PGPU_TEST_KEEP") != "" {
		n.t.Logf("kept: %s", n.Dir)
		return
	}
	_ = os.RemoveAll(n.Dir)
}

func (n *Node) ask(socket, line string) (string, error) {
	c, err := net.Dial("unix", n.path(socket))
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// Ctl is a command to the simulated hardware; see pgpu-sim ctl help.
func (n *Node) Ctl(format string, a ...any) string {
	n.t.Helper()
	line := fmt.Sprintf(format, a...)
	out, err := n.ask("node.sock", line)
	if err != nil || !strings.HasPrefix(out, "ok") {
		n.t.Fatalf("pgpu-sim ctl %s: %q %v", line, out, err)
	}
	_, text, _ := strings.Cut(out, "\n")
	return text
}

// From linux/vfio.h: VFIO_TYPE ';', VFIO_BASE 100, VFIO_DEVICE_BIND_IOMMUFD +18.
const bindIommufd = ';'<<8 | (100 + 18)

// Open holds the device as a VMM does: the cdev open and bound, which resets the GPU. The returned
// function closes it, which resets again, and waits until the kernel has done so.
func (n *Node) Open(id, node string) (closeIt func()) {
	n.t.Helper()
	f, err := os.OpenFile(n.path("root"+node), os.O_RDWR, 0)
	must(n.t, err)
	arg := struct {
		argsz, flags, iommufd, devid uint32
	}{argsz: 16}
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), bindIommufd, uintptr(unsafe.Pointer(&arg))); e != 0 {
		f.Close()
		n.t.Fatalf("bind %s: %v", node, e)
	}
	return func() {
		n.t.Helper()
		must(n.t, f.Close())
		Eventually(n.t, 10*time.Second, func() error {
			if h := n.Function(id).Holder; strings.HasSuffix(h, fmt.Sprint(":", os.Getpid())) {
				return fmt.Errorf("%s is still held: %s", id, h)
			}
			return nil
		})
	}
}

// Unit is one device in pgpud's status.
type Unit struct {
	ID, State, Reason, Why, Operation string
	Sandbox                           string // by NRI's account
	Healthy                           bool
}

// Units asks pgpud.
func (n *Node) Units() (map[string]Unit, error) {
	out, err := n.ask("state/control.sock", "status")
	if err != nil {
		return nil, err
	}
	var s struct{ Units []Unit }
	if err := json.NewDecoder(bytes.NewReader([]byte(out))).Decode(&s); err != nil {
		return nil, fmt.Errorf("status: %w: %.200s", err, out)
	}
	m := map[string]Unit{}
	for _, u := range s.Units {
		m[u.ID] = u
	}
	return m, nil
}

// Unit waits until the device is in the state.
func (n *Node) Unit(id, state string, limit time.Duration) Unit {
	n.t.Helper()
	var u Unit
	Eventually(n.t, limit, func() error {
		m, err := n.Units()
		if err != nil {
			return err
		}
		if u = m[id]; u.State != state {
			return fmt.Errorf("%s is %s (%s: %s), not %s", id, u.State, u.Reason, u.Why, state)
		}
		return nil
	})
	return u
}

// Function is what the simulated hardware says of itself.
type Function struct {
	Address, Driver, Active, Configured, Holder string
	Resets, Opens                               int
	Plugged                                     bool
}

// Function asks the hardware model, not the services.
func (n *Node) Function(id string) Function {
	n.t.Helper()
	var all []Function
	if err := json.Unmarshal([]byte(n.Ctl("show json")), &all); err != nil {
		n.t.Fatal(err)
	}
	for _, f := range all {
		if f.Address == id {
			return f
		}
	}
	n.t.Fatalf("no function %s", id)
	return Function{}
}

// CDINodes is what a consumer finds in our files: device name to path.
func (n *Node) CDINodes() map[string]string {
	n.t.Helper()
	nodes := map[string]string{}
	files, _ := filepath.Glob(filepath.Join(n.opt.CDIDir, "*.json"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if os.IsNotExist(err) {
			continue
		}
		must(n.t, err)
		var s struct {
			Kind    string
			Devices []struct {
				Name           string
				ContainerEdits struct {
					DeviceNodes []struct{ Path string }
				}
			}
		}
		if err := json.Unmarshal(b, &s); err != nil {
			n.t.Fatalf("%s: %v", f, err)
		}
		for _, d := range s.Devices {
			nodes[s.Kind+"="+d.Name] = d.ContainerEdits.DeviceNodes[0].Path
		}
	}
	return nodes
}

// Footprint of a process: descriptors, threads and resident kilobytes.
func (n *Node) Footprint(name string) (fds, threads, rssKB int) {
	n.t.Helper()
	dir := fmt.Sprintf("/proc/%d/", n.Pid(name))
	entries, err := os.ReadDir(dir + "fd")
	must(n.t, err)
	b, err := os.ReadFile(dir + "status")
	must(n.t, err)
	for _, line := range strings.Split(string(b), "\n") {
		key, rest, _ := strings.Cut(line, ":")
		switch key {
		case "Threads":
			_, _ = fmt.Sscan(rest, &threads)
		case "VmRSS":
			_, _ = fmt.Sscan(rest, &rssKB)
		}
	}
	return len(entries), threads, rssKB
}

// Sanitized is true for a program built with AddressSanitizer, which keeps freed memory.
func (n *Node) Sanitized(name string) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", n.Pid(name)))
	return err == nil && bytes.Contains(b, []byte("libasan"))
}

// Eventually calls f until it returns nil, or fails the test with the last error.
func Eventually(t testing.TB, limit time.Duration, f func() error) {
	t.Helper()
	end := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %v", limit, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Status is pgpud's status as text.
func (n *Node) Status() string {
	out, err := n.ask("state/control.sock", "status")
	if err != nil {
		return err.Error()
	}
	return out
}
