{{/* labels of an object: (dict "root" $ "component" "controller"), or `.` for what has no component */}}
{{- define "weir.labels" -}}
{{- $root := .root | default . -}}
{{ include "weir.selector" . }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/component: {{ .component | default "admission" }}
{{- end }}

{{/* image of a component: (dict "root" $ "image" .Values.X.image) */}}
{{- define "weir.image" -}}
{{- $root := .root }}
{{- if .image.digest -}}
{{ $root.Values.image.registry }}/{{ .image.name }}@{{ .image.digest }}
{{- else -}}
{{ $root.Values.image.registry }}/{{ .image.name }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "weir.sidecarImage" -}}
{{ include "weir.image" (dict "root" . "image" .Values.sidecar.image) }}
{{- end }}

{{/* The sidecar images that admission accepts: this release's, and the one that was first in the live
object, so that pods made during an upgrade start. */}}
{{- define "weir.sidecarImages" -}}
{{- $images := list (include "weir.sidecarImage" .) }}
{{- $live := lookup "v1" "ConfigMap" .Release.Namespace "weir-admission" }}
{{- if $live }}
{{- $images = append $images (index (splitList "," (default "" (index ($live.data | default dict) "images"))) 0) }}
{{- end }}
{{- $images = concat $images .Values.admissionPolicies.extraImages }}
{{- join "," (without (uniq $images) "") }}
{{- end }}

{{/* PSS "restricted", of a pod and of a container */}}
{{- define "weir.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "weir.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "weir.podEnv" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
- {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
{{- end }}

{{- define "weir.probes" -}}
startupProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 1
  failureThreshold: 120
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  failureThreshold: 6
{{- end }}

{{- define "weir.placement" -}}
{{- $placement := dict }}
{{- range $key := list "nodeSelector" "tolerations" "priorityClassName" }}
{{- with index $ $key }}{{ $_ := set $placement $key . }}{{ end }}
{{- end }}
{{- if $placement }}{{ toYaml $placement }}{{ end }}
{{- end }}

{{- define "weir.pullSecrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Who is believed to say who somebody is: options of the collector and of the controller, and the file
with the provider's authorities. */}}
{{- define "weir.oidc.args" -}}
{{- $oidc := .Values.oidc }}
{{- if $oidc.issuer -}}
- {{ printf "--oidc-issuer-url=%s" $oidc.issuer | quote }}
- {{ printf "--oidc-client-id=%s" (required "oidc.clientId is needed" $oidc.clientId) | quote }}
- {{ printf "--oidc-username-claim=%s" $oidc.usernameClaim | quote }}
{{- with $oidc.usernamePrefix }}
- {{ printf "--oidc-username-prefix=%s" . | quote }}
{{- end }}
{{- with $oidc.groupsClaim }}
- {{ printf "--oidc-groups-claim=%s" . | quote }}
{{- end }}
{{- with $oidc.groupsPrefix }}
- {{ printf "--oidc-groups-prefix=%s" . | quote }}
{{- end }}
- --oidc-signing-algs={{ join "," $oidc.algorithms }}
{{- if $oidc.caRef.name }}
- --oidc-ca-file=/etc/weir/oidc-ca/{{ $oidc.caRef.key }}
{{- end }}
{{- if $oidc.allowHTTP }}
- --oidc-allow-http
{{- end }}
{{- end }}
{{- end }}

{{- define "weir.oidc.mount" -}}
{{- if .Values.oidc.caRef.name -}}
- {name: oidc-ca, mountPath: /etc/weir/oidc-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "weir.oidc.volume" -}}
{{- with .Values.oidc.caRef }}{{ if .name -}}
- {name: oidc-ca, configMap: {name: {{ .name }}, optional: true}}
{{- end }}{{ end }}
{{- end }}
