package check_test

import (
	"strings"
	"testing"
)

// TestProblems breaks a chart that is right, in the text that Helm has rendered, and expects that problems says so.
func TestProblems(t *testing.T) {
	rendered := map[string]string{}
	for _, c := range []struct{ file, old, new, want string }{
		{"nats", "terminationGracePeriodSeconds: 85", "terminationGracePeriodSeconds: 60", "the grace period (1m0s) is not 5 s longer"},
		{"nats", "drainTimeout: 60s", "drainTimeout: 5m", "the grace period (1m25s) is not 5 s longer"},
		{"nats", "seconds: 5", "seconds: 25", "the grace period (1m25s) is not 5 s longer"},
		{"nats", "drainDelay: 5s", "drainDelay: 3s", "drainDelay (3s) is not longer than the readiness probe needs"},
		{"nats", "targetPort: stream", "targetPort: http", `Service/fanfare: the container has no port "http"`},
		{"nats", "    - port: admin\n      path: /metrics", "    - port: metrics\n      path: /metrics", `has no port "metrics"`},
		{"nats", "- port: admin\n          protocol", "- port: publish\n          protocol", "NetworkPolicy/fanfare closes port admin"},
		{"nats", "port: 4223, protocol", "port: 4224, protocol", "does not let the server reach nats-0.nats:4223"},
		{"nats", "app.kubernetes.io/component: admin\n  endpoints", "app.kubernetes.io/component: streams\n  endpoints", "selects 0 Services"},
		{"nats", "      app.kubernetes.io/component: admin\n", "", "selects 2 Services"},
		{"nats", "kind: Deployment\n    name", "kind: StatefulSet\n    name", "scales StatefulSet/fanfare"},
		{"nats", "mountPath: /etc/fanfare/config", "mountPath: /etc/fanfare/conf", "no ConfigMap is mounted"},
		{"nats", "value: \"1400MiB\"", "value: \"1900MiB\"", "GOMEMLIMIT"},
		{"nats", "containerPort: 8080", "containerPort: 8088", `port stream is :8088, and the server listens on ":8080"`},
		{"nats", "path: /healthz", "path: /readyz", "the liveness probe asks for /readyz"},
		{"nats", "runAsNonRoot: true", "runAsNonRoot: false", "the pod runs as root"},
		{"nats", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "the pod has a writable root"},
		{"nats", "drop: [ALL]", "drop: [NET_RAW]", "the pod has capabilities"},
		{"nats", "enableServiceLinks: false", "enableServiceLinks: true", "the pod gets variables of Services"},
		{"nats", "automountServiceAccountToken: false", "automountServiceAccountToken: true", "service account's token"},
		{"nats", "defaultMode: 0440", "defaultMode: 0444", "everybody may read the Secret"},
		{"tls", "scheme: HTTPS", "scheme: HTTP", "probe speaks HTTP, and the listener HTTPS"},
		{"tls", "port: admin\n              scheme", "port: stream\n              scheme", "waits for a PROXY header"},
		{"embedded", "mountPath: /var/lib/fanfare", "mountPath: /var/lib", `dataDir "/var/lib/fanfare" is not a writable volume`},
		{"nats", "mountPath: /var/lib/fanfare", "mountPath: /var/lib", `dataDir "/var/lib/fanfare" is not a writable volume`},
		{"nats", "emptyDir:\n            sizeLimit: 16Mi", "persistentVolumeClaim:\n            claimName: data", "all pods share volume data"},
		{"redis", "dataDir: /var/lib/fanfare", "dataDir: ''", `dataDir "" is not a writable volume`},
		{"redis", "        name: data\n", "        name: known\n", `there is no volume "data"`},
		{"redis", "kind: StatefulSet", "kind: Deployment", `field "persistentVolumeClaimRetentionPolicy"`},
		{"embedded", "serviceName: fanfare-headless", "serviceName: fanfare", `no headless Service "fanfare"`},
		{"embedded", "        name: data\n", "        name: events\n", `there is no volume "data"`},
		{"embedded", "- secretRef:\n                name: fanfare", "- secretRef:\n                name: other", `the variables come from Secret "other"`},
		// What the strict decoding finds.
		{"nats", "terminationGracePeriodSeconds: 85", "terminationGracePeriod: 85", `unknown field "terminationGracePeriod"`},
		{"nats", "minReadySeconds: 10", "minReadySeconds: 10\n  minReadySeconds: 10", "minReadySeconds"},
		{"nats", "averageValue: \"50000\"", "averageValue: many", "quantities must match"},
		{"nats", "interval: 15s", "every: 15s", `unknown field "every"`},
		{"nats", "maxUnavailable: 1\n", "maxUnavailable: 1\n  minAvailable: {}\n", "PodDisruptionBudget"},
	} {
		if rendered[c.file] == "" {
			text, err := render(t, chartFolder+"/ci/"+c.file+"-values.yaml", "")
			if err != nil {
				t.Fatal(err)
			}
			rendered[c.file] = text
		}
		broken := strings.ReplaceAll(rendered[c.file], c.old, c.new)
		if broken == rendered[c.file] {
			t.Errorf("%s has nothing like %q", c.file, c.old)
			continue
		}
		m, err := decode(broken)
		found := ""
		if err != nil {
			found = err.Error()
		} else {
			found = strings.Join(problems(m), "\n")
		}
		if !strings.Contains(found, c.want) {
			t.Errorf("%s with %q in place of %q: found %q, want %q", c.file, c.new, c.old, found, c.want)
		}
	}
}
