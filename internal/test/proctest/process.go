package proctest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// Build compiles the command in folder, which may be of another module, to a file of the folder's name in dir, and returns
// its path. It leaves out what only a debugger reads: the linker then needs two thirds of the time.
func Build(dir, folder string, flags ...string) (binary string, err error) {
	binary, err = filepath.Abs(filepath.Join(dir, filepath.Base(folder)))
	if err != nil {
		return "", err
	}
	args := append([]string{"build", "-C", folder, "-buildvcs=false", "-ldflags=-s -w", "-o", binary}, flags...)
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return binary, nil
}

// Main is what a TestMain calls whose tests run the command in folder: it builds the command with Build, sets binary to its
// path, runs the tests, and removes it. It returns the exit code.
func Main(m *testing.M, binary *string, folder string, flags ...string) int {
	dir, err := os.MkdirTemp("", "fanfare-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if *binary, err = Build(dir, folder, flags...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Tool returns the path of a program that tests use, and fails the test if it is missing: a check that is skipped in
// silence guards nothing.
func Tool(t testing.TB, name string) string {
	t.Helper()
	for _, file := range []string{name, "/usr/sbin/" + name} { // sbin is not in everybody's PATH
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed: scripts/test.sh installs what the tests need", name)
	return ""
}

// Environment is this process's, and more, without settings of Fanfare and without proxies: the way to loopback leads
// through none.
func Environment(more ...string) []string {
	var own []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "FANFARE_") && !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			own = append(own, v)
		}
	}
	return append(own, more...)
}

// Process is a running program in a process group of its own.
type Process struct {
	Cmd *exec.Cmd
	Log *Log // standard output and standard error, unless Cmd has other places for them

	t      testing.TB
	exited chan struct{} // closed when the process has ended and its output is in Log
}

// Start runs a command until the end of the test. Then it is killed, with its children.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, Log: &Log{}, t: t, exited: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.Log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.Log
	}
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // the exit code is in cmd.ProcessState
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, p.Log)
		}
	})
	return p
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// Await waits until ready returns nil. It fails the test at once if the process ends before.
func (p *Process) Await(what string, ready func() error) {
	p.t.Helper()
	eventually.NoError(p.t, what, func() error {
		if p.Ended() {
			p.t.Fatalf("%s ended: %s\n%s", p.Cmd, p.Cmd.ProcessState, p.Log)
		}
		return ready()
	})
}

// Signal sends a signal to the process.
func (p *Process) Signal(sig os.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("%v: %v", sig, err)
	}
}

// Kill ends the process and its children as kill -9 does, and waits for it.
func (p *Process) Kill() {
	killGroup(p.Cmd)
	<-p.exited
}

// Stop sends a signal, waits for the end and returns the exit code, -1 if the signal itself ended the process.
func (p *Process) Stop(sig syscall.Signal) int {
	p.t.Helper()
	p.Signal(sig)
	return p.Wait()
}

// Wait waits until the process has ended by itself, and returns its exit code.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(eventually.Patience):
		p.t.Fatalf("%s is still running after %s: %s", p.Cmd, eventually.Patience, p.Log)
	}
	return p.Cmd.ProcessState.ExitCode()
}

// errNotYet is the state of a process that has not said yet that it is ready.
var errNotYet = errors.New("it does not say so")
