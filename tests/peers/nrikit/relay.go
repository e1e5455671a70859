// SPDX-License-Identifier: Apache-2.0

package nrikit

import (
	"io"
	"net"
	"os"
	"sync"
)

// relay stands between the plugins and the adaptation's socket, byte for byte. The adaptation never
// closes the connections of external plugins, a runtime's end does: the relay can do that.
type relay struct {
	listener *net.UnixListener
	to       string
	mu       sync.Mutex
	conns    map[net.Conn]bool
	ended    bool
	done     sync.WaitGroup
}

func startRelay(at, to string) (*relay, error) {
	_ = os.Remove(at)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l, to: to, conns: map[net.Conn]bool{}}
	r.done.Go(r.serve)
	return r, nil
}

func (r *relay) own(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		c.Close()
		return false
	}
	r.conns[c] = true
	return true
}

func (r *relay) serve() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		runtime, err := net.Dial("unix", r.to)
		if err != nil {
			c.Close()
			continue
		}
		if !r.own(c) || !r.own(runtime) {
			c.Close()
			runtime.Close()
			return
		}
		r.done.Go(func() { r.copy(c, runtime) })
		r.done.Go(func() { r.copy(runtime, c) })
	}
}

func (r *relay) copy(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, to)
	delete(r.conns, from)
}

// cut ends everything, as the end of the runtime's process does; the socket file stays if `stale`.
func (r *relay) cut(stale bool) {
	r.listener.SetUnlinkOnClose(!stale)
	r.listener.Close()
	r.mu.Lock()
	r.ended = true
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.done.Wait()
}
