// SPDX-License-Identifier: Apache-2.0

package nrikit

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgpu.local/peers/kit"
)

// children of this process by name, which are the plugins that the adaptation has started.
func children(t testing.TB, name string) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	must(t, err)
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(word)
			must(t, err)
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			// a zombie has ended, the adaptation waits for it only when it stops
			if strings.Contains(string(stat), "("+name) && !strings.Contains(string(stat), ") Z ") {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Also the kernel's name of the process, which has 15 bytes at most.
const launcherName = "pgpu-nri-launch"

// Launched: the runtime starts the plugin itself. The launcher hands the connection to the running
// daemon and stays as long as that has it. The daemon knows the runtime's socket as well, and does not
// make a second session of it.
func Launched(t *testing.T, f Flavour) {
	r := NewRig(t, f, RigOptions{})
	// As an administrator installs it where the daemon's socket is elsewhere: runtimes give plugins
	// no arguments.
	script := fmt.Sprintf("#!/bin/sh\nexec %s --wait 3 --socket %s\n", kit.Bin(t, "nri/"+launcherName),
		filepath.Join(r.Node.Dir, "state/nri-launch.sock"))
	must(t, os.WriteFile(filepath.Join(r.PluginDir(), Plugin), []byte(script), 0o755))

	up := func() {
		t.Helper()
		mark := Mark()
		r.Runtime.Start()
		if bad := Said(mark, "pre-installed NRI plugin"); slices.ContainsFunc(bad, func(s string) bool { return strings.Contains(s, "failed") }) {
			t.Fatal(bad)
		}
		within(t, func() error {
			all, err := r.Sessions()
			if err != nil {
				return err
			}
			up := 0
			for _, s := range all {
				if s.Up && s.Socket != "launched" {
					return fmt.Errorf("a second session with the same runtime: %+v", s)
				} else if s.Up {
					up++
				}
			}
			if up != 1 {
				return fmt.Errorf("not one launched session: %+v", all)
			}
			return nil
		})
		if pids := children(t, launcherName); len(pids) != 1 {
			t.Errorf("launchers: %v", pids)
		}
	}
	gone := func() {
		t.Helper()
		within(t, func() error {
			if pids := children(t, launcherName); len(pids) > 0 {
				return fmt.Errorf("launchers: %v", pids)
			}
			return nil
		})
	}
	r.o.Direct = true
	up()
	g := r.Guest("guest", Confidential, 1)
	r.run(g)
	r.inject(g, g.Bare())
	// The runtime ends: so does the launcher.
	r.Runtime.Stop(false)
	gone()
	up()
	r.inject(g, g.Bare())
	// The daemon ends: the runtime sees the end of the connection, and the launcher goes.
	mark := Mark()
	r.Node.Stop(kit.Pgpud, syscall.SIGTERM)
	AwaitSaid(t, mark, Limit, `connection to plugin "`+Plugin+`" closed`)
	gone()
	r.Runtime.Stop(false)

	// No daemon: the runtime starts without the plugin, or says why not (0.6.1 makes it an error).
	mark = Mark()
	err := r.startErr()
	if err == nil && len(Said(mark, "failed to start pre-installed NRI plugin")) == 0 {
		t.Error("a launcher without a daemon is taken for a plugin")
	}
	t.Log("without a daemon: ", err, Said(mark, "failed to start"))
	gone()
	r.Node.Start(kit.Pgpud)
}
