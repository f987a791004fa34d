package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestYAML(t *testing.T) {
	const file = "history: 4\nheaders:\n  X-A: a \"b\" <é>\n  X-B:\nkeys:\n  - {slow: skip, match: 'a*', historyTTL: 1m}\nadminOrigins: [https://a.example]\n"
	c, err := load(t, file, []string{"FANFARE_PUBLISH_TOKEN=hunter2", "FANFARE_PATH=/e", "FANFARE_REDIS_URL=redis://:hunter2@h"}, "--slow", "latest", "--redis-channels", "a")
	if err != nil {
		t.Fatal(err)
	}
	got := c.YAML()
	lines := make(map[string]bool)
	for line := range strings.Lines(got) {
		lines[strings.Join(strings.Fields(line), " ")] = true
	}
	for _, want := range []string{
		`listen: ":8080" # default`,
		`# publishToken: [redacted] # environment FANFARE_PUBLISH_TOKEN`,
		`adminOrigins: # fanfare.yaml:7:15`,
		`- "https://a.example" # fanfare.yaml:7:15`,
		`path: "/e" # environment FANFARE_PATH`,
		`"X-A": "a \"b\" <é>" # fanfare.yaml:3:3`,
		`"X-B": "" # fanfare.yaml:4:3`,
		`history: 4 # fanfare.yaml:1:10`,
		`slow: latest # flag --slow`,
		`- match: "a*" # fanfare.yaml:6:25`,
		`historyTTL: 1m # fanfare.yaml:6:43`,
		`slow: skip # fanfare.yaml:6:12`,
		`# redisURL: [redacted] # environment FANFARE_REDIS_URL`,
		`# History`,
	} {
		if !lines[want] {
			t.Errorf("no line %s in\n%s", want, got)
		}
	}
	for i := range schema {
		if !strings.Contains(got, schema[i].Name+":") {
			t.Errorf("%s is not printed", schema[i].Name)
		}
	}
	if strings.Contains(got, "hunter2") {
		t.Errorf("a secret is printed:\n%s", got)
	}
	again, err := load(t, got, []string{"FANFARE_PUBLISH_TOKEN=hunter2", "FANFARE_REDIS_URL=redis://:hunter2@h"})
	if err != nil {
		t.Fatal(err)
	}
	if changed, _ := Diff(c, again); changed != nil {
		t.Errorf("printing changed %v", changed)
	}
}

// docsFile is where the documentation is, seen from this package.
const docsFile = "../../../docs/configuration.md"

func TestDocsAreUpToDate(t *testing.T) {
	got, err := os.ReadFile(filepath.FromSlash(docsFile))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Docs() {
		t.Error("docs/configuration.md is not what the schema gives: go run ./cmd/fanfare config docs > docs/configuration.md")
	}
}

func TestDocsAreComplete(t *testing.T) {
	docs := Docs()
	for i := range schema {
		s := &schema[i]
		row := "| `" + s.Name + "` | "
		if s.Flag != "" {
			row += "`" + s.Flag + "` | `" + s.Env + "` | "
		}
		if strings.Count(docs, row) < 1 {
			t.Errorf("no row %s", row)
		}
	}
	columns := 0
	for line := range strings.Lines(docs) {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if columns != 0 && n != columns {
			t.Errorf("%d columns, not %d: %s", n, columns, line)
		}
		columns = n
	}
}

func TestDocsExamplesLoad(t *testing.T) {
	examples := 0
	for i, block := range strings.Split(Docs(), "```") {
		if text, ok := strings.CutPrefix(block, "yaml\n"); ok && i%2 == 1 {
			examples++
			if c, err := load(t, text, nil); err != nil {
				t.Error(err)
			} else if changed, _ := Diff(Defaults(), c); len(changed) < 3 {
				t.Errorf("an example that sets %v", changed)
			}
		}
	}
	if examples == 0 {
		t.Error("no example")
	}
}
