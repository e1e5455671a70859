// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgpu.local/peers/kit"
	"sigs.k8s.io/yaml"
)

const initdataKey = "io.katacontainers.config.hypervisor.cc_init_data"

func pgpuctl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(kit.Bin(t, "cli/pgpuctl"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("pgpuctl %q: %v: %s", args, err, out)
	}
	return string(out)
}

// What the sample says in the annotation is the file beside it, and Kata would take it.
func TestInitdataSample(t *testing.T) {
	docs := split(t, "trustee.yaml", []byte(readSource(t, "deploy/samples/trustee.yaml")))
	value := find(t, docs, "Pod", "").str("metadata", "annotations", initdataKey)
	pgpuctl(t, value, "initdata", "check", "-")
	if text := pgpuctl(t, value, "initdata", "show", "-"); text != readSource(t, "deploy/samples/initdata.toml") {
		t.Errorf("the annotation holds:\n%s", text)
	}
	broken := value[:len(value)-8] + "AAAAAAA="
	if out, err := exec.Command(kit.Bin(t, "cli/pgpuctl"), "initdata", "check", broken).CombinedOutput(); err == nil {
		t.Errorf("a broken one passes: %s", out)
	}
}

// The samples' pods pass what a node would do with their annotations, and name RuntimeClasses that there
// are and that the admission policies let have GPUs.
func TestSamplePods(t *testing.T) {
	classes := map[string]bool{}
	var list corev1.ConfigMap
	if err := yaml.UnmarshalStrict([]byte(readSource(t, "deploy/admission/params/runtime-classes.yaml")), &list); err != nil {
		t.Fatal(err)
	}
	pods := 0
	everyDoc(t, func(t *testing.T, d *doc) {
		if d.str("kind") == "RuntimeClass" {
			classes[d.str("metadata", "name")] = true
		}
	})
	everyDoc(t, func(t *testing.T, d *doc) {
		if d.str("kind") != "Pod" {
			return
		}
		pods++
		spec := specOf(t, d)
		class := *spec.RuntimeClassName
		rules, listed := list.Data[class]
		if !classes[class] || !listed {
			t.Errorf("RuntimeClass %s", class)
		}
		annotations, _ := d.at("metadata", "annotations").(map[string]any)
		for key := range annotations {
			if !strings.Contains("\n"+rules, "\n"+key+"\n") {
				t.Errorf("%s is not allowed for %s", key, class)
			}
		}
		limits := spec.Containers[0].Resources.Limits
		if limits.Name("nvidia.com/pgpu", "").IsZero() || limits.Memory().IsZero() {
			t.Errorf("limits %v", limits)
		}
		pgpuctl(t, string(d.text), "annotations", "lint", "-", "--handler", class)
	})
	if pods < 4 || len(classes) < 4 {
		t.Errorf("%d pods, %d RuntimeClasses", pods, len(classes))
	}
}

// What the preflight Job runs, on a host where nothing is: it looks at every area but pgpu's own services,
// and finds something.
func TestPreflightCommand(t *testing.T) {
	d := find(t, kustomize(t, kustomizeDir+"/overlays/preflight"), "Job", "pgpu-preflight")
	host := t.TempDir()
	var args []string
	for _, a := range specOf(t, d).Containers[0].Command[1:] {
		if a == "/host" {
			a = host
		}
		args = append(args, a)
	}
	out, err := exec.Command(kit.Bin(t, "cli/pgpuctl"), args...).Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("an empty host is %v", err)
	}
	list, err := exec.Command(kit.Bin(t, "cli/pgpuctl"), "doctor", "--list", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var checks []struct{ Area string }
	if err := json.Unmarshal(list, &checks); err != nil || len(checks) < 50 {
		t.Fatalf("%v, %d checks", err, len(checks))
	}
	asked := "," + args[len(args)-1] + ","
	for _, c := range checks {
		service := c.Area == "services" || c.Area == "audit"
		if strings.Contains(asked, ","+c.Area+",") == service {
			t.Fatalf("area %s: %s", c.Area, asked)
		}
		// the modes of GPUs that there are not
		if c.Area != "modes" && strings.Contains(string(out), "("+c.Area+")") == service {
			t.Fatalf("area %s in\n%s", c.Area, out)
		}
	}
}

// What containers and probes start is in the image.
func TestCommandsAreInTheImage(t *testing.T) {
	recipe := readSource(t, "deploy/image/build")
	commands := map[string]bool{}
	everyDoc(t, func(t *testing.T, d *doc) {
		spec := specOf(t, d)
		if spec == nil || !ours(d) {
			return
		}
		for _, c := range spec.Containers {
			commands[c.Command[0]] = true
			for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
				if p != nil {
					commands[p.Exec.Command[0]] = true
				}
			}
		}
	})
	for c := range commands {
		if !strings.Contains(recipe, "\""+c[1:]+"\"") {
			t.Errorf("%s is not in the image", c)
		}
	}
	if len(commands) != 3 {
		t.Errorf("%v", commands)
	}
}
