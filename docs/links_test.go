package docs_test

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	fence    = regexp.MustCompile("(?ms)^```.*?^```$")
	codeSpan = regexp.MustCompile("`[^`\n]*`")
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#{1,6} +(.*?) *$`)
)

// TestLinks checks the relative links of every Markdown file: the file must exist, and so must the heading that the anchor names.
func TestLinks(t *testing.T) {
	files := markdownFiles(t)
	if !slices.Contains(files, filepath.Join("..", "README.md")) {
		t.Fatalf("README.md is not among %q", files)
	}
	links := 0
	for _, file := range files {
		n, problems := checkLinks(file, read(t, file))
		links += n
		for _, problem := range problems {
			t.Error(problem)
		}
	}
	if links < 50 {
		t.Errorf("only %d relative links: the pattern does not find them", links)
	}
}

// TestLinksAreChecked proves that the check refuses what it should.
func TestLinksAreChecked(t *testing.T) {
	for text, want := range map[string]int{
		"[a](redis.md)": 0, "[a](redis.md#payloads)": 0, "[a](#here-and-there)\n\n## Here, and `there`\n": 0, "[a](https://example.com/nothing)": 0,
		"```sh\n[a](nothing.md)\n```\n": 0, "`[a](nothing.md)`": 0, "[a](#a-1)\n\n## A\n\n## A\n": 0,
		"[a](nothing.md)": 1, "[a](redis.md#nothing)": 1, "[a](#nothing)": 1, "![a](nothing.png)": 1, "[a](#a-1)\n\n## A\n": 1,
	} {
		if _, problems := checkLinks("links.md", text); len(problems) != want {
			t.Errorf("%q: %d problems, want %d: %q", text, len(problems), want, problems)
		}
	}
}

// TestReadmeListsDocuments checks that a reader of README.md finds every document.
func TestReadmeListsDocuments(t *testing.T) {
	readme := read(t, "../README.md")
	files, err := filepath.Glob("*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if !strings.Contains(readme, "](docs/"+file) {
			t.Errorf("README.md does not link docs/%s", file)
		}
	}
	if !strings.Contains(readme, "](SECURITY.md)") {
		t.Error("README.md does not link SECURITY.md")
	}
}

// TestContributingNamesWhatExists checks the files and tests that CONTRIBUTING.md tells developers to change.
func TestContributingNamesWhatExists(t *testing.T) {
	text := read(t, "../CONTRIBUTING.md")
	tests := testNames(t)
	files := 0
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		switch name := m[1]; {
		case regexp.MustCompile(`^[\w./-]+/[\w.-]+\.(go|json|md|mjs|sh)$`).MatchString(name):
			files++
			if _, err := os.Stat(filepath.Join("..", name)); err != nil {
				t.Errorf("CONTRIBUTING.md names a file that does not exist: %v", err)
			}
		case regexp.MustCompile(`^Test\w+$`).MatchString(name) && !tests[name]:
			t.Errorf("CONTRIBUTING.md names %s, which is not a test", name)
		}
	}
	if files < 15 {
		t.Errorf("only %d names of files: the pattern does not find them", files)
	}
}

// TestPromisesNameWhatExists checks the tests and the settings that the threat model and the promises of a fleet rely on.
func TestPromisesNameWhatExists(t *testing.T) {
	known, settings := testNames(t), read(t, "configuration.md")
	for _, page := range []struct {
		file            string
		head            string // of the table whose rows need tests
		tests, settings int    // at least
	}{
		{"threat-model.md", "| from where | attack | what defends it | tests that show it |\n|---|---|---|---|\n", 40, 15},
		{"scaling.md", "| promise | modes | tests that show it |\n|---|---|---|\n", 30, 15},
	} {
		text := read(t, page.file)
		tests := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(text, -1)
		for _, m := range tests {
			if !known[m[1]] {
				t.Errorf("%s names %s, which is not a test", page.file, m[1])
			}
		}
		named := 0
		for _, m := range regexp.MustCompile("`([a-z]+[A-Z]\\w*)(?:: [\\w ]+)?`").FindAllStringSubmatch(text, -1) {
			if named++; !strings.Contains(settings, "\n| `"+m[1]+"` |") && m[1] != "maxUnavailable" { // a value of the Helm chart
				t.Errorf("%s names %s, which is not a setting", page.file, m[1])
			}
		}
		if len(tests) < page.tests || named < page.settings {
			t.Errorf("%s: only %d tests and %d settings: the patterns do not find them", page.file, len(tests), named)
		}
		// A row without a test is a promise that nothing keeps.
		_, table, found := strings.Cut(text, page.head)
		if table, _, _ = strings.Cut(table, "\n\n"); !found {
			t.Errorf("%s has no table that begins with %s", page.file, page.head)
		}
		for line := range strings.Lines(table) {
			cells := strings.Split(strings.TrimSpace(line), "|")
			if shown := cells[len(cells)-2]; !strings.Contains(shown, "`Test") {
				t.Errorf("%s: no test shows this: %s", page.file, line)
			}
		}
	}
}

// testNames are the names of all test functions and fuzz targets.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return cmp.Or(err, fs.SkipDir)
		}
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(read(t, path), -1) {
				names[m[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// markdownFiles are the Markdown files of the repository. The parts of docs/clients are left out: their links belong to the page
// that is made of them.
func markdownFiles(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == "testdata" || path == filepath.Join("..", "docs", "clients")):
			return fs.SkipDir
		case filepath.Ext(path) == ".md":
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// checkLinks returns the number of relative links in the text of a file, and what is wrong with them.
func checkLinks(file, text string) (links int, problems []string) {
	for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(fence.ReplaceAllString(text, ""), ""), -1) {
		target, err := url.Parse(m[1])
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %s: %v", file, m[1], err))
			continue
		}
		if target.IsAbs() {
			continue
		}
		links++
		other := text
		if target.Path != "" {
			path := filepath.Join(filepath.Dir(file), filepath.FromSlash(target.Path))
			info, err := os.Stat(path)
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %s: %v", file, m[1], err))
				continue
			}
			if target.Fragment == "" || info.IsDir() {
				continue
			}
			b, err := os.ReadFile(path)
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %s: %v", file, m[1], err))
				continue
			}
			other = string(b)
		}
		if !slices.Contains(anchors(other), target.Fragment) {
			problems = append(problems, fmt.Sprintf("%s: %s: no heading has the anchor #%s", file, m[1], target.Fragment))
		}
	}
	return links, problems
}

// anchors are the anchors that GitHub gives to the headings of a document.
func anchors(text string) (found []string) {
	seen := map[string]int{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		title := link.ReplaceAllString(m[1], "]") // of a link only the text counts
		anchor := regexp.MustCompile(`[^\p{L}\p{N}\s_-]`).ReplaceAllString(strings.ToLower(title), "")
		anchor = strings.ReplaceAll(anchor, " ", "-")
		if n := seen[anchor]; n > 0 {
			found = append(found, fmt.Sprintf("%s-%d", anchor, n))
		} else {
			found = append(found, anchor)
		}
		seen[anchor]++
	}
	return found
}
