package schedule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	// outputDelay is how long a command's output may stay open after the command has ended, held by a program that it started.
	outputDelay = time.Second
	// maxStderr is how many bytes of the end of a command's standard error are kept for the log.
	maxStderr = 512
)

// command runs a program and returns what it wrote to its standard output.
func command(ctx context.Context, argv []string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = environment(os.Environ())
	out := &output{limit: limit, overflow: func() { cancel(tooLarge(limit)) }}
	stderr := new(tail)
	cmd.Stdout, cmd.Stderr = out, stderr
	cmd.WaitDelay = outputDelay
	ownGroup(cmd)
	err := cmd.Run()
	switch {
	case err == nil && ctx.Err() == nil:
		return out.text.Bytes(), nil
	case errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil:
		killGroup(cmd) // the group still exists: one of its programs holds the output
		err = errors.New("the command has ended, but a program that it started keeps its output open: redirect that program's output")
	}
	if text := stderr.String(); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return nil, fetchError(ctx, reasonCommand, err)
}

// environment removes the variables that configure the server, and with them its token.
func environment(environ []string) []string {
	return slices.DeleteFunc(environ, func(v string) bool { return strings.HasPrefix(v, "FANFARE_") })
}

// output keeps a command's output up to a limit. exec writes to it from one goroutine, which has ended when Run returns.
type output struct {
	text     bytes.Buffer
	limit    int64
	overflow func() // called when the command writes more
}

func (o *output) Write(b []byte) (int, error) {
	if int64(o.text.Len()+len(b)) > o.limit {
		o.overflow()
		return 0, errors.New("too much output")
	}
	return o.text.Write(b)
}

// tail keeps the end of what is written to it.
type tail struct {
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b[max(0, len(b)-maxStderr):]...)
	t.text = append(t.text[:0], t.text[max(0, len(t.text)-maxStderr):]...)
	return len(b), nil
}

func (t *tail) String() string {
	return strings.ToValidUTF8(strings.TrimSpace(string(t.text)), "\uFFFD")
}
