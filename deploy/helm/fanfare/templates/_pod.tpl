{{/* The pod, the same for a Deployment and a StatefulSet. */}}
{{- define "fanfare.pod" -}}
{{- $probe := ternary "admin" "stream" (.Values.config.proxyProtocol | default false) -}}
{{- $tls := ternary .Values.admin.tlsSecret .Values.stream.tlsSecret (eq $probe "admin") -}}
metadata:
  labels:
    {{- include "fanfare.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # New settings and secrets of this chart restart the pods, one after the other.
    checksum/config: {{ include "fanfare.config" . | sha256sum }}
    checksum/auth: {{ toJson .Values.auth | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  terminationGracePeriodSeconds: {{ include "fanfare.graceSeconds" . }}
  automountServiceAccountToken: false
  # The variables that Kubernetes sets for each Service begin with FANFARE_, too, and would look like settings.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    # Makes the files of Secrets, and the volume, accessible to that group.
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: fanfare
      image: {{ if .Values.image.digest }}{{ printf "%s@%s" .Values.image.repository .Values.image.digest | quote }}{{ else }}{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}{{ end }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      env:
        - name: FANFARE_CONFIG
          value: /etc/fanfare/config/fanfare.yaml
        - name: GOMEMLIMIT
          value: {{ .Values.goMemLimit | quote }}
        {{- if ne .Values.backplane.mode "off" }}
        - name: FANFARE_NODE_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- end }}
      {{- with include "fanfare.secret" . }}
      envFrom:
        - secretRef:
            name: {{ . }}
      {{- end }}
      ports:
        - name: stream
          containerPort: 8080
        - name: admin
          containerPort: 8081
      # A node of a fleet opens its listeners when it has read back the recent history.
      startupProbe:
        httpGet:
          path: /readyz
          port: {{ $probe }}
          scheme: {{ ternary "HTTPS" "HTTP" (not (empty $tls)) }}
        periodSeconds: 2
        failureThreshold: 150
      readinessProbe:
        httpGet:
          path: /readyz
          port: {{ $probe }}
          scheme: {{ ternary "HTTPS" "HTTP" (not (empty $tls)) }}
        periodSeconds: 2
        failureThreshold: 2
        timeoutSeconds: 2
      livenessProbe:
        httpGet:
          path: /healthz
          port: {{ $probe }}
          scheme: {{ ternary "HTTPS" "HTTP" (not (empty $tls)) }}
        periodSeconds: 10
        failureThreshold: 6
        timeoutSeconds: 5
      {{- if gt (int .Values.drain.preStop) 0 }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ int .Values.drain.preStop }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: config
          mountPath: /etc/fanfare/config
          readOnly: true
        {{- if .Values.auth.keysSecret }}
        - name: keys
          mountPath: /etc/fanfare/keys
          readOnly: true
        {{- end }}
        {{- if .Values.stream.tlsSecret }}
        - name: stream-tls
          mountPath: /etc/fanfare/stream-tls
          readOnly: true
        {{- end }}
        {{- if .Values.admin.tlsSecret }}
        - name: admin-tls
          mountPath: /etc/fanfare/admin-tls
          readOnly: true
        {{- end }}
        {{- if and (eq .Values.backplane.mode "nats") .Values.backplane.nats.credentials.secret }}
        - name: nats
          mountPath: /etc/fanfare/nats
          readOnly: true
        {{- end }}
        {{- if ne .Values.backplane.mode "off" }}
        - name: data
          mountPath: /var/lib/fanfare
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "fanfare.name" . }}
    {{- if and (ne .Values.backplane.mode "off") (eq (include "fanfare.kind" .) "Deployment") }}
    - name: data
      # It lives as long as the pod: it survives restarts of the container.
      emptyDir:
        sizeLimit: 16Mi
    {{- end }}
    {{- with .Values.auth.keysSecret }}
    - name: keys
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.stream.tlsSecret }}
    - name: stream-tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.admin.tlsSecret }}
    - name: admin-tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- if eq .Values.backplane.mode "nats" }}
    {{- with .Values.backplane.nats.credentials.secret }}
    - name: nats
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    {{- if .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "fanfare.selector" . | nindent 10 }}
    {{- end }}
{{- end }}
