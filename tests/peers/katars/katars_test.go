// SPDX-License-Identifier: Apache-2.0

package katars

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgpu.local/peers/kit"
)

func TestMain(m *testing.M) {
	sandboxChild()
	kit.Child(&shim{})
	os.Exit(m.Run())
}

// needsCrate skips where the Rust program was not built.
func needsCrate(t testing.TB) {
	t.Helper()
	if os.Getenv(crateEnv) == "" {
		t.Skip(crateEnv + " is not set: run tests/peers/run or ctest -L peers")
	}
}

// hammer ends the program with the test.
func hammer(t *testing.T, s *shim, withdraw bool) {
	needsCrate(t)
	t.Cleanup(func() {
		if s.crate != nil {
			s.crate.stop()
		}
	})
	kit.Hammer(t, s, withdraw)
}

func TestNeverAHalfFile(t *testing.T)           { hammer(t, &shim{}, false) }
func TestWithdrawalIsTheOnlyError(t *testing.T) { hammer(t, &shim{withdrawn: true}, true) }

func TestLintAgreesWithTheCrate(t *testing.T) {
	needsCrate(t)
	kit.Compare(t, "kata-rs", true)
}

// What the lint and our writer rely on where the crate differs from the Go library: which nodes of
// which file a sandbox gets.
func TestWhichNodesASandboxGets(t *testing.T) {
	needsCrate(t)
	device := func(nodes string) string {
		return `"devices":[{"name":"0000:41:00.0","containerEdits":{"deviceNodes":[` + nodes + `]}}]`
	}
	spec := func(rest string) string { return `{"cdiVersion":"0.5.0","kind":"nvidia.com/pgpu",` + rest + `}` }
	static, dynamic := "0/a.json", "1/b.json" // /etc/cdi, /var/run/cdi
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string
		fails string // the scan
	}{
		{
			name:  "the device's own",
			files: map[string]string{dynamic: spec(device(`{"path":"/dev/vfio/devices/vfio3"}`))},
			want:  []string{"/dev/vfio/devices/vfio3"},
		},
		{
			name: "not those of the whole file",
			files: map[string]string{dynamic: spec(`"containerEdits":{"deviceNodes":[{"path":"/dev/vfio/vfio"}]},` +
				device(`{"path":"/dev/vfio/7"}`))},
			want: []string{"/dev/vfio/7"},
		},
		{
			name:  "the host's path where it is another",
			files: map[string]string{dynamic: spec(device(`{"path":"/dev/gpu","hostPath":"/dev/vfio/9"}`))},
			want:  []string{"/dev/vfio/9"},
		},
		{
			name:  "whatever they are",
			files: map[string]string{dynamic: spec(device(`{"path":"/dev/vfio/vfio"},{"path":"/dev/iommu"}`))},
			want:  []string{"/dev/vfio/vfio", "/dev/iommu"},
		},
		{
			name: "those of /etc/cdi, where both directories have the device",
			files: map[string]string{
				static:  spec(device(`{"path":"/dev/vfio/devices/vfio1"}`)),
				dynamic: spec(device(`{"path":"/dev/vfio/devices/vfio2"}`)),
			},
			want: []string{"/dev/vfio/devices/vfio1"},
		},
		{
			name:  "those of a directory below",
			files: map[string]string{"1/old/c.json": spec(device(`{"path":"/dev/vfio/devices/vfio4"}`))},
			want:  []string{"/dev/vfio/devices/vfio4"},
		},
		{
			name: "none, where a copy is below",
			files: map[string]string{
				dynamic:        spec(device(`{"path":"/dev/vfio/devices/vfio4"}`)),
				"1/old/c.json": spec(device(`{"path":"/dev/vfio/devices/vfio4"}`)),
			},
			fails: "conflicting device",
		},
		{
			name: "none, where somebody else's file is bad",
			files: map[string]string{
				dynamic:        spec(device(`{"path":"/dev/vfio/devices/vfio4"}`)),
				"0/other.json": "{",
			},
			fails: "parse spec file failed",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := t.TempDir()
			dirs := []string{filepath.Join(top, "0"), filepath.Join(top, "1")}
			for _, d := range dirs {
				must(t, os.MkdirAll(d, 0o755))
			}
			for path, text := range c.files {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(top, path)), 0o755))
				must(t, os.WriteFile(filepath.Join(top, path), []byte(text), 0o644))
			}
			s := &shim{}
			err := s.Scan(dirs)
			defer s.crate.stop()
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("scanned: %v", err)
				}
				return
			}
			must(t, err)
			nodes, err := s.Inject(kit.Steady)
			must(t, err)
			if !slices.Equal(nodes, c.want) {
				t.Errorf("%v, not %v", nodes, c.want)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
