{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- define "pgpu.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "pgpu.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "pgpu.name" .) -}}
{{- end -}}

{{- define "pgpu.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "pgpu.selector" -}}
app.kubernetes.io/name: pgpu
{{- /* the kustomize base has no instance in its selectors: one release a cluster is the rule */}}
{{- if ne .Release.Name "pgpu" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "pgpu.labels" -}}
app.kubernetes.io/name: pgpu
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: pgpu
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The port of http.listen, 0 where nothing can reach it from outside the pod. */ -}}
{{- define "pgpu.metricsPort" -}}
{{- $listen := dig "http" "listen" "" .Values.config.pgpud -}}
{{- if or (not $listen) (hasPrefix "unix:" $listen) (hasPrefix "127." $listen) (hasPrefix "[::1]" $listen) -}}
0
{{- else -}}
{{- regexFind "[0-9]+$" $listen -}}
{{- end -}}
{{- end -}}

{{- define "pgpu.config" -}}
pgpud.yaml: |
  {{- toYaml .Values.config.pgpud | nindent 2 }}
hwd.yaml: |
  {{- toYaml .Values.config.hwd | nindent 2 }}
{{- end -}}
