// SPDX-License-Identifier: Apache-2.0

// Package katars puts our CDI files before the crate that Kata's runtime-rs links, in the Rust program
// beside it (src/main.rs), and takes its answers on to PCI functions as runtime-rs does.
package katars

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// crateEnv is the built program; `run` sets it.
const crateEnv = "PGPU_PEERS_KATARS"

// Crate is the program while it runs: one shim's process.
type Crate struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr strings.Builder
}

// startCrate starts the program of PGPU_PEERS_KATARS.
func startCrate() (*Crate, error) {
	path := os.Getenv(crateEnv)
	if path == "" {
		return nil, fmt.Errorf("%s is not set: run tests/peers/run", crateEnv)
	}
	c := &Crate{cmd: exec.Command(path)}
	c.cmd.Stderr = &c.stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out = in, bufio.NewReader(out)
	return c, c.cmd.Start()
}

// ask gives a command; the words after "ok".
func (c *Crate) ask(words ...string) ([]string, error) {
	if _, err := fmt.Fprintln(c.in, strings.Join(words, "\t")); err != nil {
		return nil, c.ended(err)
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return nil, c.ended(err)
	}
	said := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	if said[0] != "ok" {
		return nil, fmt.Errorf("%s", strings.Join(said[1:], " "))
	}
	return said[1:], nil
}

// ended is why the program no longer answers.
func (c *Crate) ended(err error) error {
	_ = c.in.Close()
	_ = c.cmd.Wait()
	return fmt.Errorf("panic: the crate's program has ended: %w: %s", err, c.stderr.String())
}

func (c *Crate) stop() {
	_ = c.in.Close()
	_ = c.cmd.Wait()
}

// shim is kit.Library. runtime-rs gives the directories in the reverse of CDI's order: index 0, which
// counts least, is /var/run/cdi.
type shim struct {
	crate *Crate
	// The file is also removed now and then: the crate says the same of one that is gone since it was
	// listed as of one that cannot be read, and names neither.
	withdrawn bool
}

func (s *shim) Scan(dirs []string) error {
	if s.crate == nil {
		c, err := startCrate()
		if err != nil {
			return err
		}
		s.crate = c
	}
	reversed := slices.Clone(dirs)
	slices.Reverse(reversed)
	_, err := s.crate.ask(append([]string{"scan"}, reversed...)...)
	switch {
	case err == nil:
		return nil
	case strings.HasPrefix(err.Error(), "panic:"):
		panic(err)
	case s.withdrawn && strings.HasSuffix(err.Error(), "parse spec file failed"):
		return fmt.Errorf("no such file, or: %w", err)
	default:
		return err
	}
}

func (s *shim) Inject(device string) ([]string, error) { return s.crate.ask("resolve", device) }
