// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
)

// group is one file of cases/: pods (or what else is given) and what has to become of them.
type group struct {
	name string
	// Params are ConfigMaps put in the place of the shipped ones of the same name, or beside them.
	Params []json.RawMessage `json:"params,omitempty"`
	// Without are names of shipped ConfigMaps that are not there.
	Without []string `json:"without,omitempty"`
	Cases   []kase   `json:"cases"`
}

type kase struct {
	Name string `json:"name"`
	// One of them; containers and names are filled in. Old makes it an update.
	Pod       *corev1.Pod       `json:"pod,omitempty"`
	Binding   *corev1.Binding   `json:"binding,omitempty"`
	ConfigMap *corev1.ConfigMap `json:"configMap,omitempty"`
	Old       *corev1.Pod       `json:"old,omitempty"`
	// Subresource of pods.
	Subresource string `json:"subresource,omitempty"`
	// Unchecked: the API server's own validation, which comes after mutation, refuses it as well.
	Unchecked bool `json:"unchecked,omitempty"`
	// Refused is the policy's name, or its beginning and *, where several refuse and the API server takes
	// one of them; without it the request has to be admitted. Message are parts of
	// what the tenant reads, Silent what must not be there.
	Refused string   `json:"refused,omitempty"`
	Message []string `json:"message,omitempty"`
	Silent  []string `json:"silent,omitempty"`
	// Annotations are those of the stored pod, all of them; without it they have to be as sent.
	Annotations map[string]string `json:"annotations,omitempty"`
}

func groups(t testing.TB) []group {
	t.Helper()
	paths, err := filepath.Glob("cases/*.yaml")
	if err != nil || len(paths) < 5 {
		t.Fatalf("cases: %v, %d files", err, len(paths))
	}
	var list []group
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		g := group{name: strings.TrimSuffix(filepath.Base(path), ".yaml")}
		if err := decode(text, &g); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		list = append(list, g)
	}
	return list
}

// files are the shipped ones with the group's own parameters.
func (g *group) files(all []file) []file {
	drop := slices.Clone(g.Without)
	var own []file
	for i, p := range g.Params {
		var m metav1.PartialObjectMetadata
		_ = json.Unmarshal(p, &m)
		drop = append(drop, m.Name)
		own = append(own, file{fmt.Sprintf("cases/%s.yaml params %d", g.name, i), string(p)})
	}
	var list []file
	for _, f := range all {
		replaced := strings.Contains(f.path, "/params/") &&
			slices.ContainsFunc(drop, func(n string) bool { return strings.Contains(f.text, "\n  name: "+n+"\n") })
		if !replaced {
			list = append(list, f)
		}
	}
	return append(list, own...)
}

func complete(pod *corev1.Pod) *corev1.Pod {
	if pod == nil {
		return nil
	}
	pod = pod.DeepCopy()
	if pod.Name == "" {
		pod.Name = "p"
	}
	if pod.Namespace == "" {
		pod.Namespace = "tenant"
	}
	if len(pod.Spec.Containers) == 0 {
		pod.Spec.Containers = []corev1.Container{{Name: "main"}}
	}
	fill := func(list []corev1.Container, prefix string) {
		for i := range list {
			list[i].Image = "example.com/image"
			if list[i].Name == "" {
				list[i].Name = fmt.Sprintf("%s-%d", prefix, i)
			}
		}
	}
	fill(pod.Spec.Containers, "main")
	fill(pod.Spec.InitContainers, "init")
	return pod
}

func (k *kase) request() (request, error) {
	switch {
	case k.Pod != nil:
		r := request{obj: complete(k.Pod), kind: "Pod", resource: "pods", subresource: k.Subresource, unchecked: k.Unchecked, operation: admission.Create}
		r.namespace = r.obj.(*corev1.Pod).Namespace
		if k.Old != nil {
			r.operation = admission.Update
			r.old = complete(k.Old)
		}
		return r, nil
	case k.Binding != nil:
		b := k.Binding.DeepCopy()
		b.Name, b.Namespace = "p", "tenant"
		r := request{obj: b, kind: "Binding", resource: "pods", subresource: "binding", namespace: "tenant", operation: admission.Create}
		if k.Subresource == "none" {
			r.resource, r.subresource = "bindings", ""
		}
		return r, nil
	case k.ConfigMap != nil:
		m := k.ConfigMap.DeepCopy()
		if m.Namespace == "" {
			m.Namespace = "pgpu-system"
		}
		return request{obj: m, kind: "ConfigMap", resource: "configmaps", namespace: m.Namespace, operation: admission.Create}, nil
	}
	return request{}, fmt.Errorf("nothing to send")
}

// check sends the case and says what is wrong with the outcome.
func (k *kase) check(s *server) error {
	r, err := k.request()
	if err != nil {
		return err
	}
	stored, err := s.send(r)
	if k.Refused != "" {
		return k.checkRefusal(err)
	}
	if err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	return k.checkStored(r.obj, stored)
}

func (k *kase) checkRefusal(err error) error {
	if err == nil {
		return fmt.Errorf("admitted, should have been refused by %s", k.Refused)
	}
	text := err.Error()
	policy, several := strings.CutSuffix(k.Refused, "*")
	if !several {
		policy += "'"
	}
	if !strings.Contains(text, "ValidatingAdmissionPolicy '"+policy) {
		return fmt.Errorf("should have been refused by %s: %s", k.Refused, text)
	}
	if len(k.Message) == 0 {
		return fmt.Errorf("the case does not say what the message is: %s", text)
	}
	for _, part := range k.Message {
		if !strings.Contains(text, part) {
			return fmt.Errorf("no %q in the message: %s", part, text)
		}
	}
	for _, part := range k.Silent {
		if strings.Contains(text, part) {
			return fmt.Errorf("%q in the message: %s", part, text)
		}
	}
	return nil
}

// checkStored compares the whole pod: nothing but annotations may differ from what was sent.
func (k *kase) checkStored(sent, stored runtime.Object) error {
	pod, ok := stored.(*corev1.Pod)
	if !ok {
		return nil
	}
	before, err := internalForm(sent)
	if err != nil {
		return err
	}
	want, err := v1Form(before)
	if err != nil {
		return err
	}
	if k.Annotations != nil {
		want.Annotations = maps.Clone(k.Annotations)
	}
	a, _ := json.MarshalIndent(want, "", " ")
	b, _ := json.MarshalIndent(pod, "", " ")
	if string(a) != string(b) {
		return fmt.Errorf("stored:\n%s\nwanted:\n%s", b, a)
	}
	return nil
}

func TestPods(t *testing.T) {
	for _, version := range []string{"v1", "v1beta1"} {
		all := shipped(t, version)
		count := 0
		for _, g := range groups(t) {
			s, err := start(t, g.files(all))
			if err != nil {
				t.Fatalf("%s: %v", g.name, err)
			}
			for _, k := range g.Cases {
				count++
				t.Run(version+"/"+g.name+"/"+k.Name, func(t *testing.T) {
					if err := k.check(s); err != nil {
						t.Error(err)
					}
				})
			}
		}
		if count < 40 {
			t.Errorf("%s: only %d cases", version, count)
		}
		t.Logf("%s: %d cases", version, count)
	}
}
