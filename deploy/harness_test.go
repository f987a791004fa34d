// Package deploy_test runs the shipped deployment files as they are: real proxies, systemd's own checker and the
// Dockerfile's build, each with the real server.
package deploy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a process; a machine busy with other tests is slow to start one.
const patience = 20 * time.Second

// binary is the server under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fanfare-deploy-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "fanfare")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "fanfare/cmd/fanfare").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build ./cmd/fanfare: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// needTool finds a program of a Debian package, and fails the test where it is missing: a check that is passed over
// in silence guards nothing.
func needTool(t *testing.T, name string) string {
	t.Helper()
	for _, file := range []string{name, "/usr/sbin/" + name} { // sbin isn't in everybody's PATH
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	t.Fatalf("%s is not installed: scripts/test.sh installs it, or apt-get install %s", name, name)
	return ""
}

// process is a child with its output kept for the report of a failed test.
type process struct {
	cmd    *exec.Cmd
	output *syncBuffer
	exited chan struct{}
}

func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), output: &syncBuffer{}, exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	// Its own group, so that the workers of a proxy end with it; and none outlives a killed test.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in the output
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
		if t.Failed() {
			t.Logf("%s %v:\n%s", filepath.Base(name), args, p.output)
		}
	})
	return p
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// server is a running fanfare.
type server struct {
	*process
	stream, admin string // host:port
}

func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{stream: freeAddr(t), admin: freeAddr(t)}
	s.restart(t, args...)
	return s
}

// metrics is what the server answers at /metrics.
func (s *server) metrics(t *testing.T) string {
	t.Helper()
	res, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	exposition, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(exposition)
}

// restart runs a new process on the addresses of the old one.
func (s *server) restart(t *testing.T, args ...string) {
	t.Helper()
	s.process = start(t, nil, binary, append([]string{"--listen", s.stream, "--admin", s.admin}, args...)...)
	until(t, "fanfare is ready", func() error {
		select {
		case <-s.exited:
			t.Fatalf("fanfare ended: %s", s.output)
		default:
		}
		res, err := http.Get("http://" + s.admin + "/readyz")
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz: %s", res.Status)
		}
		return nil
	})
}

// publish sends a text event and returns its id.
func (s *server) publish(t *testing.T, key, data string) string {
	t.Helper()
	res, err := http.Post("http://"+s.admin+"/publish?key="+url.QueryEscape(key), "text/plain", strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct{ ID string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("publish: %s, %v", res.Status, err)
	}
	return answer.ID
}

func (s *server) count(key string) (int, error) {
	res, err := http.Get("http://" + s.admin + "/count?key=" + url.QueryEscape(key))
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var answer struct{ Count int }
	err = json.NewDecoder(res.Body).Decode(&answer)
	return answer.Count, err
}

// waitCount waits until the key has n subscribers, at most limit.
func (s *server) waitCount(t *testing.T, key string, n int, limit time.Duration) {
	t.Helper()
	end := time.Now().Add(limit)
	for {
		got, err := s.count(key)
		if err == nil && got == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("count(%s) = %d, %v after %v, want %d", key, got, err, limit, n)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// subscription is an open stream as a client sees it. lines has what arrives, line by line, and is closed at the end
// of the response; err then tells how it ended.
type subscription struct {
	res    *http.Response
	lines  chan string
	err    error
	cancel context.CancelFunc
}

// subscribe opens a stream, and fails the test unless the response's head is there within a second.
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
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	begin := time.Now()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the head took %v: it must not wait for the first event", took)
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

// expect reads on until the line has come, and returns how long that took.
func (s *subscription) expect(t *testing.T, line string, limit time.Duration) time.Duration {
	t.Helper()
	begin, timeout := time.Now(), time.After(limit)
	for {
		select {
		case got, open := <-s.lines:
			if !open {
				t.Fatalf("the stream ended (%v) before %q came", s.err, line)
			}
			if got == line {
				return time.Since(begin)
			}
		case <-timeout:
			t.Fatalf("%q did not come within %v", line, limit)
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

// freeAddr names a loopback address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// until calls ok until it returns nil.
func until(t *testing.T, what string, ok func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not after %v: %s: %v", patience, what, err)
		}
	}
}

// syncBuffer is a bytes.Buffer that a child's output goroutine and the test may share.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
