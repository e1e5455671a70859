// SPDX-License-Identifier: Apache-2.0

// Package devicemanager lets the kubelet's own device manager and PodResources server drive pgpud on
// a simulated node. Their socket paths are constants, so that everything runs in a mount namespace of
// its own with a fresh /var/lib/kubelet.
package devicemanager

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	cadvisorapi "github.com/google/cadvisor/info/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	podresourcesapi "k8s.io/kubelet/pkg/apis/podresources/v1"
	apisgrpc "k8s.io/kubernetes/pkg/kubelet/apis/grpc"
	"k8s.io/kubernetes/pkg/kubelet/apis/podresources"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"

	"pgpu.local/peers/kit"
)

const (
	kubeletDir    = "/var/lib/kubelet"
	pluginDir     = kubeletDir + "/device-plugins"
	podResources  = kubeletDir + "/pod-resources/kubelet.sock"
	insideEnv     = "PGPU_PEERS_INSIDE"
	kubeletLogEnv = "PGPU_PEERS_KUBELET_LOG"
)

// cannot is why the tests are skipped, "" where they can run.
var cannot string

// TestMain runs the tests in a mount namespace of their own: the real /var/lib/kubelet is never seen.
func TestMain(m *testing.M) {
	switch {
	case os.Geteuid() != 0:
		cannot = "the kubelet's paths are fixed: root is needed for a mount namespace of our own"
	case os.Getenv(insideEnv) == "":
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), insideEnv+"=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		err := cmd.Run()
		if cmd.ProcessState != nil {
			os.Exit(cmd.ProcessState.ExitCode())
		}
		cannot = fmt.Sprint("a mount namespace of our own: ", err)
	default:
		if err := privateKubeletDir(); err != nil {
			cannot = fmt.Sprint("a private /var/lib/kubelet: ", err)
		}
	}
	if os.Getenv(kubeletLogEnv) == "" {
		klog.SetLogger(logr.Discard())
	} else {
		fs := flag.NewFlagSet("klog", flag.PanicOnError)
		klog.InitFlags(fs)
		_ = fs.Parse([]string{"-v=4"})
	}
	os.Exit(m.Run())
}

// privateKubeletDir puts a tmpfs over the directory, or over /var/lib where it does not exist, so
// that nothing is created on the real file system.
func privateKubeletDir() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	at := kubeletDir
	if _, err := os.Stat(at); err != nil {
		at = filepath.Dir(at)
	}
	if err := syscall.Mount("tmpfs", at, "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Dir(podResources), 0o755)
}

// Kubelet is the device manager with its PodResources server, and the pods that it runs. The pods
// survive a Restart, as they do on a node.
type Kubelet struct {
	t       testing.TB
	manager *devicemanager.ManagerImpl
	server  *grpc.Server
	mu      sync.Mutex
	pods    []*v1.Pod
	running map[string]bool // "uid/container"
	ready   bool
	serial  int
}

// StartKubelet starts it in an empty directory and stops it with the test.
func StartKubelet(t testing.TB) *Kubelet {
	t.Helper()
	if cannot != "" {
		t.Skip(cannot)
	}
	entries, _ := os.ReadDir(pluginDir)
	for _, e := range entries {
		_ = os.RemoveAll(filepath.Join(pluginDir, e.Name()))
	}
	k := &Kubelet{t: t, running: map[string]bool{}, ready: true}
	k.start()
	t.Cleanup(k.stop)
	return k
}

func (k *Kubelet) start() {
	k.t.Helper()
	topology := []cadvisorapi.Node{{Id: 0}, {Id: 1}}
	m, err := devicemanager.NewManagerImpl(topology, topologymanager.NewFakeManager())
	must(k.t, err)
	k.manager = m
	containers, running := containermap.NewContainerMap(), sets.New[string]()
	for key := range k.running {
		uid, name, _ := strings.Cut(key, "/")
		containers.Add(uid, name, "id-"+key)
		running.Insert("id-" + key)
	}
	must(k.t, m.Start(klog.Background(), k.GetActivePods, k, containers, running))

	ctx := context.Background()
	k.server = grpc.NewServer(apisgrpc.WithRateLimiter(ctx, "podresources", podresources.DefaultQPS, podresources.DefaultBurstTokens))
	podresourcesapi.RegisterPodResourcesListerServer(k.server, podresources.NewV1PodResourcesServer(ctx,
		podresources.PodResourcesProviders{Pods: k, Devices: k, Cpus: k, Memory: k, DynamicResources: k}))
	_ = os.Remove(podResources)
	l, err := net.Listen("unix", podResources)
	must(k.t, err)
	go func() { _ = k.server.Serve(l) }()
}

func (k *Kubelet) stop() {
	k.server.Stop()
	_ = k.manager.Stop(klog.Background())
}

// Restart is a kubelet restart under running pods: sources are not ready until its pods have been
// admitted again, which for running containers must ask nothing of the plugin.
func (k *Kubelet) Restart() {
	k.t.Helper()
	k.stop()
	k.mu.Lock()
	k.ready = false
	pods := slices.Clone(k.pods)
	k.mu.Unlock()
	k.start()
	for _, p := range pods {
		for i := range p.Spec.Containers {
			if err := k.manager.Allocate(p, &p.Spec.Containers[i]); err != nil {
				k.t.Errorf("pod %s does not survive the kubelet's restart: %v", p.Name, err)
			}
		}
	}
	k.mu.Lock()
	k.ready = true
	k.mu.Unlock()
}

// ---- what the manager and the PodResources server ask of a kubelet ----

func (k *Kubelet) AddSource(string) {}

func (k *Kubelet) AllReady() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ready
}

func (k *Kubelet) GetActivePods() []*v1.Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.pods)
}

func (k *Kubelet) GetPods() []*v1.Pod { return k.GetActivePods() }

func (k *Kubelet) GetPodByName(namespace, name string) (*v1.Pod, bool) {
	for _, p := range k.GetActivePods() {
		if p.Namespace == namespace && p.Name == name {
			return p, true
		}
	}
	return nil, false
}

func (k *Kubelet) UpdateAllocatedDevices() { k.manager.UpdateAllocatedDevices() }

func (k *Kubelet) GetDevices(podUID, container string) []*podresourcesapi.ContainerDevices {
	return containerDevices(k.manager.GetDevices(podUID, container))
}

func (k *Kubelet) GetAllocatableDevices() []*podresourcesapi.ContainerDevices {
	return containerDevices(k.manager.GetAllocatableDevices())
}

// As the container manager does it: one entry a device, with its topology.
func containerDevices(devs devicemanager.ResourceDeviceInstances) (list []*podresourcesapi.ContainerDevices) {
	for res, instances := range devs {
		for id, d := range instances {
			entry := &podresourcesapi.ContainerDevices{ResourceName: res, DeviceIds: []string{id}}
			if d.Topology != nil {
				entry.Topology = &podresourcesapi.TopologyInfo{}
				for _, n := range d.Topology.Nodes {
					entry.Topology.Nodes = append(entry.Topology.Nodes, &podresourcesapi.NUMANode{ID: n.ID})
				}
			}
			list = append(list, entry)
		}
	}
	return list
}

func (k *Kubelet) GetCPUs(string, string) []int64                              { return nil }
func (k *Kubelet) GetAllocatableCPUs() []int64                                 { return nil }
func (k *Kubelet) GetMemory(string, string) []*podresourcesapi.ContainerMemory { return nil }
func (k *Kubelet) GetAllocatableMemory() []*podresourcesapi.ContainerMemory    { return nil }
func (k *Kubelet) GetDynamicResources(*v1.Pod, *v1.Container) []*podresourcesapi.DynamicResource {
	return nil
}

// ---- pods ----

// Pod makes a pod whose one container wants n GPUs; `init` adds an init container that wants as many.
func (k *Kubelet) Pod(name string, n int, init bool) *v1.Pod {
	k.serial++
	want := v1.ResourceRequirements{Limits: v1.ResourceList{kit.Kind: *resource.NewQuantity(int64(n), resource.DecimalSI)}}
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(fmt.Sprintf("uid-%d", k.serial))},
		Spec:       v1.PodSpec{Containers: []v1.Container{{Name: "main", Resources: want}}},
	}
	if init {
		p.Spec.InitContainers = []v1.Container{{Name: "first", Resources: want}}
	}
	return p
}

// Admit is the kubelet's admission: Allocate for each container in turn. A pod that is refused is
// gone, as a Failed pod is.
func (k *Kubelet) Admit(p *v1.Pod) error {
	k.mu.Lock()
	k.pods = append(k.pods, p)
	k.mu.Unlock()
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if err := k.manager.Allocate(p, &list[i]); err != nil {
				k.End(p)
				return err
			}
		}
	}
	return nil
}

// unavailable: the kubelet itself refuses, without asking the plugin. A list of devices may be under
// way to it; a controller would make the pod again.
func unavailable(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "requested number of devices unavailable") ||
		strings.Contains(err.Error(), "no healthy devices present"))
}

// Run admits a pod and starts its container: the IDs it got, each with its one device node.
func (k *Kubelet) Run(p *v1.Pod) map[string]string {
	k.t.Helper()
	kit.Eventually(k.t, 15*time.Second, func() error {
		err := k.Admit(p)
		if err != nil && !unavailable(err) {
			k.t.Fatalf("pod %s: %v", p.Name, err)
		}
		return err
	})
	got := k.Options(p)
	k.running[string(p.UID)+"/main"] = true
	return got
}

// Options is what the kubelet hands to the runtime at each start of the container. It must hold the
// device nodes and nothing else.
func (k *Kubelet) Options(p *v1.Pod) map[string]string {
	k.t.Helper()
	o, err := k.manager.GetDeviceRunContainerOptions(context.Background(), p, &p.Spec.Containers[0])
	must(k.t, err)
	ids := k.IDs(p)
	if len(o.Devices) != len(ids) || len(o.Envs)+len(o.Mounts)+len(o.Annotations)+len(o.CDIDevices) != 0 {
		k.t.Fatalf("pod %s has %v and is to be run with %+v", p.Name, ids, o)
	}
	nodes := sets.New[string]()
	for _, d := range o.Devices {
		if d.PathOnHost != d.PathInContainer || d.Permissions != "mrw" || !strings.HasPrefix(d.PathOnHost, "/dev/vfio/devices/vfio") {
			k.t.Fatalf("pod %s: device %+v", p.Name, d)
		}
		nodes.Insert(d.PathOnHost)
	}
	got := map[string]string{}
	cdi := nodesOf(k.t)
	for _, id := range ids {
		path := cdi[kit.Kind+"="+id]
		if !nodes.Has(path) {
			k.t.Fatalf("pod %s: %s is %q in the CDI file, the container gets %v", p.Name, id, path, nodes)
		}
		got[id] = path
	}
	return got
}

// IDs are the devices of a pod, asked of the PodResources server as Kata's shim does.
func (k *Kubelet) IDs(p *v1.Pod) (ids []string) {
	k.t.Helper()
	conn, err := grpc.NewClient("unix://"+podResources, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(k.t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := podresourcesapi.NewPodResourcesListerClient(conn).Get(ctx,
		&podresourcesapi.GetPodResourcesRequest{PodName: p.Name, PodNamespace: p.Namespace})
	must(k.t, err)
	for _, c := range r.PodResources.Containers {
		for _, d := range c.Devices {
			if d.ResourceName == kit.Kind {
				ids = append(ids, d.DeviceIds...)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// End: the pod is terminated. The manager frees its devices lazily, as it does in a kubelet.
func (k *Kubelet) End(p *v1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pods = slices.DeleteFunc(k.pods, func(q *v1.Pod) bool { return q.UID == p.UID })
	delete(k.running, string(p.UID)+"/main")
}

// Capacity and allocatable as the node's status would show them.
func (k *Kubelet) Capacity() (capacity, allocatable int64) {
	c, a, _ := k.manager.GetCapacity()
	cq, aq := c[kit.Kind], a[kit.Kind]
	return cq.Value(), aq.Value()
}

// Await waits until capacity and allocatable are these.
func (k *Kubelet) Await(capacity, allocatable int64, limit time.Duration) {
	k.t.Helper()
	kit.Eventually(k.t, limit, func() error {
		if c, a := k.Capacity(); c != capacity || a != allocatable {
			return fmt.Errorf("capacity %d, allocatable %d; want %d and %d", c, a, capacity, allocatable)
		}
		return nil
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func logger() klog.Logger { return klog.Background() }
