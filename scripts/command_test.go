package scripts_test

import (
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// stubbed is scripts/test.sh with one step in place of all of its own.
func stubbed(t *testing.T, stub string) string {
	t.Helper()
	text, err := os.ReadFile("test.sh")
	if err != nil {
		t.Fatal(err)
	}
	steps := regexp.MustCompile(`(?m)^step .*\n`)
	if n := len(steps.FindAll(text, -1)); n < 8 {
		t.Fatalf("test.sh has %d steps, and had more when this test was written", n)
	}
	if !strings.HasSuffix(string(text), "\n\nrun_steps\nverdict\n") {
		t.Error("test.sh does not end with run_steps and verdict")
	}
	begin := steps.FindIndex(text)[0]
	return string(text[:begin]) + stub + string(steps.ReplaceAll(text[begin:], nil))
}

func TestTheTestCommand(t *testing.T) {
	t.Parallel()
	const show = "step show bash -c 'echo \"long=${FANFARE_LONG-unset} fuzz=${FUZZTIME-unset} $PWD\"'\n"
	text := stubbed(t, show)
	t.Run("without arguments", func(t *testing.T) {
		t.Parallel()
		s := begin(t, text)
		if got := s.line("long="); !strings.HasPrefix(got, "unset fuzz=unset "+s.cmd.Dir) {
			t.Errorf("%q", got)
		}
		if last, status := s.end(); status != 0 || !strings.HasPrefix(last, "PASS: all 1 of 1 steps") {
			t.Errorf("status %d, %q", status, last)
		}
	})
	t.Run("--long", func(t *testing.T) {
		t.Parallel()
		if got := begin(t, text, "--long").line("long="); !strings.HasPrefix(got, "1 fuzz=60s ") {
			t.Errorf("%q", got)
		}
	})
	t.Run("--help", func(t *testing.T) {
		t.Parallel()
		s := begin(t, text, "--help")
		if _, status := s.end(); status != 0 || !strings.Contains(s.output.String(), "--long") || strings.Contains(s.output.String(), "PASS:") {
			t.Errorf("status %d\n%s", status, s.output.String())
		}
	})
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		s := begin(t, text, "--quick")
		if _, status := s.end(); status != 2 || !strings.Contains(s.errs.String(), `unknown argument "--quick"`) {
			t.Errorf("status %d\n%s", status, s.errs.String())
		}
	})
	t.Run("a signal", func(t *testing.T) {
		t.Parallel()
		s := begin(t, stubbed(t, "step hang bash -c 'echo ready; sleep 60'\n"))
		s.line("ready")
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		s.fails(143, `step "hang"`)
	})
}
