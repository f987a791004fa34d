package main_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// shell runs a command line by sh, as a person would, and returns its output. It must succeed.
func shell(t testing.TB, env []string, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), eventually.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Env = proctest.Environment(env...)
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", line, err, out, errors.String())
	}
	return string(out)
}

// listener is a client that runs as a process and writes what it receives to stdout.
type listener struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string   // closed at the end of stdout
	log   *proctest.Log // of stderr
}

// listen starts a client. It is killed at the end of the test.
func listen(t testing.TB, name string, args ...string) *listener {
	t.Helper()
	cmd := exec.Command(proctest.Tool(t, name), args...)
	l := &listener{t: t, cmd: cmd, lines: make(chan string, 1<<16), log: &proctest.Log{}}
	cmd.Stderr = l.log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(l.lines)
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString('\n')
			if line != "" {
				l.lines <- strings.TrimSuffix(line, "\n")
			}
			if err != nil {
				if err != io.EOF && !strings.Contains(err.Error(), "file already closed") {
					l.lines <- err.Error()
				}
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
	return l
}

// next returns the next line.
func (l *listener) next() string {
	l.t.Helper()
	line, ok := l.maybe()
	if !ok {
		l.t.Fatalf("%s has ended: %s", l.cmd, l.log)
	}
	return line
}

// end returns the lines that are left, up to the end of the output.
func (l *listener) end() (lines []string) {
	l.t.Helper()
	for {
		line, ok := l.maybe()
		if !ok {
			return lines
		}
		lines = append(lines, line)
	}
}

func (l *listener) maybe() (line string, ok bool) {
	l.t.Helper()
	select {
	case line, ok = <-l.lines:
		return line, ok
	case <-time.After(eventually.Patience):
		l.t.Fatalf("%s writes nothing for %s: %s", l.cmd, eventually.Patience, l.log)
		return "", false
	}
}
