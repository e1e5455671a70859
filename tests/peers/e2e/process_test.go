// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that runs over several tests.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	log  string
}

var (
	processMu sync.Mutex
	processes []*process
)

// launch starts a program; what it writes is appended to <base>/<name>.log.
func launch(name string, argv ...string) (*process, error) {
	p := &process{name: name, done: make(chan struct{}), log: filepath.Join(base, name+".log")}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	processMu.Lock()
	processes = append(processes, p)
	processMu.Unlock()
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop sends the signal and waits; it kills what does not end.
func (p *process) stop(t testing.TB, sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		if t != nil {
			t.Errorf("%s did not end within 30 s of %v\n%s", p.name, sig, p.tail())
		}
	}
}

func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	if len(b) > 12000 {
		b = b[len(b)-12000:]
	}
	return fmt.Sprintf("--- end of %s.log\n%s", p.name, b)
}

// stopAll ends what the tests have started, the kubelet before the runtime.
func stopAll() {
	processMu.Lock()
	defer processMu.Unlock()
	for i := len(processes) - 1; i >= 0; i-- {
		if processes[i].running() {
			processes[i].stop(nil, syscall.SIGTERM)
		}
	}
	processes = nil
}

// eventually calls f until it returns nil, and returns the last error after the limit.
func eventually(limit time.Duration, f func() error) error {
	for end := time.Now().Add(limit); ; {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
