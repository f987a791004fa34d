{{- define "fanfare.name" -}}
{{- if .Values.nameOverride -}}
{{- .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "fanfare.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fanfare.labels" -}}
{{ include "fanfare.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Name of the Secret with the variables; empty if there is none. */}}
{{- define "fanfare.secret" -}}
{{- if .Values.auth.existingSecret -}}
{{- .Values.auth.existingSecret -}}
{{- else if or .Values.auth.publishToken .Values.auth.tokenSecret -}}
{{- include "fanfare.name" . -}}
{{- end -}}
{{- end }}

{{/* Seconds from the signal to the end of the last stream, and before it. */}}
{{- define "fanfare.drainSeconds" -}}
{{- add .Values.drain.preStop .Values.drain.delay .Values.drain.timeout -}}
{{- end }}

{{- define "fanfare.graceSeconds" -}}
{{- $drain := include "fanfare.drainSeconds" . | int -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add $drain 15 -}}
{{- else -}}
{{- $grace := int .Values.terminationGracePeriodSeconds -}}
{{- if le $grace $drain -}}
{{- fail (printf "terminationGracePeriodSeconds: %d s is not longer than preStop + delay + timeout of drain (%d s): Kubernetes would kill the pod with its streams open; raise it, or leave it empty" $grace $drain) -}}
{{- end -}}
{{- $grace -}}
{{- end -}}
{{- end }}

{{/* The server's settings, as a file. */}}
{{- define "fanfare.config" -}}
{{- range $name := list "listen" "admin" "tlsCert" "tlsKey" "adminTLSCert" "adminTLSKey" "backplane" "dataDir" "fsync" "natsURL" "natsDomain" "natsStream" "natsReplicas" "natsPartitions" "natsCredentials" "nodeName" "drainDelay" "drainTimeout" "drainRate" -}}
{{- if hasKey $.Values.config $name -}}
{{- fail (printf "config: %s is set by a value of its own in this chart: see values.yaml" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "publishToken" "tokenSecret" -}}
{{- if hasKey $.Values.config $name -}}
{{- fail (printf "config: %s would be in a ConfigMap, which is no place for secrets: put it into auth" $name) -}}
{{- end -}}
{{- end -}}
{{- $c := dict "listen" ":8080" "admin" ":8081" "backplane" .Values.backplane.mode -}}
{{- $_ := set $c "drainDelay" (printf "%ds" (int .Values.drain.delay)) -}}
{{- $_ := set $c "drainTimeout" (printf "%ds" (int .Values.drain.timeout)) -}}
{{- $_ := set $c "drainRate" (int .Values.drain.rate) -}}
{{- if .Values.stream.tlsSecret -}}
{{- $_ := set $c "tlsCert" (list "/etc/fanfare/stream-tls/tls.crt") -}}
{{- $_ := set $c "tlsKey" (list "/etc/fanfare/stream-tls/tls.key") -}}
{{- end -}}
{{- if .Values.admin.tlsSecret -}}
{{- $_ := set $c "adminTLSCert" "/etc/fanfare/admin-tls/tls.crt" -}}
{{- $_ := set $c "adminTLSKey" "/etc/fanfare/admin-tls/tls.key" -}}
{{- end -}}
{{- with .Values.backplane -}}
{{- if ne .mode "off" }}{{- $_ := set $c "dataDir" "/var/lib/fanfare" -}}{{- end -}}
{{- if eq .mode "embedded" -}}
{{- $_ := set $c "fsync" .embedded.fsync -}}
{{- else if eq .mode "nats" -}}
{{- if .nats.url }}{{- $_ := set $c "natsURL" .nats.url -}}{{- end -}}
{{- if .nats.domain }}{{- $_ := set $c "natsDomain" .nats.domain -}}{{- end -}}
{{- $_ := set $c "natsStream" .nats.stream -}}
{{- $_ := set $c "natsReplicas" (int .nats.replicas) -}}
{{- $_ := set $c "natsPartitions" (int .nats.partitions) -}}
{{- if .nats.credentials.secret }}{{- $_ := set $c "natsCredentials" (printf "/etc/fanfare/nats/%s" .nats.credentials.key) -}}{{- end -}}
{{- else if eq .mode "redis" -}}
{{- if .redis.url }}{{- $_ := set $c "redisURL" .redis.url -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml (merge $c .Values.config) -}}
{{- end }}

{{/* The kind of the workload: a pod with a volume of its own is one of a StatefulSet. */}}
{{- define "fanfare.kind" -}}
{{- if or (eq .Values.backplane.mode "embedded") (and (ne .Values.backplane.mode "off") .Values.backplane.nodeData.persistent) -}}
StatefulSet
{{- else -}}
Deployment
{{- end -}}
{{- end }}

{{/* What no schema can say. Every template that makes pods includes it. */}}
{{- define "fanfare.check" -}}
{{- $mode := .Values.backplane.mode -}}
{{- $pods := ternary (int .Values.autoscaling.maxReplicas) (int .Values.replicas) .Values.autoscaling.enabled -}}
{{- if and (eq $mode "embedded") (gt $pods 1) -}}
{{- fail (printf "replicas: %d pods cannot share backplane.mode embedded, which is for one: set replicas: 1 and no autoscaling, or use nats or redis" $pods) -}}
{{- end -}}
{{- if and (eq $mode "off") (gt $pods 1) (not .Values.separateNodes) (not .Values.config.redisChannels) (not .Values.config.redisStreams) -}}
{{- fail (printf "backplane.mode: with off an event reaches the subscribers of one pod, and there are %d: use nats or redis, let all of them read redisChannels or redisStreams (config), set replicas: 1, or separateNodes: true if the publisher sends to each pod" $pods) -}}
{{- end -}}
{{- if and (eq $mode "nats") (not .Values.backplane.nats.url) (not .Values.auth.existingSecret) -}}
{{- fail "backplane.nats.url is empty: write nats://HOST:4222, or FANFARE_NATS_URL into the Secret that auth.existingSecret names" -}}
{{- end -}}
{{- if and (eq $mode "redis") (not .Values.backplane.redis.url) (not .Values.auth.existingSecret) -}}
{{- fail "backplane.redis.url is empty: write redis://HOST:6379, or FANFARE_REDIS_URL into the Secret that auth.existingSecret names" -}}
{{- end -}}
{{- range $url := list .Values.backplane.nats.url .Values.backplane.redis.url -}}
{{- if regexMatch "://[^/]*:[^/]*@" $url -}}
{{- fail "backplane: a URL with a password would be in a ConfigMap: put it into the Secret that auth.existingSecret names, as FANFARE_NATS_URL or FANFARE_REDIS_URL" -}}
{{- end -}}
{{- end -}}
{{- if not (or (include "fanfare.secret" .) .Values.config.publishJWT .Values.config.publishTokens (and .Values.admin.tlsSecret .Values.config.adminClientCA)) -}}
{{- fail "auth: other pods reach the publish API, so it needs a credential: set auth.existingSecret to a Secret with FANFARE_PUBLISH_TOKEN (at least 16 bytes), or auth.publishToken for a trial" -}}
{{- end -}}
{{- end }}

{{/* Egress to the ports of the brokers' URLs. A URL in a Secret is not known here: then the usual port is opened. */}}
{{- define "fanfare.brokerEgress" -}}
{{- $ports := list -}}
{{- if eq .Values.backplane.mode "nats" -}}
{{- range $url := splitList "," (.Values.backplane.nats.url | default "nats://nats:4222") -}}
{{- $port := regexFind ":[0-9]+/?$" (trim $url) | trimPrefix ":" | trimSuffix "/" | default "4222" | int -}}
{{- $ports = append $ports $port -}}
{{- end -}}
{{- end -}}
{{- if or (eq .Values.backplane.mode "redis") .Values.config.redisChannels .Values.config.redisStreams -}}
{{- $url := .Values.backplane.redis.url | default .Values.config.redisURL | default "redis://redis:6379" -}}
{{- $port := regexFind ":[0-9]+(/[0-9]*)?$" $url | trimPrefix ":" | regexFind "^[0-9]+" | default "6379" | int -}}
{{- $ports = append $ports $port -}}
{{- end -}}
{{- with $ports | uniq }}
- ports:
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}
{{- end }}
