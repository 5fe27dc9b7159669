{{- define "mrt-reward.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "mrt-reward.pods" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mrt-reward.labels" -}}
{{ include "mrt-reward.pods" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Of a secret that exists: what the server reads it as. */ -}}
{{- define "mrt-reward.secret" -}}
- name: {{ .variable }}
  valueFrom: {secretKeyRef: {name: {{ .from.secret | quote }}, key: {{ .from.key | quote }}}}
{{- end }}
