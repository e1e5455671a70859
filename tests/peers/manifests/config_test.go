// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgpu.local/peers/kit"
)

const schemaFile = chartDir + "/values.schema.json"

var programs = map[string]string{"pgpud": "daemon/pgpud", "hwd": "hwd/pgpu-hwd"}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func checkConfig(t *testing.T, program, text string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(kit.Bin(t, programs[program]), "--config", path, "--check-config").CombinedOutput()
	return string(out), err
}

// What a ConfigMap holds, the programs take; and they are asked, not somebody who always agrees.
func TestProgramsTakeTheConfigurations(t *testing.T) {
	checked := 0
	everyDoc(t, func(t *testing.T, d *doc) {
		for program := range programs {
			text := d.str("data", program+".yaml")
			if d.str("kind") != "ConfigMap" || text == "" {
				continue
			}
			checked++
			if out, err := checkConfig(t, program, text); err != nil {
				t.Errorf("%s: %v: %s\n%s", program, err, out, text)
			}
			if out, err := checkConfig(t, program, text+"\nnosuchkey: 1\n"); err == nil {
				t.Errorf("%s takes anything: %s", program, out)
			}
		}
	})
	if checked < 2*(len(valuesFiles)+4) {
		t.Errorf("%d configurations", checked)
	}
}

// "off | on | ppcie", or "what it does: off | on"; after an object's name it is about all that is in it.
var words = regexp.MustCompile(`(?:^|: )([a-z-]+(?: \| [a-z-]+)+)$`)

// schemaOf turns what --print-config prints, values with their help as comments, into a JSON schema.
// Lists of objects are left to the program: the defaults do not show what is in them.
func schemaOf(n *yaml.Node, enum []string) map[string]any {
	switch n.Kind {
	case yaml.MappingNode:
		props := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			help := strings.TrimSpace(strings.TrimPrefix(n.Content[i].HeadComment, "#"))
			choice := enum
			if m := words.FindStringSubmatch(help); m != nil {
				choice = strings.Split(m[1], " | ")
			}
			s := schemaOf(n.Content[i+1], choice)
			if help != "" {
				s["description"] = help
			}
			props[n.Content[i].Value] = s
		}
		return map[string]any{"type": "object", "additionalProperties": false, "properties": props}
	case yaml.SequenceNode:
		s := map[string]any{"type": "array"}
		if len(n.Content) > 0 {
			s["items"] = map[string]any{"type": "string"}
		}
		return s
	}
	switch n.Tag {
	case "!!bool":
		return map[string]any{"type": "boolean"}
	case "!!int":
		return map[string]any{"type": "integer"}
	}
	if slices.Contains(enum, n.Value) {
		return map[string]any{"type": "string", "enum": enum}
	}
	return map[string]any{"type": "string"}
}

func printedSchema(t *testing.T, program string) map[string]any {
	t.Helper()
	out, err := exec.Command(kit.Bin(t, programs[program]), "--print-config").Output()
	if err != nil {
		t.Fatal(err)
	}
	var n yaml.Node
	if err := yaml.Unmarshal(out, &n); err != nil {
		t.Fatal(err)
	}
	s := schemaOf(n.Content[0], nil)
	s["description"] = map[string]string{"pgpud": "pgpud.yaml(5)", "hwd": "hwd.yaml(5)"}[program]
	return s
}

// The chart refuses keys that the programs do not have, and has all that they have. After a change of
// the programs' keys: PGPU_UPDATE=1 tests/peers/run manifests
func TestSchemaHasTheProgramsKeys(t *testing.T) {
	path := kit.Source(t, schemaFile)
	var schema map[string]any
	if err := json.Unmarshal([]byte(readFile(t, path)), &schema); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{}
	for program := range programs {
		want[program] = printedSchema(t, program)
	}
	var plain map[string]any
	text, _ := json.Marshal(want)
	_ = json.Unmarshal(text, &plain)
	config := schema["properties"].(map[string]any)["config"].(map[string]any)
	if reflect.DeepEqual(config["properties"], plain) {
		return
	}
	if os.Getenv("PGPU_UPDATE") == "" {
		t.Fatal("values.schema.json is not what --print-config says; PGPU_UPDATE=1 tests/peers/run manifests writes it")
	}
	config["properties"] = plain
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e := json.NewEncoder(f)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		t.Fatal(err)
	}
}

// Each of these is refused, and the message names the key.
func TestWrongValuesAreRefused(t *testing.T) {
	for values, word := range map[string]string{
		"imgae: {}":                                    "imgae",
		"image: {repositry: x}":                        "repositry",
		"image: {digest: latest}":                      "digest",
		"image: {pullPolicy: Sometimes}":               "pullPolicy",
		"image: {repository: \"x:1\"}":                 "repository",
		"config: {pgpud: {mod: off}}":                  "mod",
		"config: {pgpud: {log: {format: xml}}}":        "format",
		"config: {pgpud: {nri: {rules: {cc: maybe}}}}": "cc",
		"config: {pgpud: {unlock_devtools: \"yes\"}}":  "unlock_devtools",
		"config: {pgpud: {mode: off}}":                 "mode", // YAML's off is false
		"config: {hwd: {claim: unbound}}":              "claim",
		"config: {hwd: {deadlines: {prepare: 90}}}":    "prepare",
		"config: {other: {}}":                          "other",
		"hostPaths: {cdi: run/cdi}":                    "cdi",
		"hostPaths: {devicePlugins: /}":                "devicePlugins",
		"hostPaths: {sys: /sys}":                       "sys",
		"pgpud: {seccompProfile: {type: Unconfined}}":  "seccompProfile",
		"pgpud: {seccompProfile: {type: Localhost}}":   "localhostProfile",
		"pgpud: {securityContext: {privileged: true}}": "securityContext",
		"hwd: {holderNames: \"yes\"}":                  "holderNames",
		"hwd: {resources: {request: {}}}":              "request",
		"tolerations: Exists":                          "tolerations",
		"updateStrategy: {maxSurge: 1}":                "maxSurge",
		"updateStrategy: {maxUnavailable: some}":       "maxUnavailable",
		"networkPolicy: {from: {}}":                    "from",
		"rbac: {create: true}":                         "rbac",
		"monitoring: {enable: true}":                   "enable",
		"nodeFeatureRule: {taint: NoSchedule}":         "taint",
		"podLabels: {a: 1}":                            "podLabels",
	} {
		_, _, err := release{values: values}.helm(t)
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", values, err)
		}
	}
}
