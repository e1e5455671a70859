// SPDX-License-Identifier: Apache-2.0

// Package e2e runs a real containerd and a real kubelet with pgpu on a simulated node. The program
// is three processes:
//
//	outer  makes a directory and cgroups, starts init, and removes what is left, also after a signal
//	init   process 1 of new pid, mount, network and cgroup namespaces: private /run, /var/lib, /dev …,
//	       so that all programs have the paths of a node; reaps
//	tests  what remains
//
// When init ends the kernel ends everything in the namespaces, shims and containers included.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

const (
	stageEnv  = "PGPU_E2E_STAGE"
	baseEnv   = "PGPU_E2E_BASE"
	binEnv    = "PGPU_E2E_BIN"
	cannotEnv = "PGPU_E2E_CANNOT"
	keepEnv   = "PGPU_TEST_KEEP"
)

func TestMain(m *testing.M) {
	switch os.Getenv(stageEnv) {
	case "":
		os.Exit(outer(m))
	case "join":
		os.Exit(joinStage())
	case "init":
		os.Exit(initStage())
	default:
		base = os.Getenv(baseEnv)
		code := m.Run()
		stopAll()
		os.Exit(code)
	}
}

// base is the directory of everything; in the namespaces a file system of its own.
var base string

// cannot is why the tests are skipped, "" where they can run.
func cannot() string { return os.Getenv(cannotEnv) }

// again is this program in another stage.
func again(stage string, env ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), append(env, stageEnv+"="+stage)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// skipAll runs the tests where they only say why they are skipped.
func skipAll(m *testing.M, why string) int {
	os.Setenv(cannotEnv, why)
	return m.Run()
}

func outer(m *testing.M) int {
	if os.Geteuid() != 0 {
		return skipAll(m, "root is needed for namespaces, cgroups and mounts")
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin := filepath.Dir(self)
	for _, p := range []string{"kubelet", "runc", "e2e-vmm", "e2e-guest", "containerd2/containerd", "containerd17/containerd"} {
		if _, err := os.Stat(filepath.Join(bin, p)); err != nil {
			fmt.Fprintf(os.Stderr, "%s is not built: tests/peers/run e2e builds it\n", p)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "pgpu-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cg := cgroups{name: "pgpu-e2e-" + fmt.Sprint(os.Getpid())}
	defer func() {
		cg.remove()
		if os.Getenv(keepEnv) == "" {
			_ = os.RemoveAll(dir)
		} else {
			fmt.Println("kept:", dir)
		}
	}()
	if err := cg.make(); err != nil {
		return skipAll(m, fmt.Sprint("cgroups: ", err))
	}
	// The parent-death signal belongs to the thread that started the child.
	runtime.LockOSThread()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	cmd := again("join", baseEnv+"="+dir, binEnv+"="+bin, cgroupEnv+"="+cg.name)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		<-signals
		_ = cmd.Process.Kill()
	}()
	_ = cmd.Wait()
	return exitCode(cmd)
}

func exitCode(cmd *exec.Cmd) int {
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	return 1
}

// joinStage enters the cgroups, so that they are the roots of init's cgroup namespace.
func joinStage() int {
	runtime.LockOSThread()
	cg := cgroups{name: os.Getenv(cgroupEnv)}
	if err := cg.join(); err != nil {
		fmt.Fprintln(os.Stderr, "cgroups:", err)
		return 1
	}
	cmd := again("init")
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWCGROUP
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "namespaces:", err)
		return 1
	}
	cg.leave()
	_ = cmd.Wait()
	return exitCode(cmd)
}

// forbidden tells what this machine does not let us do from what went wrong.
func forbidden(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EROFS)
}

// initStage is process 1.
func initStage() int {
	runtime.LockOSThread()
	if err := furnish(os.Getenv(baseEnv)); forbidden(err) {
		os.Setenv(cannotEnv, err.Error())
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv(stageEnv, "tests")
	os.Setenv("TMPDIR", os.Getenv(baseEnv))
	os.Setenv("PATH", path())
	pid, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "tests:", err)
		return 1
	}
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			fmt.Fprintln(os.Stderr, "wait:", err)
			return 1
		case got == pid && status.Exited():
			return status.ExitStatus()
		case got == pid:
			return 1
		}
	}
}

// path has the programs that were built here before those of the machine.
func path() string {
	bin := os.Getenv(binEnv)
	return strings.Join([]string{bin, os.Getenv("PATH"), "/usr/sbin", "/sbin"}, ":")
}
