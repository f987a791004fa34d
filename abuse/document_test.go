package abuse_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocument: docs/reliability.md has each attack, and no other; its settings and metrics exist.
func TestDocument(t *testing.T) {
	document, settings := file(t, "../docs/reliability.md"), file(t, "../docs/configuration.md")
	metrics := file(t, "../transport/internal/metrics/metrics.go") // /metrics has some only after the first error
	exists := map[string]bool{}
	for _, g := range groups {
		for _, a := range g.attacks {
			exists[g.name+"/"+a.name] = true
		}
	}
	rows := 0
	code := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(document) {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| `") || len(cells) != 6 || !strings.Contains(cells[1], "/") {
			continue
		}
		name := code.FindStringSubmatch(cells[1])[1]
		if !exists[name] {
			t.Errorf("there is no attack %s", name)
		}
		delete(exists, name)
		rows++
		for _, m := range code.FindAllStringSubmatch(cells[3], -1) {
			if !strings.Contains(settings, "`"+m[1]+"`") {
				t.Errorf("%s: there is no setting %s", name, m[1])
			}
		}
		for _, m := range code.FindAllStringSubmatch(cells[4], -1) {
			if !strings.Contains(metrics, `"`+m[1]+`"`) {
				t.Errorf("%s: there is no metric %s", name, m[1])
			}
		}
	}
	for name := range exists {
		t.Errorf("docs/reliability.md does not have %s", name)
	}
	if rows == 0 {
		t.Error("docs/reliability.md has no table of attacks")
	}
}

func file(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
