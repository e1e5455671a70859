// SPDX-License-Identifier: Apache-2.0

// Command allocbench measures a device plugin's Allocate from a grpc-go client, as the kubelet is one.
// It stands in for the kubelet: it takes the plugin's registration, follows its list, answers
// PodResources with no pods, and allocates one Healthy device after the other. A device counts as
// armed again when the list has shown it Unhealthy and Healthy since it was handed out, which is
// what the plugin does with one that no pod claims. Prints one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	deviceplugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

var (
	pluginDir = flag.String("plugin-dir", "", "directory for kubelet.sock; the plugin's plugin_dir")
	podSocket = flag.String("pod-resources", "", "where to serve PodResources; the plugin's pod_resources")
	resource  = flag.String("resource", "nvidia.com/pgpu", "resource to measure")
	devices   = flag.Int("devices", 8, "wait until so many devices are Healthy")
	samples   = flag.Int("samples", 200, "Allocates of an armed device")
	again     = flag.Int("again", 2, "further Allocates of the same device, not opened in between")
	limit     = flag.Duration("limit", 5*time.Minute, "give up after this")
)

// kubelet is the stand-in. Its fields belong to whoever holds mu; changed is closed at each change.
type kubelet struct {
	deviceplugin.UnimplementedRegistrationServer
	podresources.UnimplementedPodResourcesListerServer

	mu       sync.Mutex
	changed  chan struct{}
	endpoint string
	healthy  map[string]bool
	spent    map[string]bool // handed out, and not seen Unhealthy since
	listedAt time.Time       // first list with all devices Healthy
}

func (k *kubelet) Register(_ context.Context, r *deviceplugin.RegisterRequest) (*deviceplugin.Empty, error) {
	if r.ResourceName == *resource {
		k.mu.Lock()
		k.endpoint = r.Endpoint
		k.wake()
		k.mu.Unlock()
	}
	return &deviceplugin.Empty{}, nil
}

func (k *kubelet) List(context.Context, *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	return &podresources.ListPodResourcesResponse{}, nil
}

func (k *kubelet) wake() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// await returns with mu held once ok says so.
func (k *kubelet) await(ctx context.Context, what string, ok func() bool) {
	k.mu.Lock()
	for !ok() {
		c := k.changed
		k.mu.Unlock()
		select {
		case <-c:
		case <-ctx.Done():
			log.Fatalf("gave up waiting for %s", what)
		}
		k.mu.Lock()
	}
}

func (k *kubelet) follow(ctx context.Context, client deviceplugin.DevicePluginClient) {
	stream, err := client.ListAndWatch(ctx, &deviceplugin.Empty{})
	if err != nil {
		log.Fatal(err)
	}
	for {
		list, err := stream.Recv()
		if err != nil {
			if ctx.Err() == nil {
				log.Fatal("ListAndWatch: ", err)
			}
			return
		}
		k.mu.Lock()
		clear(k.healthy)
		n := 0
		for _, d := range list.Devices {
			up := d.Health == deviceplugin.Healthy
			k.healthy[d.ID] = up
			if up {
				n++
			} else {
				delete(k.spent, d.ID)
			}
		}
		if n >= *devices && k.listedAt.IsZero() {
			k.listedAt = time.Now()
		}
		k.wake()
		k.mu.Unlock()
	}
}

func (k *kubelet) armed() string {
	ids := make([]string, 0, len(k.healthy))
	for id, up := range k.healthy {
		if up && !k.spent[id] {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return slices.Min(ids)
}

func serve(path string, register func(*grpc.Server)) *grpc.Server {
	_ = os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	go func() { _ = s.Serve(l) }()
	return s
}

func allocate(ctx context.Context, client deviceplugin.DevicePluginClient, id string) time.Duration {
	req := &deviceplugin.AllocateRequest{ContainerRequests: []*deviceplugin.ContainerAllocateRequest{{DevicesIds: []string{id}}}}
	before := time.Now()
	r, err := client.Allocate(ctx, req)
	took := time.Since(before)
	if err != nil {
		log.Fatalf("Allocate %s: %v", id, err)
	}
	if len(r.ContainerResponses) != 1 || len(r.ContainerResponses[0].Devices) != 1 {
		log.Fatalf("Allocate %s: %v", id, r)
	}
	return took
}

type summary struct {
	Samples int     `json:"samples"`
	MinMs   float64 `json:"min_ms"`
	P50Ms   float64 `json:"p50_ms"`
	P90Ms   float64 `json:"p90_ms"`
	P99Ms   float64 `json:"p99_ms"`
	MaxMs   float64 `json:"max_ms"`
}

func summarize(v []time.Duration) (s summary) {
	if len(v) == 0 {
		return s
	}
	slices.Sort(v)
	at := func(q float64) float64 {
		return float64(v[min(len(v)-1, int(q*float64(len(v))))].Microseconds()) / 1000
	}
	return summary{len(v), at(0), at(0.5), at(0.9), at(0.99), at(1)}
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("allocbench: ")
	flag.Parse()
	if *pluginDir == "" || *podSocket == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "allocbench: --plugin-dir and --pod-resources are needed")
		flag.Usage()
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()

	k := &kubelet{changed: make(chan struct{}), healthy: map[string]bool{}, spent: map[string]bool{}}
	defer serve(*podSocket, func(s *grpc.Server) { podresources.RegisterPodResourcesListerServer(s, k) }).Stop()
	started := time.Now()
	defer serve(filepath.Join(*pluginDir, "kubelet.sock"), func(s *grpc.Server) { deviceplugin.RegisterRegistrationServer(s, k) }).Stop()

	k.await(ctx, "the plugin's registration", func() bool { return k.endpoint != "" })
	registered := time.Since(started)
	endpoint := filepath.Join(*pluginDir, k.endpoint)
	k.mu.Unlock()
	conn, err := grpc.NewClient("unix://"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := deviceplugin.NewDevicePluginClient(conn)
	follow, stop := context.WithCancel(ctx)
	defer stop()
	go k.follow(follow, client)
	k.await(ctx, "Healthy devices", func() bool { return !k.listedAt.IsZero() })
	k.mu.Unlock()

	var first, repeated []time.Duration
	for range *samples {
		k.await(ctx, "an armed device", func() bool { return k.armed() != "" })
		id := k.armed()
		k.spent[id] = true
		k.mu.Unlock()
		first = append(first, allocate(ctx, client, id))
		for range *again {
			repeated = append(repeated, allocate(ctx, client, id))
		}
	}
	out := struct {
		Resource     string  `json:"resource"`
		RegisteredMs float64 `json:"registered_ms"`
		Armed        summary `json:"allocate_armed"`
		Repeated     summary `json:"allocate_again"`
	}{*resource, float64(registered.Microseconds()) / 1000, summarize(first), summarize(repeated)}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		log.Fatal(err)
	}
}
