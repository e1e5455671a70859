// SPDX-License-Identifier: Apache-2.0

package nrikit

import (
	"context"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// Meddler is another plugin, on upstream's stub, that does to every container what the test says.
type Meddler struct {
	Adjust func(c *api.Container) *api.ContainerAdjustment
	// Seen is the last container that it was asked about.
	Seen *api.Container
}

// CreateContainer is called by the stub.
func (m *Meddler) CreateContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	m.Seen = c
	return m.Adjust(c), nil, nil
}

// StartMeddler connects it with an index below or above ours, and ends it with the test or by the
// returned function.
func (r *Runtime) StartMeddler(t testing.TB, index string, m *Meddler) (end func()) {
	t.Helper()
	s, err := stub.New(m, stub.WithPluginName("meddler"), stub.WithPluginIdx(index), stub.WithSocketPath(r.Socket()),
		stub.WithOnClose(func() {}))
	must(t, err)
	mark := Mark()
	must(t, s.Start(context.Background()))
	r.AwaitPlugin(mark, index+"-meddler")
	ended := false
	end = func() {
		if !ended {
			ended = true
			mark := Mark()
			s.Stop()
			AwaitSaid(t, mark, Limit, `connection to plugin "`+index+`-meddler" closed`)
		}
	}
	t.Cleanup(end)
	return end
}
