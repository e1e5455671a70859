// SPDX-License-Identifier: Apache-2.0

// Package cdi060 puts our CDI files before the library that Kata's Go shim links.
package cdi060

import (
	"os"
	"testing"

	"github.com/container-orchestrated-devices/container-device-interface/pkg/cdi"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"pgpu.local/peers/kit"
)

// shim is a shim process: a new registry, Refresh must say nothing, then the injection.
type shim struct{ cache *cdi.Cache }

func (s *shim) Scan(dirs []string) error {
	var err error
	s.cache, err = cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return err
	}
	return s.cache.Refresh()
}

func (s *shim) Inject(device string) ([]string, error) { return inject(s.cache, device) }

func inject(cache *cdi.Cache, device string) ([]string, error) {
	spec := &oci.Spec{}
	if _, err := cache.InjectDevices(spec, device); err != nil {
		return nil, err
	}
	var nodes []string
	for _, d := range spec.Linux.Devices {
		nodes = append(nodes, d.Path)
	}
	return nodes, nil
}

// watcher keeps one cache that refreshes itself when the directory changes.
type watcher struct{ cache *cdi.Cache }

func (w *watcher) Scan(dirs []string) error {
	if w.cache == nil {
		var err error
		w.cache, err = cdi.NewCache(cdi.WithSpecDirs(dirs...))
		if err != nil {
			return err
		}
	}
	return w.cache.Refresh()
}

func (w *watcher) Inject(device string) ([]string, error) { return inject(w.cache, device) }

func TestMain(m *testing.M) {
	kit.Child(&shim{})
	os.Exit(m.Run())
}

func TestNeverAHalfFile(t *testing.T)           { kit.Hammer(t, &shim{}, false) }
func TestNeverAHalfFileToAWatcher(t *testing.T) { kit.Hammer(t, &watcher{}, false) }
func TestWithdrawalIsTheOnlyError(t *testing.T) { kit.Hammer(t, &shim{}, true) }
func TestLintAgreesWithTheLibrary(t *testing.T) { kit.Compare(t, "kata-go", true) }
