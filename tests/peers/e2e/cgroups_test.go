// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const cgroupEnv = "PGPU_E2E_CGROUP"

// cgroups is one cgroup of our own in each hierarchy, of version 1 or 2. In a cgroup namespace they
// are the roots: what runtimes and the kubelet make is below them, and goes with them.
type cgroups struct{ name string }

// hierarchy is a mounted one.
type hierarchy struct{ at, kind, options string }

// hierarchies are those of /proc/self/mountinfo, the last mount of each place.
func hierarchies() (list []hierarchy, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		before, after, ok := strings.Cut(in.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 || !strings.HasPrefix(right[0], "cgroup") {
			continue
		}
		if !strings.HasPrefix(left[4], "/sys/fs/cgroup") {
			continue
		}
		var options []string
		for _, o := range strings.Split(right[2], ",") {
			switch {
			case o == "rw" || o == "ro" || strings.HasPrefix(o, "release_agent="):
			case strings.HasPrefix(o, "name="):
				options = append(options, "none", o)
			case right[0] == "cgroup":
				options = append(options, o)
			}
		}
		list = append(list, hierarchy{at: left[4], kind: right[0], options: strings.Join(options, ",")})
	}
	if len(list) == 0 {
		return nil, errors.New("none is mounted below /sys/fs/cgroup")
	}
	return list, in.Err()
}

// make makes them, and removes what killed runs have left.
func (c *cgroups) make() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		stale, _ := filepath.Glob(filepath.Join(h.at, "pgpu-e2e-*"))
		for _, s := range stale {
			if _, err := os.Stat("/proc/" + strings.TrimPrefix(filepath.Base(s), "pgpu-e2e-")); err != nil {
				prune(s)
			}
		}
		own := filepath.Join(h.at, c.name)
		if err := os.Mkdir(own, 0o755); err != nil {
			return err
		}
		// A new cpuset of version 1 has nothing, and takes no process.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			if h.kind != "cgroup" {
				continue
			}
			if b, err := os.ReadFile(filepath.Join(h.at, f)); err == nil {
				if err := os.WriteFile(filepath.Join(own, f), b, 0); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *cgroups) move(name string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if e := os.WriteFile(filepath.Join(h.at, name, "cgroup.procs"), []byte("0"), 0); e != nil {
			err = errors.Join(err, e)
		}
	}
	return err
}

func (c *cgroups) join() error { return c.move(c.name) }

// leave goes back to the top: in version 2 a cgroup whose children have controllers has no processes.
func (c *cgroups) leave() { _ = c.move("") }

// remove waits until the processes are gone; the kernel ends them with process 1.
func (c *cgroups) remove() {
	all, _ := hierarchies()
	for _, h := range all {
		own := filepath.Join(h.at, c.name)
		for until := time.Now().Add(20 * time.Second); ; {
			prune(own)
			if _, err := os.Stat(own); err != nil {
				break
			}
			if time.Now().After(until) {
				fmt.Fprintln(os.Stderr, own, "is left: it has processes")
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// prune removes a cgroup and what is below it.
func prune(dir string) {
	var dirs []string
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		_ = os.Remove(dirs[i])
	}
}

// remount shows init's cgroups as the roots, and makes room: in version 2 the root's controllers are
// for its children, so that process 1 and the tests are in a child.
func remount() error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := syscall.Unmount(h.at, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("umount %s: %w", h.at, err)
		}
		if err := syscall.Mount("cgroup", h.at, h.kind, 0, h.options); err != nil {
			return fmt.Errorf("mount %s (%s): %w", h.at, h.options, err)
		}
		if h.kind != "cgroup2" {
			continue
		}
		own := filepath.Join(h.at, "init")
		if err := os.Mkdir(own, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("0"), 0); err != nil {
			return err
		}
		names, err := os.ReadFile(filepath.Join(h.at, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for _, n := range strings.Fields(string(names)) {
			if err := os.WriteFile(filepath.Join(h.at, "cgroup.subtree_control"), []byte("+"+n), 0); err != nil {
				return fmt.Errorf("controller %s: %w", n, err)
			}
		}
	}
	return nil
}
