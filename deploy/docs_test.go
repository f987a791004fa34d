package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"fanfare/internal/test/certtest"
)

// TestDocumentedMetrics: an alert on a metric that doesn't exist never fires.
func TestDocumentedMetrics(t *testing.T) {
	// Some metrics are there only with what they measure. Nobody listens at that port.
	file := filepath.Join(t.TempDir(), "fanfare.yaml")
	if err := os.WriteFile(file, []byte("schedules:\n- {name: hourly, every: 1h, key: k, data: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert := certtest.New(t, "127.0.0.1")
	fanfare := startServer(t, "--config", file, "--redis-url", "redis://127.0.0.1:1", "--redis-channels", "c", "--redis-streams", "s",
		"--tls-cert", cert.Cert, "--tls-key", cert.Key, "--backplane", "embedded", "--data-dir", t.TempDir())
	_, metrics := fanfare.Get("/metrics")
	exported := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\w+) `).FindAllStringSubmatch(metrics, -1) {
		exported[m[1]] = true
	}
	for _, page := range []string{"operations.md", "scaling.md"} {
		text, err := os.ReadFile("../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\b(?:fanfare_|process_|go_)\w+`).FindAllString(string(text), -1)
		if page == "operations.md" && len(names) == 0 {
			t.Fatalf("%s names no metric", page)
		}
		for _, name := range names {
			if !exported[name] {
				t.Errorf("docs/%s speaks of %s, which /metrics doesn't have", page, name)
			}
		}
	}
}
