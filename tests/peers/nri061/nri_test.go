// SPDX-License-Identifier: Apache-2.0

// Package nri061 drives pgpud's NRI plugin with the adaptation of containerd 1.7 and CRI-O 1.31: every
// event but CreateContainer is a StateChange, lists are not split, nothing is validated, and CDI names
// from a plugin are lost.
package nri061

import (
	"testing"

	"pgpu.local/peers/nrikit"
)

var flavour = nrikit.Flavour{
	Runtimes: []nrikit.RuntimeName{
		{Name: "containerd", Version: "1.7.24~ds1"}, {Name: "cri-o", Version: "1.31.5"}, {Name: "containerd", Version: "v2.2.0", CDI: true, Liar: true},
	},
}

func TestRegistration(t *testing.T) { nrikit.Registration(t, flavour) }
func TestEvents(t *testing.T)       { nrikit.Events(t, flavour) }
func TestInjection(t *testing.T)    { nrikit.Injection(t, flavour) }
func TestRefusals(t *testing.T)     { nrikit.Refusals(t, flavour) }
func TestConflicts(t *testing.T)    { nrikit.Conflicts(t, flavour) }
func TestSynchronize(t *testing.T)  { nrikit.Synchronize(t, flavour) }
func TestRelease(t *testing.T)      { nrikit.Release(t, flavour) }
func TestAgain(t *testing.T)        { nrikit.Again(t, flavour) }
func TestMessages(t *testing.T)     { nrikit.Messages(t, flavour) }
func TestAnswers(t *testing.T)      { nrikit.Answers(t, flavour) }
func TestLate(t *testing.T)         { nrikit.Late(t, flavour, false) }
func TestReconnects(t *testing.T)   { nrikit.Reconnects(t, flavour, 100) }
func TestLaunched(t *testing.T)     { nrikit.Launched(t, flavour) }
