// SPDX-License-Identifier: Apache-2.0

package kit

import (
	"encoding/json"
	"fmt"
	"time"
)

// Grant is what the kubelet stand-in was given for one container, and what the runtime gets from it.
type Grant struct {
	Resource string
	IDs      []string
	Response struct {
		Devices []struct {
			HostPath      string `json:"host_path"`
			ContainerPath string `json:"container_path"`
			Permissions   string
		}
		CDI         []string
		Envs        map[string]string
		Annotations map[string]string
	}
}

// AskKubelet gives the stand-in a command and fills ret from its answer; see pgpu-sim(1).
func (n *Node) AskKubelet(ret any, format string, a ...any) error {
	line := fmt.Sprintf(format, a...)
	out, err := n.ask("kubelet.sock", line)
	if err != nil {
		return fmt.Errorf("kubelet %s: %w", line, err)
	}
	var said struct {
		OK    bool
		Error string
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		return fmt.Errorf("kubelet %s: %w: %.200s", line, err, out)
	}
	if !said.OK {
		return fmt.Errorf("kubelet %s: %s", line, said.Error)
	}
	if ret == nil {
		return nil
	}
	return json.Unmarshal([]byte(out), ret)
}

// AwaitHealthy waits until the stand-in's list has so many Healthy devices.
func (n *Node) AwaitHealthy(count int) {
	n.t.Helper()
	must(n.t, n.AskKubelet(nil, "wait %s healthy=%d 30", Kind, count))
}

// Admit is the kubelet's admission of a container that wants count GPUs: Allocate. It is tried again
// while the node has too few, as a scheduler does.
func (n *Node) Admit(namespace, pod, container string, count int) Grant {
	n.t.Helper()
	var answer struct{ Granted []Grant }
	Eventually(n.t, 30*time.Second, func() error {
		return n.AskKubelet(&answer, "run %s/%s %s=%d --container %s", namespace, pod, Kind, count, container)
	})
	if len(answer.Granted) != 1 || len(answer.Granted[0].IDs) != count {
		n.t.Fatalf("pod %s/%s was granted %+v", namespace, pod, answer.Granted)
	}
	return answer.Granted[0]
}

// End is the end of a pod for the kubelet.
func (n *Node) End(namespace, pod string) {
	n.t.Helper()
	must(n.t, n.AskKubelet(nil, "end %s/%s", namespace, pod))
}
