// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgpu.local/peers/kit"
)

// The module of these types (github.com/openshift/api) could not be fetched. What is here are their field
// names: an object that decodes strictly has no other ones.

type securityContextConstraints struct {
	metav1.TypeMeta                 `json:",inline"`
	metav1.ObjectMeta               `json:"metadata"`
	Priority                        *int32              `json:"priority"`
	AllowPrivilegedContainer        bool                `json:"allowPrivilegedContainer"`
	DefaultAddCapabilities          []corev1.Capability `json:"defaultAddCapabilities"`
	RequiredDropCapabilities        []corev1.Capability `json:"requiredDropCapabilities"`
	AllowedCapabilities             []corev1.Capability `json:"allowedCapabilities"`
	AllowHostDirVolumePlugin        bool                `json:"allowHostDirVolumePlugin"`
	Volumes                         []string            `json:"volumes"`
	AllowHostNetwork                bool                `json:"allowHostNetwork"`
	AllowHostPorts                  bool                `json:"allowHostPorts"`
	AllowHostPID                    bool                `json:"allowHostPID"`
	AllowHostIPC                    bool                `json:"allowHostIPC"`
	DefaultAllowPrivilegeEscalation *bool               `json:"defaultAllowPrivilegeEscalation"`
	AllowPrivilegeEscalation        *bool               `json:"allowPrivilegeEscalation"`
	SELinuxContext                  struct {
		Type    string                 `json:"type"`
		Options *corev1.SELinuxOptions `json:"seLinuxOptions"`
	} `json:"seLinuxContext"`
	RunAsUser struct {
		Type string `json:"type"`
		UID  *int64 `json:"uid"`
	} `json:"runAsUser"`
	SupplementalGroups struct {
		Type string `json:"type"`
	} `json:"supplementalGroups"`
	FSGroup struct {
		Type string `json:"type"`
	} `json:"fsGroup"`
	ReadOnlyRootFilesystem bool     `json:"readOnlyRootFilesystem"`
	Users                  []string `json:"users"`
	Groups                 []string `json:"groups"`
	SeccompProfiles        []string `json:"seccompProfiles"`
	ForbiddenSysctls       []string `json:"forbiddenSysctls"`
}

type machineConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Config          json.RawMessage `json:"config"`
		KernelArguments []string        `json:"kernelArguments"`
		KernelType      string          `json:"kernelType"`
		Extensions      []string        `json:"extensions"`
		FIPS            bool            `json:"fips"`
		OSImageURL      string          `json:"osImageURL"`
	} `json:"spec"`
}

func selectorOf(labels map[string]string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: labels}
}

func readSource(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(kit.Source(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
