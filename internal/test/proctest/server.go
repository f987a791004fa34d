package proctest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"fanfare/internal/test/eventually"
)

// direct is a client without the proxies of the environment.
var direct = &http.Client{Transport: &http.Transport{}, Timeout: eventually.Patience}

// Server is a fanfare that runs as a process of its own. Set T and Binary, and what of Args to Token the test needs, then
// call Start.
type Server struct {
	T      testing.TB
	Binary string
	Args   []string // flags, without the addresses unless the test is about them
	Env    []string // FANFARE_* and others, added to Environment
	Stdin  *os.File // none if nil
	Token  string   // sent with requests to the publish API

	// Set by Start and Run.
	*Process
	Stream string // where streams are, "http://127.0.0.1:PORT"
	Admin  string // where the publish API is, likewise; "" if it is off
}

// Start runs the server on free addresses and waits until it listens.
func (s *Server) Start() *Server {
	s.T.Helper()
	args := slices.Clone(s.Args)
	for _, flag := range []string{"--listen", "--admin"} {
		if !slices.Contains(args, flag) {
			args = append(args, flag, FreeAddr(s.T))
		}
	}
	s.Run(s.Command(args...))
	return s
}

// Restart runs the server again after its end, with the flags and on the addresses of before.
func (s *Server) Restart() {
	s.T.Helper()
	s.Wait()
	s.Run(s.Command(append(slices.Clone(s.Args), "--listen", Addr(s.Stream), "--admin", Addr(s.Admin))...))
}

// Command is the server's command line with these flags, and no others.
func (s *Server) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.Binary, args...)
	cmd.Env = Environment(s.Env...)
	if s.Stdin != nil {
		cmd.Stdin = s.Stdin
	}
	return cmd
}

// Run starts a command that becomes the server, and waits until it listens. At the end of the test the log must not tell
// of a panic or a data race.
func (s *Server) Run(cmd *exec.Cmd) {
	s.T.Helper()
	var p *Process
	s.T.Cleanup(func() { // after the cleanup of Start, which waits for the end
		if p != nil && (strings.Contains(p.Log.String(), "DATA RACE") || strings.Contains(p.Log.String(), "panic")) {
			s.T.Errorf("the server has a bug:\n%s", p.Log)
		}
	})
	p = Start(s.T, cmd)
	s.Process, s.Stream, s.Admin = p, "", ""
	p.Await("the server listens", func() error {
		if p.Log.Find("try") == nil && p.Log.Find("publish API is off (admin: off)") == nil {
			return errNotYet
		}
		return nil
	})
	s.Stream = s.origin(p.Log.Find("streams"))
	if api := p.Log.Find("publish API"); api != nil {
		s.Admin = s.origin(api)
	}
}

// origin is the scheme and the host of the record's URL.
func (s *Server) origin(record map[string]any) string {
	s.T.Helper()
	u, err := url.Parse(fmt.Sprint(record["url"]))
	if err != nil || u.Host == "" {
		s.T.Fatalf("%v is not a valid URL (%v)", record["url"], err)
	}
	return u.Scheme + "://" + u.Host
}

// Addr is host:port of an origin such as Server.Stream.
func Addr(origin string) string {
	_, addr, _ := strings.Cut(origin, "://")
	return addr
}

// URL is where the stream of these keys is.
func (s *Server) URL(keys ...string) string { return s.Stream + StreamPath(keys...) }

// StreamPath is the path and the query of the stream of these keys.
func StreamPath(keys ...string) string { return "/stream?" + url.Values{"connectKey": keys}.Encode() }

// Answer is what the publish API answers. Fields that an answer does not have are zero.
type Answer struct {
	ID          string
	Subscribers int
	Count       int
	Error       string
	Field       string
}

// Publish publishes a JSON body to the key.
func (s *Server) Publish(key, body string) Answer {
	s.T.Helper()
	return s.Post("/publish?key="+url.QueryEscape(key), "application/json", body)
}

// PublishText publishes text to the key.
func (s *Server) PublishText(key, text string) Answer {
	s.T.Helper()
	return s.Post("/publish?key="+url.QueryEscape(key), "text/plain", text)
}

// Post posts to the publish API. Any status but 200 fails the test.
func (s *Server) Post(target, contentType, body string) Answer {
	s.T.Helper()
	status, a := s.Call(http.MethodPost, target, contentType, body)
	if status != http.StatusOK {
		s.T.Fatalf("%s %.200s: %d %+v", target, body, status, a)
	}
	return a
}

// Call sends a request to the publish API and returns its answer, which must be JSON.
func (s *Server) Call(method, target, contentType, body string) (status int, a Answer) {
	s.T.Helper()
	status, text := s.Do(method, target, contentType, body)
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		s.T.Fatalf("%s: %d, %v in %q", target, status, err, text)
	}
	return status, a
}

// Get returns the status and the body of a page of the admin listener, such as /metrics.
func (s *Server) Get(target string) (status int, body string) {
	s.T.Helper()
	return s.Do(http.MethodGet, target, "", "")
}

// Do sends a request to the admin listener and returns the answer's status and body.
func (s *Server) Do(method, target, contentType, body string) (status int, text string) {
	s.T.Helper()
	req, err := http.NewRequest(method, s.Admin+target, strings.NewReader(body))
	if err != nil {
		s.T.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	resp, err := direct.Do(req)
	if err != nil {
		s.T.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatalf("%s: %v", target, err)
	}
	return resp.StatusCode, string(b)
}

// Count is the number of the key's subscribers.
func (s *Server) Count(key string) int {
	s.T.Helper()
	_, a := s.Call(http.MethodGet, "/count?key="+url.QueryEscape(key), "", "")
	return a.Count
}

// AwaitCount waits until the key has n subscribers.
func (s *Server) AwaitCount(key string, n int) {
	s.T.Helper()
	eventually.Equal(s.T, "subscribers of "+key, n, func() int { return s.Count(key) })
}
