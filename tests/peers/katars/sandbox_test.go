// SPDX-License-Identifier: Apache-2.0

package katars

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgpu.local/peers/kit"
)

// shimEnv holds a sandbox as JSON in a shim's process, or `probe`.
const (
	shimEnv = "PGPU_PEERS_SHIM"
	probe   = "probe"
)

// Sandbox is what a shim is started for, and on which node.
type Sandbox struct {
	Node  string   // directory of the simulated node
	Names []string // of the CDI devices, as the kubelet's PodResources gives them
}

// Function is what runtime-rs makes of one device node.
type Function struct {
	Node      string
	Addresses []string
	IOMMUFD   bool // goes to the VM by iommufd
}

// Found is what a shim says.
type Found struct {
	Functions []Function
	Error     string
}

// sandboxChild is the end of a process that is a shim.
func sandboxChild() {
	text := os.Getenv(shimEnv)
	if text == "" {
		return
	}
	if text == probe {
		if err := kit.AbleToEnter(); err != nil {
			fmt.Println(err)
		}
		os.Exit(0)
	}
	var s Sandbox
	var f Found
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = s.plug(&f)
	}
	if err != nil {
		f.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(f)
	os.Exit(0)
}

// cannot says why shims cannot run here, "" where they can.
var cannot = sync.OnceValue(func() string {
	out, err := child(context.Background(), probe).Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
})

func child(ctx context.Context, text string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), shimEnv+"="+text)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

// Shim runs one, in a process and a mount namespace of its own.
func Shim(t testing.TB, s Sandbox) Found {
	t.Helper()
	text, err := json.Marshal(s)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := child(ctx, string(text))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("shim: %v\n%s", err, stderr.String())
	}
	var f Found
	must(t, json.Unmarshal(out, &f))
	return f
}

// plug is cold plug in the order of runtime-rs (kata: src/libs/pod-resources-rs, and vfio_device/core.rs
// of its crate hypervisor). The crate is the real one, what comes after it is ours.
func (s *Sandbox) plug(ret *Found) error {
	crate := &shim{}
	var err error
	if crate.crate, err = startCrate(); err != nil { // before its file is out of sight
		return err
	}
	defer crate.crate.stop()
	// The program shares this process' mount namespace.
	if err := kit.EnterNode(s.Node); err != nil {
		return err
	}
	if err := crate.Scan([]string{"/etc/cdi", "/var/run/cdi"}); err != nil {
		return fmt.Errorf("Refreshing cache failed: %w", err)
	}
	for _, name := range s.Names {
		nodes, err := crate.Inject(name)
		if err != nil {
			return err
		}
		for _, node := range nodes {
			f, err := discover(node)
			if err != nil {
				return err
			}
			ret.Functions = append(ret.Functions, f)
		}
	}
	return nil
}

const cdevs = "/dev/vfio/devices"

// discover takes a node to the functions that the VM gets.
func discover(node string) (Function, error) {
	f := Function{Node: node}
	var group string
	if rest, ok := strings.CutPrefix(node, cdevs); ok && (rest == "" || rest[0] == '/') {
		if !charDevice(node) {
			return f, fmt.Errorf("vfio device %s not found", node)
		}
		device, err := os.Readlink(filepath.Join("/sys/class/vfio-dev", filepath.Base(node), "device"))
		if err != nil {
			return f, err
		}
		link, err := os.Readlink(filepath.Join("/sys/bus/pci/devices", filepath.Base(device), "iommu_group"))
		if err != nil {
			return f, err
		}
		group = filepath.Base(link)
	} else {
		group = filepath.Base(node)
	}
	if _, err := strconv.ParseUint(group, 10, 32); err != nil {
		return f, fmt.Errorf("Invalid VFIO group path: %s", node)
	}
	if _, err := os.Stat("/dev/vfio/vfio"); err != nil {
		return f, fmt.Errorf("VFIO control node missing: %w", err)
	}
	return f, f.ofGroup(group)
}

// Host bridges, PCI bridges and the audio function beside a GPU are left out.
var leftOut = []string{"0x0600", "0x0604", "0x0403"}

func (f *Function) ofGroup(group string) error {
	dir := filepath.Join("/sys/kernel/iommu_groups", group, "devices")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	withCdev := false
	for _, e := range entries {
		class, err := os.ReadFile(filepath.Join(dir, e.Name(), "class"))
		if err != nil {
			return err
		}
		if len(class) < 6 || slices.Contains(leftOut, string(class[:6])) {
			continue
		}
		f.Addresses = append(f.Addresses, e.Name())
		names, _ := os.ReadDir(filepath.Join("/sys/bus/pci/devices", e.Name(), "vfio-dev"))
		for _, n := range names {
			withCdev = withCdev || charDevice(filepath.Join(cdevs, n.Name()))
		}
	}
	if len(f.Addresses) == 0 {
		return fmt.Errorf("IOMMU group %s contains no PCI devices", group)
	}
	f.IOMMUFD = withCdev && charDevice("/dev/iommu")
	return nil
}

func charDevice(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode()&os.ModeCharDevice != 0
}
