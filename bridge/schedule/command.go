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
	// outputDelay is how long the output of a command that has ended may stay open, held by what it has started.
	outputDelay = time.Second
	// maxComplaint is how much of the end of a command's standard error is kept for the log, in bytes.
	maxComplaint = 512
)

// command runs a program and returns what it wrote to its standard output.
func command(ctx context.Context, argv []string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = environment(os.Environ())
	out := &output{limit: limit, over: func() { cancel(tooLarge(limit)) }}
	complaint := new(tail)
	cmd.Stdout, cmd.Stderr = out, complaint
	cmd.WaitDelay = outputDelay
	ownGroup(cmd)
	err := cmd.Run()
	switch {
	case err == nil && ctx.Err() == nil:
		return out.text.Bytes(), nil
	case errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil:
		killGroup(cmd) // it still exists: its output is open
		err = errors.New("it has ended, but something that it started keeps its output open: redirect that program's output")
	}
	if text := complaint.String(); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return nil, ended(ctx, reasonCommand, err)
}

// environment is the server's without what configures the server, which includes its token.
func environment(environ []string) []string {
	return slices.DeleteFunc(environ, func(v string) bool { return strings.HasPrefix(v, "FANFARE_") })
}

// output takes a command's output up to a limit. exec writes to it from one goroutine, and is done when Run returns.
type output struct {
	text  bytes.Buffer
	limit int64
	over  func() // called when there is more
}

func (o *output) Write(b []byte) (int, error) {
	if int64(o.text.Len()+len(b)) > o.limit {
		o.over()
		return 0, errors.New("too much output")
	}
	return o.text.Write(b)
}

// tail keeps the end of what is written to it.
type tail struct {
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b[max(0, len(b)-maxComplaint):]...)
	t.text = append(t.text[:0], t.text[max(0, len(t.text)-maxComplaint):]...)
	return len(b), nil
}

func (t *tail) String() string {
	return strings.ToValidUTF8(strings.TrimSpace(string(t.text)), "\uFFFD")
}
