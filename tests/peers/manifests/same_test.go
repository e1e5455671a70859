// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"pgpu.local/peers/kit"
	"sigs.k8s.io/yaml"
)

var hashSuffix = regexp.MustCompile(`^pgpu-[a-z0-9]{10}$`)

// plain is an object without what only one of the two tools writes: Helm's own labels, the checksum and
// kustomize's suffix, which both restart the pods after a change of the configuration, and comments
// in the configuration.
func plain(t *testing.T, d *doc) string {
	t.Helper()
	labels, _ := d.at("metadata", "labels").(map[string]any)
	delete(labels, "app.kubernetes.io/managed-by")
	delete(labels, "helm.sh/chart")
	meta, _ := d.at("metadata").(map[string]any)
	if name, _ := meta["name"].(string); hashSuffix.MatchString(name) {
		meta["name"] = "pgpu"
	}
	if a, ok := d.at("spec", "template", "metadata", "annotations").(map[string]any); ok {
		delete(a, "checksum/config")
	}
	if v, ok := d.at("spec", "template", "spec", "volumes").([]any); ok {
		for _, e := range v {
			if m, ok := e.(map[string]any)["configMap"].(map[string]any); ok {
				if name, _ := m["name"].(string); hashSuffix.MatchString(name) {
					m["name"] = "pgpu"
				}
			}
		}
	}
	if data, ok := d.at("data").(map[string]any); ok {
		for k, v := range data {
			text, ok := v.(string)
			if !ok {
				continue
			}
			var parsed any
			if err := yaml.UnmarshalStrict([]byte(text), &parsed); err != nil {
				t.Fatalf("%s: %v", k, err)
			}
			data[k] = parsed
		}
	}
	text, err := json.MarshalIndent(d.obj, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestHelmAndKustomizeGiveTheSameObjects(t *testing.T) {
	// Helm makes the namespace by --create-namespace; the object is there for `helm template`
	ours := mustHelm(t, "namespace: {create: true}\n")
	theirs := kustomize(t, kustomizeDir+"/base")
	if len(ours) != len(theirs) || len(ours) < 5 {
		t.Fatalf("%d objects and %d", len(ours), len(theirs))
	}
	for i := range ours {
		a := plain(t, &ours[i])
		name := ours[i].str("metadata", "name")
		found := false
		for j := range theirs {
			b := plain(t, &theirs[j])
			if theirs[j].str("kind") != ours[i].str("kind") || theirs[j].str("metadata", "name") != name {
				continue
			}
			found = true
			if a != b {
				t.Errorf("%s differs: helm\n%s\nkustomize\n%s", ours[i].id(), a, b)
			}
		}
		if !found {
			t.Errorf("kustomize has no %s", ours[i].id())
		}
	}
}

func TestOverlaysChangeWhatTheySay(t *testing.T) {
	base := len(kustomize(t, kustomizeDir+"/base"))
	for name, kinds := range map[string][]string{
		"openshift":  {"SecurityContextConstraints"},
		"monitoring": {"PodMonitor", "PrometheusRule", "ConfigMap"},
		"admission":  {"ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"},
	} {
		docs := kustomize(t, kustomizeDir+"/overlays/"+name)
		if len(docs) <= base {
			t.Errorf("%s: %d objects", name, len(docs))
		}
		for _, kind := range kinds {
			find(t, docs, kind, "")
		}
		find(t, docs, "DaemonSet", "pgpu")
		namespaces := 0
		for i := range docs {
			if docs[i].str("kind") == "Namespace" {
				namespaces++
			}
		}
		if namespaces != 1 {
			t.Errorf("%s: %d namespaces", name, namespaces)
		}
	}
	d := find(t, kustomize(t, kustomizeDir+"/overlays/preflight"), "Job", "pgpu-preflight")
	if d.str("metadata", "namespace") != namespace {
		t.Error("preflight is in no namespace")
	}
}

// What Helm says of the chart, and that it is the version of the programs.
func TestChartIsInOrder(t *testing.T) {
	l := lint.RunAll(kit.Source(t, chartDir), map[string]any{}, namespace)
	for _, m := range l.Messages {
		// an icon is recommended, and would be fetched from somewhere
		if m.Severity > support.InfoSev || !strings.Contains(m.Err.Error(), "icon") {
			t.Errorf("%s: %v", m.Path, m.Err)
		}
	}
	c := loadChart(t)
	version := regexp.MustCompile(`project\(pgpu VERSION ([0-9.]+)`).FindStringSubmatch(readSource(t, "CMakeLists.txt"))
	if version == nil || c.Metadata.AppVersion != version[1] || c.Metadata.Version != version[1] {
		t.Errorf("chart %s of %s, programs %v", c.Metadata.Version, c.Metadata.AppVersion, version)
	}
	paths, _ := filepath.Glob(kit.Source(t, kustomizeDir+"/*/*/kustomization.yaml"))
	base, _ := filepath.Glob(kit.Source(t, kustomizeDir+"/*/kustomization.yaml"))
	for _, p := range append(paths, base...) {
		text := readFile(t, p)
		if strings.Contains(text, "newTag:") && !strings.Contains(text, "newTag: "+version[1]+"\n") {
			t.Errorf("%s: another version", p)
		}
	}
}

func TestImageIsTakenByDigest(t *testing.T) {
	image := func(values string) string {
		spec := specOf(t, find(t, mustHelm(t, values), "DaemonSet", "pgpu"))
		if spec.Containers[0].Image != spec.Containers[1].Image {
			t.Error("two images")
		}
		return spec.Containers[0].Image
	}
	digest := "sha256:" + strings.Repeat("ab", 32)
	for values, want := range map[string]string{
		"": "pgpu:" + loadChart(t).Metadata.AppVersion,
		"image: {repository: r.example.com/pgpu, tag: v7}":                             "r.example.com/pgpu:v7",
		"image: {repository: r.example.com/pgpu, tag: v7, digest: \"" + digest + "\"}": "r.example.com/pgpu@" + digest,
	} {
		if got := image(values); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// A second release has names of its own, and selects its own pods.
func TestAnotherReleaseName(t *testing.T) {
	docs, notes, err := release{name: "gpus-b", namespace: "other", values: "openshift: {enabled: true}"}.helm(t)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range docs {
		names = append(names, docs[i].id())
		if docs[i].str("kind") != "SecurityContextConstraints" && docs[i].str("metadata", "namespace") != "other" {
			t.Errorf("%s: namespace", docs[i].id())
		}
	}
	slices.Sort(names)
	want := []string{"ConfigMap/gpus-b", "DaemonSet/gpus-b", "NetworkPolicy/gpus-b",
		"SecurityContextConstraints/other-gpus-b", "ServiceAccount/gpus-b"}
	if !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	if d := find(t, docs, "DaemonSet", ""); d.str("spec", "selector", "matchLabels", "app.kubernetes.io/instance") != "gpus-b" {
		t.Error("the selector takes other releases' pods")
	}
	if !strings.Contains(notes, "kubectl -n other rollout status daemonset/gpus-b") || !strings.Contains(notes, "no registry serves") {
		t.Errorf("notes: %s", notes)
	}
}

// http.listen decides what the pod offers.
func TestMetricsPortFollowsTheConfiguration(t *testing.T) {
	for listen, port := range map[string]int{"0.0.0.0:9407": 9407, "[::]:9500": 9500, "127.0.0.1:9407": 0, "": 0, "unix:/run/pgpu/http.sock": 0} {
		docs := mustHelm(t, "config: {pgpud: {http: {listen: \""+listen+"\"}}}")
		ports := specOf(t, find(t, docs, "DaemonSet", "pgpu")).Containers[0].Ports
		in, _ := find(t, docs, "NetworkPolicy", "pgpu").at("spec", "ingress").([]any)
		if port == 0 && (len(ports) != 0 || len(in) != 0) {
			t.Errorf("%q: %v %v", listen, ports, in)
		}
		if port != 0 && (len(ports) != 1 || int(ports[0].ContainerPort) != port || len(in) != 1) {
			t.Errorf("%q: %v %v", listen, ports, in)
		}
	}
}

// `helm package` puts what the links in files/ point to into the archive.
func TestPackagedChartIsWhole(t *testing.T) {
	path, err := chartutil.Save(loadChart(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	packed, err := loader.LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	vals, _ := loader.LoadValues(strings.NewReader(valuesFiles["everything"]))
	render := func(c *chart.Chart) map[string]string {
		all, err := util.ToRenderValues(c, vals, release{}.options(), common.DefaultCapabilities)
		if err != nil {
			t.Fatal(err)
		}
		files, err := engine.Render(c, all)
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	if a, b := render(loadChart(t)), render(packed); !maps.Equal(a, b) || len(a) < 9 {
		t.Errorf("%d files from the folder, %d from the archive", len(a), len(b))
	}
}
