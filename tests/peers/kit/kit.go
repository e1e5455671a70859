// SPDX-License-Identifier: Apache-2.0

// Package kit is what the peer tests share: where the programs are, the CDI directories of
// tests/unit/cdi/cases.txt, and the rewriter. No dependencies.
package kit

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Kind is the resource name and CDI kind that the tests use.
const Kind = "nvidia.com/pgpu"

// Steady is the device that every version of the rewritten file holds.
const Steady = Kind + "=0000:41:00.0"

// Bin finds a built program by its path below the build directory, and fails the test without it.
func Bin(t testing.TB, rel string) string {
	t.Helper()
	dir := os.Getenv("PGPU_BIN_DIR")
	if dir == "" {
		t.Fatal("PGPU_BIN_DIR is not set: run tests/peers/run or ctest -L peers")
	}
	path := filepath.Join(dir, rel)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not built", rel)
	}
	return path
}

// Source is a file of the source tree.
func Source(t testing.TB, rel string) string {
	t.Helper()
	dir := os.Getenv("PGPU_SOURCE_DIR")
	if dir == "" {
		dir = "../../.."
	}
	return filepath.Join(dir, rel)
}

// Case is one directory pair of cases.txt.
type Case struct {
	Name  string
	files []struct{ path, text string }
	links []struct{ path, target string }
}

// Cases reads cases.txt.
func Cases(t testing.TB) []Case {
	t.Helper()
	f, err := os.Open(Source(t, "tests/unit/cdi/cases.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []Case
	in := bufio.NewScanner(f)
	inFile := false
	for in.Scan() {
		line := in.Text()
		if !strings.HasPrefix(line, "@") {
			if inFile && line != "" {
				c := &cases[len(cases)-1]
				c.files[len(c.files)-1].text += line + "\n"
			}
			continue
		}
		inFile = false
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "@case":
			cases = append(cases, Case{Name: rest})
		case "@want": // the C test's business
		case "@file":
			c := &cases[len(cases)-1]
			c.files = append(c.files, struct{ path, text string }{path: rest})
			inFile = true
		case "@link":
			c := &cases[len(cases)-1]
			path, target, _ := strings.Cut(rest, " ")
			c.links = append(c.links, struct{ path, target string }{path, target})
		default:
			t.Fatalf("cases.txt: %s", line)
		}
	}
	if len(cases) < 60 {
		t.Fatalf("cases.txt: only %d cases", len(cases))
	}
	return cases
}

// Build writes the case below top and returns the two directories in CDI order.
func (c *Case) Build(t testing.TB, top string) []string {
	t.Helper()
	dirs := []string{filepath.Join(top, "0"), filepath.Join(top, "1")}
	for _, d := range dirs {
		must(t, os.MkdirAll(d, 0o755))
	}
	for _, f := range c.files {
		path := filepath.Join(top, f.path)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(f.text), 0o644))
	}
	for _, l := range c.links {
		must(t, os.Symlink(l.target, filepath.Join(top, l.path)))
	}
	return dirs
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var rank = map[string]int{"ok": 0, "ignored": 0, "warn": 1, "POISON": 2, "CRASH": 3}

// Lint is our lint's worst verdict for each consumer: ok, warn, POISON or CRASH.
func Lint(t testing.TB, dirs []string) (worst map[string]string, text string) {
	t.Helper()
	out, err := exec.Command(Bin(t, "tests/peers/cdi_rewriter"), append([]string{"lint"}, dirs...)...).Output()
	must(t, err)
	worst = map[string]string{"kata-go": "ok", "kata-rs": "ok", "containerd": "ok"}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		f := strings.Split(line, "\t")
		if len(f) != 4 {
			continue
		}
		if rank[f[2]] > rank[worst[f[1]]] {
			worst[f[1]] = f[2]
		}
	}
	return worst, string(out)
}

// Library is a consumer's CDI library, as the consumer uses it. Probe is what the consumer does in a
// fresh process: scan the directories, then inject the device; Injected is the node it got.
type Library interface {
	// Scan reads the directories anew.
	Scan(dirs []string) error
	// Inject gives the device's nodes after Scan; an error where it does not resolve.
	Inject(device string) ([]string, error)
}

const childDirs = "PGPU_PEER_CDI_DIRS"

// Child is called first by TestMain: in a child it scans and says how it went.
func Child(lib Library) {
	dirs := os.Getenv(childDirs)
	if dirs == "" {
		return
	}
	if err := lib.Scan(strings.Split(dirs, ":")); err != nil {
		fmt.Println("error:", strings.ReplaceAll(err.Error(), "\n", " "))
	} else {
		fmt.Println("fine")
	}
	os.Exit(0)
}

// Ask scans in a child process, since the library may panic: "fine", "error: ..." or "panic".
func Ask(t testing.TB, dirs []string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDirs+"="+strings.Join(dirs, ":"))
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return strings.TrimSpace(string(out))
	case strings.Contains(string(out), "panic:"):
		return "panic"
	default:
		t.Fatalf("child: %v\n%s", err, out)
		return ""
	}
}

// Rewriter is a running cdi_rewriter.
type Rewriter struct {
	cmd  *exec.Cmd
	done chan error
	out  io.ReadCloser
	rest []byte
}

// Rewrite starts it and returns after the first file is there.
func Rewrite(t testing.TB, dir string, times int, withdraw bool) *Rewriter {
	t.Helper()
	w := "0"
	if withdraw {
		w = "1"
	}
	r := &Rewriter{done: make(chan error, 1)}
	r.cmd = exec.Command(Bin(t, "tests/peers/cdi_rewriter"), "rewrite", dir, Kind, fmt.Sprint(times), "/dev/null", w)
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	must(t, err)
	must(t, r.cmd.Start())
	in := bufio.NewReader(out)
	if line, err := in.ReadString('\n'); err != nil || line != "started\n" {
		t.Fatalf("cdi_rewriter: %q %v", line, err)
	}
	go func() {
		r.rest, _ = io.ReadAll(in)
		r.done <- r.cmd.Wait()
	}()
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// Running is false once the rewriter has ended; it fails the test if it ended badly.
func (r *Rewriter) Running(t testing.TB) bool {
	t.Helper()
	select {
	case err := <-r.done:
		must(t, err)
		t.Logf("%s changes of the file", strings.TrimSpace(string(r.rest)))
		return false
	default:
		return true
	}
}

// Times is how often the file is rewritten: PGPU_PEERS_REWRITES, by default 10000.
func Times(t testing.TB) int {
	n := 10000
	if s := os.Getenv("PGPU_PEERS_REWRITES"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// memDir is on a tmpfs where there is one: /var/run/cdi is, and an fsync costs nothing there.
func memDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "pgpu-peers-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Hammer scans and injects in a loop while the file is rewritten. Every scan has to be without
// error and every injection has to give the node. With withdrawals the device may be missing, and
// a library that lists before it opens may meet the file's absence, which is the only error allowed.
func Hammer(t *testing.T, lib Library, withdraw bool) {
	dir := memDir(t)
	r := Rewrite(t, dir, Times(t), withdraw)
	scans, missing, gone := 0, 0, 0
	for r.Running(t) {
		scans++
		if err := lib.Scan([]string{"/nonexistent/cdi", dir}); err != nil {
			if withdraw && strings.Contains(err.Error(), "no such file") {
				gone++
				continue
			}
			t.Fatalf("scan %d: %v", scans, err)
		}
		nodes, err := lib.Inject(Steady)
		switch {
		case err != nil && withdraw && strings.Contains(err.Error(), "unresolvable"):
			missing++
		case err != nil:
			t.Fatalf("inject after scan %d: %v", scans, err)
		case len(nodes) != 1 || nodes[0] != "/dev/null":
			t.Fatalf("inject after scan %d: %v", scans, nodes)
		}
	}
	t.Logf("%d scans, %d without the file, %d met its withdrawal between listing and opening", scans, missing, gone)
	if scans < 20 {
		t.Fatalf("only %d scans", scans)
	}
}

// Compare asks library and lint about every case. `consumer` is the lint's name for the library's
// user; with `poison` an error of the scan is POISON, else it is "warn".
func Compare(t *testing.T, consumer string, poison bool) {
	for _, c := range Cases(t) {
		t.Run(c.Name, func(t *testing.T) {
			dirs := c.Build(t, t.TempDir())
			worst, text := Lint(t, dirs)
			have, real := worst[consumer], Ask(t, dirs)
			var agree bool
			switch {
			case real == "panic":
				agree = have == "CRASH"
			case real == "fine":
				// A warning about what hurts later is no scan error; the Go shim's verdict
				// tells the two apart for containerd.
				agree = have == "ok" || have == "warn" && (poison || worst["kata-go"] == "warn")
			case poison:
				agree = have == "POISON"
			default:
				agree = have == "warn"
			}
			if !agree {
				t.Errorf("the library: %s\nthe lint for %s: %s\n%s", real, consumer, have, text)
			}
		})
	}
}
