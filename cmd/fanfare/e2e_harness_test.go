package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests of e2e_*_test.go run the real binary as a process of its own and look at it from outside: with a browser,
// with other people's clients, with the shell.

// patience bounds every wait. It is long, because nothing but a failure waits for its end.
const patience = 30 * time.Second

// binary is the server under test, built once by TestMain, with the race detector if the tests are.
var (
	binary      string
	raceEnabled bool
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	for _, name := range []string{"http_proxy", "https_proxy", "all_proxy"} { // the way to loopback leads through no proxy
		_, _ = os.Unsetenv(name), os.Unsetenv(strings.ToUpper(name))
	}
	dir, err := os.MkdirTemp("", "fanfare-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "fanfare")
	args := []string{"build", "-buildvcs=false", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build ./cmd/fanfare: %v\n%s", err, out)
		return 1
	}
	defer closeBrowser()
	return m.Run()
}

// server is a running fanfare.
type server struct {
	t      testing.TB
	args   []string // without the addresses
	env    []string
	stdin  *os.File // nil: none
	cmd    *exec.Cmd
	log    *serverLog
	stream string // "http://127.0.0.1:PORT"
	admin  string // likewise, or "" if it is off
	token  string
	exited chan struct{} // closed when the process has ended
}

// start runs fanfare with flags, see up.
func start(t testing.TB, args ...string) *server {
	t.Helper()
	return (&server{t: t, args: args}).up()
}

// up runs it on free ports and waits until it says where it listens. It is killed at the end of the test. The flags
// --listen and --admin are added where they are absent.
func (s *server) up() *server {
	s.t.Helper()
	args := slices.Clone(s.args)
	for _, flag := range []string{"--listen", "--admin"} {
		if !slices.Contains(args, flag) {
			args = append(args, flag, "127.0.0.1:0")
		}
	}
	s.run(args)
	return s
}

// restart runs it again, with the arguments and on the ports of before.
func (s *server) restart() {
	s.t.Helper()
	<-s.exited
	s.run(append(slices.Clone(s.args), "--listen", strings.TrimPrefix(s.stream, "http://"), "--admin", strings.TrimPrefix(s.admin, "http://")))
}

func (s *server) run(args []string) {
	s.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = environment(s.env...)
	s.start(cmd)
}

// start runs a command that becomes the server.
func (s *server) start(cmd *exec.Cmd) {
	s.t.Helper()
	s.log, s.cmd = &serverLog{}, cmd
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if s.stdin != nil {
		s.cmd.Stdin = s.stdin
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited, log := make(chan struct{}), s.log
	s.exited = exited
	go func() {
		_ = cmd.Wait() // the exit code is in cmd.ProcessState
		close(exited)
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		text := log.String()
		if strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic") {
			s.t.Errorf("the server has a bug:\n%s", text)
		} else if s.t.Failed() {
			s.t.Logf("the server's log:\n%s", text)
		}
	})
	eventually(s.t, "the server is up", func() (bool, string) {
		select {
		case <-exited:
			s.t.Fatalf("%s ended: %s", cmd, log)
		default:
		}
		return log.find("try") != nil || log.find("publish API is off (admin: off)") != nil, log.String()
	})
	s.stream = origin(s.t, s.log.find("streams")["url"])
	if api := s.log.find("publish API"); api != nil {
		s.admin = origin(s.t, api["url"])
	}
}

func origin(t testing.TB, v any) string {
	t.Helper()
	u, err := url.Parse(fmt.Sprint(v))
	if err != nil || u.Host == "" {
		t.Fatalf("%v is no URL (%v)", v, err)
	}
	return u.Scheme + "://" + u.Host
}

// environment is this process's without settings of fanfare, and with more.
func environment(more ...string) []string {
	own := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "FANFARE_") })
	return append(own, more...)
}

// signal sends a signal to the process.
func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("%v: %v", sig, err)
	}
}

// stop sends a signal, waits for the end and returns the exit code, -1 if the signal itself ended it.
func (s *server) stop(sig syscall.Signal) int {
	s.t.Helper()
	s.signal(sig)
	return s.wait()
}

func (s *server) wait() int {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.t.Fatalf("still running after %s: %s", patience, s.log)
	}
	return s.cmd.ProcessState.ExitCode()
}

// url is where key's stream is.
func (s *server) url(keys ...string) string { return s.stream + streamPath(keys...) }

func streamPath(keys ...string) string {
	return "/stream?" + url.Values{"connectKey": keys}.Encode()
}

// published is the answer to a publish.
type published struct {
	ID          string
	Subscribers int
	Count       int
	Error       string
	Field       string
}

// publish publishes a JSON body to key, and returns the answer.
func (s *server) publish(key, body string) published {
	s.t.Helper()
	return s.post("/publish?key="+url.QueryEscape(key), "application/json", body)
}

// post posts to the admin listener. Any answer but 200 fails the test.
func (s *server) post(target, contentType, body string) published {
	s.t.Helper()
	status, p := s.call(http.MethodPost, target, contentType, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s %s: %d %+v", target, body, status, p)
	}
	return p
}

func (s *server) call(method, target, contentType, body string) (status int, p published) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.admin+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		s.t.Fatalf("%s: %v", target, err)
	}
	return resp.StatusCode, p
}

// publishBatch publishes the data texts to key in one request.
func (s *server) publishBatch(key string, data []string) {
	s.t.Helper()
	var body bytes.Buffer
	for _, d := range data {
		_ = json.NewEncoder(&body).Encode(map[string]string{"key": key, "data": d})
	}
	resp, err := http.Post(s.admin+"/batch", "application/x-ndjson", &body)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if out, _ := io.ReadAll(resp.Body); bytes.Count(out, []byte("\n")) != len(data) || bytes.Contains(out, []byte(`"error"`)) {
		s.t.Fatalf("batch: %s", out)
	}
}

// count is the number of key's subscribers.
func (s *server) count(key string) int {
	s.t.Helper()
	_, p := s.call(http.MethodGet, "/count?key="+url.QueryEscape(key), "", "")
	return p.Count
}

// awaitCount waits until key has n subscribers.
func (s *server) awaitCount(key string, n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d subscribers of %s", n, key), func() (bool, string) {
		have := s.count(key)
		return have == n, fmt.Sprint(have)
	})
}

// serverLog collects what the process writes.
type serverLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *serverLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var textField = regexp.MustCompile(`(\w+)=("(?:[^"\\]|\\.)*"|\S*)`)

// records are the lines with this message, in either format.
func (l *serverLog) records(msg string) (records []map[string]any) {
	lines := bufio.NewScanner(strings.NewReader(l.String()))
	for lines.Scan() {
		var r map[string]any
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			r = make(map[string]any)
			for _, field := range textField.FindAllStringSubmatch(lines.Text(), -1) {
				r[field[1]] = field[2]
				if value, err := strconv.Unquote(field[2]); err == nil {
					r[field[1]] = value
				}
			}
		}
		if r["msg"] == msg {
			records = append(records, r)
		}
	}
	return records
}

// find returns the first record with this message, or nil.
func (l *serverLog) find(msg string) map[string]any {
	if all := l.records(msg); len(all) > 0 {
		return all[0]
	}
	return nil
}

// eventually polls until done, and fails the test after patience; state is for the message.
func eventually(t testing.TB, what string, poll func() (done bool, state string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		done, state := poll()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s; last: %s", patience, what, state)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// need finds a program that the tests use, and fails the test if it is missing: what is passed over in silence guards
// nothing.
func need(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: scripts/test.sh installs what the tests need", name)
	}
	return path
}
