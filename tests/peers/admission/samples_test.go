// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
	"pgpu.local/peers/kit"
)

// The pods of deploy/samples are admitted as tenants' pods; pgpu's own pod is in its namespace, and no
// tenant may have one like it.
func TestShippedPods(t *testing.T) {
	s, err := start(t, shipped(t, "v1"))
	if err != nil {
		t.Fatal(err)
	}
	send := func(pod *corev1.Pod, namespace string) error {
		pod = pod.DeepCopy()
		pod.Namespace = namespace
		_, err := s.send(request{obj: pod, kind: "Pod", resource: "pods", namespace: namespace, operation: admission.Create,
			unchecked: namespace != "tenant" || pod.Name == "pgpu"})
		return err
	}
	paths, err := filepath.Glob(kit.Source(t, "deploy/samples/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	pods := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "\n---\n") {
			if !strings.Contains(part, "\nkind: Pod\n") {
				continue
			}
			pods++
			pod := &corev1.Pod{}
			if err := decode([]byte(part), pod); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if err := send(pod, "tenant"); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			// the policies do look at it
			other := "runc"
			pod.Spec.RuntimeClassName = &other
			if err := send(pod, "tenant"); err == nil {
				t.Errorf("%s: admitted without its RuntimeClass", path)
			}
		}
	}
	if pods < 4 {
		t.Errorf("%d pods", pods)
	}
	text, err := os.ReadFile(kit.Source(t, "deploy/kustomize/base/daemonset.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	d := &appsv1.DaemonSet{}
	if err := decode(text, d); err != nil {
		t.Fatal(err)
	}
	own := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: d.Spec.Template.Spec}
	own.Name = "pgpu"
	if err := send(own, "pgpu-system"); err != nil {
		t.Errorf("pgpu's own pod: %v", err)
	}
	if err := send(own, "tenant"); err == nil || !strings.Contains(err.Error(), "pgpu-host-paths") {
		t.Errorf("pgpu's pod in a tenant's namespace: %v", err)
	}
}
