package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// withoutRace is what without_race.sh prints for a folder.
func withoutRace(t *testing.T, folder string) string {
	t.Helper()
	out, err := exec.Command("./without_race.sh", folder).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TestWithoutRace: a test that the selection forgets runs in no build in which it could fail.
func TestWithoutRace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"no tests", map[string]string{"a.go": "//go:build !race\n\npackage a\n"}, ""},
		{"independent", map[string]string{"a.go": "package a\n", "a_test.go": "package a\n\nfunc TestA(t *testing.T) {}\n"}, ""},
		{"built without it", map[string]string{
			"a_test.go": "package a\n\nfunc TestA(t *testing.T) {}\n",
			"b_test.go": "//go:build linux && !race\n\npackage a\n\nfunc TestMain(m *testing.M) {}\n\nfunc TestB(t *testing.T) {\n}\n\nfunc testB(t *testing.T) {}\n",
		}, "^(TestB)$"},
		{"asks for it", map[string]string{
			"a_test.go": "package a\n\nfunc TestA(t *testing.T) { _ = race.Enabled }\n\nfunc Test2(t *testing.T) {}\n",
			"b_test.go": "package a\n\nfunc TestB(t *testing.T) {}\n",
		}, "^(TestA|Test2)$"},
		{"depends on it", map[string]string{"a.go": "//go:build !race\n\npackage a\n", "a_test.go": "package a\n\nfunc TestA(t *testing.T) {}\n"}, "."},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := withoutRace(t, dir); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	for folder, want := range map[string]string{
		"../engine": ".", "../transport": "TestMemoryTLS", "../codec": "TestAppendAllocations", "../transport/internal/stream": "TestRateTableIsBounded",
	} {
		if got := withoutRace(t, folder); !strings.Contains(got, want) {
			t.Errorf("%s: %q lacks %q", folder, got, want)
		}
	}
}
