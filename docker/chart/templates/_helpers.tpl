{{/* By name: the facts of a process. */}}
{{- define "notify.processes" -}}
{{ .Files.Get "files/processes.yaml" }}
{{- end }}

{{/* Labels that select: (dict "root" $ "component" "web") */}}
{{- define "notify.selector" -}}
app.kubernetes.io/name: notify
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "notify.labels" -}}
{{ include "notify.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "notify.name" -}}
{{ .root.Release.Name | trunc 50 | trimSuffix "-" }}-{{ .component }}
{{- end }}

{{/* What follows from other values, for the component; values of the same name win. */}}
{{- define "notify.derived" -}}
{{- $operators := .root.Values.ingress.operators -}}
{{- if eq .component "web" }}
{{- with compact (list .root.Values.ingress.public.host $operators.host) }}
NOTIFY_ALLOWED_HOSTS: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- if $operators.enabled }}
{{- if eq .component "web" }}
NOTIFY_CSRF_TRUSTED_ORIGINS: {{ printf "https://%s" $operators.host | quote }}
{{- else if eq .component "watch" }}
NOTIFY_ADMIN_URL: {{ printf "https://%s" $operators.host | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The environment: (dict "root" $ "component" "web" "own" .Values.web "fact" (dict "settings" … "secrets" …
"optional" …)). Each secret is one key of the component's own Secret.
*/}}
{{- define "notify.env" -}}
{{- $derived := include "notify.derived" . | fromYaml -}}
{{- $all := mergeOverwrite (dict) $derived .root.Values.settings .own.settings .fact.settings -}}
{{- if not (has "kafka" .fact.connects) -}}
{{- /* Kafka's settings contradict each other without its password, and then no process starts. */ -}}
{{- range $name, $_ := $all }}{{ if hasPrefix "KAFKA_" $name }}{{ $_ = unset $all $name }}{{ end }}{{ end -}}
{{- else if not $all.KAFKA_BOOTSTRAP_SERVERS -}}
{{- fail "settings.KAFKA_BOOTSTRAP_SERVERS is empty: set it to Kafka's host:port, comma-separated" -}}
{{- end -}}
{{- range $name, $value := $all }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- $secret := required (printf "%s.secret is empty: name the Secret that has %s" .component (join ", " .fact.secrets)) .own.secret }}
{{- range .fact.secrets }}
- {name: {{ . }}, valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}}}}
{{- end }}
{{- range .fact.optional }}
- {name: {{ . }}, valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}, optional: true}}}
{{- end }}
{{- end }}

{{/* What every pod has: the same argument, and "writes". */}}
{{- define "notify.pod" -}}
automountServiceAccountToken: false
# Kubernetes would add variables such as NOTIFY_WEB_PORT, which look like settings of ours.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - {name: {{ . }}}
{{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
{{- range $index, $path := .fact.writes }}
  - {name: {{ base $path }}, emptyDir: {medium: Memory, sizeLimit: 64Mi}}
{{- end }}
{{- with .own.tlsSecret }}
  - {name: tls, secret: {secretName: {{ . }}, defaultMode: 0440}}
{{- end }}
{{- end }}

{{- define "notify.container" -}}
image: {{ printf "%s:%s" .root.Values.image.repository (.own.tag | default .root.Values.image.tag | default .root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources: {{- toYaml .own.resources | nindent 2 }}
volumeMounts:
{{- range .fact.writes }}
  - {name: {{ base . }}, mountPath: {{ . }}}
{{- end }}
{{- if .own.tlsSecret }}
  - {name: tls, mountPath: /etc/notify/tls, readOnly: true}
{{- end }}
env: {{- include "notify.env" . | trim | nindent 2 }}
{{- end }}
