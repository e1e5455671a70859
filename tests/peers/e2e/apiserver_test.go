// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// apiAddress is where the kubelet finds the API. A kubelet without an API server knows no
// RuntimeClass: all of its pods would have the runtime's default handler.
const apiAddress = "127.0.0.1:8080"

// object is any API object.
type object = map[string]any

// api is what a kubelet needs of an API server: a store of objects with lists, watches, patches of the
// status, and the two steps in which a pod is deleted. It checks nothing; the tests write valid objects.
type api struct {
	mu      sync.Mutex
	changed *sync.Cond
	version int
	store   map[string]map[string]object // resource, then namespace/name
	log     []change
}

type change struct {
	version  int
	resource string
	kind     string // of watch.Event
	object   object
}

// kinds of the resources whose lists are asked for.
var kinds = map[string]string{
	"pods": "Pod", "nodes": "Node", "services": "Service", "leases": "Lease", "events": "Event",
	"runtimeclasses": "RuntimeClass", "csinodes": "CSINode", "csidrivers": "CSIDriver",
	"configmaps": "ConfigMap", "secrets": "Secret",
}

func serveAPI() (*api, error) {
	a := &api{store: map[string]map[string]object{}}
	a.changed = sync.NewCond(&a.mu)
	l, err := net.Listen("tcp", apiAddress)
	if err != nil {
		return nil, err
	}
	go func() { _ = http.Serve(l, a) }()
	return a, nil
}

// place is a request's path taken apart.
type place struct{ group, resource, namespace, name, sub string }

func (p place) key() string { return p.namespace + "/" + p.name }

// locate: /api/v1/… or /apis/GROUP/VERSION/…, then [namespaces/NS/]RESOURCE[/NAME[/SUB]].
func locate(path string) (p place, ok bool) {
	f := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(f) > 2 && f[0] == "api":
		p.group, f = f[1], f[2:]
	case len(f) > 3 && f[0] == "apis":
		p.group, f = f[1]+"/"+f[2], f[3:]
	default:
		return p, false
	}
	if f[0] == "namespaces" && len(f) > 2 {
		p.namespace, f = f[1], f[2:]
	}
	f = append(f, "", "")
	p.resource, p.name, p.sub = f[0], f[1], f[2]
	return p, true
}

func meta(o object) object {
	m, _ := o["metadata"].(object)
	if m == nil {
		m = object{}
		o["metadata"] = m
	}
	return m
}

func text(o object, path ...string) string {
	var at any = o
	for _, p := range path {
		m, _ := at.(object)
		at = m[p]
	}
	s, _ := at.(string)
	return s
}

// clone, since an object in the log must stay as it was.
func clone(o object) object {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	var c object
	if err := json.Unmarshal(b, &c); err != nil {
		panic(err)
	}
	return c
}

// put stores the object and tells the watchers. The lock is held.
func (a *api) put(p place, kind string, o object) object {
	a.version++
	o = clone(o)
	m := meta(o)
	m["resourceVersion"] = strconv.Itoa(a.version)
	if kind == "DELETED" {
		delete(a.store[p.resource], p.key())
	} else {
		if a.store[p.resource] == nil {
			a.store[p.resource] = map[string]object{}
		}
		a.store[p.resource][p.key()] = o
	}
	a.log = append(a.log, change{a.version, p.resource, kind, o})
	a.changed.Broadcast()
	return o
}

// create gives the object what a server gives it.
func (a *api) create(p place, o object) object {
	m := meta(o)
	if p.name == "" {
		p.name, _ = m["name"].(string)
	}
	if p.name == "" {
		p.name = fmt.Sprintf("%s%d", m["generateName"], a.version+1)
	}
	m["name"] = p.name
	if p.namespace != "" {
		m["namespace"] = p.namespace
	}
	if m["uid"] == nil {
		m["uid"] = fmt.Sprintf("00000000-0000-4000-8000-%012d", a.version+1)
	}
	m["creationTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	o["apiVersion"] = p.group
	if k := kinds[p.resource]; k != "" {
		o["kind"] = k
	}
	return a.put(p, "ADDED", o)
}

// selected is for metadata.name and spec.nodeName, by which kubelets select; all else matches.
func selected(o object, selector string) bool {
	for _, term := range strings.Split(selector, ",") {
		field, want, _ := strings.Cut(term, "=")
		path := strings.Split(field, ".")
		if (field == "metadata.name" || field == "spec.nodeName") && text(o, path...) != strings.TrimPrefix(want, "=") {
			return false
		}
	}
	return true
}

func (a *api) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	p, ok := locate(q.URL.Path)
	if !ok {
		fail(w, http.StatusNotFound, "NotFound", q.URL.Path)
		return
	}
	body, _ := io.ReadAll(q.Body)
	if q.Method == http.MethodGet && p.name == "" {
		if v := q.URL.Query().Get("watch"); v == "true" || v == "1" {
			a.watch(w, q, p)
			return
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.store[p.resource][p.key()]
	switch {
	case q.Method == http.MethodPost:
		var o object
		if json.Unmarshal(body, &o) != nil {
			fail(w, http.StatusBadRequest, "BadRequest", "no JSON")
			return
		}
		if name := text(o, "metadata", "name"); a.store[p.resource][p.namespace+"/"+name] != nil {
			fail(w, http.StatusConflict, "AlreadyExists", name)
			return
		}
		answer(w, http.StatusCreated, a.create(p, o))
	case q.Method == http.MethodGet && p.name == "":
		a.list(w, q, p)
	case q.Method == http.MethodDelete && p.name == "":
		answer(w, http.StatusOK, object{"kind": "Status", "apiVersion": "v1", "status": "Success"})
	case old == nil:
		fail(w, http.StatusNotFound, "NotFound", q.URL.Path)
	case q.Method == http.MethodGet:
		answer(w, http.StatusOK, old)
	case q.Method == http.MethodPut:
		var o object
		if json.Unmarshal(body, &o) != nil {
			fail(w, http.StatusBadRequest, "BadRequest", "no JSON")
			return
		}
		answer(w, http.StatusOK, a.put(p, "MODIFIED", o))
	case q.Method == http.MethodPatch:
		a.patch(w, p, old, body)
	case q.Method == http.MethodDelete:
		a.remove(w, p, old, body)
	default:
		fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", q.Method)
	}
}

func answer(w http.ResponseWriter, code int, o object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o)
}

func fail(w http.ResponseWriter, code int, reason, message string) {
	answer(w, code, object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
		"reason": reason, "message": message})
}

// patch is strategic for what has lists that are merged by key; the kubelet patches nothing else.
func (a *api) patch(w http.ResponseWriter, p place, old object, body []byte) {
	types := map[string]any{"pods": v1.Pod{}, "nodes": v1.Node{}, "events": v1.Event{}}
	if types[p.resource] == nil {
		fail(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", p.resource)
		return
	}
	before, _ := json.Marshal(old)
	after, err := strategicpatch.StrategicMergePatch(before, body, types[p.resource])
	var o object
	if err == nil {
		err = json.Unmarshal(after, &o)
	}
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, "Invalid", err.Error())
		return
	}
	answer(w, http.StatusOK, a.put(p, "MODIFIED", o))
}

// remove: a pod that is to end gracefully is only marked; the kubelet deletes it with a period of 0
// when it has ended.
func (a *api) remove(w http.ResponseWriter, p place, old object, body []byte) {
	var options struct {
		GracePeriodSeconds *int64
		Preconditions      struct{ UID *string }
	}
	_ = json.Unmarshal(body, &options)
	if uid := options.Preconditions.UID; uid != nil && *uid != text(old, "metadata", "uid") {
		fail(w, http.StatusConflict, "Conflict", "another UID")
		return
	}
	grace := int64(0)
	if p.resource == "pods" {
		grace = 30
	}
	if options.GracePeriodSeconds != nil {
		grace = *options.GracePeriodSeconds
	}
	if grace == 0 {
		answer(w, http.StatusOK, a.put(p, "DELETED", old))
		return
	}
	o := clone(old)
	meta(o)["deletionTimestamp"] = time.Now().UTC().Add(time.Duration(grace) * time.Second).Format(time.RFC3339)
	meta(o)["deletionGracePeriodSeconds"] = grace
	answer(w, http.StatusOK, a.put(p, "MODIFIED", o))
}

// of are the objects of a place, in the order of their names. The lock is held.
func (a *api) of(p place, selector string) (list []object) {
	for _, key := range slices.Sorted(maps.Keys(a.store[p.resource])) {
		o := a.store[p.resource][key]
		if (p.namespace == "" || strings.HasPrefix(key, p.namespace+"/")) && selected(o, selector) {
			list = append(list, o)
		}
	}
	return list
}

func (a *api) list(w http.ResponseWriter, q *http.Request, p place) {
	items := a.of(p, q.URL.Query().Get("fieldSelector"))
	if items == nil {
		items = []object{}
	}
	answer(w, http.StatusOK, object{"kind": kinds[p.resource] + "List", "apiVersion": p.group, "items": items,
		"metadata": object{"resourceVersion": strconv.Itoa(a.version)}})
}

// watch streams what has happened since the version that is asked for, or, for a watch that begins
// with a list, what there is, a bookmark, and then what happens.
func (a *api) watch(w http.ResponseWriter, q *http.Request, p place) {
	query := q.URL.Query()
	selector := query.Get("fieldSelector")
	since, _ := strconv.Atoi(query.Get("resourceVersion"))
	out := json.NewEncoder(w)
	flush := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/json")
	send := func(kind string, o object) error {
		if err := out.Encode(object{"type": kind, "object": o}); err != nil {
			return err
		}
		return flush.Flush()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if query.Get("sendInitialEvents") == "true" {
		for _, o := range a.of(p, selector) {
			if send("ADDED", o) != nil {
				return
			}
		}
		since = a.version
		mark := object{"kind": kinds[p.resource], "apiVersion": p.group, "metadata": object{
			"resourceVersion": strconv.Itoa(since),
			"annotations":     object{"k8s.io/initial-events-end": "true"}}}
		if send("BOOKMARK", mark) != nil {
			return
		}
	}
	_ = flush.Flush()
	go func() { // a client that goes away wakes its watch
		<-q.Context().Done()
		a.mu.Lock()
		a.changed.Broadcast()
		a.mu.Unlock()
	}()
	next, _ := slices.BinarySearchFunc(a.log, since+1, func(c change, v int) int { return c.version - v })
	for q.Context().Err() == nil {
		for ; next < len(a.log); next++ {
			c := a.log[next]
			if c.resource != p.resource || !selected(c.object, selector) {
				continue
			}
			if p.namespace != "" && text(c.object, "metadata", "namespace") != p.namespace {
				continue
			}
			if send(c.kind, c.object) != nil {
				return
			}
		}
		a.changed.Wait()
	}
}
