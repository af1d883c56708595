{{/* Generated from crates/injection by `make generated`. Do not edit. */}}
{{- define "weir.injected.sidecarName" -}}
"weir-sidecar"
{{- end }}
{{- define "weir.injected.probeName" -}}
"weir-probe"
{{- end }}
{{- define "weir.injected.audience" -}}
"weir.dev"
{{- end }}
{{- define "weir.injected.sidecar" -}}
{"args": dyn(["--controller=weir-controller.{{ .Release.Namespace }}.svc", "--trust-domain={{ .Values.trustDomain }}"] + variables.addresses + ["--enforced"]), "env": dyn([{"name": dyn("WEIR_CA"), "value": dyn(variables.ca)}, {"name": dyn("POD_NAME"), "valueFrom": dyn({"fieldRef": dyn({"apiVersion": dyn("v1"), "fieldPath": dyn("metadata.name")})})}, {"name": dyn("POD_NAMESPACE"), "valueFrom": dyn({"fieldRef": dyn({"apiVersion": dyn("v1"), "fieldPath": dyn("metadata.namespace")})})}, {"name": dyn("POD_UID"), "valueFrom": dyn({"fieldRef": dyn({"apiVersion": dyn("v1"), "fieldPath": dyn("metadata.uid")})})}, {"name": dyn("POD_IP"), "valueFrom": dyn({"fieldRef": dyn({"apiVersion": dyn("v1"), "fieldPath": dyn("status.podIP")})})}]), "image": dyn(variables.image), "imagePullPolicy": dyn(variables.pullPolicy), "name": dyn("weir-sidecar"), "readinessProbe": dyn({"failureThreshold": dyn(3), "httpGet": dyn({"path": dyn("/readyz"), "port": dyn(15090), "scheme": dyn("HTTP")}), "periodSeconds": dyn(10), "successThreshold": dyn(1), "timeoutSeconds": dyn(1)}), "resources": dyn(variables.sidecarResources), "restartPolicy": dyn("Always"), "securityContext": dyn({"allowPrivilegeEscalation": dyn(false), "capabilities": dyn({"add": dyn(["NET_ADMIN", "SETGID", "SETUID"]), "drop": dyn(["ALL"])}), "readOnlyRootFilesystem": dyn(true), "runAsGroup": dyn(0), "runAsNonRoot": dyn(false), "runAsUser": dyn(0), "seccompProfile": dyn({"type": dyn("RuntimeDefault")})}), "terminationMessagePath": dyn("/dev/termination-log"), "terminationMessagePolicy": dyn("FallbackToLogsOnError"), "volumeMounts": dyn([{"mountPath": dyn("/var/run/weir/identity"), "name": dyn("weir-identity"), "readOnly": dyn(true)}, {"mountPath": dyn("/var/run/secrets/kubernetes.io/serviceaccount"), "name": dyn("weir-identity"), "readOnly": dyn(true)}, {"mountPath": dyn("/var/lib/weir"), "name": dyn("weir-state")}, {"mountPath": dyn("/var/run/weir/trust"), "name": dyn("weir-trust")}])}
{{- end }}
{{- define "weir.injected.probe" -}}
{"args": dyn(["probe"]), "image": dyn(variables.image), "imagePullPolicy": dyn(variables.pullPolicy), "name": dyn("weir-probe"), "resources": dyn(variables.probeResources), "securityContext": dyn({"allowPrivilegeEscalation": dyn(false), "capabilities": dyn({"drop": dyn(["ALL"])}), "readOnlyRootFilesystem": dyn(true), "runAsGroup": dyn(2178), "runAsNonRoot": dyn(true), "runAsUser": dyn(2178), "seccompProfile": dyn({"type": dyn("RuntimeDefault")})}), "terminationMessagePath": dyn("/dev/termination-log"), "terminationMessagePolicy": dyn("FallbackToLogsOnError"), "volumeMounts": dyn([{"mountPath": dyn("/var/run/secrets/kubernetes.io/serviceaccount"), "name": dyn("weir-trust"), "readOnly": dyn(true)}])}
{{- end }}
{{- define "weir.injected.volumes" -}}
[{"name": dyn("weir-identity"), "projected": dyn({"defaultMode": dyn(420), "sources": dyn([{"serviceAccountToken": dyn({"audience": dyn("weir.dev"), "expirationSeconds": dyn(600), "path": dyn("token")})}])})}, {"emptyDir": dyn({"medium": dyn("Memory"), "sizeLimit": dyn(variables.stateSize)}), "name": dyn("weir-state")}, {"emptyDir": dyn({"medium": dyn("Memory"), "sizeLimit": dyn("4Mi")}), "name": dyn("weir-trust")}]
{{- end }}
