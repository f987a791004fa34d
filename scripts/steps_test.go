// Package scripts_test tests scripts/test.sh: PASS is printed only if each step has ended well, and what failed is named at the end.
package scripts_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds what ends at once unless it is broken. A busy machine may need many times as long as a quiet one.
const patience = 4 * time.Minute

// script is a run of a bash script.
type script struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  chan string // of standard output, closed at its end
	output strings.Builder
	errs   bytes.Buffer
}

// begin starts a script with this text. Its folder has copies of the files that steps.sh is made of.
func begin(t *testing.T, text string, args ...string) *script {
	t.Helper()
	dir := t.TempDir()
	folder := filepath.Join(dir, "scripts")
	err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(filepath.Join(folder, "test.sh"), []byte(text), 0o755))
	for _, name := range []string{"steps.sh", "failures.awk"} {
		content, readErr := os.ReadFile(name)
		err = errors.Join(err, readErr, os.WriteFile(filepath.Join(folder, name), content, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, cmd: exec.Command("bash", append([]string{filepath.Join(folder, "test.sh")}, args...)...), lines: make(chan string, 1000)}
	s.cmd.Dir = dir
	s.cmd.Stderr = &s.errs
	s.cmd.WaitDelay = patience // for what holds standard error open
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	return s
}

// line waits for a line that begins so, and returns what follows.
func (s *script) line(prefix string) string {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("the script has ended without a line %q:\n%s%s", prefix, s.output.String(), s.errs.String())
			}
			s.output.WriteString(line + "\n")
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
		case <-deadline:
			s.t.Fatalf("no line %q within %s:\n%s", prefix, patience, s.output.String())
		}
	}
}

// end waits for the end of the script: its last line and its exit status.
func (s *script) end() (last string, status int) {
	s.t.Helper()
	deadline := time.After(patience)
	for open := true; open; {
		var line string
		select {
		case line, open = <-s.lines:
			if open {
				s.output.WriteString(line + "\n")
			}
		case <-deadline:
			s.t.Fatalf("the script does not end:\n%s", s.output.String())
		}
	}
	_ = s.cmd.Wait()
	lines := strings.Split(strings.TrimSuffix(s.output.String(), "\n"), "\n")
	return lines[len(lines)-1], s.cmd.ProcessState.ExitCode()
}

// fails demands FAIL as the last line, a status other than 0, and PASS nowhere.
func (s *script) fails(wantStatus int, wantPart string) {
	s.t.Helper()
	last, status := s.end()
	if status != wantStatus || !strings.HasPrefix(last, "FAIL: ") || !strings.Contains(last, wantPart) || strings.Contains(s.output.String(), "PASS") {
		s.t.Errorf("status %d, last line %q; want status %d and FAIL with %q\n%s%s", status, last, wantStatus, wantPart, s.output.String(), s.errs.String())
	}
}

// gone waits until a process has ended. A zombie whose parent has died counts, until somebody reaps it.
func gone(t *testing.T, pid string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
		if time.Now().After(deadline) {
			n, _ := strconv.Atoi(pid)
			_ = syscall.Kill(n, syscall.SIGKILL)
			t.Fatalf("process %s of the script is still there: %s", pid, stat)
		}
	}
}

const head = "set -euo pipefail\n. scripts/steps.sh\n"

func TestVerdictPasses(t *testing.T) {
	t.Parallel()
	s := begin(t, head+`
early() { return 0; echo not reached; }
step one true
step "step two" printf '%s|' "an argument" "*" '$HOME' ''
step three early
step noted note "a thing to know"
run_steps
verdict
`)
	last, status := s.end()
	if status != 0 || !regexp.MustCompile(`^PASS: all 4 of 4 steps of \S+ in \d+ min \d+ s$`).MatchString(last) {
		t.Errorf("status %d, %q", status, last)
	}
	for _, part := range []string{"=== [2 of 4] step two\nan argument|*|$HOME||", "\nNOTE: a thing to know\nPASS"} {
		if !strings.Contains(s.output.String(), part) {
			t.Errorf("no %q in\n%s", part, s.output.String())
		}
	}
}

// TestVerdictFails has what ends a script, or part of one, without an error that anybody sees.
func TestVerdictFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text   string
		status int
		part   string
	}{
		"a command":                   {"step a true\nstep b false\nstep c true\nrun_steps\nverdict\n", 1, `step "b", exit status 1, after 1 of 3 steps`},
		"its status":                  {"step a sh -c 'exit 7'\nrun_steps\nverdict\n", 7, `step "a"`},
		"in the middle of a function": {"f() { true; false; true; }\nstep a f\nrun_steps\nverdict\n", 1, `step "a"`},
		"the first of a pipe":         {"f() { false | cat; true; }\nstep a f\nrun_steps\nverdict\n", 1, `step "a"`},
		"in a subshell":               {"f() { (exit 3); true; }\nstep a f\nrun_steps\nverdict\n", 3, `step "a"`},
		"in an assignment":            {"f() { local x; x=$(exit 4); echo \"$x\"; }\nstep a f\nrun_steps\nverdict\n", 4, `step "a"`},
		"a variable that is not set":  {"f() { echo \"$no_such_variable\"; }\nstep a f\nrun_steps\nverdict\n", 1, `step "a"`},
		"no such command":             {"step a no-such-command\nrun_steps\nverdict\n", 127, `step "a"`},
		"exit 0 in a step":            {"f() { exit 0; }\nstep a f\nstep b true\nrun_steps\nverdict\n", 1, `step "a", exit status 1, after 0 of 2 steps`},
		"exit 0 in the last step":     {"f() { exit 0; }\nstep a true\nstep b f\nrun_steps\nverdict\n", 1, `step "b"`},
		"exit 0 before the steps":     {"step a true\nexit 0\nrun_steps\nverdict\n", 1, "after 0 of 1 steps"},
		"exit 0 after the steps":      {"step a true\nrun_steps\nexit 0\nverdict\n", 1, "after 1 of 1 steps"},
		"no verdict":                  {"step a true\nrun_steps\n", 1, "after 1 of 1 steps"},
		"steps that were not run":     {"step a true\nverdict\n", 1, "after 0 of 1 steps"},
		"a step after the run":        {"step a true\nrun_steps\nstep b true\nverdict\n", 1, "after 1 of 2 steps"},
		"no steps":                    {"run_steps\nverdict\n", 1, "after 0 of 0 steps"},
		"an error after the verdict":  {"step a true\nrun_steps\nverdict\nfalse\n", 1, "after 1 of 1 steps"},
		"set +e":                      {"set +e\nf() { exit 0; }\nstep a false\nstep b f\nrun_steps\nverdict\n", 1, `step "a"`},
		"a step that kills the run":   {"f() { kill -TERM $$; sleep 60; }\nstep a f\nrun_steps\nverdict\n", 143, `step "a"`},
		"a step that is killed":       {"step a bash -c 'kill -KILL $$'\nrun_steps\nverdict\n", 137, `step "a"`},
		"a signal after the verdict":  {"step a true\nrun_steps\nverdict\nkill -TERM $$\n", 143, "after 1 of 1 steps"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin(t, head+c.text).fails(c.status, c.part)
		})
	}
}

// TestVerdictAfterASignal stops a run at several moments. Its processes end with it: a child, a child of a child that has lost
// its parent, and one in a session of its own.
func TestVerdictAfterASignal(t *testing.T) {
	t.Parallel()
	const wait = `
wait_for_signal() {
    sleep 60 &
    echo "child $!"
    setsid sleep 60 &
    echo "session $!"
    (sleep 60 & echo "orphan $!")
    echo ready
    "$@"
}
`
	moments := map[string]struct{ text, part string }{
		"a command of the first step": {"step a wait_for_signal sleep 60\nstep b true\nrun_steps\nverdict\n", `step "a"`},
		"a loop of the shell":         {"step a true\nstep b wait_for_signal loop\nrun_steps\nverdict\n", `step "b", exit status %d, after 1 of 2 steps`},
		"wait in the last step":       {"step a true\nstep b wait_for_signal wait\nrun_steps\nverdict\n", `after 1 of 2 steps`},
		"after the steps":             {"step a true\nrun_steps\nwait_for_signal loop\nverdict\n", `after 1 of 1 steps`},
		"before the steps":            {"step a true\nwait_for_signal loop\nrun_steps\nverdict\n", `after 0 of 1 steps`},
	}
	for name, m := range moments {
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			t.Run(fmt.Sprint(name, ", ", signal), func(t *testing.T) {
				t.Parallel()
				s := begin(t, head+wait+"loop() { while :; do sleep 0.01; done; }\n"+m.text)
				pids := []string{s.line("child "), s.line("session "), s.line("orphan ")}
				s.line("ready")
				if err := s.cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				part := m.part
				if strings.Contains(part, "%d") {
					part = fmt.Sprintf(part, 128+int(signal))
				}
				s.fails(128+int(signal), part)
				for _, pid := range pids {
					gone(t, pid)
				}
			})
		}
	}
}

// TestVerdictKillsWhatStays: a process that takes no SIGTERM is killed.
func TestVerdictKillsWhatStays(t *testing.T) {
	t.Parallel()
	s := begin(t, head+"step_patience=1\nstep a bash -c 'trap \"\" TERM; echo \"stubborn $$\"; while :; do sleep 0.1; done'\nrun_steps\nverdict\n")
	pid := s.line("stubborn ")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.fails(143, `step "a"`)
	gone(t, pid)
}

// TestVerdictStopsWhatIsLeft: a step that leaves a process behind passes, and the process is named and stopped.
func TestVerdictStopsWhatIsLeft(t *testing.T) {
	t.Parallel()
	s := begin(t, head+"f() { setsid sleep 61 & until grep -qa ^sleep /proc/$!/cmdline; do sleep 0.01; done; echo \"left $!\"; }\nstep a f\nrun_steps\nverdict\n")
	pid := s.line("left ")
	if last, status := s.end(); status != 0 || !strings.HasPrefix(last, "PASS: all 1 of 1 steps") {
		t.Errorf("status %d, %q", status, last)
	}
	if !strings.Contains(s.output.String(), "NOTE: stopped what a step had left running: sleep 61") {
		t.Errorf("%s", s.output.String())
	}
	gone(t, pid)
}
