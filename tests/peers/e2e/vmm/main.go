// SPDX-License-Identifier: Apache-2.0

// Vmm is the OCI runtime of the test's handlers: runc, and before it, for the handlers that are named
// as Kata's, what Kata's shim does when a sandbox is created. The place is the same: the shim's Create
// of the sandbox container. The numbered plan of `create`:
//  1. read the OCI specification as containerd wrote it
//  2. of a sandbox: ask the kubelet's PodResources for the pod's devices, look their names up by CDI,
//     open and bind each VFIO node, as the VMM does
//  3. write down what was seen, for the test
//  4. become runc; the open nodes go to the sandbox's first process, which holds them as long as it
//     lives: it is the VM
//
// A file vmm.json beside the program's name (every handler has a link of its own) says what to do.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Config is vmm.json.
type Config struct {
	Runc         string // the real runtime
	Records      string // directory for what was seen
	VM           bool   // handler of VMs
	Node         string // link to the simulated node's directory
	PodResources string // the kubelet's socket
	Intruder     string // while this file is there, the next sandbox's nodes are opened by somebody else first
}

// Record is what is written down of every container.
type Record struct {
	Time       time.Time
	Sandbox    bool
	ID, Bundle string
	Namespace  string
	Pod, UID   string
	Container  string
	Spec       json.RawMessage // as it came from containerd
	Names      []string        // CDI names, of a sandbox
	Opened     []string        // VFIO nodes, of a sandbox
	Error      string
}

func main() {
	if err := run(os.Args); err != nil {
		// where runc's own errors go; containerd's shim reads it from there
		fmt.Fprintln(os.Stderr, "vmm:", err)
		os.Exit(1)
	}
}

func run(argv []string) error {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(argv[0]), "vmm.json"))
	if err != nil {
		return err
	}
	var c Config
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("vmm.json: %w", err)
	}
	argv = slices.Clone(argv)
	argv[0] = c.Runc
	at := slices.Index(argv, "create")
	if at < 0 {
		return syscall.Exec(c.Runc, argv, os.Environ())
	}
	nodes, err := c.create(argv)
	if err != nil {
		return err
	}
	if len(nodes) > 0 {
		argv = slices.Insert(argv, at+1, "--preserve-fds", fmt.Sprint(len(nodes)))
	}
	return become(c.Runc, argv, nodes)
}

// become puts the files where runc expects what it shall pass on, from 3 on, and executes it.
func become(path string, argv []string, files []*os.File) error {
	const high = 200
	var moved []uintptr
	for _, f := range files {
		fd, _, e := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_DUPFD_CLOEXEC, high)
		if e != 0 {
			return fmt.Errorf("dup: %w", e)
		}
		moved = append(moved, fd)
	}
	for i, fd := range moved {
		if err := syscall.Dup3(int(fd), 3+i, 0); err != nil {
			return fmt.Errorf("dup: %w", err)
		}
	}
	return syscall.Exec(path, argv, os.Environ())
}

// create is steps 1 to 3.
func (c *Config) create(argv []string) ([]*os.File, error) {
	at := slices.Index(argv, "--bundle")
	if at < 0 || at+1 == len(argv) {
		return nil, fmt.Errorf("no bundle: %q", argv)
	}
	r := Record{Time: time.Now(), Bundle: argv[at+1], ID: argv[len(argv)-1]}
	path := filepath.Join(r.Bundle, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r.Spec = text
	var spec struct{ Annotations map[string]string }
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	a := spec.Annotations
	r.Sandbox = a["io.kubernetes.cri.container-type"] == "sandbox"
	r.Namespace, r.Pod = a["io.kubernetes.cri.sandbox-namespace"], a["io.kubernetes.cri.sandbox-name"]
	r.UID, r.Container = a["io.kubernetes.cri.sandbox-uid"], a["io.kubernetes.cri.container-name"]
	var nodes []*os.File
	if c.VM && r.Sandbox {
		nodes, err = c.plug(&r)
	}
	if err != nil {
		r.Error = err.Error()
	} else {
		err = withoutSeccomp(path, text)
	}
	return nodes, join(err, c.write(&r))
}

func join(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (c *Config) write(r *Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	dir := filepath.Join(c.Records, r.Pod)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("%d-%.12s", r.Time.UnixNano(), r.ID))
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name+".json")
}

// withoutSeccomp takes the filter out of the specification: runc was built without libseccomp, whose
// headers would be needed for nothing else.
func withoutSeccomp(path string, text []byte) error {
	var spec map[string]json.RawMessage
	if err := json.Unmarshal(text, &spec); err != nil {
		return err
	}
	var linux map[string]json.RawMessage
	if err := json.Unmarshal(spec["linux"], &linux); err != nil {
		return err
	}
	if linux["seccomp"] == nil {
		return nil
	}
	delete(linux, "seccomp")
	var err error
	if spec["linux"], err = json.Marshal(linux); err != nil {
		return err
	}
	out, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	return os.WriteFile(path, out, 0o600)
}
