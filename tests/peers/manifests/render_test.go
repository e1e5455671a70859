// SPDX-License-Identifier: Apache-2.0

// Package manifests renders deploy/helm and deploy/kustomize with Helm's and kustomize's own code, has
// Kubernetes' API code decode and validate every object, and holds the result to what the documents
// promise.
package manifests

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"pgpu.local/peers/kit"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	chartDir     = "deploy/helm/pgpu"
	kustomizeDir = "deploy/kustomize"
	namespace    = "pgpu-system"
)

// doc is one object as rendered, and where it is from.
type doc struct {
	from string
	text []byte
	obj  map[string]any
}

func (d *doc) str(path ...string) string {
	s, _ := d.at(path...).(string)
	return s
}

func (d *doc) at(path ...string) any {
	var v any = d.obj
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func (d *doc) id() string { return d.str("kind") + "/" + d.str("metadata", "name") }

// split parses a stream of documents; keys that come twice are errors.
func split(t testing.TB, from string, text []byte) []doc {
	t.Helper()
	var docs []doc
	for _, part := range bytes.Split(append([]byte("\n"), text...), []byte("\n---")) {
		d := doc{from: from, text: part}
		if err := yaml.UnmarshalStrict(part, &d.obj); err != nil {
			t.Fatalf("%s: %v\n%s", from, err, part)
		}
		if d.obj != nil {
			docs = append(docs, d)
		}
	}
	return docs
}

func loadChart(t testing.TB) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(kit.Source(t, chartDir))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// release is what `helm template NAME deploy/helm/pgpu -n NAMESPACE -f values` is told.
type release struct {
	name, namespace, values string
}

func (r release) options() common.ReleaseOptions {
	o := common.ReleaseOptions{Name: r.name, Namespace: r.namespace, Revision: 1, IsInstall: true}
	if o.Name == "" {
		o.Name = "pgpu"
	}
	if o.Namespace == "" {
		o.Namespace = namespace
	}
	return o
}

// helm renders as `helm template` does; the error is the schema's or a template's.
func (r release) helm(t testing.TB) ([]doc, string, error) {
	t.Helper()
	vals, err := loader.LoadValues(strings.NewReader(r.values))
	if err != nil {
		t.Fatal(err)
	}
	c := loadChart(t)
	all, err := util.ToRenderValues(c, vals, r.options(), common.DefaultCapabilities)
	if err != nil {
		return nil, "", err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, "", err
	}
	var docs []doc
	notes := ""
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case strings.HasSuffix(name, "NOTES.txt"):
			notes = files[name]
		case strings.HasSuffix(name, ".yaml"):
			docs = append(docs, split(t, "helm "+name, []byte(files[name]))...)
		}
	}
	return docs, notes, nil
}

func mustHelm(t testing.TB, values string) []doc {
	t.Helper()
	docs, _, err := release{values: values}.helm(t)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// kustomize is `kustomize build deploy/kustomize/DIR`, with kubectl's restrictions on what may be loaded.
func kustomize(t testing.TB, dir string) []doc {
	t.Helper()
	res, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), kit.Source(t, dir))
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	text, err := res.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return split(t, "kustomize "+dir, text)
}

func find(t testing.TB, docs []doc, kind, name string) *doc {
	t.Helper()
	for i := range docs {
		if docs[i].str("kind") == kind && (name == "" || docs[i].str("metadata", "name") == name) {
			return &docs[i]
		}
	}
	t.Fatalf("no %s %s", kind, name)
	return nil
}

// valuesFiles are the installations that everything below is tried with.
var valuesFiles = map[string]string{
	"defaults": "",
	"openshift": `
openshift: {enabled: true}
namespace: {create: true}
`,
	"monitoring": `
monitoring: {enabled: true, labels: {release: kube-prometheus-stack}}
`,
	"profiles": `
pgpud:
  seccompProfile: {type: Localhost, localhostProfile: pgpu/pgpud.json}
  appArmorProfile: {type: Localhost, localhostProfile: pgpud}
hwd:
  appArmorProfile: {type: Localhost, localhostProfile: pgpu-hwd}
`,
	"everything": `
image:
  repository: registry.example.com/team/pgpu
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
imagePullSecrets: [{name: registry}]
namespace: {create: true}
serviceAccount: {name: gpus}
config:
  pgpud:
    mode: ppcie
    allocate_deadline: 40s
    http: {listen: "[::]:9500"}
    validations: {enabled: true}
    nri:
      sockets: [/var/run/nri/nri.sock]
      rules: {annotations: warn}
      handlers: [{match: "kata-*", tee: snp}]
    log: {format: json, level: debug}
  hwd:
    claim: [unbound, vfio, nouveau]
    modes: ["on", ppcie, "off"]
    deadlines: {prepare: 2m}
hostPaths: {podResources: /data/kubelet/pod-resources}
hwd: {holderNames: true}
tolerations: [{operator: Exists}]
nodeSelector: {pool: gpu}
affinity: {}
podAnnotations: {example.com/owner: platform}
podLabels: {tier: node}
commonLabels: {team: platform}
networkPolicy: {from: []}
monitoring: {enabled: true}
openshift: {enabled: true}
nodeFeatureRule: {enabled: true, taint: true}
updateStrategy: {maxUnavailable: 25%}
`,
}

// everyDoc gives each object of each way of installing, with a name for it.
func everyDoc(t *testing.T, check func(t *testing.T, d *doc)) {
	t.Helper()
	sets := map[string][]doc{}
	for name, values := range valuesFiles {
		sets["helm/"+name] = mustHelm(t, values)
	}
	dirs, err := filepath.Glob(kit.Source(t, kustomizeDir+"/overlays/*/kustomization.yaml"))
	if err != nil || len(dirs) < 4 {
		t.Fatalf("%v, %d overlays", err, len(dirs))
	}
	sets["kustomize/base"] = kustomize(t, kustomizeDir+"/base")
	for _, d := range dirs {
		name := filepath.Base(filepath.Dir(d))
		sets["kustomize/"+name] = kustomize(t, kustomizeDir+"/overlays/"+name)
	}
	for _, pattern := range []string{"nfd/*.yaml", "openshift/*.yaml", "samples/*.yaml"} {
		paths, err := filepath.Glob(kit.Source(t, "deploy/"+pattern))
		if err != nil || len(paths) < 2 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(paths))
		}
		for _, p := range paths {
			if filepath.Base(p) != "kustomization.yaml" {
				text, err := os.ReadFile(p)
				if err != nil {
					t.Fatal(err)
				}
				sets[filepath.Base(filepath.Dir(p))+"/"+filepath.Base(p)] = split(t, p, text)
			}
		}
	}
	n := 0
	for name, docs := range sets {
		if len(docs) == 0 {
			t.Errorf("%s: nothing", name)
		}
		seen := map[string]bool{}
		for i := range docs {
			d := &docs[i]
			if seen[d.id()] {
				t.Errorf("%s: %s twice", name, d.id())
			}
			seen[d.id()] = true
			n++
			t.Run(name+"/"+d.id(), func(t *testing.T) { check(t, d) })
		}
	}
	t.Logf("%d sets, %d objects", len(sets), n)
}

// pods are the pod templates and pods among the objects.
func podSpec(d *doc) (map[string]any, bool) {
	switch d.str("kind") {
	case "Pod":
		s, ok := d.at("spec").(map[string]any)
		return s, ok
	case "DaemonSet", "Job":
		s, ok := d.at("spec", "template", "spec").(map[string]any)
		return s, ok
	}
	return nil, false
}

func describe(err error) string { return strings.Join(strings.Fields(fmt.Sprint(err)), " ") }
