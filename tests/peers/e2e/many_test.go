// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"pgpu.local/peers/kit"
)

// Eight pods at once have all GPUs; then eight lanes of pods one after the other, 200 in all, as many
// controllers would make them: the replacement is created as soon as its predecessor is gone. Every VM
// gets GPUs that were reset since their last one, and neither service grows.
func TestTwoHundredPodsInEightLanes(t *testing.T) {
	const lanes = 8
	pods := podCount(t)
	r := start(t, containerd2, lanes, kit.Options{LogLevel: "info"})
	var first []PodSpec
	for i := range lanes {
		first = append(first, PodSpec{Name: fmt.Sprint("first-", i)})
	}
	began := time.Now()
	r.Run(first...)
	t.Logf("%d pods at once run after %v", lanes, time.Since(began).Round(time.Millisecond))
	owner := map[string]string{}
	for _, s := range first {
		id := r.Holds(s.Name, 1)[0]
		if owner[id] != "" {
			t.Errorf("%s is in %s and %s", id, owner[id], s.Name)
		}
		owner[id] = s.Name
	}
	fds, threads, rss := r.Footprint(kit.Pgpud)
	for _, s := range first {
		r.Delete(5, s.Name)
	}
	for _, s := range first {
		r.Gone(s.Name)
	}
	began = time.Now()
	var l lane
	l.resets = map[string]int{}
	var done sync.WaitGroup
	for i := range lanes {
		done.Go(func() {
			for k := range (pods - lanes) / lanes {
				if t.Failed() {
					return
				}
				l.pod(r, fmt.Sprintf("lane-%d-%d", i, k))
			}
		})
	}
	done.Wait()
	t.Logf("%d pods in %v; %d came too early for a GPU that was being scrubbed", pods-lanes,
		time.Since(began).Round(time.Millisecond), l.refused.Load())
	r.Settled()
	fds2, threads2, rss2 := r.Footprint(kit.Pgpud)
	t.Logf("pgpud before and after: %d and %d descriptors, %d and %d threads, %d and %d kB", fds, fds2, threads, threads2, rss, rss2)
	if fds2 > fds+4 || threads2 > threads+4 || rss2 > rss*3/2 && !r.Sanitized(kit.Pgpud) {
		t.Error("pgpud grows")
	}
}

// podCount is PGPU_PEERS_E2E_PODS, by default 200.
func podCount(t *testing.T) int {
	n := 200
	if s := os.Getenv("PGPU_PEERS_E2E_PODS"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// lane is what the lanes have in common.
type lane struct {
	mu      sync.Mutex
	resets  map[string]int // of a GPU, when its last VM had it
	refused atomic.Int32
}

// pod is the life of one: as often made as the kubelet says that too few GPUs are healthy. It reports
// errors without ending its goroutine.
func (l *lane) pod(r *Rig, name string) {
	for try := 0; ; try++ {
		pod := fmt.Sprintf("%s-%d", name, try)
		r.Create(PodSpec{Name: pod})
		var phase v1.PodPhase
		err := eventually(limit, func() error {
			phase = v1.PodPhase(text(r.api.get("pods", "default", pod), "status", "phase"))
			if phase == v1.PodPending || phase == "" {
				return fmt.Errorf("%s is pending", pod)
			}
			return nil
		})
		if err != nil {
			r.t.Errorf("%v: %v", err, r.Events(pod))
			return
		}
		if phase == v1.PodRunning {
			l.check(r, pod)
		} else if try > 100 {
			r.t.Errorf("%s never ran: %v", name, r.Events(pod))
			return
		} else {
			l.refused.Add(1)
		}
		r.Delete(5, pod)
		if err := eventually(limit, func() error {
			if len(r.api.get("pods", "default", pod)) > 0 {
				return fmt.Errorf("%s is still there", pod)
			}
			return nil
		}); err != nil {
			r.t.Error(err)
			return
		}
		if phase == v1.PodRunning {
			return
		}
	}
}

// check is that the VM's GPU was reset since its last VM: by its scrubbing, and by the VM's own open.
func (l *lane) check(r *Rig, pod string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := r.sandbox(pod)
	if err != nil || len(s.Opened) != 1 {
		r.t.Errorf("%s runs with %v: %v", pod, s.Opened, err)
		return
	}
	id := r.IDs(s.Opened)[0]
	f := r.Function(id)
	if before, used := l.resets[id]; used && f.Resets < before+2 || f.Active != "on" {
		r.t.Errorf("%s got %s like this, after %d resets: %+v", pod, id, before, f)
	}
	l.resets[id] = f.Resets
}
