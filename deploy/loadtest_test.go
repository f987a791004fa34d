package deploy_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// The load tests are a module of their own; what their examples and their guide say of this one is checked here, where
// the server is at hand.
const loadtest = "../loadtest/"

// TestLoadtestDashboard: a panel of a metric or a label that doesn't exist stays empty, and nobody knows why.
func TestLoadtestDashboard(t *testing.T) {
	var dashboard struct {
		Title, UID string
		Templating struct {
			List []struct{ Name string }
		}
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(readFile(t, loadtest+"examples/grafana-dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	known, labels := serverMetrics(t)
	for name := range k6Series(t) {
		known[name] = true
	}
	variables := map[string]bool{"__rate_interval": true}
	for _, v := range dashboard.Templating.List {
		variables[v.Name] = true
	}

	ids, exprs := map[int]bool{}, 0
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("panel %q: its id %d is another's", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H < 1 {
			t.Errorf("panel %q doesn't fit the grid: %+v", p.Title, p.GridPos)
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			exprs++
			for _, problem := range problems(target.Expr, known, labels, variables) {
				t.Errorf("panel %q, %s: %s", p.Title, target.Expr, problem)
			}
		}
	}
	if exprs < 20 {
		t.Errorf("the dashboard has %d queries", exprs)
	}

	for _, wrong := range []string{"fanfare_nothing", "sum(k6_sse_lost)", "k6_sse_event_latency_p42", "sum by (colour) (fanfare_keys)", "rate(fanfare_keys[$x])", "sum(fanfare_keys"} {
		if len(problems(wrong, known, labels, variables)) == 0 {
			t.Errorf("nothing is found wrong in %q", wrong)
		}
	}
}

// TestLoadtestWebDashboard: the graphs of k6's report are of metrics that there are, and of values that they have.
func TestLoadtestWebDashboard(t *testing.T) {
	var dashboard struct {
		Tabs []struct {
			Sections []struct {
				Panels []struct {
					Title  string
					Series []struct{ Query string }
				}
			}
		}
	}
	if err := json.Unmarshal(readFile(t, loadtest+"examples/web-dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	kinds := k6Metrics(t)
	for name, kind := range map[string]string{"vus": "Gauge", "http_req_duration": "Trend", "http_reqs": "Counter", "http_req_failed": "Rate"} {
		kinds[name] = kind // of k6 itself
	}
	has := map[string]string{"Trend": " && (avg || p90 || p95 || p99)", "Counter": " && rate", "Rate": " && rate", "Gauge": " && value"}
	queries := 0
	for _, tab := range dashboard.Tabs {
		for _, section := range tab.Sections {
			for _, p := range section.Panels {
				for _, s := range p.Series {
					queries++
					m := regexp.MustCompile(`^(\w*)\[\?!tags(.*)\]$`).FindStringSubmatch(s.Query)
					single := m != nil && kinds[m[1]] == "Trend" && m[2] == " && p99"
					if m == nil || m[1] != "" && (kinds[m[1]] == "" || m[2] != has[kinds[m[1]]] && !single) {
						t.Errorf("panel %q: %q is no query of a metric that there is", p.Title, s.Query)
					}
				}
			}
		}
	}
	if queries < 15 {
		t.Errorf("the dashboard has %d queries", queries)
	}
}

// problems says what is wrong in a query, as far as names go.
func problems(expr string, known, labels, variables map[string]bool) []string {
	var found []string
	for _, name := range regexp.MustCompile(`\b(?:fanfare|process|go|k6)_\w+`).FindAllString(expr, -1) {
		if !known[name] {
			found = append(found, "there is no metric "+name)
		}
	}
	for _, by := range regexp.MustCompile(`\bby \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(by[1], ",") {
			if !labels[strings.TrimSpace(label)] {
				found = append(found, "there is no label "+label)
			}
		}
	}
	for _, m := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(expr, -1) {
		if !variables[m[1]] {
			found = append(found, "there is no variable "+m[1])
		}
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(expr, pair[:1]) != strings.Count(expr, pair[1:]) {
			found = append(found, "unbalanced "+pair)
		}
	}
	return found
}

// serverMetrics are the series of /metrics and their labels, with those that Prometheus adds.
func serverMetrics(t *testing.T) (names, labels map[string]bool) {
	t.Helper()
	names, labels = map[string]bool{}, map[string]bool{"instance": true, "job": true, "le": true, "phase": true}
	_, metrics := startServer(t).Get("/metrics")
	for _, m := range regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? `).FindAllStringSubmatch(metrics, -1) {
		names[m[1]] = true
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			labels[l[1]] = true
		}
	}
	return names, labels
}

// k6Series are the series that k6's remote write makes of the extension's and the scripts' metrics, with the statistics of
// trends that the example asks for.
func k6Series(t *testing.T) map[string]bool {
	t.Helper()
	stats := regexp.MustCompile(`K6_PROMETHEUS_RW_TREND_STATS='([^']+)'`).FindSubmatch(readFile(t, loadtest+"examples/prometheus.yml"))
	if stats == nil {
		t.Fatal("prometheus.yml doesn't say which statistics of trends are written")
	}
	series := map[string]bool{}
	for metric, kind := range k6Metrics(t) {
		name := "k6_" + metric
		switch kind {
		case "Counter":
			series[name+"_total"] = true
		case "Gauge":
			series[name] = true
		case "Rate":
			series[name+"_rate"] = true
		case "Trend":
			for stat := range strings.SplitSeq(string(stats[1]), ",") {
				series[name+"_"+strings.NewReplacer("(", "", ")", "", ".", "").Replace(stat)] = true
			}
		}
	}
	return series
}

// k6Metrics are the metrics of the extension and of the scripts, and their kinds.
func k6Metrics(t *testing.T) map[string]string {
	t.Helper()
	declared := regexp.MustCompile(`"(sse_\w+)", metrics\.(Counter|Gauge|Rate|Trend)`).FindAllSubmatch(readFile(t, loadtest+"sse/metrics.go"), -1)
	for _, file := range scripts(t) {
		for _, m := range regexp.MustCompile(`new (Counter|Gauge|Rate|Trend)\('(\w+)'`).FindAllSubmatch(readFile(t, file), -1) {
			declared = append(declared, [][]byte{nil, m[2], m[1]})
		}
	}
	kinds := map[string]string{}
	for _, m := range declared {
		kinds[string(m[1])] = string(m[2])
	}
	if kinds["sse_lost"] != "Counter" || kinds["stream_complete"] != "Rate" {
		t.Fatalf("the metrics were not found in the sources: %v", kinds)
	}
	return kinds
}

// TestLoadtestWorkflow: the example for GitHub Actions names commands, scripts and variables that there are.
func TestLoadtestWorkflow(t *testing.T) {
	var workflow struct {
		Name string
		On   map[string]any
		Jobs map[string]struct {
			RunsOn string `yaml:"runs-on"`
			Steps  []struct {
				Name, Run, Uses string
				Env             map[string]string
			}
		}
	}
	raw := readFile(t, loadtest+"examples/github-actions.yml")
	if err := yaml.Unmarshal(raw, &workflow); err != nil {
		t.Fatal(err)
	}
	job := workflow.Jobs["loadtest"]
	if workflow.Name == "" || len(workflow.On) == 0 || job.RunsOn == "" || len(job.Steps) == 0 {
		t.Fatalf("the workflow lacks a name, triggers or steps: %+v", workflow)
	}
	known := variables(t)
	named := map[string]bool{}
	for _, step := range job.Steps {
		if (step.Run == "") == (step.Uses == "") {
			t.Errorf("step %q must have either run or uses", step.Name)
		}
		check := exec.Command("bash", "-n")
		check.Stdin = strings.NewReader(step.Run)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("step %q: %v: %s", step.Name, err, out)
		}
		for _, m := range regexp.MustCompile(`loadtest/scripts/([\w-]+)\.ts`).FindAllStringSubmatch(step.Run, -1) {
			named[m[1]] = true
		}
		for _, m := range regexp.MustCompile(`for test in ([^;]+);`).FindAllStringSubmatch(step.Run, -1) {
			for _, name := range strings.Fields(m[1]) {
				named[name] = true
			}
		}
		for _, m := range regexp.MustCompile(`go build (?:-C (\S+) )?-o \S+ (\S+)`).FindAllStringSubmatch(step.Run, -1) {
			if _, err := os.Stat(filepath.Join("..", m[1], m[2])); err != nil {
				t.Errorf("step %q builds what isn't there: %v", step.Name, err)
			}
		}
		for name := range step.Env {
			if !known[name] && name != "SCRIPT" && name != "XK6_DASHBOARD_CONFIG" && !strings.HasPrefix(name, "K6_WEB_DASHBOARD") {
				t.Errorf("step %q sets %s, which no script reads", step.Name, name)
			}
		}
	}
	for _, m := range regexp.MustCompile(`inputs\.script \|\| '(\w+)'`).FindAllSubmatch(raw, -1) {
		named[string(m[1])] = true
	}
	if len(named) < 5 {
		t.Errorf("the workflow runs %v only", named)
	}
	for name := range named {
		if _, err := os.Stat(loadtest + "scripts/" + name + ".ts"); err != nil {
			t.Errorf("the workflow runs a script that isn't there: %v", err)
		}
	}
}

// TestLoadtestProvisioning: the files for Prometheus and Grafana are YAML and lead to the addresses of the guide.
func TestLoadtestProvisioning(t *testing.T) {
	var prometheus struct {
		ScrapeConfigs []struct {
			JobName       string                       `yaml:"job_name"`
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(readFile(t, loadtest+"examples/prometheus.yml"), &prometheus); err != nil {
		t.Fatal(err)
	}
	if len(prometheus.ScrapeConfigs) != 1 || prometheus.ScrapeConfigs[0].JobName != "fanfare" ||
		!slices.Equal(prometheus.ScrapeConfigs[0].StaticConfigs[0].Targets, []string{"127.0.0.1:8081"}) {
		t.Errorf("prometheus.yml doesn't read the admin listener's default address: %+v", prometheus)
	}
	var grafana struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct{ Name, Type, URL string }
	}
	if err := yaml.Unmarshal(readFile(t, loadtest+"examples/grafana-datasource.yml"), &grafana); err != nil {
		t.Fatal(err)
	}
	if grafana.APIVersion != 1 || len(grafana.Datasources) != 1 || grafana.Datasources[0].Type != "prometheus" {
		t.Errorf("grafana-datasource.yml: %+v", grafana)
	}
}

// TestLoadtestGuide: the guide tells of every script and variable, and of none that isn't there.
func TestLoadtestGuide(t *testing.T) {
	guide := string(readFile(t, loadtest+"README.md"))
	for _, file := range scripts(t) {
		if name := filepath.Base(file); filepath.Base(filepath.Dir(file)) == "scripts" && !strings.Contains(guide, "scripts/"+name) {
			t.Errorf("the guide doesn't tell of %s", name)
		}
	}
	for name := range variables(t) {
		if !strings.Contains(guide, "`"+name+"`") {
			t.Errorf("the guide doesn't tell of the variable %s", name)
		}
	}
	for _, path := range regexp.MustCompile(`\b(?:scripts|examples|sse|types)/[\w./-]+\.\w+`).FindAllString(guide, -1) {
		if _, err := os.Stat(loadtest + path); err != nil {
			t.Errorf("the guide speaks of what isn't there: %v", err)
		}
	}
}

// scripts are the k6 scripts and their modules.
func scripts(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"scripts/*.ts", "scripts/lib/*.ts"} {
		files, err := filepath.Glob(loadtest + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		all = append(all, files...)
	}
	return all
}

// variables are the environment variables that scripts read.
func variables(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, file := range scripts(t) {
		for _, m := range regexp.MustCompile(`\b(?:whole|seconds|text|address)\('([A-Z0-9_]+)'`).FindAllSubmatch(readFile(t, file), -1) {
			names[string(m[1])] = true
		}
	}
	if !names["BASE_URL"] || !names["EVERY"] {
		t.Fatalf("the variables were not found in the scripts: %v", slices.Sorted(maps.Keys(names)))
	}
	return names
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
