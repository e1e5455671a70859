// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// The image of sandboxes and containers, one static program, and where it can be pulled. Runtimes
// speak plain HTTP to a registry on the loopback interface.
const (
	registryAddress = "127.0.0.1:5000"
	guestImage      = registryAddress + "/guest:1"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// registry is the read-only half of the OCI distribution protocol, for one image.
type registry struct{ blobs map[string][]byte }

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// serveImage makes the image and serves it until the program ends.
func serveImage() error {
	program, err := os.ReadFile(filepath.Join(os.Getenv(binEnv), "e2e-guest"))
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "guest", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return err
	}
	if _, err := w.Write(program); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/guest"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}},
	})
	if err != nil {
		return err
	}
	blob := func(kind string, b []byte) map[string]any {
		return map[string]any{"mediaType": kind, "digest": digest(b), "size": len(b)}
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": blob(configType, config), "layers": []any{blob(layerType, layer.Bytes())},
	})
	if err != nil {
		return err
	}
	r := &registry{blobs: map[string][]byte{}}
	for _, b := range [][]byte{layer.Bytes(), config, manifest} {
		r.blobs[digest(b)] = b
	}
	r.blobs["1"] = manifest
	l, err := net.Listen("tcp", registryAddress)
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, r) }()
	return nil
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path == "/v2/" {
		return
	}
	rest, found := strings.CutPrefix(q.URL.Path, "/v2/guest/")
	kind, name, _ := strings.Cut(rest, "/")
	b := r.blobs[name]
	if !found || b == nil {
		http.NotFound(w, q)
		return
	}
	w.Header().Set("Docker-Content-Digest", digest(b))
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	w.Header().Set("Content-Type", "application/octet-stream")
	if kind == "manifests" {
		w.Header().Set("Content-Type", manifestType)
	}
	if q.Method != http.MethodHead {
		_, _ = w.Write(b)
	}
}
