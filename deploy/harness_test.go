// Package deploy_test runs the shipped deployment files as they are: real proxies, systemd's own checker and the
// Dockerfile's build, each with the real server.
package deploy_test

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// binary is the server under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(proctest.Main(m, &binary, "../cmd/fanfare")) }

// server is a running fanfare.
type server struct{ *proctest.Server }

func startServer(t *testing.T, args ...string) server {
	t.Helper()
	return server{(&proctest.Server{T: t, Binary: binary, Args: args}).Start()}
}

// addr is where its streams are, as proxies are told: host:port.
func (s server) addr() string { return proctest.Addr(s.Stream) }

// atOnce bounds what a proxy must pass on by itself: the head of a stream, an event, the client's end. A busy machine may need
// seconds for it. A proxy that holds it back does so until something else moves, and no test does that, or until one of
// its own timeouts is over, which are 60 s and more in the shipped files.
const atOnce = 30 * time.Second

// left fails the test unless the key's subscribers are gone at once.
func (s server) left(t *testing.T, key string) {
	t.Helper()
	if !eventually.Within(atOnce, func() bool { return s.Count(key) == 0 }) {
		t.Fatalf("%d subscribers of %s %s after the client's end", s.Count(key), key, atOnce)
	}
}

// start runs a program that a test needs.
func start(t *testing.T, env []string, name string, args ...string) *proctest.Process {
	t.Helper()
	cmd := exec.Command(proctest.Tool(t, name), args...)
	cmd.Env = append(os.Environ(), env...)
	return proctest.Start(t, cmd)
}

// subscription is an open stream as a client sees it. lines has what arrives, line by line, and is closed at the end
// of the response; err then tells how it ended.
type subscription struct {
	res    *http.Response
	lines  chan string
	err    error
	cancel context.CancelFunc
}

// subscribe opens a stream, and fails the test unless the response's head is there at once.
func subscribe(t *testing.T, client *http.Client, base, key, lastEventID string) *subscription {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/stream?connectKey="+url.QueryEscape(key), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd") // what a browser sends: an invitation to compress
	req.Header.Set("X-Forwarded-For", "192.0.2.7")
	req.Header.Set("Forwarded", "for=192.0.2.7")
	req.Header.Set("X-Real-IP", "192.0.2.7")
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	late := time.AfterFunc(atOnce, cancel)
	res, err := client.Do(req)
	if !late.Stop() {
		t.Fatalf("no head after %s: it must not wait for the first event", atOnce)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &subscription{res: res, lines: make(chan string, 1024), cancel: cancel}
	go func() {
		defer close(s.lines)
		defer res.Body.Close()
		scan := bufio.NewScanner(res.Body)
		scan.Buffer(nil, 1<<20) // the longest line a test sends
		for scan.Scan() {
			s.lines <- scan.Text()
		}
		s.err = scan.Err()
	}()
	return s
}

// expect reads on until the line has come, which must be at once.
func (s *subscription) expect(t *testing.T, line string) {
	t.Helper()
	timeout := time.After(atOnce)
	for {
		select {
		case got, open := <-s.lines:
			if !open {
				t.Fatalf("the stream ended (%v) before %q came", s.err, line)
			}
			if got == line {
				return
			}
		case <-timeout:
			t.Fatalf("%.200q did not come within %s", line, atOnce)
		}
	}
}

// rest reads to the end of the response and returns what came.
func (s *subscription) rest(t *testing.T, limit time.Duration) []string {
	t.Helper()
	var all []string
	for timeout := time.After(limit); ; {
		select {
		case line, open := <-s.lines:
			if !open {
				return all
			}
			all = append(all, line)
		case <-timeout:
			t.Fatalf("the response did not end within %v; it had %q", limit, all)
		}
	}
}
