// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// What deploy/kustomize/README.md promises of the pod, whoever rendered it.

func specOf(t testing.TB, d *doc) *corev1.PodSpec {
	t.Helper()
	raw, ok := podSpec(d)
	if !ok {
		return nil
	}
	text, err := yaml.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	spec := &corev1.PodSpec{}
	if err := yaml.UnmarshalStrict(text, spec); err != nil {
		t.Fatal(err)
	}
	return spec
}

func ours(d *doc) bool {
	return strings.HasPrefix(d.from, "helm ") || strings.HasPrefix(d.from, "kustomize ")
}

func TestNothingAsksTheAPIServerForRights(t *testing.T) {
	everyDoc(t, func(t *testing.T, d *doc) {
		if strings.HasPrefix(d.str("apiVersion"), "rbac.") || strings.Contains(string(d.text), "RoleBinding") {
			t.Errorf("%s: RBAC", d.from)
		}
		spec := specOf(t, d)
		if spec == nil {
			return
		}
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			t.Errorf("%s: a token is mounted", d.from)
		}
		if !ours(d) {
			return
		}
		for _, v := range spec.Volumes {
			if v.Projected != nil || v.Secret != nil {
				t.Errorf("%s: volume %s", d.from, v.Name)
			}
		}
	})
}

// what a container of ours may mount, and whether to write
var mounts = map[string]map[string]bool{
	"pgpud": {
		"/etc/pgpu":                       false,
		"/var/lib/kubelet/device-plugins": true,
		"/var/lib/kubelet/pod-resources":  false,
		"/var/run/cdi":                    true,
		"/var/run/nri":                    false,
		"/run/pgpu":                       true,
		"/run/pgpu-hwd":                   false,
		"/var/log/pgpu":                   true,
		// also with `validations` off: what was written while it was on is removed then
		"/run/nvidia/validations":                           true,
		"/etc/kubernetes/node-feature-discovery/features.d": true,
	},
	"pgpu-hwd": {"/etc/pgpu": false, "/run/pgpu-hwd": true, "/sys": true, "/dev": true},
	"doctor":   {"/host": false},
}

func checkPod(d *doc, spec *corev1.PodSpec, holders bool) (problems []string) {
	say := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if spec.HostNetwork || spec.HostIPC || spec.HostPID != holders {
		say("host namespaces: network %v, ipc %v, pid %v", spec.HostNetwork, spec.HostIPC, spec.HostPID)
	}
	paths := map[string]string{}
	for _, v := range spec.Volumes {
		if v.HostPath != nil {
			paths[v.Name] = v.HostPath.Path
		}
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		sc := c.SecurityContext
		allowed, known := mounts[c.Name]
		if !known {
			say("container %s is not known", c.Name)
			continue
		}
		if sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem {
			say("%s: root can be written", c.Name)
			continue
		}
		privileged := sc.Privileged != nil && *sc.Privileged
		if privileged != (c.Name == "pgpu-hwd") {
			say("%s: privileged %v", c.Name, privileged)
		}
		if !privileged {
			if sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation {
				say("%s: may gain privileges", c.Name)
			}
			if sc.Capabilities == nil || len(sc.Capabilities.Add) > 0 ||
				!slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				say("%s: capabilities %+v", c.Name, sc.Capabilities)
			}
			profile := spec.SecurityContext.SeccompProfile
			if sc.SeccompProfile != nil {
				profile = sc.SeccompProfile
			}
			if profile == nil || profile.Type == corev1.SeccompProfileTypeUnconfined {
				say("%s: no seccomp profile", c.Name)
			}
		}
		for _, m := range c.VolumeMounts {
			write, ok := allowed[m.MountPath]
			if !ok || write == m.ReadOnly || m.SubPath != "" || m.MountPropagation != nil {
				say("%s: mount %+v", c.Name, m)
			}
			host, isHost := paths[m.Name]
			if isHost && c.Name == "pgpud" && (strings.HasPrefix(host, "/sys") || strings.HasPrefix(host, "/dev") || host == "/") {
				say("pgpud sees %s", host)
			}
		}
		if len(c.VolumeMounts) != len(allowed) {
			say("%s: %d mounts, not %d", c.Name, len(c.VolumeMounts), len(allowed))
		}
		if len(c.VolumeDevices) > 0 || len(c.Env) > 0 || len(c.EnvFrom) > 0 || c.Lifecycle != nil {
			say("%s: devices, environment or hooks", c.Name)
		}
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			say("%s: resources %+v", c.Name, c.Resources)
		}
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				say("%s: host port", c.Name)
			}
		}
		if c.Name == "doctor" {
			continue
		}
		for what, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe} {
			if p == nil || p.Exec == nil || len(p.Exec.Command) != 3 || p.Exec.Command[0] != "/usr/bin/pgpuctl" {
				say("%s: %s probe %+v", c.Name, what, p)
			}
		}
	}
	return problems
}

func TestPodsHaveNoMoreThanTheyNeed(t *testing.T) {
	pods := 0
	everyDoc(t, func(t *testing.T, d *doc) {
		spec := specOf(t, d)
		if spec == nil || !ours(d) {
			return
		}
		pods++
		for _, p := range checkPod(d, spec, strings.Contains(t.Name(), "helm/everything")) {
			t.Errorf("%s: %s", d.from, p)
		}
	})
	if pods < len(valuesFiles)+4 {
		t.Errorf("%d pods", pods)
	}
}

// Every promise is looked at: a pod that breaks one is found.
func TestABrokenPromiseIsFound(t *testing.T) {
	for what, spoil := range map[string]func(p *corev1.PodSpec){
		"host network":   func(p *corev1.PodSpec) { p.HostNetwork = true },
		"host processes": func(p *corev1.PodSpec) { p.HostPID = true },
		"privileged": func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext.Privileged = p.Containers[1].SecurityContext.Privileged
		},
		"capabilities": func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext.Capabilities.Add = []corev1.Capability{"NET_RAW"}
		},
		"all but one":   func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Capabilities.Drop[0] = "NET_RAW" },
		"escalation":    func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil },
		"writable root": func(p *corev1.PodSpec) { p.Containers[1].SecurityContext.ReadOnlyRootFilesystem = nil },
		"seccomp":       func(p *corev1.PodSpec) { p.SecurityContext.SeccompProfile = nil },
		"hardware":      func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts[1].Name = "sys" },
		"another mount": func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts[1].MountPath = "/var/lib/kubelet" },
		"more mounts": func(p *corev1.PodSpec) {
			p.Containers[0].VolumeMounts = append(p.Containers[0].VolumeMounts, p.Containers[1].VolumeMounts...)
		},
		"write":           func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts[2].ReadOnly = false },
		"host port":       func(p *corev1.PodSpec) { p.Containers[0].Ports[0].HostPort = 9407 },
		"probe":           func(p *corev1.PodSpec) { p.Containers[1].LivenessProbe = nil },
		"another program": func(p *corev1.PodSpec) { p.Containers[0].Name = "shell" },
		"limits":          func(p *corev1.PodSpec) { p.Containers[0].Resources.Limits = nil },
	} {
		d := find(t, mustHelm(t, ""), "DaemonSet", "pgpu")
		spec := specOf(t, d)
		if p := checkPod(d, spec, false); len(p) > 0 {
			t.Fatal(p)
		}
		spoil(spec)
		if len(checkPod(d, spec, false)) == 0 {
			t.Errorf("%s: not found", what)
		}
	}
}

// Pod Security admission's own rules: but for its hostPath volumes, pgpud would pass "baseline"; what
// of "restricted" is left is that it is root by number.
func TestPgpudAlonePassesPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	d := find(t, mustHelm(t, ""), "DaemonSet", "pgpu")
	spec := specOf(t, d)
	spec.Containers = spec.Containers[:1]
	level := func(l api.Level) []string {
		var list []string
		for _, r := range evaluator.EvaluatePod(api.LevelVersion{Level: l, Version: api.LatestVersion()}, &metav1.ObjectMeta{}, spec) {
			if !r.Allowed {
				list = append(list, r.ForbiddenReason)
			}
		}
		slices.Sort(list)
		return list
	}
	if got := level(api.LevelBaseline); !slices.Equal(got, []string{"hostPath volumes"}) {
		t.Errorf("baseline: %q", got)
	}
	want := []string{"restricted volume types", "runAsNonRoot != true", "runAsUser=0"}
	if got := level(api.LevelRestricted); !slices.Equal(got, want) {
		t.Errorf("restricted: %q", got)
	}
}

// The SCC lets the pod in, and would not let in more than it has.
func TestSCC(t *testing.T) {
	for _, holders := range []string{"false", "true"} {
		docs := mustHelm(t, "openshift: {enabled: true}\nhwd: {holderNames: "+holders+"}\n")
		scc := securityContextConstraints{}
		if err := yaml.UnmarshalStrict(find(t, docs, "SecurityContextConstraints", "pgpu").text, &scc); err != nil {
			t.Fatal(err)
		}
		d := find(t, docs, "DaemonSet", "pgpu")
		spec := specOf(t, d)
		if scc.AllowHostNetwork || scc.AllowHostPorts || scc.AllowHostIPC || scc.AllowHostPID != spec.HostPID {
			t.Error("host namespaces")
		}
		if !scc.AllowPrivilegedContainer || scc.AllowPrivilegeEscalation == nil || !*scc.AllowPrivilegeEscalation ||
			!scc.AllowHostDirVolumePlugin || !scc.ReadOnlyRootFilesystem || *scc.RunAsUser.UID != *spec.SecurityContext.RunAsUser {
			t.Error("the pod is not let in")
		}
		if len(scc.AllowedCapabilities)+len(scc.DefaultAddCapabilities)+len(scc.RequiredDropCapabilities) > 0 {
			t.Error("capabilities")
		}
		for _, v := range spec.Volumes {
			kind := "configMap"
			if v.HostPath != nil {
				kind = "hostPath"
			}
			if !slices.Contains(scc.Volumes, kind) {
				t.Errorf("volume %s", v.Name)
			}
		}
		if len(scc.Volumes) != 2 || len(scc.Groups) != 0 ||
			!slices.Equal(scc.Users, []string{"system:serviceaccount:pgpu-system:" + spec.ServiceAccountName}) {
			t.Errorf("%v %v %v", scc.Volumes, scc.Groups, scc.Users)
		}
		if d.str("spec", "template", "metadata", "annotations", "openshift.io/required-scc") != scc.Name {
			t.Error("the pod does not ask for it")
		}
	}
}

// On OpenShift pgpud can talk to CRI-O's NRI socket, whoever sets nothing; elsewhere no type is forced.
func TestSELinuxType(t *testing.T) {
	for values, want := range map[string]string{
		"":                           "",
		"openshift: {enabled: true}": "spc_t",
		"openshift: {enabled: true}\npgpud: {seLinuxOptions: {type: pgpud_t}}": "pgpud_t",
		"pgpud: {seLinuxOptions: {type: spc_t}}":                               "spc_t",
	} {
		got := ""
		if o := specOf(t, find(t, mustHelm(t, values), "DaemonSet", "pgpu")).Containers[0].SecurityContext.SELinuxOptions; o != nil {
			got = o.Type
		}
		if got != want {
			t.Errorf("%q: %q, not %q", values, got, want)
		}
	}
}

// The schema refuses what is wrong, not what Kubernetes and registries take.
func TestSchemaTakesWhatIsRight(t *testing.T) {
	for values, right := range map[string]bool{
		"pgpud: {resources: {limits: {cpu: 0.5}}}":                   true,
		"pgpud: {resources: {limits: {cpu: 1, memory: 100Mi}}}":      true,
		"hwd: {resources: {requests: {cpu: \"0.5\"}}}":               true,
		"pgpud: {resources: {limits: {cpu: true}}}":                  false,
		"image: {repository: my_pgpu}":                               true,
		"image: {repository: my_team/pgpu}":                          true,
		"image: {repository: \"localhost:5000/my_team/pgpu\"}":       true,
		"image: {repository: \"registry.example.com/PGPU\"}":         false,
		"image: {repository: \"registry.example.com/pgpu:1\"}":       false,
		"image: {repository: \"https://registry.example.com/pgpu\"}": false,
	} {
		_, _, err := release{values: values}.helm(t)
		if (err == nil) != right {
			t.Errorf("%q: %v", values, err)
		}
	}
}

// A node with a finding makes the preflight Job Failed, never Complete: who waits for one alone hangs.
func TestPreflightIsWaitedForAsItEnds(t *testing.T) {
	job := find(t, kustomize(t, kustomizeDir+"/overlays/preflight"), "Job", "pgpu-preflight")
	if n, ok := job.at("spec", "backoffLimitPerIndex").(float64); !ok || n != 0 {
		t.Errorf("backoffLimitPerIndex %v", job.at("spec", "backoffLimitPerIndex"))
	}
	for _, f := range []string{kustomizeDir + "/README.md", kustomizeDir + "/overlays/preflight/kustomization.yaml"} {
		text := readSource(t, f)
		if !strings.Contains(text, "for end in Complete Failed; do") || !strings.Contains(text, "wait --for=condition=$end") ||
			strings.Contains(text, "condition=Complete") {
			t.Errorf("%s: waits for one end alone", f)
		}
	}
}
