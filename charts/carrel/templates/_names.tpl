{{/* The release's name is the cluster's, and the first part of every other name. */}}
{{- define "carrel.name" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$" .Release.Name) -}}
{{- fail (printf "the release is called %q: its name becomes that of Services, so it has to be at most 40 lower-case letters, digits and dashes, a letter first" .Release.Name) -}}
{{- end -}}
{{- .Release.Name -}}
{{- end -}}

{{- define "carrel.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
app.kubernetes.io/instance: {{ include "carrel.name" . | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: carrel
{{- end -}}

{{- define "carrel.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "carrel.operatorImage" -}}
{{- $image := .Values.operator.image -}}
{{- printf "%s:%s" ($image.repository | default .Values.image.repository) ($image.tag | default .Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "carrel.adminSecret" -}}
{{- .Values.admin.existingSecret | default (printf "%s-admin" (include "carrel.name" .)) -}}
{{- end -}}

{{/* Empty: there is no catalogue to begin with. */}}
{{- define "carrel.catalogConfigMap" -}}
{{- if .Values.catalog.existingConfigMap -}}
{{- .Values.catalog.existingConfigMap -}}
{{- else if or .Values.catalog.yaml .Values.catalog.sample -}}
{{- printf "%s-catalog" (include "carrel.name" .) -}}
{{- end -}}
{{- end -}}

{{/* Empty: there is no database. */}}
{{- define "carrel.postgresSecret" -}}
{{- if .Values.postgres.existingSecret -}}
{{- .Values.postgres.existingSecret -}}
{{- else if .Values.postgres.dev.enabled -}}
{{- printf "%s-postgres" (include "carrel.name" .) -}}
{{- end -}}
{{- end -}}

{{/* The development database is made unless there is another. */}}
{{- define "carrel.hasDevPostgres" -}}
{{- if and .Values.postgres.dev.enabled (not .Values.postgres.existingSecret) -}}yes{{- end -}}
{{- end -}}

{{/* Which pods are the nodes'. */}}
{{- define "carrel.nodeSelector" -}}
app.kubernetes.io/name: carrel
carrel.dev/cluster: {{ include "carrel.name" . | quote }}
{{- end -}}

{{/* Empty: the operator has no right to any Secret. It needs one to none but those of the keys that it makes itself. */}}
{{- define "carrel.makesKeys" -}}
{{- $isNeeded := or (eq .Values.tls.mode "Operator") (eq .Values.operator.watch "Cluster") -}}
{{- if (ternary $isNeeded .Values.operator.makesKeys (kindIs "invalid" .Values.operator.makesKeys)) -}}yes{{- end -}}
{{- end -}}

{{- define "carrel.scrapeAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: "7430"
prometheus.io/path: /metrics
{{- end -}}

{{/* What the restricted pod security standard asks of a container, and a root that cannot be written. */}}
{{- define "carrel.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "carrel.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}
