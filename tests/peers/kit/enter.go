// SPDX-License-Identifier: Apache-2.0

package kit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// What a process does that has a mount namespace of its own, so that a simulated node is at the real
// paths in it: /sys, /dev, /var/run/cdi. Nothing of it is seen outside.

// AbleToEnter tries what EnterNode does, on nothing of importance.
func AbleToEnter() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/dev", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := syscall.Mknod("/dev/null", syscall.S_IFCHR|0o600, 1<<8|3); err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	return nil
}

// EnterNode puts the directories of the simulated node in `node` where they are on a real one.
func EnterNode(node string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	run, err := filepath.EvalSymlinks("/var/run")
	if err != nil {
		return err
	}
	root := filepath.Join(node, "root")
	fresh := []string{run, "/sys", "/dev"}
	if _, err := os.Stat("/etc/cdi"); err == nil {
		fresh = append(fresh, "/etc/cdi")
	}
	for _, at := range fresh {
		if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	if err := bind(filepath.Join(node, "cdi"), filepath.Join(run, "cdi")); err != nil {
		return err
	}
	for _, part := range []string{"bus", "class", "devices", "kernel"} {
		if err := bind(filepath.Join(root, "sys", part), filepath.Join("/sys", part)); err != nil {
			return err
		}
	}
	if err := numbers(); err != nil {
		return err
	}
	return shared(root)
}

func bind(from, at string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount(from, at, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s at %s: %w", from, at, err)
	}
	return nil
}

// numbers makes what the simulated node, being a file system of its own, does not have: device nodes
// that are character devices, and /sys/dev/char. Both are made as the kernel does, of the classes'
// attribute "dev"; nobody opens the nodes here.
func numbers() error {
	for _, d := range []string{"/sys/dev/char", "/dev/vfio/devices"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for class, dir := range map[string]string{"vfio": "/dev/vfio", "vfio-dev": "/dev/vfio/devices"} {
		at := filepath.Join("/sys/class", class)
		entries, err := os.ReadDir(at)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		for _, e := range entries {
			var major, minor int
			text, err := os.ReadFile(filepath.Join(at, e.Name(), "dev"))
			if err != nil {
				continue // it has gone since
			}
			if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
				return fmt.Errorf("%s/%s/dev: %q", at, e.Name(), text)
			}
			target, err := os.Readlink(filepath.Join(at, e.Name()))
			if err != nil {
				continue
			}
			if err := os.Symlink(target, fmt.Sprintf("/sys/dev/char/%d:%d", major, minor)); err != nil {
				return err
			}
			if err := syscall.Mknod(filepath.Join(dir, e.Name()), syscall.S_IFCHR|0o600, major<<8|minor); err != nil {
				return fmt.Errorf("mknod %s: %w", e.Name(), err)
			}
		}
	}
	return nil
}

// shared makes the nodes that are no device's, where the simulated node has them: misc devices, 196 and
// one of the dynamic minors.
func shared(root string) error {
	for at, minor := range map[string]int{"/dev/vfio/vfio": 196, "/dev/iommu": 127} {
		switch _, err := os.Stat(filepath.Join(root, at)); {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return err
		}
		if err := syscall.Mknod(at, syscall.S_IFCHR|0o600, 10<<8|minor); err != nil {
			return fmt.Errorf("mknod %s: %w", at, err)
		}
	}
	return nil
}
