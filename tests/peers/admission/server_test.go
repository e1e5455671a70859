// SPDX-License-Identifier: Apache-2.0

// Package admission puts the files of deploy/admission before the API server's own admission code:
// they are decoded, defaulted and validated as on creation, and the two policy plugins decide about
// pods with them.
package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/discovery"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	admissionvalidation "k8s.io/kubernetes/pkg/apis/admissionregistration/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"pgpu.local/peers/kit"
	"sigs.k8s.io/yaml"
)

// Unknown and duplicate fields are errors.
var strict = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()

// file is a path and its text, which a test may have changed.
type file struct{ path, text string }

const dir = "deploy/admission/"

// shipped reads the files that an operator applies; mutate is v1 or v1beta1.
func shipped(t testing.TB, mutate string) []file {
	t.Helper()
	var files []file
	for _, pattern := range []string{"namespace.yaml", "params/*.yaml", "validate/*.yaml", "mutate/" + mutate + ".yaml"} {
		paths, err := filepath.Glob(kit.Source(t, dir+pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(paths))
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file{path, string(text)})
		}
	}
	return files
}

// objects decodes, defaults, converts to the internal version and validates what the files hold, as
// the API server does when they are created, and gives it back as v1.
func objects(files []file) ([]runtime.Object, error) {
	var list []runtime.Object
	for _, f := range files {
		for _, doc := range strings.Split(f.text, "\n---\n") {
			obj, _, err := strict.Decode([]byte(doc), nil, nil)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.path, err)
			}
			v1obj, err := create(obj)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.path, err)
			}
			list = append(list, v1obj)
		}
	}
	return list, nil
}

func create(obj runtime.Object) (runtime.Object, error) {
	legacyscheme.Scheme.Default(obj)
	group := obj.GetObjectKind().GroupVersionKind().Group
	internal, err := legacyscheme.Scheme.ConvertToVersion(obj, schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal})
	if err != nil {
		return nil, err
	}
	var errs field.ErrorList
	switch o := internal.(type) {
	case *admissionregistration.ValidatingAdmissionPolicy:
		errs = admissionvalidation.ValidateValidatingAdmissionPolicy(o)
	case *admissionregistration.ValidatingAdmissionPolicyBinding:
		errs = admissionvalidation.ValidateValidatingAdmissionPolicyBinding(o)
	case *admissionregistration.MutatingAdmissionPolicy:
		errs = admissionvalidation.ValidateMutatingAdmissionPolicy(o)
	case *admissionregistration.MutatingAdmissionPolicyBinding:
		errs = admissionvalidation.ValidateMutatingAdmissionPolicyBinding(o)
	case *core.ConfigMap:
		errs = corevalidation.ValidateConfigMap(o)
	case *core.Namespace:
		errs = corevalidation.ValidateNamespace(o)
	default:
		return nil, fmt.Errorf("unexpected %T", o)
	}
	if err := errs.ToAggregate(); err != nil {
		return nil, err
	}
	return legacyscheme.Scheme.ConvertToVersion(internal, schema.GroupVersion{Group: group, Version: "v1"})
}

// client is the fake client set with the real OpenAPI documents, which the plugins ask for.
type client struct{ *fake.Clientset }

type withOpenAPI struct{ discovery.DiscoveryInterface }

func (c client) Discovery() discovery.DiscoveryInterface { return withOpenAPI{c.Clientset.Discovery()} }
func (withOpenAPI) OpenAPIV3() openapi.Client            { return openapitest.NewEmbeddedFileClient() }

type nobody struct{}

func (nobody) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionNoOpinion, "", nil
}

// server is the admission chain: the mutating plugin, then the validating one.
type server struct {
	mutating   *mutating.Plugin
	validating *validating.Plugin
	objects    admission.ObjectInterfaces
}

func restMapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion})
	for _, kind := range []string{"Pod", "ConfigMap", "Binding"} {
		m.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	return m
}

// start brings up both plugins with the files' objects and the namespaces that the cases use.
func start(t testing.TB, files []file) (*server, error) {
	t.Helper()
	list, err := objects(files)
	if err != nil {
		return nil, err
	}
	for _, ns := range []string{"tenant", "kube-system"} {
		list = append(list, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{corev1.LabelMetadataName: ns}}})
	}
	for _, obj := range list {
		// the API server sets it on every namespace
		if ns, ok := obj.(*corev1.Namespace); ok {
			ns.Labels[corev1.LabelMetadataName] = ns.Name
		}
		if m, err := meta.Accessor(obj); err != nil {
			return nil, err
		} else {
			m.SetResourceVersion("1")
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	c := client{fake.NewClientset(list...)}
	factory := informers.NewSharedInformerFactory(c, 0)
	s := &server{objects: admission.NewObjectInterfacesFromScheme(legacyscheme.Scheme)}
	if s.mutating, err = mutating.NewPlugin(nil); err != nil {
		return nil, err
	}
	if s.validating, err = validating.NewPlugin(nil); err != nil {
		return nil, err
	}
	s.mutating.SetEnabled(true)
	s.validating.SetEnabled(true)
	for _, p := range []interface {
		SetExternalKubeClientSet(kubernetes.Interface)
		SetExternalKubeInformerFactory(informers.SharedInformerFactory)
		SetRESTMapper(meta.RESTMapper)
		SetAuthorizer(authorizer.Authorizer)
		SetDrainedNotification(<-chan struct{})
	}{s.mutating, s.validating} {
		p.SetExternalKubeClientSet(c)
		p.SetExternalKubeInformerFactory(factory)
		p.SetRESTMapper(restMapper())
		p.SetAuthorizer(nobody{})
		p.SetDrainedNotification(ctx.Done())
	}
	dynamic := dynamicfake.NewSimpleDynamicClient(legacyscheme.Scheme)
	s.mutating.SetDynamicClient(dynamic)
	s.validating.SetDynamicClient(dynamic)
	if err := errors.Join(s.mutating.ValidateInitialization(), s.validating.ValidateInitialization()); err != nil {
		return nil, err
	}
	// The policies' parameters come from this informer; a request waits no more than a second for it.
	factory.Core().V1().ConfigMaps().Informer()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for end := time.Now().Add(60 * time.Second); !s.mutating.WaitForReady() || !s.validating.WaitForReady(); {
		if time.Now().After(end) {
			return nil, errors.New("the plugins do not get ready")
		}
	}
	return s, nil
}

// request is what a client sends; old is nil for a creation.
type request struct {
	obj, old       runtime.Object
	namespace      string
	subresource    string
	resource, kind string
	unchecked      bool // the API server's own validation would refuse it as well
	operation      admission.Operation
}

// send is the way of a request: defaulting, mutating admission, validation, validating admission. It
// gives the object as it would be stored.
func (s *server) send(r request) (runtime.Object, error) {
	internal, err := internalForm(r.obj)
	if err != nil {
		return nil, err
	}
	var old runtime.Object
	if r.old != nil {
		if old, err = internalForm(r.old); err != nil {
			return nil, err
		}
	}
	m, err := meta.Accessor(internal)
	if err != nil {
		return nil, err
	}
	attributes := admission.NewAttributesRecord(internal, old, corev1.SchemeGroupVersion.WithKind(r.kind), r.namespace, m.GetName(),
		corev1.SchemeGroupVersion.WithResource(r.resource), r.subresource, r.operation, nil, false, &user.DefaultInfo{Name: "tenant"})
	if err := s.mutate(attributes); err != nil {
		return nil, err
	}
	if pod, ok := internal.(*core.Pod); ok && r.operation == admission.Create && !r.unchecked {
		if err := corevalidation.ValidatePodCreate(pod, corevalidation.PodValidationOptions{}).ToAggregate(); err != nil {
			return nil, fmt.Errorf("the case itself is no valid pod: %w", err)
		}
	}
	if err := s.validating.Validate(context.Background(), attributes, s.objects); err != nil {
		return nil, err
	}
	return legacyscheme.Scheme.ConvertToVersion(internal, corev1.SchemeGroupVersion)
}

// mutate waits for the OpenAPI documents, which the plugin reads by itself after its start.
func (s *server) mutate(attributes admission.Attributes) error {
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := s.mutating.Admit(context.Background(), attributes, s.objects)
		var status apierrors.APIStatus
		if !errors.As(err, &status) || status.Status().Code != http.StatusServiceUnavailable || time.Now().After(end) {
			return err
		}
	}
}

func internalForm(obj runtime.Object) (runtime.Object, error) {
	obj = obj.DeepCopyObject()
	legacyscheme.Scheme.Default(obj)
	return legacyscheme.Scheme.ConvertToVersion(obj, core.SchemeGroupVersion)
}

// decode reads YAML into a v1 type; unknown fields are errors.
func decode(text []byte, into any) error { return yaml.UnmarshalStrict(text, into) }

func v1Form(internal runtime.Object) (*corev1.Pod, error) {
	obj, err := legacyscheme.Scheme.ConvertToVersion(internal, corev1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}
