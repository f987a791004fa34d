package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFuzz runs fuzz.sh on two targets, of which one fails: both run, and the failure comes with its reason.
func TestFuzz(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("fuzz.sh")
	if err != nil {
		t.Fatal(err)
	}
	const (
		good = "package a\n\nimport \"testing\"\n\nfunc FuzzGood(f *testing.F) { f.Fuzz(func(t *testing.T, s string) {}) }\n"
		bad  = "package b\n\nimport \"testing\"\n\nfunc FuzzBad(f *testing.F) {\n\tf.Add(\"x\")\n" +
			"\tf.Fuzz(func(t *testing.T, s string) { t.Fatal(\"the reason\") })\n}\n"
	)
	run := func(files map[string]string) (out, failures string, err error) {
		files["go.mod"] = "module fuzzed\n\ngo 1.26\n"
		files["scripts/fuzz.sh"] = string(script)
		dir := writeFiles(t, files)
		cmd := exec.Command("bash", filepath.Join(dir, "scripts/fuzz.sh"))
		cmd.Env = append(os.Environ(), "FUZZTIME=100x", "GOFLAGS=", "GOWORK=off", "TEST_STEPS_FAILURES="+filepath.Join(dir, "failures"))
		text, err := cmd.CombinedOutput()
		failed, _ := os.ReadFile(filepath.Join(dir, "failures")) // there is none if nothing has failed
		return string(text), string(failed), err
	}

	out, failures, err := run(map[string]string{"a/a_test.go": good})
	if err != nil || failures != "" || !strings.HasSuffix(out, "\n1 fuzz targets ran\n") {
		t.Errorf("a target that passes: %v, %q\n%s", err, failures, out)
	}
	out, failures, err = run(map[string]string{"a/a_test.go": good, "b/b_test.go": bad})
	if err == nil || !strings.HasPrefix(failures, "FAILED fuzzed/b: FuzzBad\n    ") || !strings.Contains(failures, "the reason") {
		t.Errorf("a target that fails: %v, %q\n%s", err, failures, out)
	}
	if !strings.Contains(out, "--- fuzzed/a FuzzGood (100x)") {
		t.Errorf("the other target did not run:\n%s", out)
	}
	out, failures, err = run(map[string]string{"a/a_test.go": good, "b/b_test.go": bad + "mistake"})
	if err == nil || !strings.HasPrefix(failures, "FAILED fuzzed/b: build\n    ") || !strings.Contains(failures, "mistake") {
		t.Errorf("a target that cannot be built: %v, %q\n%s", err, failures, out)
	}
	out, _, err = run(map[string]string{"a/a.go": "package a\n"})
	if err == nil || !strings.Contains(out, "no fuzz target found") {
		t.Errorf("no target: %v\n%s", err, out)
	}
}
