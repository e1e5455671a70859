// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	oci "github.com/opencontainers/runtime-spec/specs-go"

	"pgpu.local/peers/kit"
)

// vfio are the VFIO nodes of a specification.
func vfio(s *oci.Spec) (paths []string) {
	for _, d := range s.Linux.Devices {
		if strings.HasPrefix(d.Path, "/dev/vfio") {
			paths = append(paths, d.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// keys of the annotations with the prefix.
func keys(s *oci.Spec, prefix string) (list []string) {
	for k := range s.Annotations {
		if strings.HasPrefix(k, prefix) {
			list = append(list, k)
		}
	}
	slices.Sort(list)
	return list
}

// Of these the handler's pod_annotations let the first one pass.
var podAnnotations = map[string]string{
	"io.katacontainers.config.hypervisor.default_memory": "16384",
	"example.com/private":                                "yes",
}

// reaches looks at what comes to the shim of a pod with one GPU, whose CDI names Allocate answered or
// did not.
func reaches(t *testing.T, release release, cdiNames bool) {
	r := start(t, release, 2, kit.Options{PgpudYAML: fmt.Sprintf("cdi_devices: %v\n", cdiNames)})
	annotations := maps.Clone(podAnnotations)
	r.Run(PodSpec{Name: "gpu", GPUs: []int{1, 0}, Annotations: annotations},
		PodSpec{Name: "none", GPUs: []int{0}, Annotations: annotations})
	id := r.Holds("gpu", 1)[0]
	sandbox, with, without := r.Sandbox("gpu"), r.Container("gpu", "c0"), r.Container("gpu", "c1")
	bare := r.Container("none", "c0")

	// the sandbox: what the pod says and the handler lets pass, nothing of ours; Kata asks the kubelet
	if sandbox.Spec.Annotations["io.katacontainers.config.hypervisor.default_memory"] != "16384" {
		t.Errorf("the Kata annotation did not reach the sandbox: %v", sandbox.Spec.Annotations)
	}
	if len(keys(&sandbox.Spec, "nvidia.com/")) != 0 || len(vfio(&sandbox.Spec)) != 0 {
		t.Errorf("the sandbox's specification was edited: %v %v", keys(&sandbox.Spec, "nvidia.com/"), vfio(&sandbox.Spec))
	}
	if want := []string{kit.Kind + "=" + id}; !slices.Equal(sandbox.Names, want) {
		t.Errorf("the shim looked up %v, not %v", sandbox.Names, want)
	}

	// the container with the GPU: its node once, with the numbers of the host's, and what NRI adds
	if got := vfio(&with.Spec); !slices.Equal(got, sandbox.Opened) {
		t.Errorf("the container has %v, its VM %v", got, sandbox.Opened)
	}
	device(t, &with.Spec, sandbox.Opened[0])
	for key, want := range map[string]string{
		"nvidia.com/pgpu.devices": id, "nvidia.com/pgpu.cc-mode": "on", "nvidia.com/pgpu.tee": "snp",
	} {
		if got := with.Spec.Annotations[key]; got != want {
			t.Errorf("the container's annotation %s is %q, not %q", key, got, want)
		}
	}
	for name, s := range map[string]*oci.Spec{"without a GPU": &without.Spec, "of a pod without": &bare.Spec} {
		if len(vfio(s)) != 0 || len(keys(s, "nvidia.com/")) != 0 {
			t.Errorf("the container %s was edited: %v %v", name, vfio(s), keys(s, "nvidia.com/"))
		}
	}

	// nowhere: CDI names, which the guest would look up in vain; the pod's own annotations; and nothing
	// but devices and annotations is added: the guest's policy would refuse it
	for name, rec := range map[string]*Record{"sandbox": &sandbox, "container": &with, "other container": &without} {
		if k := keys(&rec.Spec, "cdi.k8s.io/"); len(k) != 0 {
			t.Errorf("%s: outer CDI annotations reach Kata: %v", name, k)
		}
		if k := keys(&rec.Spec, "example.com/"); len(k) != 0 {
			t.Errorf("%s: %v", name, k)
		}
	}
	same(t, "environment", with.Spec.Process.Env, bare.Spec.Process.Env)
	same(t, "mounts", mounts(&with.Spec), mounts(&bare.Spec))
	if with.Spec.Hooks != nil {
		t.Errorf("hooks: %+v", with.Spec.Hooks)
	}
	r.End("gpu", "none")
}

// device looks at the node's numbers and its rule in the device cgroup.
func device(t *testing.T, s *oci.Spec, path string) {
	t.Helper()
	var st syscall.Stat_t
	must(t, syscall.Stat(path, &st))
	major, minor := int64(st.Rdev>>8&0xfff), int64(st.Rdev&0xff)
	for _, d := range s.Linux.Devices {
		if d.Path == path && (d.Type != "c" || d.Major != major || d.Minor != minor) {
			t.Errorf("%s is %s %d:%d in the container, not c %d:%d", path, d.Type, d.Major, d.Minor, major, minor)
		}
	}
	for _, rule := range s.Linux.Resources.Devices {
		if rule.Allow && rule.Major != nil && *rule.Major == major && rule.Minor != nil && *rule.Minor == minor {
			return
		}
	}
	t.Errorf("no rule allows %d:%d: %+v", major, minor, s.Linux.Resources.Devices)
}

func mounts(s *oci.Spec) (list []string) {
	for _, m := range s.Mounts {
		list = append(list, m.Destination)
	}
	return list
}

func same(t *testing.T, what string, have, want []string) {
	t.Helper()
	have, want = slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(want))
	if !slices.Equal(have, want) {
		t.Errorf("%s: %q, and without a GPU %q", what, have, want)
	}
}

func TestWhatReachesTheShim(t *testing.T) { reaches(t, containerd2, false) }

// containerd applies CDI by itself: the node is there once all the same.
func TestWhatReachesTheShimWhereContainerdAppliesCDI(t *testing.T) { reaches(t, containerd2, true) }
