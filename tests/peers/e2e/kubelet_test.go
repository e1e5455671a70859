// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"pgpu.local/peers/kit"
)

// The kubelet's own paths and ports; in the namespaces they are free.
const (
	kubeletDir    = "/var/lib/kubelet"
	pluginDir     = kubeletDir + "/device-plugins"
	podResources  = kubeletDir + "/pod-resources/kubelet.sock"
	kubeletHealth = "http://127.0.0.1:10248/healthz"
	kubeletPlain  = "http://127.0.0.1:10255"
	nodeName      = "node"
)

// What is not the kubelet's default: no swap, cgroup and firewall of the machine is touched, the API is
// in JSON and without TLS, and the node's status is often told.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://@SOCKET@
contentType: application/json
failSwapOn: false
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
readOnlyPort: 10255
registerNode: true
nodeStatusUpdateFrequency: 1s
nodeStatusReportFrequency: 1s
nodeLeaseDurationSeconds: 40
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 1Mi, nodefs.available: 1Mi, imagefs.available: 1Mi}
resolvConf: ""
oomScoreAdj: 0
registerWithTaints: []
`

const kubeConfig = `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "http://` + apiAddress + `"}}]
users: [{name: test, user: {}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
`

// Kubelet is a running one.
type Kubelet struct {
	dir     string
	process *process
}

func newKubelet(runtimeSocket string) (*Kubelet, error) {
	k := &Kubelet{dir: filepath.Join(base, "kubelet")}
	for _, d := range []string{k.dir, kubeletDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	config := strings.ReplaceAll(kubeletConfig, "@SOCKET@", runtimeSocket)
	if err := os.WriteFile(filepath.Join(k.dir, "config.yaml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	return k, os.WriteFile(filepath.Join(k.dir, "kubeconfig"), []byte(kubeConfig), 0o600)
}

// start starts it and waits until it is healthy and serves PodResources.
func (k *Kubelet) start() error {
	p, err := launch("kubelet", filepath.Join(os.Getenv(binEnv), "kubelet"), "--config", filepath.Join(k.dir, "config.yaml"),
		"--kubeconfig", filepath.Join(k.dir, "kubeconfig"), "--hostname-override", nodeName, "--node-ip", nodeIP,
		"--cert-dir", filepath.Join(k.dir, "pki"), "--volume-plugin-dir", filepath.Join(k.dir, "volumes"),
		"--v="+kubeletVerbosity())
	if err != nil {
		return err
	}
	k.process = p
	err = eventually(60*time.Second, func() error {
		if !p.running() {
			return fmt.Errorf("it has ended")
		}
		if _, err := os.Stat(podResources); err != nil {
			return err
		}
		_, err := get(kubeletHealth)
		return err
	})
	if err != nil {
		return fmt.Errorf("kubelet: %w\n%s", err, p.tail())
	}
	return nil
}

func kubeletVerbosity() string {
	if v := os.Getenv("PGPU_PEERS_KUBELET_LOG"); v != "" {
		return "4"
	}
	return "2"
}

// Restart ends it by the signal and starts it again.
func (k *Kubelet) Restart(t testing.TB, sig syscall.Signal) {
	t.Helper()
	k.process.stop(t, sig)
	must(t, k.start())
}

// Allocatable is how many GPUs the kubelet would hand out at this moment; the Node object says so later.
func (k *Kubelet) Allocatable() (count int, err error) {
	conn, err := grpc.NewClient("unix://"+podResources, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := api1.NewPodResourcesListerClient(conn).GetAllocatableResources(ctx, &api1.AllocatableResourcesRequest{})
	if err != nil {
		return 0, err
	}
	for _, d := range a.GetDevices() {
		if d.GetResourceName() == kit.Kind {
			count += len(d.GetDeviceIds())
		}
	}
	return count, nil
}

// Await waits until the kubelet would hand out so many.
func (k *Kubelet) Await(t testing.TB, count int) {
	t.Helper()
	kit.Eventually(t, limit, func() error {
		if got, err := k.Allocatable(); err != nil || got != count {
			return fmt.Errorf("the kubelet has %d GPUs, not %d (%v)", got, count, err)
		}
		return nil
	})
}

func get(url string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	var lines []string
	in := bufio.NewScanner(a.Body)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, a.Status)
	}
	return lines, in.Err()
}

// Metric is the value of a metric, of our resource where it has several.
func (k *Kubelet) Metric(t testing.TB, name, resource string) (value float64) {
	t.Helper()
	lines, err := get(kubeletPlain + "/metrics")
	must(t, err)
	for _, l := range lines {
		key, v, _ := strings.Cut(l, " ")
		if strings.HasPrefix(key, name) && strings.Contains(key, resource) {
			_, _ = fmt.Sscan(v, &value)
		}
	}
	return value
}
