package scripts_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Faults of a server. The event that they concern is number 3 of each key.
const (
	drops       = "drops"
	duplicates  = "duplicates"
	reorders    = "reorders"
	misroutes   = "misroutes"
	halves      = "halves"       // the data of an event is cut off
	cuts        = "cuts"         // the connection breaks in the middle of an event
	delays      = "delays"       // every event
	stalls      = "stalls"       // nothing comes after the event
	deaf        = "deaf"         // who comes after the first event gets none
	headOfLine  = "head of line" // who doesn't read holds the others up
	resets      = "resets"       // every third connection
	denies      = "denies"       // every third connection gets 503
	neverAnswer = "never answers"
	hangs       = "hangs" // the publish route, after some requests
)

var faults = []string{
	drops, duplicates, reorders, misroutes, halves, cuts, delays, stalls, deaf, headOfLine, resets, denies, neverAnswer, hangs,
}

const (
	faultyDelay = 700 * time.Millisecond
	faultySeq   = 3
	hangAfter   = 3 // requests
)

// faulty stands in front of a good server, and has one fault.
type faulty struct {
	server
	fault       string
	connections atomic.Int64
	requests    atomic.Int64 // that publish events
	published   atomic.Bool  // an event has passed
	line        sync.Mutex   // held by a write, where the fault is headOfLine
	done        chan struct{}
}

// plant starts a server with a fault, until the test is over.
func plant(t *testing.T, fault string) server {
	t.Helper()
	f := &faulty{server: startServer(t), fault: fault, done: make(chan struct{})}
	stream, admin := httptest.NewServer(http.HandlerFunc(f.stream)), httptest.NewServer(http.HandlerFunc(f.admin))
	t.Cleanup(func() {
		close(f.done)
		stream.CloseClientConnections()
		admin.CloseClientConnections()
		stream.Close()
		admin.Close()
	})
	return server{stream: hostOf(stream.URL), admin: hostOf(admin.URL)}
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err)
	}
	return u.Host
}

// hold waits until the client has gone, or the test is over.
func (f *faulty) hold(r *http.Request) {
	select {
	case <-f.done:
	case <-r.Context().Done():
	}
}

func (f *faulty) admin(w http.ResponseWriter, r *http.Request) {
	if publishes := r.URL.Path == "/batch" || r.URL.Path == "/publish"; publishes && f.fault == hangs && f.requests.Add(1) > hangAfter {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server sees the client go
		f.hold(r)
		return
	}
	res := f.forward(w, r, f.server.admin)
	if res == nil {
		return
	}
	defer res.Body.Close()
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body)
}

// forward sends the request on, and copies the answer's header.
func (f *faulty) forward(w http.ResponseWriter, r *http.Request, to string) *http.Response {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+to+r.URL.RequestURI(), r.Body)
	if err != nil {
		panic(err)
	}
	req.Header = r.Header.Clone()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return nil
	}
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	return res
}

// third reports whether a connection is one of those that don't come about.
func third(n int64) bool { return n%3 == 2 }

func (f *faulty) stream(w http.ResponseWriter, r *http.Request) {
	isStream := strings.HasSuffix(r.URL.Path, "/stream")
	if isStream && third(f.connections.Add(1)) {
		switch f.fault {
		case resets:
			breakOff(w)
			return
		case denies:
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		case neverAnswer:
			f.hold(r)
			return
		}
	}
	late := f.fault == deaf && f.published.Load()
	res := f.forward(w, r, f.server.stream)
	if res == nil {
		return
	}
	defer res.Body.Close()
	w.WriteHeader(res.StatusCode)
	_ = http.NewResponseController(w).Flush()
	c := client{f: f, w: w, late: late, flush: http.NewResponseController(w).Flush}
	events := make(chan arrival, 100_000)
	go func() {
		defer close(events)
		in := bufio.NewReader(res.Body)
		var event []byte
		for {
			line, err := in.ReadBytes('\n')
			if event = append(event, line...); err != nil {
				return
			}
			if len(line) == 1 || event[0] == ':' {
				events <- arrival{bytes.Clone(event), time.Now()}
				event = event[:0]
			}
		}
	}()
	for event := range events {
		if !c.pass(event) {
			f.hold(r)
			return
		}
	}
}

// breakOff ends the connection with a TCP reset.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

type arrival struct {
	event []byte
	at    time.Time
}

// client is what a stream's client gets.
type client struct {
	f     *faulty
	w     io.Writer
	flush func() error
	late  bool // it came after the first event
	kept  []byte
}

var number = regexp.MustCompile(`data: ?\{"seq":(\d+),`)

// pass passes an event on, or what the fault makes of it. It returns false if nothing is to follow.
func (c *client) pass(a arrival) bool {
	seq := 0
	if m := number.FindSubmatch(a.event); m != nil {
		seq, _ = strconv.Atoi(string(m[1]))
		c.f.published.Store(true)
		if c.late {
			return true
		}
	} else if c.late && bytes.Contains(a.event, []byte("data: {")) {
		return true // the end of the run, too
	}
	hit := seq == faultySeq
	switch c.f.fault {
	case delays:
		if seq > 0 {
			time.Sleep(time.Until(a.at.Add(faultyDelay)))
		}
	case drops:
		if hit {
			return true
		}
	case duplicates:
		if hit {
			c.write(a.event)
		}
	case reorders:
		if hit {
			c.kept = a.event
			return true
		}
		if seq == faultySeq+1 && c.kept != nil {
			c.write(a.event)
			c.write(c.kept)
			return true
		}
	case misroutes:
		if hit {
			c.write(bytes.Replace(a.event, []byte(`"key":"`), []byte(`"key":"other-`), 1))
		}
	case halves:
		if hit {
			end := bytes.Index(a.event, []byte(`"ts":`)) + len(`"ts":17`)
			c.write(append(a.event[:end:end], "\n\n"...))
			return true
		}
	case cuts:
		if hit {
			c.write(a.event[:len(a.event)/2])
			breakOff(c.w.(http.ResponseWriter))
			return false
		}
	case stalls:
		if seq > faultySeq {
			return false
		}
	}
	return c.write(a.event)
}

func (c *client) write(p []byte) bool {
	if c.f.fault == headOfLine {
		c.f.line.Lock()
		defer c.f.line.Unlock()
	}
	if _, err := c.w.Write(p); err != nil {
		return false
	}
	return c.flush() == nil
}
