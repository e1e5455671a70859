// SPDX-License-Identifier: Apache-2.0

// Package nodes makes the character devices that a simulated node, being a file system of its own,
// does not have. The runtimes look at their numbers and make them again in the containers; nobody
// opens them there. What opens a device opens the simulated one.
package nodes

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Make makes those that are missing below /dev/vfio, as devtmpfs does: one for each member of the
// kernel's classes, with the numbers of its attribute "dev".
func Make(root string) error {
	for class, dir := range map[string]string{"vfio": "/dev/vfio", "vfio-dev": "/dev/vfio/devices"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		at := filepath.Join(root, "sys/class", class)
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
			err = syscall.Mknod(filepath.Join(dir, e.Name()), syscall.S_IFCHR|0o600, major<<8|minor)
			if err != nil && !os.IsExist(err) {
				return fmt.Errorf("mknod %s: %w", e.Name(), err)
			}
		}
	}
	return nil
}
