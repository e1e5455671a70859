// SPDX-License-Identifier: Apache-2.0

package nrikit

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/log"
	"github.com/sirupsen/logrus"
)

// logs is what the adaptation says of itself: the only place where it tells that a plugin has been
// added to those it calls (after the synchronization), or why it was closed.
type logs struct {
	mu    sync.Mutex
	lines []string
	base  int // lines dropped from the front
}

const verbose = "PGPU_PEERS_NRI_LOG"

const keepLines = 4000

var heard = &logs{}

func init() {
	log.Set(heard)
	if os.Getenv(verbose) == "" {
		logrus.SetOutput(io.Discard) // ttRPC's and the older stub's
	}
}

func (l *logs) add(level, format string, a ...any) {
	line := level + " " + fmt.Sprintf(format, a...)
	if os.Getenv(verbose) != "" {
		fmt.Fprintln(os.Stderr, time.Now().Format("05.000"), line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	if len(l.lines) > keepLines {
		l.base += len(l.lines) - keepLines/2
		l.lines = append([]string(nil), l.lines[len(l.lines)-keepLines/2:]...)
	}
}

func (l *logs) Debugf(_ context.Context, f string, a ...any) { l.add("debug", f, a...) }
func (l *logs) Infof(_ context.Context, f string, a ...any)  { l.add("info", f, a...) }
func (l *logs) Warnf(_ context.Context, f string, a ...any)  { l.add("warn", f, a...) }
func (l *logs) Errorf(_ context.Context, f string, a ...any) { l.add("error", f, a...) }

// Mark is a place in the log.
func Mark() int {
	heard.mu.Lock()
	defer heard.mu.Unlock()
	return heard.base + len(heard.lines)
}

// Said gives the lines after the mark that have one of the texts.
func Said(mark int, texts ...string) []string {
	heard.mu.Lock()
	defer heard.mu.Unlock()
	var found []string
	for _, line := range heard.lines[max(0, min(mark-heard.base, len(heard.lines))):] {
		for _, text := range texts {
			if strings.Contains(line, text) {
				found = append(found, line)
				break
			}
		}
	}
	return found
}

// AwaitSaid waits for a line after the mark that has one of the texts.
func AwaitSaid(t testing.TB, mark int, limit time.Duration, texts ...string) string {
	t.Helper()
	end := time.Now().Add(limit)
	for {
		if found := Said(mark, texts...); len(found) > 0 {
			return found[0]
		}
		if time.Now().After(end) {
			t.Fatalf("the adaptation did not say %q within %v; it said:\n%s", texts, limit, strings.Join(Said(mark, ""), "\n"))
		}
		time.Sleep(2 * time.Millisecond)
	}
}
