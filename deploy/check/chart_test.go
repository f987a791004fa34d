// Package check_test checks the Helm chart and the compose file as those who read them do: Helm's own engine renders the chart, the
// types of the Kubernetes API decode the result strictly, and the server checks its configuration. What they do not know,
// such as that names and times fit together, problems finds.
package check_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const (
	chartFolder = "../helm/fanfare"
	namespace   = "events"
	kubeVersion = "v1.34.0"
)

// render returns the chart's files with the values of a file and changes of them ("drain.timeout=90" in YAML), as one text.
func render(t *testing.T, valuesFile, changes string) (string, error) {
	t.Helper()
	chart, err := loader.Load(chartFolder)
	if err != nil {
		t.Fatal(err)
	}
	values, err := readValues(valuesFile, changes)
	if err != nil {
		t.Fatal(err)
	}
	caps := chartutil.DefaultCapabilities.Copy()
	caps.KubeVersion = chartutil.KubeVersion{Version: kubeVersion, Major: "1", Minor: "34"}
	all, err := chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: "fanfare", Namespace: namespace, IsInstall: true}, caps)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			fmt.Fprintf(&text, "---\n%s\n", files[name])
		} else if strings.HasSuffix(name, "NOTES.txt") && !strings.Contains(files[name], "runs as fanfare") {
			t.Errorf("NOTES.txt: %q", files[name])
		}
	}
	return text.String(), nil
}

func readValues(file, changes string) (map[string]any, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values, changed := map[string]any{}, map[string]any{}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := yaml.UnmarshalStrict([]byte(changes), &changed); err != nil {
		return nil, fmt.Errorf("%s: %w", changes, err)
	}
	return chartutil.CoalesceTables(changed, values), nil
}

func valuesFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(chartFolder + "/ci/*-values.yaml")
	if err != nil || len(files) < 7 {
		t.Fatalf("%d files of values (%v), and there were more when this test was written", len(files), err)
	}
	return files
}

// manifests are the objects of a rendered chart.
type manifests struct {
	pods        map[string]core.PodTemplateSpec // by "Kind/name"
	stateful    []apps.StatefulSet
	services    []core.Service
	configs     map[string]core.ConfigMap
	secrets     map[string]core.Secret
	budgets     []policy.PodDisruptionBudget
	scalers     []autoscaling.HorizontalPodAutoscaler
	policies    []networking.NetworkPolicy
	monitors    []monitoring.ServiceMonitor
	podSelector map[string]string
}

// decode reads a rendered chart. A field that the API does not have is an error: the API server would refuse it, or drop it.
func decode(text string) (*manifests, error) {
	m := &manifests{pods: map[string]core.PodTemplateSpec{}, configs: map[string]core.ConfigMap{}, secrets: map[string]core.Secret{}}
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		var head struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Metadata   struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			return nil, fmt.Errorf("%w in:\n%s", err, document)
		}
		if head.Kind == "" {
			continue // comments alone
		}
		name := head.Kind + "/" + head.Metadata.Name
		into := func(object any) error {
			if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		}
		var err error
		switch head.APIVersion + " " + head.Kind {
		case "apps/v1 Deployment":
			var d apps.Deployment
			if err = into(&d); err == nil {
				m.pods[name], m.podSelector = d.Spec.Template, d.Spec.Selector.MatchLabels
			}
		case "apps/v1 StatefulSet":
			var s apps.StatefulSet
			if err = into(&s); err == nil {
				m.pods[name], m.podSelector, m.stateful = s.Spec.Template, s.Spec.Selector.MatchLabels, append(m.stateful, s)
			}
		case "v1 Service":
			err = add(&m.services, into)
		case "v1 ConfigMap":
			var c core.ConfigMap
			err = into(&c)
			m.configs[c.Name] = c
		case "v1 Secret":
			var s core.Secret
			err = into(&s)
			m.secrets[s.Name] = s
		case "policy/v1 PodDisruptionBudget":
			err = add(&m.budgets, into)
		case "autoscaling/v2 HorizontalPodAutoscaler":
			err = add(&m.scalers, into)
		case "networking.k8s.io/v1 NetworkPolicy":
			err = add(&m.policies, into)
		case "monitoring.coreos.com/v1 ServiceMonitor":
			err = add(&m.monitors, into)
		default:
			err = fmt.Errorf("%s %s: this test does not know it", head.APIVersion, name)
		}
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

func add[T any](list *[]T, into func(any) error) error {
	var object T
	err := into(&object)
	*list = append(*list, object)
	return err
}

// TestLint runs Helm's own linter, with the values of each file.
func TestLint(t *testing.T) {
	for _, file := range valuesFiles(t) {
		values, err := readValues(file, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range lint.AllWithKubeVersion(chartFolder, values, namespace, &chartutil.KubeVersion{Version: kubeVersion, Major: "1", Minor: "34"}).Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", file, m)
			}
		}
	}
}

// TestChart renders each file of values and finds nothing to complain about.
func TestChart(t *testing.T) {
	kinds := map[string]bool{}
	for _, file := range valuesFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), "-values.yaml"), func(t *testing.T) {
			text, err := render(t, file, "")
			if err != nil {
				t.Fatal(err)
			}
			m, err := decode(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems(m) {
				t.Error(p)
			}
			for kind, n := range map[string]int{
				"pods": len(m.pods), "stateful": len(m.stateful), "secrets": len(m.secrets), "budgets": len(m.budgets),
				"scalers": len(m.scalers), "policies": len(m.policies), "monitors": len(m.monitors),
			} {
				kinds[kind] = kinds[kind] || n > 0
			}
		})
	}
	for kind, seen := range kinds {
		if !seen {
			t.Errorf("no file of values makes any %s: nothing checks them", kind)
		}
	}
}

// TestSchemaKnowsAllValues: a value that the schema does not have is refused, so it must have those of values.yaml, and no others.
func TestSchemaKnowsAllValues(t *testing.T) {
	values, err := readValues(chartFolder+"/values.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(chartFolder + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	schema := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &schema); err != nil {
		t.Fatal(err)
	}
	delete(schema["properties"].(map[string]any), "global") // Helm's own
	compareSchema(t, "", values, schema)
}

func compareSchema(t *testing.T, place string, values, schema map[string]any) {
	properties, _ := schema["properties"].(map[string]any)
	if properties == nil {
		return // free: config, affinity, …
	}
	if schema["additionalProperties"] != false && place != ".config" {
		t.Errorf("schema of %q lets unknown values through", place)
	}
	for name, property := range properties {
		value, there := values[name]
		if !there && place != ".resources" {
			t.Errorf("the schema has %s.%s, and values.yaml does not", place, name)
		}
		if inner, isMap := value.(map[string]any); isMap {
			compareSchema(t, place+"."+name, inner, property.(map[string]any))
		}
	}
	for name := range values {
		if properties[name] == nil {
			t.Errorf("values.yaml has %s.%s, and the schema does not", place, name)
		}
	}
}

// TestRefusals: mistakes that would be found out at the first restart, or never, are errors of the installation.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ file, changes, want string }{
		{"nats", "terminationGracePeriodSeconds: 70", "terminationGracePeriodSeconds: 70 s is not longer than"},
		{"redis", "drain: {timeout: 115}", "terminationGracePeriodSeconds: 120 s is not longer than preStop + delay + timeout of drain (125 s)"},
		{"embedded", "replicas: 2", "2 pods cannot share backplane.mode embedded"},
		{"embedded", "autoscaling: {enabled: true}", "12 pods cannot share backplane.mode embedded"},
		{"off", "replicas: 2", "with off an event reaches the subscribers of one pod, and there are 2"},
		{"off", "auth: {existingSecret: ''}", "set auth.existingSecret"},
		{"off", "auth: {existingSecret: '', publishToken: short}", "publishToken"},
		{"off", "config: {publishToken: 0123456789abcdef}", "no place for secrets"},
		{"off", "config: {drainTimeout: 5m}", "config: drainTimeout is set by a value of its own"},
		{"off", "replica: 2", "replica"},
		{"nats", "backplane: {mode: kafka}", "mode"},
		{"nats", "backplane: {nats: {replicas: 2}}", "replicas"},
		{"nats", "backplane: {nats: {url: 'nats://user:secret@nats:4222'}}", "a URL with a password would be in a ConfigMap"},
		{"auth", "backplane: {nats: {url: ''}}", "backplane.nats.url is empty"},
		{"embedded", "backplane: {mode: redis}", "backplane.redis.url is empty"},
		{"nats", "config: {dataDir: /data}", "config: dataDir is set by a value of its own"},
		{"redis", "backplane: {nodeData: {storage: {size: many}}}", "size"},
		{"nats", "podDisruptionBudget: {maxUnavailable: 0}", "maxUnavailable"},
	} {
		_, err := render(t, chartFolder+"/ci/"+c.file+"-values.yaml", c.changes)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: %v, want an error with %q", c.file, c.changes, err, c.want)
		}
	}
}

// TestSeparateNodes: what TestRefusals refuses can be meant.
func TestSeparateNodes(t *testing.T) {
	text, err := render(t, chartFolder+"/ci/off-values.yaml", "replicas: 2\nseparateNodes: true")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := decode(text); err != nil || len(m.pods) != 1 {
		t.Errorf("%v, %d workloads", err, len(m.pods))
	}
}

// TestNodeData: a pod of a fleet has a directory that lasts as long as the pod, or a volume of its own that outlives it.
func TestNodeData(t *testing.T) {
	for _, c := range []struct {
		file, changes, workload string
	}{
		{"nats", "", "Deployment/fanfare"},
		{"nats", "backplane: {nodeData: {persistent: true}}", "StatefulSet/fanfare"}, // with an autoscaler
		{"redis", "", "StatefulSet/fanfare"},
		{"redis", "backplane: {nodeData: {persistent: false}}", "Deployment/fanfare"},
		{"off", "backplane: {nodeData: {persistent: true}}", "Deployment/fanfare"}, // there is nothing to keep
	} {
		text, err := render(t, chartFolder+"/ci/"+c.file+"-values.yaml", c.changes)
		if err != nil {
			t.Fatal(err)
		}
		m, err := decode(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems(m) {
			t.Errorf("%s with %q: %s", c.file, c.changes, p)
		}
		pod, there := m.pods[c.workload]
		if !there {
			t.Errorf("%s with %q: %v, want %s", c.file, c.changes, slices.Collect(maps.Keys(m.pods)), c.workload)
			continue
		}
		empty := slices.ContainsFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == "data" && v.EmptyDir != nil })
		if want := c.file != "off" && c.workload == "Deployment/fanfare"; empty != want {
			t.Errorf("%s with %q: a directory of the pod: %v, want %v", c.file, c.changes, empty, want)
		}
	}
}

// TestSecretsStaySecret: the values of secrets are in the Secret only.
func TestSecretsStaySecret(t *testing.T) {
	const token, secret = "a-publish-token-0123", "a-token-secret-of-thirty-two-bytes"
	text, err := render(t, chartFolder+"/ci/embedded-values.yaml", "auth: {publishToken: "+token+", tokenSecret: "+secret+"}")
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"FANFARE_PUBLISH_TOKEN": token, "FANFARE_TOKEN_SECRET": secret}
	if got := m.secrets["fanfare"].StringData; !reflect.DeepEqual(got, want) {
		t.Errorf("the Secret has %v", got)
	}
	if strings.Count(text, token) != 1 || strings.Count(text, secret) != 1 {
		t.Error("a secret is in another place, too")
	}
}
