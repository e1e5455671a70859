// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/kubernetes/fake"
	"pgpu.local/peers/kit"
)

// The two files differ in nothing but the version, since the types do not either.
func TestV1beta1IsV1(t *testing.T) {
	read := func(version string) []runtime.Object {
		list, err := objects(shipped(t, version))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	v1, beta := read("v1"), read("v1beta1")
	if !reflect.DeepEqual(v1, beta) {
		t.Error("mutate/v1.yaml and mutate/v1beta1.yaml say different things")
	}
	for _, f := range shipped(t, "v1beta1") {
		if strings.Contains(f.path, "mutate/") && strings.Count(f.text, "apiVersion: admissionregistration.k8s.io/v1beta1\n") != 2 {
			t.Errorf("%s: not v1beta1", f.path)
		}
	}
}

// kustomization.yaml has what `kubectl apply -f` is told to apply.
func TestKustomizationHasAllFiles(t *testing.T) {
	text, err := os.ReadFile(kit.Source(t, dir+"kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Resources  []string `json:"resources"`
	}
	if err := decode(text, &k); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, f := range shipped(t, "v1") {
		want = append(want, f.path[strings.LastIndex(f.path, dir)+len(dir):])
	}
	slices.Sort(want)
	slices.Sort(k.Resources)
	if !slices.Equal(k.Resources, want) {
		t.Errorf("%v, but there are %v", k.Resources, want)
	}
}

// Nothing of it is a suggestion: errors refuse, and the exempt namespaces are the same everywhere.
func TestPoliciesFailClosed(t *testing.T) {
	list, err := objects(shipped(t, "v1"))
	if err != nil {
		t.Fatal(err)
	}
	bindings := 0
	var exempt any
	for _, obj := range list {
		switch o := obj.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			if *o.Spec.FailurePolicy != admissionv1.Fail {
				t.Errorf("%s: failurePolicy", o.Name)
			}
		case *admissionv1.ValidatingAdmissionPolicyBinding:
			bindings++
			if !slices.Equal(o.Spec.ValidationActions, []admissionv1.ValidationAction{admissionv1.Deny}) {
				t.Errorf("%s: validationActions", o.Name)
			}
			if p := o.Spec.ParamRef; p != nil && *p.ParameterNotFoundAction != admissionv1.DenyAction {
				t.Errorf("%s: parameterNotFoundAction", o.Name)
			}
			if o.Name == "pgpu-params" {
				continue
			}
			namespaces := o.Spec.MatchResources.NamespaceSelector.MatchExpressions
			if exempt == nil {
				exempt = namespaces
			}
			if len(namespaces) != 1 || !reflect.DeepEqual(exempt, any(namespaces)) {
				t.Errorf("%s: other namespaces than the rest: %v", o.Name, namespaces)
			}
		}
	}
	if bindings != 5 {
		t.Errorf("%d bindings", bindings)
	}
}

// What the API server would write into status.typeChecking.
func TestTypeCheckerHasNoWarnings(t *testing.T) {
	list, err := objects(shipped(t, "v1"))
	if err != nil {
		t.Fatal(err)
	}
	checker := validating.TypeChecker{
		SchemaResolver: &resolver.ClientDiscoveryResolver{Discovery: client{fake.NewClientset()}.Discovery()},
		RestMapper:     restMapper(),
	}
	checked := 0
	for _, obj := range list {
		policy, ok := obj.(*admissionv1.ValidatingAdmissionPolicy)
		if !ok {
			continue
		}
		checked++
		for _, w := range checker.Check(policy) {
			t.Errorf("%s: %s: %s", policy.Name, w.FieldRef, w.Warning)
		}
		// The checker does see types: a field that no pod has is found.
		wrong := policy.DeepCopy()
		wrong.Spec.Validations[0].Expression = "object.metadata.nosuchfield == 'x'"
		if len(checker.Check(wrong)) == 0 {
			t.Errorf("%s: the checker has not looked", policy.Name)
		}
	}
	if checked != 5 {
		t.Errorf("%d policies", checked)
	}
}

// Each change is a mistake that a policy could have; the cases have to notice every one of them.
var mistakes = []struct{ file, old, new string }{
	{"validate/resources.yaml", "variables.runtimeClass in variables.allowed", "variables.runtimeClass != ''"},
	// requests alone would do for limits, since defaulting copies limits to requests: not the reverse
	{"validate/resources.yaml", "object.spec.containers.map(c, c.?resources.?requests.orValue({}))", "[]"},
	{"validate/resources.yaml", "object.spec.?initContainers", "object.spec.?nothing"},
	{"validate/resources.yaml", "object.spec.?initContainers.orValue([]).map(c, c.?resources.?requests.orValue({}))", "[]"},
	{"validate/resources.yaml", "[object.spec.?resources.?limits.orValue({}), object.spec.?resources.?requests.orValue({})])", "[])"},
	{"validate/resources.yaml", "        .exists(m, ['nvidia.com/pgpu', 'nvidia.com/nvswitch']", "        .exists(m, ['nvidia.com/pgpu']"},
	{"validate/resources.yaml", " && string(m[r]) != '0'))\n    # A pod", "))\n    # A pod"},
	{"validate/resources.yaml", "request.operation == 'CREATE' || object", "request.operation == 'UPDATE' || object"},
	{"validate/resources.yaml", "request.operation == 'CREATE' || object", "request.operation in ['CREATE', 'UPDATE'] || object"},
	{"validate/resources.yaml", "values: [kube-system, pgpu-system]", "values: [pgpu-system]"},
	{"validate/", "parameterNotFoundAction: Deny", "parameterNotFoundAction: Allow"},
	{"validate/cdi.yaml", "k.lowerAscii().startsWith('cdi.k8s.io/'))", "k.startsWith('cdi.k8s.io/'))"},
	{"validate/cdi.yaml", "operations: [CREATE, UPDATE]", "operations: [CREATE]"},
	{"validate/cdi.yaml", "&& variables.before[k] == object.metadata.annotations[k]", ""},
	{"validate/cdi.yaml", "request.operation == 'UPDATE' ? oldObject.metadata.?annotations.orValue({}) : {}", "{}"},
	{"validate/cdi.yaml", "l.trim() == 'cdi.k8s.io/*'", "l.contains('cdi.k8s.io/*')"},
	{"validate/cdi.yaml", "variables.asked.exists(m, d.trim().split('=')[0] in m)", "true"},
	{"validate/cdi.yaml", "[.]com/(pgpu|nvswitch)=", "[.]com/.*="},
	{"validate/cdi.yaml", "!variables.excepted || ", ""},
	{"validate/cdi.yaml", "resources: [bindings, pods/binding]", "resources: [bindings]"},
	{"validate/cdi.yaml", "resources: [bindings, pods/binding]", "resources: [pods/binding]"},
	{"validate/kata.yaml", "!(k in variables.rules)", "!variables.rules.exists(r, k.startsWith(r))"},
	{"validate/kata.yaml", " && !((k + '=' + object.metadata.annotations[k]) in variables.rules)", ""},
	{"validate/kata.yaml", ".map(l, l.trim())", ""},
	{"validate/kata.yaml", "in params.?data.orValue({})", "in {'kata-qemu-nvidia-gpu-snp': ''}"},
	{"validate/kata.yaml", "dyn(object).spec.?runtimeClassName.orValue('') in params.?data.orValue({})", "true"},
	{"validate/kata.yaml", "!has(dyn(object).spec) || dyn(object).spec", "dyn(object).?spec"},
	{"validate/kata.yaml", "k.lowerAscii().startsWith('io.katacontainers.')\n", "k.startsWith('io.katacontainers.')\n"},
	{"validate/kata.yaml", "operations: [CREATE, UPDATE]", "operations: [CREATE]"},
	{"validate/hostpath.yaml", "p.split('/').filter(s, s != '' && s != '.')", "p.split('/').filter(s, s != '')"},
	{"validate/hostpath.yaml", "(g + '/').startsWith(c) || ", ""},
	{"validate/hostpath.yaml", " || c.startsWith(g + '/')", ""},
	{"validate/hostpath.yaml", "c.startsWith(g + '/')", "c.startsWith(g)"},
	{"validate/hostpath.yaml", "'..' in raw || ", ""},
	{"validate/hostpath.yaml", "raw.size() > 1 && raw[0] == 'var' && raw[1] == 'run'", "false"},
	{"validate/hostpath.yaml", "(c.startsWith('/proc/') && c != '/proc/')", "false"},
	{"validate/hostpath.yaml", "values: [kube-system, pgpu-system]", "values: [kube-system]"},
	{"validate/params.yaml", "!variables.list && b.filter(o, o == k).size() > 1", "false"},
	{"validate/params.yaml", "kubernetes.io/metadata.name: pgpu-system", "nothing: at-all"},
	{"mutate/v1.yaml", "!(a[0] in variables.annotations)", "true"},
	{"mutate/v1.yaml", "jsonpatch.escapeKey(a[0])", "a[0]"},
	{"mutate/v1.yaml", "l.split('=', 2)", "l.split('=')"},
	{"mutate/v1.yaml", "has(object.metadata.annotations) || variables.missing.size() == 0", "variables.missing.size() == 0"},
	{"mutate/v1.yaml", "(request.operation == 'CREATE' || a[0] in variables.before)", "true"},
	{"mutate/v1.yaml", "(request.operation == 'CREATE' || a[0] in variables.before)", "request.operation == 'CREATE'"},
	{"mutate/v1.yaml", "!l.startsWith('#') && ", ""},
	{"mutate/v1.yaml", "&& object.spec.runtimeClassName == params", "|| object.spec.runtimeClassName == params"},
	{"mutate/v1.yaml", "object.spec.?ephemeralContainers", "object.spec.?nothing"},
	{"mutate/v1.yaml", "        app.kubernetes.io/component: kata-annotations\n", ""},
}

func TestCasesNoticeMistakes(t *testing.T) {
	all := shipped(t, "v1")
	list := groups(t)
	for i, m := range mistakes {
		t.Run(fmt.Sprintf("%d %s", i, m.file), func(t *testing.T) {
			files := append([]file(nil), all...)
			found := false
			for j := range files {
				if strings.Contains(files[j].path, dir+m.file) && strings.Contains(files[j].text, m.old) {
					files[j].text = strings.ReplaceAll(files[j].text, m.old, m.new)
					found = true
				}
			}
			if !found {
				t.Fatalf("no %q in the file", m.old)
			}
			// the cases about this file first
			if i := slices.IndexFunc(list, func(g group) bool { return strings.Contains(m.file, g.name) }); i > 0 {
				list[0], list[i] = list[i], list[0]
			}
			if !noticed(t, files, list) {
				t.Errorf("%q for %q was not noticed", m.new, m.old)
			}
		})
	}
}

func noticed(t *testing.T, files []file, list []group) bool {
	for _, g := range list {
		s, err := start(t, g.files(files))
		if err != nil {
			t.Fatalf("not accepted at all: %v", err)
		}
		for _, k := range g.Cases {
			if err := k.check(s); err != nil {
				return true
			}
		}
	}
	return false
}

// The samples that the parameter files carry as comments are good ones: written out, they are accepted
// and added, and the shipped list lets through all of them but the virtual IOMMU, as the file says.
func TestCommentedSamplesWork(t *testing.T) {
	files := shipped(t, "v1")
	sample := regexp.MustCompile(`(?m)^    #(io\.katacontainers\.)`)
	samples := 0
	for i := range files {
		if strings.Contains(files[i].path, "params/annotations-") {
			samples += len(sample.FindAllString(files[i].text, -1))
			files[i].text = sample.ReplaceAllString(files[i].text, "    $1")
		}
	}
	if samples != 8 {
		t.Fatalf("%d samples", samples)
	}
	send := func(files []file) (*corev1.Pod, error) {
		s, err := start(t, files)
		if err != nil {
			t.Fatal(err)
		}
		var k kase
		if err := json.Unmarshal([]byte(`{"pod":{"spec":{"runtimeClassName":"kata-qemu-nvidia-gpu-tdx","containers":[{"resources":{"limits":{"nvidia.com/pgpu":1}}}]}}}`), &k); err != nil {
			t.Fatal(err)
		}
		r, err := k.request()
		if err != nil {
			t.Fatal(err)
		}
		obj, err := s.send(r)
		if err != nil {
			return nil, err
		}
		return obj.(*corev1.Pod), nil
	}
	if _, err := send(files); err == nil || !strings.Contains(err.Error(), "remove the annotation io.katacontainers.config.hypervisor.enable_iommu:") {
		t.Errorf("the virtual IOMMU: %v", err)
	}
	for i := range files {
		files[i].text = strings.ReplaceAll(files[i].text, "    io.katacontainers.config.hypervisor.enable_iommu=true\n", "")
	}
	pod, err := send(files)
	if err != nil {
		t.Fatal(err)
	}
	if len(pod.Annotations) != 3 || pod.Annotations["io.katacontainers.config.hypervisor.default_memory"] != "16384" {
		t.Errorf("annotations: %v", pod.Annotations)
	}
}

// Expressions have a budget; what exceeds it is refused with an error instead of the reason. Pods far
// larger than real ones stay below it.
func TestLargePodsAreWithinTheBudget(t *testing.T) {
	s, err := start(t, shipped(t, "v1"))
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	class := "kata-qemu-nvidia-gpu-snp"
	pod.Spec.RuntimeClassName = &class
	pod.Annotations = map[string]string{"io.katacontainers.config.hypervisor.cc_init_data": strings.Repeat("A", 200_000)}
	for i := range 500 {
		pod.Annotations[fmt.Sprintf("example.com/annotation-%d", i)] = "x"
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("v%d", i), VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: fmt.Sprintf("/data/some/directory/of/the/tenant/%d", i)}}})
	}
	for i := range 100 {
		c := corev1.Container{Name: fmt.Sprintf("c%d", i)}
		if err := json.Unmarshal([]byte(`{"resources":{"limits":{"nvidia.com/pgpu":1,"cpu":"1","memory":"1Gi"}}}`), &c); err != nil {
			t.Fatal(err)
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	send := func() error {
		k := kase{Pod: pod}
		r, err := k.request()
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.send(r)
		return err
	}
	if err := send(); err != nil {
		t.Errorf("a large pod: %.300s", err.Error())
	}
	pod.Spec.Volumes[499].HostPath.Path = "/run/nri"
	if err := send(); err == nil || !strings.Contains(err.Error(), "remove the hostPath volume /run/nri:") {
		t.Errorf("one bad volume of 500: %v", err)
	}
}
