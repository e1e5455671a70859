// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	oci "github.com/opencontainers/runtime-spec/specs-go"

	"pgpu.local/peers/kit"
)

// Record is what a handler's runtime wrote down; see vmm/main.go.
type Record struct {
	Time           time.Time
	Sandbox        bool
	ID, Bundle     string
	Namespace, Pod string
	UID, Container string
	Spec           oci.Spec
	Names, Opened  []string
	Error          string
}

// Records are those of a pod, in the order of time.
func (c *Containerd) Records(pod string) (list []Record, err error) {
	files, err := filepath.Glob(filepath.Join(c.dir, "records", pod, "*.json"))
	slices.Sort(files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		var r Record
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		list = append(list, r)
	}
	return list, err
}

// last is the last record that fits.
func (r *Rig) last(pod string, fits func(r *Record) bool) (found Record, err error) {
	list, err := r.Records(pod)
	for i := range list {
		if fits(&list[i]) {
			found = list[i]
		}
	}
	if err == nil && found.ID == "" {
		err = fmt.Errorf("pod %s has had none of %d", pod, len(list))
	}
	return found, err
}

func (r *Rig) sandbox(pod string) (Record, error) {
	return r.last(pod, func(rec *Record) bool { return rec.Sandbox })
}

// Sandbox is the pod's last one.
func (r *Rig) Sandbox(pod string) Record {
	r.t.Helper()
	rec, err := r.sandbox(pod)
	must(r.t, err)
	return rec
}

// Container is the pod's last container of that name.
func (r *Rig) Container(pod, name string) Record {
	r.t.Helper()
	rec, err := r.last(pod, func(rec *Record) bool { return !rec.Sandbox && rec.Container == name })
	must(r.t, err)
	return rec
}

// IDs are the GPUs whose nodes a sandbox opened, by pgpud's CDI file.
func (r *Rig) IDs(opened []string) (ids []string) {
	r.t.Helper()
	for name, node := range r.CDINodes() {
		if slices.Contains(opened, node) {
			ids = append(ids, name[len(kit.Kind)+1:])
		}
	}
	slices.Sort(ids)
	if len(ids) != len(opened) {
		r.t.Fatalf("opened %v, of which the CDI file has %v", opened, ids)
	}
	return ids
}

// Holds checks that a running pod's VM has so many GPUs, each verified and held, and returns them.
func (r *Rig) Holds(pod string, count int) []string {
	r.t.Helper()
	s := r.Sandbox(pod)
	if s.Error != "" || len(s.Opened) != count {
		r.t.Fatalf("the sandbox of %s opened %v, not %d: %s", pod, s.Opened, count, s.Error)
	}
	ids := r.IDs(s.Opened)
	for _, id := range ids {
		if u := r.Unit(id, "in_use", limit); u.Sandbox == "" {
			r.t.Errorf("%s is in use by %s, and no sandbox is known to have it", id, pod)
		}
		if f := r.Function(id); f.Driver != "vfio-pci" || f.Active != "on" || f.Configured != "on" || f.Holder == "" {
			r.t.Errorf("%s was handed out to %s like this: %+v", id, pod, f)
		}
	}
	return ids
}
