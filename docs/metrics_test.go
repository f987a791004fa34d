package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// metricName is the name of a metric as the code registers it.
var metricName = regexp.MustCompile(`"(fanfare_[a-z0-9_]+)"`)

// TestMetricsAreDocumented: every metric of the server is named in a document.
func TestMetricsAreDocumented(t *testing.T) {
	var text strings.Builder
	pages, err := filepath.Glob("*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
	}
	found := 0
	for _, dir := range []string{"transport", "cluster", "bridge", "auth", filepath.Join("cmd", "fanfare")} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range metricName.FindAllStringSubmatch(string(b), -1) {
				found++
				if !regexp.MustCompile(m[1] + `\b`).MatchString(text.String()) {
					t.Errorf("%s: the metric %s is in no document", path, m[1])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 50 {
		t.Errorf("only %d metrics found", found)
	}
}
