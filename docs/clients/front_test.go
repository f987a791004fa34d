package clients_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// front is a TCP proxy between a client and the servers, which a test can hold, cut and switch. What is for the server of
// pages goes there, so that a browser's page and its stream can be of one origin.
type front struct {
	t    *testing.T
	addr string

	gate sync.RWMutex // write-locked: new connections are accepted and wait

	mu       sync.Mutex
	upstream string // host:port of the server for new streams
	pages    string // likewise for pages and reports; "": there are none
	listener net.Listener
	pairs    map[*pair]bool // of servers; the pages' are none of a test's business
	requests []request      // for streams, in order
	budget   int            // bytes of streams to pass on before all connections are cut; negative: no such bound
	changed  chan struct{}
}

// request is a client's request for a stream.
type request struct {
	at     time.Time
	lastID string
}

// pair is a proxied connection.
type pair struct {
	client, server *net.TCPConn
	stream         bool // under front.mu
}

func newFront(t *testing.T, upstream, pages string) *front {
	t.Helper()
	ln, err := net.Listen("tcp", proctest.FreeAddr(t)) // up listens there again
	if err != nil {
		t.Fatal(err)
	}
	f := &front{
		t: t, addr: ln.Addr().String(), listener: ln, upstream: upstream, pages: pages,
		pairs: make(map[*pair]bool), budget: -1, changed: make(chan struct{}),
	}
	t.Cleanup(func() {
		f.down()
		f.cut(false)
	})
	go f.accept(ln)
	return f
}

func (f *front) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go f.serve(conn.(*net.TCPConn))
	}
}

// down lets new connections be refused until up.
func (f *front) down() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.listener.Close()
}

func (f *front) up() {
	f.t.Helper()
	var ln net.Listener
	eventually.NoError(f.t, "the front's port is free again", func() (err error) {
		ln, err = net.Listen("tcp", f.addr)
		return err
	})
	f.mu.Lock()
	f.listener = ln
	f.mu.Unlock()
	go f.accept(ln)
}

// hold lets new connections wait until release.
func (f *front) hold()    { f.gate.Lock() }
func (f *front) release() { f.gate.Unlock() }

// to sends new streams to another server.
func (f *front) to(upstream string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.upstream = upstream
}

// cutAfter cuts all connections when n more bytes of streams have gone to the client.
func (f *front) cutAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.budget = n
}

// cut ends all connections on both sides, by RST or by FIN.
func (f *front) cut(reset bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutLocked(reset)
}

func (f *front) cutLocked(reset bool) {
	for p := range f.pairs {
		if reset {
			_, _ = p.client.SetLinger(0), p.server.SetLinger(0)
		}
		_, _ = p.client.Close(), p.server.Close()
		delete(f.pairs, p)
	}
}

// seen returns the requests for streams so far, and a channel that is closed at the next one.
func (f *front) seen() ([]request, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]request(nil), f.requests...), f.changed
}

func (f *front) serve(client *net.TCPConn) {
	defer client.Close()
	buf := make([]byte, 64<<10)
	n, err := client.Read(buf)
	if err != nil {
		return
	}
	p := &pair{client: client}
	to := f.note(p, buf[:n])
	if p.stream {
		f.gate.RLock()
		to = f.note(nil, nil) // where streams go now
		f.gate.RUnlock()
	}
	conn, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	p.server = conn.(*net.TCPConn)
	defer p.server.Close()
	if to != f.pages {
		f.mu.Lock()
		f.pairs[p] = true
		f.mu.Unlock()
	}
	go func() {
		for err == nil {
			if _, err = p.server.Write(buf[:n]); err == nil {
				n, err = client.Read(buf)
				f.note(p, buf[:n])
			}
		}
		_ = p.server.CloseWrite()
	}()
	_, _ = io.Copy(toClient{f, p}, p.server)
	f.mu.Lock()
	delete(f.pairs, p)
	f.mu.Unlock()
}

// pagePath is what a request to the server of pages begins with.
var pagePath = regexp.MustCompile(`^[A-Z]+ /(page|node_modules|report)/`)

// note looks at what a client has sent, which has a request's head in one piece, and tells where it goes. Without a pair it
// tells where streams go.
func (f *front) note(p *pair, data []byte) (to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p == nil {
		return f.upstream
	}
	if f.pages != "" && pagePath.Match(data) {
		return f.pages
	}
	if bytes.HasPrefix(data, []byte("GET /stream")) {
		r := request{at: time.Now()}
		if req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data))); err == nil {
			if r.lastID = req.Header.Get("Last-Event-ID"); r.lastID == "" {
				r.lastID = req.URL.Query().Get("lastEventId")
			}
		}
		p.stream = true
		f.requests = append(f.requests, r)
		close(f.changed)
		f.changed = make(chan struct{})
	}
	return f.upstream
}

// toClient writes to the client until the budget is used up. It has no ReadFrom: no byte goes around it.
type toClient struct {
	f *front
	p *pair
}

func (w toClient) Write(b []byte) (int, error) {
	w.f.mu.Lock()
	stream, budget := w.p.stream, w.f.budget
	if stream && budget >= 0 {
		w.f.budget = max(0, budget-len(b))
	}
	w.f.mu.Unlock()
	if !stream || budget < 0 || budget > len(b) {
		return w.p.client.Write(b)
	}
	n, _ := w.p.client.Write(b[:budget])
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	w.f.budget = -1
	w.f.cutLocked(false)
	return n, io.ErrClosedPipe
}
