// SPDX-License-Identifier: Apache-2.0

// Package protos compares our .proto files with the descriptors of k8s.io/kubelet, containerd's NRI
// and ttRPC: every message, field name, number and type that we define has to be upstream's, and
// every value of an enum.
package protos

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/bufbuild/protocompile"
	nri "github.com/containerd/nri/pkg/api"
	"github.com/containerd/ttrpc"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	deviceplugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
	"pgpu.local/peers/kit"
)

func TestProtosAreUpstreams(t *testing.T) {
	for file, upstream := range map[string]protoreflect.FileDescriptor{
		"deviceplugin.proto":       (&deviceplugin.Device{}).ProtoReflect().Descriptor().ParentFile(),
		"podresources.proto":       (&podresources.PodResources{}).ProtoReflect().Descriptor().ParentFile(),
		"pluginregistration.proto": (&registration.PluginInfo{}).ProtoReflect().Descriptor().ParentFile(),
		"nri.proto":                (&nri.PodSandbox{}).ProtoReflect().Descriptor().ParentFile(),
		"ttrpc.proto":              (&ttrpc.Request{}).ProtoReflect().Descriptor().ParentFile(),
		"status.proto":             (&status.Status{}).ProtoReflect().Descriptor().ParentFile(),
	} {
		t.Run(file, func(t *testing.T) {
			ours := parse(t, file)
			if ours.Package() != upstream.Package() {
				t.Errorf("package %s, upstream %s", ours.Package(), upstream.Package())
			}
			if n := compare(t, ours.Messages(), upstream.Messages()); n < 2 {
				t.Errorf("only %d fields compared", n)
			}
			compareEnums(t, ours.Enums(), upstream.Enums())
		})
	}
}

func parse(t *testing.T, file string) protoreflect.FileDescriptor {
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		// The second is for imports, which are written from the project's root.
		ImportPaths: []string{filepath.Clean(kit.Source(t, "proto")), filepath.Clean(kit.Source(t, "."))},
	})}
	files, err := c.Compile(context.Background(), file)
	if err != nil {
		t.Fatal(err)
	}
	return files[0]
}

func compare(t *testing.T, ours, theirs protoreflect.MessageDescriptors) (fields int) {
	for i := range ours.Len() {
		m := ours.Get(i)
		u := theirs.ByName(m.Name())
		if u == nil {
			t.Errorf("message %s is not upstream", m.Name())
			continue
		}
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			g := u.Fields().ByName(f.Name())
			if g == nil {
				t.Errorf("%s.%s is not upstream", m.Name(), f.Name())
				continue
			}
			if shape(f) != shape(g) {
				t.Errorf("%s.%s is %+v, upstream %+v", m.Name(), f.Name(), shape(f), shape(g))
			}
			fields++
		}
		for j := range u.Fields().Len() {
			if g := u.Fields().Get(j); m.Fields().ByName(g.Name()) == nil {
				t.Logf("%s.%s = %d is upstream's and not ours", m.Name(), g.Name(), g.Number())
			}
		}
		fields += compare(t, m.Messages(), u.Messages())
	}
	return fields
}

func compareEnums(t *testing.T, ours, theirs protoreflect.EnumDescriptors) {
	for i := range ours.Len() {
		e := ours.Get(i)
		u := theirs.ByName(e.Name())
		if u == nil {
			t.Errorf("enum %s is not upstream", e.Name())
			continue
		}
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			if w := u.Values().ByName(v.Name()); w == nil || w.Number() != v.Number() {
				t.Errorf("%s.%s = %d is not upstream", e.Name(), v.Name(), v.Number())
			}
		}
	}
}

// form is what decides about the bytes on the wire.
type form struct {
	number   protoreflect.FieldNumber
	kind     protoreflect.Kind
	message  protoreflect.Name
	list     bool
	isMap    bool
	isPacked bool
}

func shape(f protoreflect.FieldDescriptor) form {
	s := form{number: f.Number(), kind: f.Kind(), list: f.IsList(), isMap: f.IsMap(), isPacked: f.IsPacked()}
	if f.Message() != nil {
		s.message = f.Message().Name()
	}
	return s
}
