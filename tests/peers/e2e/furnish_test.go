// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// nodeIP is the node's address; one for documentation (RFC 5737), on the loopback interface.
const nodeIP = "192.0.2.1"

// furnish makes the namespaces look like a node of its own. Nothing of it is seen outside.
func furnish(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := remount(); err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	if err := devices(); err != nil {
		return err
	}
	fresh := []string{"/run", "/var/lib", "/var/log"}
	if real, err := filepath.EvalSymlinks("/var/run"); err == nil && real != "/run" {
		fresh = append(fresh, real)
	}
	for _, at := range []string{"/etc/cdi", "/etc/cni", "/etc/containerd", "/opt"} {
		if _, err := os.Stat(at); err == nil {
			fresh = append(fresh, at)
		}
	}
	if os.Getenv(keepEnv) == "" {
		fresh = append(fresh, dir)
	}
	for _, at := range fresh {
		if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	if err := parameters(dir); err != nil {
		return fmt.Errorf("kernel parameters: %w", err)
	}
	for _, name := range []string{"lo", "lo:0"} {
		if err := up(name, name != "lo"); err != nil {
			return fmt.Errorf("interface %s: %w", name, err)
		}
	}
	return nil
}

// parameters hides those kernel parameters that the kubelet sets, which are the machine's, behind files
// that have the wanted values already; the others cannot be written.
func parameters(dir string) error {
	if err := syscall.Mount("/proc/sys", "/proc/sys", "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return err
	}
	if err := syscall.Mount("", "/proc/sys", "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	for name, value := range map[string]string{
		// setupKernelTunables in k8s.io/kubernetes/pkg/kubelet/cm/container_manager_linux.go
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		at := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(at); err != nil {
			continue
		}
		file := filepath.Join(dir, "sysctl."+filepath.Base(name))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := syscall.Mount(file, at, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	return nil
}

// devices is a /dev of our own: VFIO nodes will be made in it.
func devices() error {
	type node struct {
		name string
		mode uint32
		rdev uint64
	}
	var list []node
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty", "fuse", "kmsg"} {
		var st syscall.Stat_t
		if err := syscall.Stat("/dev/"+name, &st); err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFCHR {
			list = append(list, node{name, st.Mode, st.Rdev})
		}
	}
	if err := syscall.Mount("tmpfs", "/dev", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	syscall.Umask(0)
	defer syscall.Umask(0o022)
	for _, n := range list {
		if err := syscall.Mknod("/dev/"+n.name, n.mode, int(n.rdev)); err != nil {
			return fmt.Errorf("mknod %s: %w", n.name, err)
		}
	}
	for at, what := range map[string]struct{ kind, options string }{
		"/dev/pts": {"devpts", "newinstance,ptmxmode=0666,mode=620"},
		"/dev/shm": {"tmpfs", "mode=1777"},
	} {
		if err := os.Mkdir(at, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(what.kind, at, what.kind, 0, what.options); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	for from, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0",
		"stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		if err := os.Symlink(to, "/dev/"+from); err != nil {
			return err
		}
	}
	return nil
}

// up gives the interface the node's address where it shall have it, and switches it on.
func up(name string, address bool) error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	// struct ifreq of linux/if.h: the name, then a union
	var req [40]byte
	copy(req[:syscall.IFNAMSIZ-1], name)
	union := req[syscall.IFNAMSIZ:]
	if address {
		union[0] = syscall.AF_INET
		copy(union[4:8], []byte{192, 0, 2, 1})
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), syscall.SIOCSIFADDR, uintptr(unsafe.Pointer(&req))); e != 0 {
			return e
		}
		return nil
	}
	union[0], union[1] = syscall.IFF_UP|syscall.IFF_RUNNING&0xff, 0
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); e != 0 {
		return e
	}
	return nil
}
