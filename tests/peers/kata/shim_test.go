// SPDX-License-Identifier: Apache-2.0

// Package kata is the way of Kata's Go shim from a pod to its GPUs on a simulated node: the kubelet's
// answer, the CDI files, the device nodes, the PCI addresses. The libraries are those that the shim
// links; the few steps between them are ours, after Kata 4.1, since its module cannot be had.
package kata

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/container-orchestrated-devices/container-device-interface/pkg/cdi"
	oci "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
	"pgpu.local/peers/kit"
)

// shimEnv holds a sandbox as JSON in a shim's process, or `probe`.
const (
	shimEnv = "PGPU_PEERS_SHIM"
	probe   = "probe"
)

// Sandbox is what a shim is started for, and on which node.
type Sandbox struct {
	Node           string // directory of the simulated node
	Socket         string // the kubelet's PodResources
	Namespace, Pod string
	Confidential   bool
}

// Found is what a shim says.
type Found struct {
	Names   []string            // of the CDI devices, in the kubelet's order
	Devices map[string][]string // VFIO node to the PCI addresses behind it
	Error   string
}

func TestMain(m *testing.M) {
	text := os.Getenv(shimEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	if text == probe {
		if err := kit.AbleToEnter(); err != nil {
			fmt.Println(err)
		}
		return
	}
	var s Sandbox
	var f Found
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = kit.EnterNode(s.Node)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	if err := s.plug(&f); err != nil {
		f.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(f)
}

// cannot says why shims cannot run here, "" where they can.
var cannot = sync.OnceValue(func() string {
	out, err := child(context.Background(), probe).Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
})

// child is this program as a shim.
func child(ctx context.Context, text string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), shimEnv+"="+text)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

// Shim runs one, in a process and a mount namespace of its own, for every sandbox a new one. The
// paths in it are those of a node: /sys, /dev, /var/run/cdi.
func Shim(t testing.TB, s Sandbox) Found {
	t.Helper()
	text, err := json.Marshal(s)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := child(ctx, string(text))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("shim: %v\n%s", err, stderr.String())
	}
	var f Found
	must(t, json.Unmarshal(out, &f))
	return f
}

// plug is cold plug, in Kata's order.
func (s *Sandbox) plug(ret *Found) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	names, err := s.names(ctx)
	if err != nil {
		return err
	}
	ret.Names = names
	ret.Devices = map[string][]string{}
	if len(names) == 0 {
		return nil
	}
	spec := &oci.Spec{}
	registry := cdi.GetRegistry()
	if err := registry.Refresh(); err != nil {
		return fmt.Errorf("refresh: %w", err)
	}
	if _, err := registry.InjectDevices(spec, names...); err != nil {
		return fmt.Errorf("inject: %w", err)
	}
	for _, d := range spec.Linux.Devices {
		if !strings.HasPrefix(d.Path, "/dev/vfio") || d.Path == "/dev/vfio/vfio" {
			continue
		}
		if ret.Devices[d.Path] != nil {
			return fmt.Errorf("%s twice", d.Path)
		}
		addresses, err := behind(d.Path, s.Confidential)
		if err != nil {
			return err
		}
		ret.Devices[d.Path] = addresses
	}
	return nil
}

// names asks the kubelet for the sandbox's devices: every one of every resource of every container.
func (s *Sandbox) names(ctx context.Context) ([]string, error) {
	c, err := grpc.NewClient("unix://"+s.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	q := &podresources.GetPodResourcesRequest{PodName: s.Pod, PodNamespace: s.Namespace}
	a, err := podresources.NewPodResourcesListerClient(c).Get(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("PodResources: %w", err)
	}
	var names []string
	for _, c := range a.GetPodResources().GetContainers() {
		for _, d := range c.GetDevices() {
			for _, id := range d.GetDeviceIds() {
				// Kata 3.24 and later take "vfio" off the front of an ID.
				names = append(names, d.GetResourceName()+"="+strings.TrimPrefix(id, "vfio"))
			}
		}
	}
	return names, nil
}

var (
	cdevNode = regexp.MustCompile(`^/dev/vfio/devices/vfio\d+$`)
	address  = regexp.MustCompile(`[[:xdigit:]]{4}:[[:xdigit:]]{2}:[[:xdigit:]]{2}\.[[:xdigit:]]`)
)

// behind says which functions a VFIO node stands for.
func behind(node string, confidential bool) ([]string, error) {
	if cdevNode.MatchString(node) {
		return behindCdev(node)
	}
	if confidential {
		return nil, fmt.Errorf("a confidential guest needs iommufd: %s", node)
	}
	return behindGroup(filepath.Base(node))
}

// behindCdev goes by the node's numbers, of which Kata takes the lowest 8 bits as the minor one.
func behindCdev(node string) ([]string, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(node, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", node, err)
	}
	link, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/char/%d:%d", st.Rdev>>8, st.Rdev&0xff))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", node, err)
	}
	found := address.FindAllString(link, -1)
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no address in %s", node, link)
	}
	return found[len(found)-1:], nil
}

// behindGroup has all functions of an IOMMU group but host bridges and PCI bridges.
func behindGroup(group string) ([]string, error) {
	dir := filepath.Join("/sys/kernel/iommu_groups", group, "devices")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		class, err := os.ReadFile(filepath.Join(dir, e.Name(), "class"))
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(string(class), "0x0600") && !strings.HasPrefix(string(class), "0x0604") {
			found = append(found, e.Name())
		}
	}
	return found, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start is a node with a kubelet, all of whose GPUs can be had.
func start(t *testing.T, gpus int, o kit.Options) *kit.Node {
	t.Helper()
	if why := cannot(); why != "" {
		t.Skip("the shim's paths are fixed, and there is no mount namespace of our own: ", why)
	}
	o.SimKubelet = true
	o.NodeArgs = append([]string{"--gpus", fmt.Sprint(gpus)}, o.NodeArgs...)
	n := kit.StartNode(t, o)
	n.AwaitHealthy(gpus)
	return n
}

// of is the sandbox of a pod on the node.
func of(n *kit.Node, pod string) Sandbox {
	return Sandbox{
		Node: n.Dir, Socket: filepath.Join(n.Dir, "kubelet/pod-resources/kubelet.sock"),
		Namespace: "default", Pod: pod, Confidential: true,
	}
}
