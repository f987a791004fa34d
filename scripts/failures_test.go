package scripts_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// failing is a module whose tests fail in every way that `go test` knows.
var failing = map[string]string{
	"go.mod":    "module failing\n\ngo 1.26\n",
	"a/test.go": "package a\n",
	"a/a_test.go": `package a

import "testing"

func TestGood(t *testing.T) {}

func TestBad(t *testing.T) {
	t.Error("the reason")
	for i := range 100 {
		t.Log("more", i)
	}
	t.Error("the last words")
}

func TestParent(t *testing.T) {
	t.Run("good", func(t *testing.T) {})
	t.Run("inner", func(t *testing.T) { t.Error("the inner reason") })
}

func TestSilent(t *testing.T) { t.Fail() }
`,
	"b/b_test.go": "package b\n\nimport \"testing\"\n\nfunc TestPanic(t *testing.T) { panic(\"help\") }\n",
	"c/c_test.go": "package c\n\nimport \"testing\"\n\nfunc TestC(t *testing.T) { missing() }\n",
	"d/d_test.go": `package d

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	fmt.Println("there is no server")
	os.Exit(1)
}
`,
	"e/e_test.go": "package e\n\nimport \"testing\"\n\nfunc TestE(t *testing.T) {}\n",
}

// writeFiles writes files, by their names, into a new folder.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// summary is what stands between the output of the steps and the verdict.
func summary(s *script) string {
	text := strings.TrimSpace(s.output.String())
	text = text[:strings.LastIndex(text, "\n\nFAIL: ")]
	return text[strings.LastIndex(text, "\n\n")+2:]
}

// TestFailuresComeLast: the end of the output names each test that failed, and why.
func TestFailuresComeLast(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, failing)
	s := begin(t, head+"tests() { cd '"+dir+"'; GOFLAGS= GOWORK=off go_test -count=1 ./...; }\nstep a tests\nrun_steps\nverdict\n")
	s.fails(1, `step "a"`)
	text := s.output.String()
	text = text[strings.LastIndex(text, "FAIL\n\nFAILED"):]
	for _, part := range []string{
		"FAILED failing/a: TestBad\n    a_test.go:8: the reason\n    a_test.go:10: more 0\n",
		" lines …\n", "    a_test.go:12: the last words\nFAILED failing/a: TestParent/inner\n    a_test.go:17: the inner reason\nFAILED failing/a: TestSilent\n",
		"FAILED failing/b: panic: help", "FAILED failing/c: does not compile\n    c/c_test.go:5:28: undefined: missing\n",
		"FAILED failing/d: no test says why\n    there is no server\n", "\nIn short:\nFAILED ",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
	for _, part := range []string{"TestGood", "failing/e", "FAILED failing/a: TestParent\n"} {
		if strings.Contains(text, part) {
			t.Errorf("%q in\n%s", part, text)
		}
	}
}

// TestFailuresOfStepsSideBySide: what fails in one of several functions comes after the lines of all of them.
func TestFailuresOfStepsSideBySide(t *testing.T) {
	t.Parallel()
	s := begin(t, head+`
test_one() { printf 'FAILED one: the reason\n    a line of it\n' >>"$TEST_STEPS_FAILURES"; echo said; false; echo not reached; }
test_two() { sleep 0.5; echo the last line; }
test_three() { exit 0; }
step a side_by_side test_one test_two test_three
run_steps
verdict
`)
	s.fails(1, `step "a"`)
	if got, want := summary(s), "FAILED one: the reason\n    a line of it"; got != want {
		t.Errorf("the end is %q, want %q", got, want)
	}
	for _, part := range []string{"one: said\n", "two: the last line\n"} {
		if !strings.Contains(s.output.String(), part) {
			t.Errorf("no %q in\n%s", part, s.output.String())
		}
	}
	for _, part := range []string{"test_one failed", "test_three failed"} {
		if !strings.Contains(s.errs.String(), part) {
			t.Errorf("no %q in\n%s", part, s.errs.String())
		}
	}
	if strings.Contains(s.output.String(), "not reached") || strings.Contains(s.errs.String(), "test_two failed") {
		t.Errorf("%s%s", s.output.String(), s.errs.String())
	}
}

// TestNothingFailedQuietly: a run that passes has no summary.
func TestNothingFailedQuietly(t *testing.T) {
	t.Parallel()
	s := begin(t, head+"step a sh -c 'echo FAILED one >>\"$TEST_STEPS_FAILURES\"'\nrun_steps\nverdict\n")
	if last, status := s.end(); status != 0 || strings.Contains(s.output.String(), "FAILED") {
		t.Errorf("status %d, %q\n%s", status, last, s.output.String())
	}
}
