// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"syscall"
	"testing"

	"pgpu.local/peers/kit"
)

// containerd 1.7, whose NRI is older: no validation, no CDI names. It is started for these tests, and
// the kubelet anew with it; they come last, by the name of their file.

func TestContainerd17APodGetsAGPUAndGivesItBack(t *testing.T) { life(t, containerd17) }

func TestContainerd17SeveralGPUsAndSeveralContainers(t *testing.T) { several(t, containerd17) }

func TestContainerd17RefusedSandboxes(t *testing.T) { refused(t, containerd17) }

func TestContainerd17WhatReachesTheShim(t *testing.T) { reaches(t, containerd17, false) }

func TestContainerd17WhatReachesTheShimWhereContainerdAppliesCDI(t *testing.T) {
	reaches(t, containerd17, true)
}

func TestContainerd17APodRunsOnWhileContainerdRestarts(t *testing.T) {
	r := start(t, containerd17, 2, kit.Options{})
	s := r.stand("standing")
	r.Containerd.Restart(t, syscall.SIGKILL)
	s.Stands("containerd 1.7 killed and started again")
	s.Alone("containerd 1.7 killed and started again")
	r.End("standing")
}
