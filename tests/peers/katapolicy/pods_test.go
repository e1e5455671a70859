// SPDX-License-Identifier: Apache-2.0

package katapolicy

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgpu.local/peers/kit"
)

const (
	policyKey   = "io.katacontainers.config.agent.policy"
	initdataKey = "io.katacontainers.config.hypervisor.cc_init_data"
	handler     = "kata-qemu-nvidia-gpu-snp"
)

// runtime is the container runtime's stand-in, which has pgpud as a plugin.
type runtime struct {
	t      testing.TB
	socket string
}

func startRuntime(t testing.TB, n *kit.Node) *runtime {
	t.Helper()
	in := func(rel string) string { return filepath.Join(n.Dir, rel) }
	ready, w, err := os.Pipe()
	must(t, err)
	defer ready.Close()
	log, err := os.Create(in("runtime.log"))
	must(t, err)
	defer log.Close()
	cmd := exec.Command(kit.Bin(t, "sim/pgpu-sim"), "runtime", "--nri", in("nri.sock"), "--control", in("runtime.sock"),
		"--pod-resources", in("kubelet/pod-resources/kubelet.sock"), "--root", in("root"), "--cdi-dir", in("cdi"), "--ready-fd", "3")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{w}
	err = cmd.Start()
	w.Close()
	must(t, err)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		end := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer end.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("pgpu-sim runtime: %v", err)
		}
	})
	must(t, ready.SetReadDeadline(time.Now().Add(30*time.Second)))
	if line, err := io.ReadAll(io.LimitReader(ready, 6)); err != nil || string(line) != "ready\n" {
		t.Fatalf("pgpu-sim runtime did not become ready: %q %v", line, err)
	}
	r := &runtime{t, in("runtime.sock")}
	must(t, r.ask(nil, "wait plugins=1 30"))
	return r
}

func (r *runtime) ask(ret any, format string, a ...any) error {
	c, err := net.Dial("unix", r.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	must(r.t, c.SetDeadline(time.Now().Add(60*time.Second)))
	if _, err := fmt.Fprintf(c, format+"\n", a...); err != nil {
		return err
	}
	text, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	var said struct {
		OK    bool
		Error string
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("%w: %.300s", err, text)
	}
	if !said.OK {
		return fmt.Errorf("%s", said.Error)
	}
	if ret == nil {
		return nil
	}
	return json.Unmarshal(text, ret)
}

// What pgpud says when it was not told of a pod in the time that it has; a kubelet tries again.
var tooSlow = []string{"is older than the pod", "does not say what is allocated", "found no answer in time"}

func (r *runtime) patiently(ret any, format string, a ...any) {
	r.t.Helper()
	kit.Eventually(r.t, 30*time.Second, func() error {
		err := r.ask(ret, format, a...)
		if err != nil && !slices.ContainsFunc(tooSlow, func(s string) bool { return strings.Contains(err.Error(), s) }) {
			r.t.Fatal(err)
		}
		return err
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// initdata is a policy as the pod's owner hands it over for the guest's measurement.
func initdata(t testing.TB, policy string) string {
	t.Helper()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := fmt.Fprintf(z, "version = \"0.1.0\"\nalgorithm = \"sha384\"\n[data]\n\"policy.rego\" = '''\n%s'''\n", policy)
	must(t, err)
	must(t, z.Close())
	return base64.StdEncoding.EncodeToString(zipped.Bytes())
}

// container is one as the runtime creates it, after all plugins.
type container struct {
	Annotations map[string]string
	Devices     []struct{ Path string }
	Env         []struct{ Key, Value string }
	Mounts      []struct{ Key string }
	Hooks       []string
}

// guest is what the agent is asked for a container: Kata leaves no annotation of CDI's from outside in
// it, and writes its own for each GPU; a device is in it where it is plugged by this request.
func (c *container) guest(annotations map[string]string, plugged bool) Request {
	r := asKata()
	delete(r.Annotations, "cdi.k8s.io/vfio3")
	r.Devices = nil
	maps.Copy(r.Annotations, annotations)
	for i, d := range c.Devices {
		name := filepath.Base(d.Path)
		r.Annotations["cdi.k8s.io/"+name] = fmt.Sprintf("nvidia.com/gpu=%d", i)
		if plugged {
			r.Devices = append(r.Devices, name)
		}
	}
	for _, v := range c.Env {
		r.Env = append(r.Env, v.Key+"="+v.Value)
	}
	return r
}

// A pod with a policy gets those of our annotations that the policy lets through, and no other; the agent
// takes the container with what it got, as it would have without us.
func TestAPodGetsTheAnnotationsThatItsPolicyAllows(t *testing.T) {
	n := kit.StartNode(t, kit.Options{
		SimKubelet: true,
		NodeArgs:   []string{"--gpus", "2"},
		PgpudYAML:  "nri:\n  sockets: [\"@DIR@/nri.sock\"]\n",
	})
	n.AwaitHealthy(2)
	r := startRuntime(t, n)
	for i, c := range []struct {
		name, policy string
		some         bool // some of the annotations are added, some are not
	}{
		{"open", open, false},
		{"failing", failing, false},
		{"unknown", generated(byKey, pause(), workload()), false},
		{"known", generated(byKey, pause(), workload(ours...)), false},
		{"two known", generated(byKey, pause(), workload(ours[0], ours[1])), true},
		{"unknown by patterns", generated(byPattern, pause(), workload()), false},
		{"known by patterns", generated(byPattern, pause(), workload(ours...)), false},
		{"three known by patterns", generated(byPattern, pause(), workload(ours[1], ours[4], ours[6])), true},
		{"known, and values compared", edited(generated(byPattern, pause(), workload(ours...)), "known == key",
			"known == key\n\twant.OCI.Annotations[known] == input.OCI.Annotations[known]"), false},
	} {
		for way, annotation := range map[string]string{
			"annotation": policyKey + "=" + base64.StdEncoding.EncodeToString([]byte(c.policy)),
			"initdata":   initdataKey + "=" + initdata(t, c.policy),
		} {
			t.Run(c.name+" by "+way, func(t *testing.T) {
				r := &runtime{t, r.socket}
				p := mustCompile(t, c.policy)
				pod := fmt.Sprintf("%s-%d", way, i)
				n.Admit("default", pod, "main", 1)
				r.patiently(nil, "run-pod default %s %s annotation=%s", pod, handler, annotation)
				var answer struct{ Container container }
				r.patiently(&answer, "create-container default/%s main", pod)
				added := map[string]string{}
				for key, value := range answer.Container.Annotations {
					if strings.HasPrefix(key, "nvidia.com/pgpu.") {
						added[key] = value
					}
				}
				// The digest is told where there is initdata; the TEE and the rest always.
				possible := slices.DeleteFunc(slices.Clone(ours), func(key string) bool {
					return way == "annotation" && strings.HasSuffix(key, "initdata-digest")
				})
				var want []string
				for _, key := range possible {
					if p.allows(t, asKata().with(key+"=x")) {
						want = append(want, key)
					}
				}
				have := slices.Sorted(maps.Keys(added))
				if !slices.Equal(have, want) {
					t.Errorf("added %v, the policy allows %v", have, want)
				}
				if c.some != (len(want) > 0 && len(want) < len(possible)) {
					t.Errorf("the policy allows %v", want)
				}
				for _, plugged := range []bool{true, false} {
					if !p.allows(t, answer.Container.guest(nil, plugged)) {
						t.Errorf("the agent refuses the container without ours, GPU plugged by it: %v", plugged)
					}
					if !p.allows(t, answer.Container.guest(added, plugged)) {
						t.Errorf("the agent refuses the container with %v, GPU plugged by it: %v", have, plugged)
					}
				}
				everything := answer.Container.guest(nil, true).with(possible...)
				if all := len(want) == len(possible); p.allows(t, everything) != all {
					t.Errorf("the agent takes the container with all of ours: %v", !all)
				}
				for key := range answer.Container.Annotations {
					if strings.HasPrefix(key, "cdi.k8s.io/") {
						t.Errorf("%s is among the annotations", key)
					}
				}
				if c := answer.Container; len(c.Devices) != 1 || len(c.Env)+len(c.Mounts)+len(c.Hooks) != 0 {
					t.Errorf("%+v", c)
				}
				must(t, r.ask(nil, "stop-pod default/%s", pod))
				must(t, r.ask(nil, "remove-pod default/%s", pod))
				n.End("default", pod)
			})
		}
	}
}
