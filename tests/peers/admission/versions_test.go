// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
)

// language compiles expressions as an API server of an older version does.
type language struct {
	t        *testing.T
	name     string
	compiler *cel.CompositedCompiler
	options  cel.OptionalVariableDeclarations
	count    int
}

func (l *language) compile(e cel.ExpressionAccessor) {
	l.t.Helper()
	l.count++
	if r := l.compiler.CompileCELExpression(e, l.options, environment.NewExpressions); r.Error != nil {
		l.t.Errorf("%s: %v", l.name, r.Error)
	}
}

func newLanguage(t *testing.T, name string, minor uint, params bool, conditions []admissionv1.MatchCondition, variables []admissionv1.Variable) *language {
	t.Helper()
	c, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(version.MajorMinor(1, minor)))
	if err != nil {
		t.Fatal(err)
	}
	l := &language{t: t, name: name, compiler: c, options: cel.OptionalVariableDeclarations{HasParams: params}}
	for i := range conditions {
		l.compile((*matchconditions.MatchCondition)(&conditions[i]))
	}
	for _, v := range variables {
		l.count++
		r := c.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression}, l.options, environment.NewExpressions)
		if r.Error != nil {
			t.Errorf("%s: %s: %v", name, v.Name, r.Error)
		}
	}
	return l
}

// The validating policies are for Kubernetes 1.30 and newer, the mutating one for 1.34 and newer.
func TestExpressionsAreOfTheOldestVersion(t *testing.T) {
	list, err := objects(shipped(t, "v1beta1"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, obj := range list {
		switch o := obj.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			l := newLanguage(t, o.Name, 30, o.Spec.ParamKind != nil, o.Spec.MatchConditions, o.Spec.Variables)
			for _, v := range o.Spec.Validations {
				l.compile(&validating.ValidationCondition{Expression: v.Expression})
				if v.MessageExpression != "" {
					l.compile(&validating.MessageExpressionCondition{MessageExpression: v.MessageExpression})
				}
			}
			count += l.count
		case *admissionv1.MutatingAdmissionPolicy:
			l := newLanguage(t, o.Name, 34, true, o.Spec.MatchConditions, o.Spec.Variables)
			l.options.HasPatchTypes = true
			for _, m := range o.Spec.Mutations {
				l.compile(&patch.JSONPatchCondition{Expression: m.JSONPatch.Expression})
			}
			count += l.count
		}
	}
	if count < 40 {
		t.Errorf("only %d expressions", count)
	}
	// Something newer is noticed: two-variable comprehensions came with 1.32.
	old, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(version.MajorMinor(1, 30)))
	if err != nil {
		t.Fatal(err)
	}
	newer := &validating.ValidationCondition{Expression: "{'a': 1}.all(k, v, v == 1)"}
	if r := old.CompileCELExpression(newer, cel.OptionalVariableDeclarations{}, environment.NewExpressions); r.Error == nil {
		t.Error("1.30 knows two-variable comprehensions")
	}
}
