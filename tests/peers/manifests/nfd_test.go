// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	nfd "sigs.k8s.io/node-feature-discovery/api/nfd/v1alpha1"
	"sigs.k8s.io/node-feature-discovery/pkg/apis/nfd/nodefeaturerule"
	nfdvalidate "sigs.k8s.io/node-feature-discovery/pkg/apis/nfd/validate"
)

// featureRules decodes a NodeFeatureRule and has NFD's own code look at its parts.
func featureRules(d *doc) ([]nfd.Rule, error) {
	r := nfd.NodeFeatureRule{}
	if err := unmarshal(d.text, &r); err != nil {
		return nil, err
	}
	for _, rule := range r.Spec.Rules {
		errs := slices.Concat(nfdvalidate.MatchFeatures(rule.MatchFeatures), nfdvalidate.MatchAny(rule.MatchAny),
			nfdvalidate.Labels(rule.Labels), nfdvalidate.Taints(rule.Taints))
		// "@..." is the value of a feature: NFD puts it there before it looks
		static := maps.Clone(rule.ExtendedResources)
		for k, v := range static {
			if strings.HasPrefix(v, "@") {
				static[k] = "1"
			}
		}
		errs = append(errs, nfdvalidate.ExtendedResources(static)...)
		// operators are looked at when they are used
		if _, err := nodefeaturerule.Execute(&rule, features(true, map[string]string{}, map[string]string{}), false); err != nil {
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err != nil {
			return nil, fmt.Errorf("rule %s: %w", rule.Name, err)
		}
	}
	return r.Spec.Rules, nil
}

func features(gpu bool, security, local map[string]string) *nfd.Features {
	f := nfd.NewFeatures()
	devices := []nfd.InstanceFeature{*nfd.NewInstanceFeature(map[string]string{"vendor": "8086", "class": "0200", "device": "1593"})}
	if gpu {
		devices = append(devices, *nfd.NewInstanceFeature(map[string]string{"vendor": "10de", "class": "0302", "device": "2331"}))
	}
	f.Instances["pci.device"] = nfd.NewInstanceFeatures(devices...)
	f.Attributes["cpu.security"] = nfd.NewAttributeFeatures(security)
	f.Attributes["local.label"] = nfd.NewAttributeFeatures(local)
	return f
}

// What NFD makes of the rules on nodes of several kinds.
func TestNodeFeatureRules(t *testing.T) {
	docs := mustHelm(t, "nodeFeatureRule: {enabled: true, taint: true}")
	snp := map[string]string{"sev.snp.enabled": "true", "sev.encrypted_state_ids": "509"}
	tdx := map[string]string{"tdx.enabled": "true", "tdx.total_keys": "31"}
	ready := func(v string) map[string]string { return map[string]string{"nvidia.com/cc.ready.state": v} }
	const present = "feature.node.kubernetes.io/pgpu.present=true"
	const taint = "feature.node.kubernetes.io/pgpu-not-ready=true:NoSchedule"
	for name, c := range map[string]struct {
		f    *nfd.Features
		want []string
	}{
		"no GPU, no TEE":     {features(false, nil, nil), nil},
		"GPU, pgpud silent":  {features(true, nil, nil), []string{present, taint}},
		"GPU, under way":     {features(true, nil, ready("false")), []string{present, taint}},
		"GPU, failed":        {features(true, nil, ready("")), []string{present, taint}},
		"GPU, ready":         {features(true, nil, ready("true")), []string{present}},
		"SNP without GPU":    {features(false, snp, nil), []string{"amd.feature.node.kubernetes.io/snp=true", "sev-snp.amd.com/esids=509"}},
		"TDX, GPU, ready":    {features(true, tdx, ready("true")), []string{present, "intel.feature.node.kubernetes.io/tdx=true", "tdx.intel.com/keys=31"}},
		"ready without GPUs": {features(false, nil, ready("false")), nil},
	} {
		var got []string
		for i := range docs {
			if docs[i].str("kind") != "NodeFeatureRule" {
				continue
			}
			rules, err := featureRules(&docs[i])
			if err != nil {
				t.Fatal(err)
			}
			for _, rule := range rules {
				out, err := nodefeaturerule.Execute(&rule, c.f, true)
				if err != nil {
					t.Fatalf("%s: %s: %v", name, rule.Name, err)
				}
				for k, v := range out.Labels {
					got = append(got, k+"="+v)
				}
				for k, v := range out.ExtendedResources {
					if feature, ok := strings.CutPrefix(v, "@cpu.security."); ok {
						v = c.f.Attributes["cpu.security"].Elements[feature]
					}
					got = append(got, k+"="+v)
				}
				for _, taint := range out.Taints {
					got = append(got, taint.Key+"="+taint.Value+":"+string(taint.Effect))
				}
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}
