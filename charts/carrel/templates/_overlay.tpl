{{/*
What is laid over the nodes' pods: `pod` as it was given, and beneath it what other values ask for. Lists are merged by
name here as the operator does it.
*/}}
{{- define "carrel.overlay" -}}
{{- $given := deepCopy .Values.pod -}}
{{- $spec := get $given "spec" | default dict -}}
{{- $metadata := get $given "metadata" | default dict -}}
{{- $carrel := dict "name" "carrel" -}}
{{- $others := list -}}
{{- range get $spec "containers" | default list -}}
  {{- if eq .name "carrel" -}}{{- $carrel = . -}}{{- else -}}{{- $others = append $others . -}}{{- end -}}
{{- end -}}
{{- if and .Values.resources (not (hasKey $carrel "resources")) -}}
  {{- $_ := set $carrel "resources" .Values.resources -}}
{{- end -}}
{{- if or $others (gt (len $carrel) 1) -}}
  {{- $_ := set $spec "containers" (prepend $others $carrel) -}}
{{- end -}}
{{- if and .Values.imagePullSecrets (not (hasKey $spec "imagePullSecrets")) -}}
  {{- $_ := set $spec "imagePullSecrets" .Values.imagePullSecrets -}}
{{- end -}}
{{- if .Values.monitoring.annotations -}}
  {{- $scrape := fromYaml (include "carrel.scrapeAnnotations" .) -}}
  {{- $_ := set $metadata "annotations" (merge (get $metadata "annotations" | default dict) $scrape) -}}
{{- end -}}
{{- if $spec -}}{{- $_ := set $given "spec" $spec -}}{{- end -}}
{{- if $metadata -}}{{- $_ := set $given "metadata" $metadata -}}{{- end -}}
{{- if $given -}}{{- toYaml $given -}}{{- end -}}
{{- end -}}
