package clients_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/internal/test/proctest"
)

// session is a running client: what it has said so far, in the lines of node/driver.mjs.
type session struct {
	client client
	target target

	reports int // of a page that have arrived; they come one after the other

	mu      sync.Mutex
	opens   int     // lines `open`
	errors  int     // lines `error`
	closed  bool    // it has given up, or its program has ended
	events  []event // lines `event`
	text    []string
	changed chan struct{} // closed with the next line
}

// target is what a client is pointed at.
type target struct {
	url    string
	lastID string // for a client that is called again
	origin string // of a browser's page; "": the page server's own
	trust  *trust // for https; nil: none is needed
	alone  bool   // the program has nothing else to do, see node/driver.mjs
}

// launch runs the client until the end of the test.
func launch(t *testing.T, c client, to target) *session {
	t.Helper()
	s := &session{client: c, target: to, changed: make(chan struct{})}
	t.Cleanup(func() {
		if t.Failed() {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Logf("%s said:\n%s", c.name, strings.Join(s.text, "\n"))
		}
	})
	c.run(t, s)
	return s
}

// say takes a line from the client.
func (s *session) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind, rest, _ := strings.Cut(line, " ")
	switch kind {
	case "open":
		s.opens++
	case "error":
		s.errors++
	case "closed":
		s.closed = !s.client.again
	case "event":
		var e event
		if err := json.Unmarshal([]byte(rest), &e); err == nil {
			if e.Name == "" {
				e.Name = "message"
			}
			s.events = append(s.events, e)
		}
	}
	if len(line) > 200 {
		line = fmt.Sprintf("%s… (%d bytes)", line[:200], len(line))
	}
	s.text = append(s.text, line)
	close(s.changed)
	s.changed = make(chan struct{})
}

// hand takes an event from a client that isn't a driver.
func (s *session) hand(e event) {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings have a JSON form
	}
	s.say("event " + string(text))
}

// await waits until ok, asked after each line, or until the client has given up or the limit is over.
func (s *session) await(limit time.Duration, ok func() bool) bool {
	timeout := time.After(limit)
	for {
		s.mu.Lock()
		done, closed, changed := ok(), s.closed, s.changed
		s.mu.Unlock()
		if done || closed {
			return done
		}
		select {
		case <-changed:
		case <-timeout:
			return false
		}
	}
}

// awaitEvent waits until the client has handed on the event, whatever its id is.
func (s *session) awaitEvent(limit time.Duration, e event) bool {
	return s.await(limit, func() bool {
		for _, have := range s.events {
			if have.Data == e.Data {
				return true
			}
		}
		return false
	})
}

func (s *session) hasClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// runDriver gives a client that is one of the drivers: a program and its arguments before the URL.
func runDriver(command func(t *testing.T) []string) func(*testing.T, *session) {
	return func(t *testing.T, s *session) {
		runCommand(t, s, command(t), func() func(*session, string) { return (*session).say })
	}
}

// runCommand runs a program; reader makes what takes the lines of one run. A client of one connection is called again with the last id when its
// program has ended, as a script around it would.
func runCommand(t *testing.T, s *session, command []string, reader func() func(*session, string)) {
	t.Helper()
	env := s.target.trust.environment()
	if s.target.alone {
		env = append(env, "ALONE=1")
	}
	done := make(chan struct{})
	ended := make(chan struct{})
	var mu sync.Mutex
	var now *proctest.Process
	begin := func(args []string) (io.Reader, bool) {
		mu.Lock()
		defer mu.Unlock()
		select {
		case <-done:
			return nil, false
		default:
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Error(err)
			return nil, false
		}
		now = start(t, w, env, args[0], args[1:]...)
		_ = w.Close()
		return r, true
	}
	lines, ok := begin(append(append([]string(nil), command...), s.client.arguments(s.target)...))
	go func() {
		defer close(ended)
		for ok {
			take, scan := reader(), bufio.NewScanner(lines)
			scan.Buffer(nil, 8<<20)
			for scan.Scan() {
				take(s, scan.Text())
			}
			if !s.client.again {
				s.say("closed")
				return
			}
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond): // the pause of the script
			}
			s.mu.Lock()
			for _, e := range s.events {
				if e.ID != "" {
					s.target.lastID = e.ID
				}
			}
			s.mu.Unlock()
			lines, ok = begin(append(append([]string(nil), command...), s.client.arguments(s.target)...))
		}
	}()
	t.Cleanup(func() {
		mu.Lock()
		close(done)
		now.Kill()
		mu.Unlock()
		<-ended
	})
}

// nodeProgram is the pinned Node.js, which is newer than Debian's.
func nodeProgram(t *testing.T) string {
	t.Helper()
	arch := map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
	path := filepath.Join("node", "node_modules", "node-"+runtime.GOOS+"-"+arch, "bin", "node")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: scripts/test.sh installs what the tests need", err)
	}
	return path
}
