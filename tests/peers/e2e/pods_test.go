// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"pgpu.local/peers/kit"
)

// get is the object, or an empty one.
func (a *api) get(resource, namespace, name string) object {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o := a.store[resource][namespace+"/"+name]; o != nil {
		return o
	}
	return object{}
}

// add creates a typed object as a client would.
func (a *api) add(resource, group, namespace string, typed any) object {
	b, err := json.Marshal(typed)
	if err != nil {
		panic(err)
	}
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		panic(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.create(place{group: group, resource: resource, namespace: namespace}, o)
}

// forget drops all objects of a resource that nobody watches.
func (a *api) forget(resource string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.store, resource)
}

// classes are the RuntimeClasses, named as their handlers.
func (a *api) classes() {
	for _, h := range []string{plainHandler, kataHandler, unknownHandler} {
		a.add("runtimeclasses", "node.k8s.io/v1", "", object{"metadata": object{"name": h}, "handler": h})
	}
}

// PodSpec is what the tests vary.
type PodSpec struct {
	Name        string
	Handler     string // "" = Kata's
	GPUs        []int  // of each container; nil: one container with one GPU
	Annotations map[string]string
	Restart     v1.RestartPolicy // "" = Never
}

// Create creates the pod, bound to the node as a scheduler would.
func (r *Rig) Create(s PodSpec) {
	r.t.Helper()
	if s.Handler == "" {
		s.Handler = kataHandler
	}
	if s.GPUs == nil {
		s.GPUs = []int{1}
	}
	if s.Restart == "" {
		s.Restart = v1.RestartPolicyNever
	}
	no, grace := false, int64(5)
	p := v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, Namespace: "default", Annotations: s.Annotations},
		Spec: v1.PodSpec{
			NodeName: nodeName, HostNetwork: true, RestartPolicy: s.Restart, RuntimeClassName: &s.Handler,
			TerminationGracePeriodSeconds: &grace, AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
			DNSPolicy: v1.DNSDefault, SecurityContext: &v1.PodSecurityContext{}, SchedulerName: "default-scheduler",
			Tolerations: []v1.Toleration{{Operator: v1.TolerationOpExists}},
		},
		Status: v1.PodStatus{Phase: v1.PodPending, QOSClass: v1.PodQOSBestEffort},
	}
	for i, n := range s.GPUs {
		c := v1.Container{
			Name: fmt.Sprint("c", i), Image: guestImage, ImagePullPolicy: v1.PullIfNotPresent,
			TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: v1.TerminationMessageReadFile,
		}
		if n > 0 {
			list := v1.ResourceList{kit.Kind: *resource.NewQuantity(int64(n), resource.DecimalSI)}
			c.Resources = v1.ResourceRequirements{Limits: list, Requests: list}
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	r.api.add("pods", "v1", "default", p)
}

// Pod is the object as it is.
func (r *Rig) Pod(name string) (p v1.Pod) {
	r.t.Helper()
	b, err := json.Marshal(r.api.get("pods", "default", name))
	must(r.t, err)
	must(r.t, json.Unmarshal(b, &p))
	return p
}

// Await waits until the pod is as wanted, and says what the kubelet told of it where it is not.
func (r *Rig) Await(name string, wanted func(p *v1.Pod) bool) v1.Pod {
	r.t.Helper()
	var p v1.Pod
	err := eventually(limit, func() error {
		if p = r.Pod(name); wanted(&p) {
			return nil
		}
		return fmt.Errorf("pod %s is %s: %s %s", name, p.Status.Phase, p.Status.Reason, p.Status.Message)
	})
	if err != nil {
		r.t.Fatalf("%v\n%s", err, strings.Join(r.Events(name), "\n"))
	}
	return p
}

// Running waits until all containers of the pod run.
func (r *Rig) Running(names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.Await(name, func(p *v1.Pod) bool {
			return p.Status.Phase == v1.PodRunning && len(p.Status.ContainerStatuses) == len(p.Spec.Containers) &&
				!slices.ContainsFunc(p.Status.ContainerStatuses, func(c v1.ContainerStatus) bool { return c.State.Running == nil })
		})
	}
}

// Run creates pods and waits until they run.
func (r *Rig) Run(specs ...PodSpec) {
	r.t.Helper()
	for _, s := range specs {
		r.Create(s)
	}
	for _, s := range specs {
		r.Running(s.Name)
	}
}

// Delete asks for the end of pods; with the grace period 0 it is a forced one: the object is gone at
// once, and the kubelet is left to find out.
func (r *Rig) Delete(grace int64, names ...string) {
	r.t.Helper()
	for _, name := range names {
		r.api.delete("default", name, grace)
	}
}

// Gone waits until the pods' objects are.
func (r *Rig) Gone(names ...string) {
	r.t.Helper()
	for _, name := range names {
		kit.Eventually(r.t, limit, func() error {
			if p := r.Pod(name); p.Name != "" {
				return fmt.Errorf("pod %s is still there: %s", name, p.Status.Phase)
			}
			return nil
		})
	}
}

// End deletes pods and waits for their end.
func (r *Rig) End(names ...string) {
	r.t.Helper()
	r.Delete(5, names...)
	r.Gone(names...)
}

// DeleteAll removes the pods that a test has left.
func (r *Rig) DeleteAll() {
	r.api.mu.Lock()
	var names []string
	for key := range r.api.store["pods"] {
		names = append(names, strings.TrimPrefix(key, "default/"))
	}
	r.api.mu.Unlock()
	r.Delete(1, names...)
	_ = eventually(limit, func() error {
		for _, n := range names {
			if r.Pod(n).Name != "" {
				return fmt.Errorf("%s is left", n)
			}
		}
		return nil
	})
}

// Events are what the kubelet told of a pod.
func (r *Rig) Events(pod string) (list []string) {
	r.api.mu.Lock()
	defer r.api.mu.Unlock()
	for _, o := range r.api.store["events"] {
		if text(o, "involvedObject", "name") == pod {
			list = append(list, text(o, "reason")+": "+text(o, "message"))
		}
	}
	slices.Sort(list)
	return list
}

// Event waits for one whose text has all the parts.
func (r *Rig) Event(pod string, parts ...string) string {
	r.t.Helper()
	var found string
	kit.Eventually(r.t, limit, func() error {
		for _, e := range r.Events(pod) {
			if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(e, p) }) {
				found = e
				return nil
			}
		}
		return fmt.Errorf("no event of %s has %q:\n%s", pod, parts, strings.Join(r.Events(pod), "\n"))
	})
	return found
}

// delete as kubectl does.
func (a *api) delete(namespace, name string, grace int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := place{group: "v1", resource: "pods", namespace: namespace, name: name}
	o := a.store["pods"][p.key()]
	switch {
	case o == nil:
	case grace == 0:
		a.put(p, "DELETED", o)
	default:
		o = clone(o)
		meta(o)["deletionTimestamp"] = time.Now().UTC().Add(time.Duration(grace) * time.Second).Format(time.RFC3339)
		meta(o)["deletionGracePeriodSeconds"] = grace
		a.put(p, "MODIFIED", o)
	}
}
