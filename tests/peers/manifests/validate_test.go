// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	ignition "github.com/coreos/ignition/v2/config/v3_4"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/node"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	nodevalidation "k8s.io/kubernetes/pkg/apis/node/validation"
	"k8s.io/kubernetes/pkg/capabilities"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Unknown and duplicate fields are errors in both.
var (
	strictCore = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	strictRest runtime.Decoder
)

func init() {
	s := runtime.NewScheme()
	if err := clientscheme.AddToScheme(s); err != nil {
		panic(err)
	}
	if err := monitoringv1.AddToScheme(s); err != nil {
		panic(err)
	}
	capabilities.Setup(true, 0) // as API servers run that admit privileged pods
	strictRest = serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer()
}

// validate is what the API server does when the object is created: decode strictly, default, convert,
// validate.
func validate(d *doc) error {
	switch d.str("kind") {
	case "SecurityContextConstraints":
		return unmarshal(d.text, &securityContextConstraints{})
	case "NodeFeatureRule":
		_, err := featureRules(d)
		return err
	case "MachineConfig":
		return validateMachineConfig(d)
	case "PodMonitor", "PrometheusRule", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
		"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding":
		// the policies are validated, and tried, by the module admission
		_, _, err := strictRest.Decode(d.text, nil, nil)
		return err
	}
	obj, _, err := strictCore.Decode(d.text, nil, nil)
	if err != nil {
		return err
	}
	legacyscheme.Scheme.Default(obj)
	internal, err := legacyscheme.Scheme.UnsafeConvertToVersion(obj, runtime.InternalGroupVersioner)
	if err != nil {
		return err
	}
	return validateInternal(internal)
}

func validateInternal(obj runtime.Object) error {
	var errs field.ErrorList
	opts := corevalidation.PodValidationOptions{}
	switch o := obj.(type) {
	case *core.Namespace:
		errs = corevalidation.ValidateNamespace(o)
	case *core.ServiceAccount:
		o.Namespace = orNamespace(o.Namespace)
		errs = corevalidation.ValidateServiceAccount(o)
	case *core.ConfigMap:
		o.Namespace = orNamespace(o.Namespace)
		errs = corevalidation.ValidateConfigMap(o)
	case *core.Secret:
		o.Namespace = orNamespace(o.Namespace)
		errs = corevalidation.ValidateSecret(o)
	case *core.Pod:
		o.Namespace = orNamespace(o.Namespace)
		errs = corevalidation.ValidatePodCreate(o, opts)
	case *apps.DaemonSet:
		errs = appsvalidation.ValidateDaemonSet(o, opts)
	case *batch.Job:
		// the selector is made by the API server, before it validates
		selector := true
		o.Spec.ManualSelector = &selector
		o.Spec.Selector = selectorOf(o.Spec.Template.Labels)
		errs = batchvalidation.ValidateJob(o, batchvalidation.JobValidationOptions{PodValidationOptions: opts})
	case *networking.NetworkPolicy:
		errs = networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{})
	case *node.RuntimeClass:
		errs = nodevalidation.ValidateRuntimeClass(o)
	default:
		return fmt.Errorf("nobody validates a %T", obj)
	}
	return errs.ToAggregate()
}

// unmarshal knows small letters from capitals, as the API server does and Go's JSON does not.
func unmarshal(text []byte, into any) error {
	j, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	strict, err := json.UnmarshalStrict(j, into)
	return errors.Join(append(strict, err)...)
}

func orNamespace(s string) string {
	if s == "" {
		return "default"
	}
	return s
}

func validateMachineConfig(d *doc) error {
	m := machineConfig{}
	if err := unmarshal(d.text, &m); err != nil {
		return err
	}
	_, report, err := ignition.ParseCompatibleVersion(m.Spec.Config)
	if err != nil {
		return fmt.Errorf("ignition: %w\n%s", err, report.String())
	}
	if len(report.Entries) > 0 {
		return fmt.Errorf("ignition: %s", report.String())
	}
	return nil
}

func TestEveryObjectIsWhatKubernetesTakes(t *testing.T) {
	everyDoc(t, func(t *testing.T, d *doc) {
		if err := validate(d); err != nil {
			t.Errorf("%s: %v", d.from, describe(err))
		}
	})
}

// A mistake in any of them would be noticed: the same objects, each with one.
func TestMistakesAreNoticed(t *testing.T) {
	docs := append(mustHelm(t, valuesFiles["everything"]), kustomize(t, kustomizeDir+"/overlays/preflight")...)
	for _, m := range []struct{ kind, old, new, want string }{
		{"DaemonSet", "hostPID:", "hostPids:", "unknown field"},
		{"DaemonSet", "readOnlyRootFilesystem:", "readonlyRootFilesystem:", "unknown field"},
		{"DaemonSet", "privileged: true", "privileged: true\n            allowPrivilegeEscalation: false", "cannot set"},
		{"DaemonSet", "maxSurge: 0", "maxSurge: 1", "may not be set when"},
		{"DaemonSet", "name: device-plugins\n", "name: device_plugins\n", "Not found"},
		{"DaemonSet", "app.kubernetes.io/component: node\n  updateStrategy", "app.kubernetes.io/component: other\n  updateStrategy", "does not match"},
		{"NetworkPolicy", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress, Ingres]", "Unsupported"},
		{"ConfigMap", "data:", "dota:", "unknown field"},
		{"SecurityContextConstraints", "allowHostIPC:", "allowHostIpc:", "unknown field"},
		{"NodeFeatureRule", "op: In", "op: Is", "Is"},
		{"NodeFeatureRule", "amd.feature.node.kubernetes.io/snp", "amd.node.kubernetes.io/snp", "amd.node.kubernetes.io"},
		{"NodeFeatureRule", "tdx.intel.com/keys", "keys", "keys"},
		{"NodeFeatureRule", "matchFeatures:", "matchFeature:", "unknown field"},
		{"Job", "completionMode: Indexed", "completionMode: NonIndexed", "backoffLimitPerIndex"},
		{"Namespace", "name: pgpu-system", "name: pgpu_system", "Invalid"},
	} {
		found := false
		for i := range docs {
			d := docs[i]
			if d.str("kind") != m.kind || !strings.Contains(string(d.text), m.old) {
				continue
			}
			found = true
			d.text = []byte(strings.Replace(string(d.text), m.old, m.new, 1))
			err := validate(&d)
			if err == nil || !strings.Contains(err.Error(), m.want) {
				t.Errorf("%s with %q: %v", m.kind, m.new, err)
			}
			break
		}
		if !found {
			t.Errorf("%s has no %q", m.kind, m.old)
		}
	}
}

// What the files say in base64 is said nowhere else: it is compared with its source.
func TestMachineConfigs(t *testing.T) {
	files := map[string]string{}
	everyDoc(t, func(t *testing.T, d *doc) {
		if d.str("kind") != "MachineConfig" {
			return
		}
		m := machineConfig{}
		if err := yaml.UnmarshalStrict(d.text, &m); err != nil {
			t.Fatal(err)
		}
		for _, arg := range m.Spec.KernelArguments {
			if strings.HasPrefix(arg, "iommu=") || strings.HasPrefix(arg, "iommu.passthrough=") {
				t.Errorf("%s: %s switches SEV-SNP off", d.from, arg)
			}
		}
		c, _, err := ignition.ParseCompatibleVersion(m.Spec.Config)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range c.Storage.Files {
			_, data, ok := strings.Cut(*f.Contents.Source, ";base64,")
			text, err := base64.StdEncoding.DecodeString(data)
			if !ok || err != nil {
				t.Fatalf("%s: %s: %v", d.from, f.Path, err)
			}
			if *f.Mode != 0o644 {
				t.Errorf("%s: %s: mode %o", d.from, f.Path, *f.Mode)
			}
			if old, ok := files[f.Path]; ok && old != string(text) {
				t.Errorf("%s: two contents of %s", d.from, f.Path)
			}
			files[f.Path] = string(text)
		}
	})
	if files["/etc/modules-load.d/pgpu.conf"] != "vfio-pci\nvfio_iommu_type1\niommufd\n" {
		t.Errorf("modules: %q", files["/etc/modules-load.d/pgpu.conf"])
	}
	if files["/etc/crio/crio.conf.d/10-pgpu.conf"] != readSource(t, "deploy/crio/10-pgpu.conf") {
		t.Error("machineconfig-crio.yaml does not hold deploy/crio/10-pgpu.conf")
	}
}
