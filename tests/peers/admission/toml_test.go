// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"
	"pgpu.local/peers/kit"
	"sigs.k8s.io/yaml"
)

// The keys below are those of the runtimes' own structs, with their types: containerd 1.7.32
// (pkg/nri/config.go, pkg/cri/config/config.go), containerd 2.3.6 (internal/nri/config.go,
// internal/cri/config/config.go) and CRI-O 1.34 (internal/config/nri/nri.go, pkg/config/config.go).
// Anything else in our files is an error.

type containerdNRI struct {
	Disable                   *bool  `toml:"disable"`
	DisableConnections        *bool  `toml:"disable_connections"`
	SocketPath                string `toml:"socket_path"`
	PluginPath                string `toml:"plugin_path"`
	PluginConfigPath          string `toml:"plugin_config_path"`
	PluginRegistrationTimeout string `toml:"plugin_registration_timeout"`
	PluginRequestTimeout      string `toml:"plugin_request_timeout"`
}

type containerdCRI struct {
	EnableCDI   *bool    `toml:"enable_cdi"`
	CDISpecDirs []string `toml:"cdi_spec_dirs"`
	Containerd  struct {
		Runtimes map[string]struct {
			PodAnnotations []string `toml:"pod_annotations"`
		} `toml:"runtimes"`
	} `toml:"containerd"`
}

type containerdV2 struct {
	Version int `toml:"version"`
	Plugins struct {
		NRI *containerdNRI `toml:"io.containerd.nri.v1.nri"`
		CRI *containerdCRI `toml:"io.containerd.grpc.v1.cri"`
	} `toml:"plugins"`
}

type containerdV3 struct {
	Version int `toml:"version"`
	Plugins struct {
		NRI *containerdNRI `toml:"io.containerd.nri.v1.nri"`
		CRI *containerdCRI `toml:"io.containerd.cri.v1.runtime"`
	} `toml:"plugins"`
}

type crio struct {
	Crio struct {
		NRI struct {
			Enabled            *bool  `toml:"enable_nri"`
			SocketPath         string `toml:"nri_listen"`
			PluginPath         string `toml:"nri_plugin_dir"`
			PluginConfigPath   string `toml:"nri_plugin_config_dir"`
			DisableConnections *bool  `toml:"nri_disable_connections"`
		} `toml:"nri"`
		Runtime struct {
			CDISpecDirs []string `toml:"cdi_spec_dirs"`
			Runtimes    map[string]struct {
				RuntimePath                  string            `toml:"runtime_path"`
				RuntimeType                  string            `toml:"runtime_type"`
				RuntimeRoot                  string            `toml:"runtime_root"`
				RuntimeConfigPath            string            `toml:"runtime_config_path"`
				PrivilegedWithoutHostDevices bool              `toml:"privileged_without_host_devices"`
				RuntimePullImage             bool              `toml:"runtime_pull_image"`
				DefaultAnnotations           map[string]string `toml:"default_annotations"`
			} `toml:"runtimes"`
		} `toml:"runtime"`
	} `toml:"crio"`
}

var cdiDirs = []string{"/etc/cdi", "/var/run/cdi"}

func read(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(kit.Source(t, "deploy/"+name))
	if err != nil {
		t.Fatal(err)
	}
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	// A mistyped key would be found.
	broken := bytes.Replace(text, []byte(" = "), []byte("_x = "), -1)
	if err := toml.NewDecoder(bytes.NewReader(broken)).DisallowUnknownFields().Decode(into); err == nil {
		t.Errorf("%s: unknown keys are not noticed", name)
	}
}

func checkNRI(t *testing.T, n *containerdNRI) {
	t.Helper()
	if n == nil || n.Disable == nil || *n.Disable || n.DisableConnections == nil || *n.DisableConnections ||
		n.SocketPath != "/var/run/nri/nri.sock" || n.PluginPath != "/opt/nri/plugins" || n.PluginConfigPath != "/etc/nri/conf.d" {
		t.Errorf("NRI: %+v", n)
		return
	}
	for _, d := range []string{n.PluginRegistrationTimeout, n.PluginRequestTimeout} {
		if _, err := time.ParseDuration(d); d != "" && err != nil {
			t.Error(err)
		}
	}
}

// Kata's keys get to the shim; the kubelet's and CDI's do not.
func checkHandlers(t *testing.T, c *containerdCRI) {
	t.Helper()
	for _, name := range []string{"kata-qemu-nvidia-gpu-snp", "kata-qemu-nvidia-gpu-tdx"} {
		patterns := c.Containerd.Runtimes[name].PodAnnotations
		passes := func(key string) bool {
			return slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(p, key); return ok })
		}
		if !passes("io.katacontainers.config.hypervisor.cc_init_data") || passes("cdi.k8s.io/gpu") || passes("kubernetes.io/x") {
			t.Errorf("%s: %v", name, patterns)
		}
	}
}

func TestContainerdDropIns(t *testing.T) {
	var two, twoCRI containerdV2
	read(t, "containerd/v2-pgpu.toml", &two)
	read(t, "containerd/v2-pgpu-cri.toml", &twoCRI)
	checkNRI(t, two.Plugins.NRI)
	// imported, it would replace the section of config.toml
	if two.Version != 2 || two.Plugins.CRI != nil {
		t.Errorf("v2-pgpu.toml: version %d, CRI %v", two.Version, two.Plugins.CRI)
	}
	if c := twoCRI.Plugins.CRI; twoCRI.Version != 2 || c == nil || c.EnableCDI == nil || !*c.EnableCDI || !slices.Equal(c.CDISpecDirs, cdiDirs) {
		t.Errorf("v2-pgpu-cri.toml: %+v", c)
	} else {
		checkHandlers(t, c)
	}
	var three, threeKata containerdV3
	read(t, "containerd/v3-pgpu.toml", &three)
	read(t, "containerd/v3-pgpu-kata.toml", &threeKata)
	checkNRI(t, three.Plugins.NRI)
	if c := three.Plugins.CRI; three.Version != 3 || c == nil || c.EnableCDI == nil || !*c.EnableCDI || !slices.Equal(c.CDISpecDirs, cdiDirs) ||
		len(c.Containerd.Runtimes) != 0 {
		t.Errorf("v3-pgpu.toml: %+v", c)
	}
	if c := threeKata.Plugins.CRI; threeKata.Version != 3 || c == nil {
		t.Errorf("v3-pgpu-kata.toml: %+v", c)
	} else {
		checkHandlers(t, c)
	}
}

func TestCrioDropIns(t *testing.T) {
	var settings, handlers crio
	read(t, "crio/10-pgpu.conf", &settings)
	read(t, "crio/99-pgpu-kata.conf", &handlers)
	n := settings.Crio.NRI
	if n.Enabled == nil || !*n.Enabled || n.DisableConnections == nil || *n.DisableConnections || n.SocketPath != "/var/run/nri/nri.sock" {
		t.Errorf("NRI: %+v", n)
	}
	if !slices.Equal(settings.Crio.Runtime.CDISpecDirs, cdiDirs) || len(settings.Crio.Runtime.Runtimes) != 0 {
		t.Errorf("runtime: %+v", settings.Crio.Runtime)
	}
	allowed := shippedRules(t)
	for _, name := range []string{"kata-qemu-nvidia-gpu-snp", "kata-qemu-nvidia-gpu-tdx"} {
		h, ok := handlers.Crio.Runtime.Runtimes[name]
		// the table replaces an earlier one: it has to be whole
		if !ok || h.RuntimePath == "" || h.RuntimeType != "vm" || h.RuntimeRoot == "" || !h.PrivilegedWithoutHostDevices ||
			!strings.HasSuffix(h.RuntimeConfigPath, strings.TrimPrefix(name, "kata-")+".toml") || len(h.DefaultAnnotations) == 0 {
			t.Errorf("%s: %+v", name, h)
		}
		for key := range h.DefaultAnnotations {
			if !slices.Contains(allowed[name], key) {
				t.Errorf("%s: %s is not in runtime-classes.yaml", name, key)
			}
		}
	}
}

// shippedRules are the lines of params/runtime-classes.yaml.
func shippedRules(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(kit.Source(t, dir+"params/runtime-classes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	rules := map[string][]string{}
	for class, lines := range m.Data {
		rules[class] = strings.Fields(lines)
	}
	return rules
}
