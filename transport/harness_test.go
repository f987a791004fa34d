package transport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanfare/codec"
	"fanfare/engine"
)

// patience is how long a test waits for what must happen: generous, since the
// race detector and a shared machine are slow.
const patience = 20 * time.Second

// The servers that a rig can put in front of an engine.
const (
	viaFast = "fasthttp"
	viaStd  = "net/http"
)

// rig is an engine and a server at work on loopback.
type rig struct {
	t     testing.TB
	via   string // viaFast or viaStd
	eng   *engine.Engine
	srv   *Server
	addr  string // host:port of streams
	admin string // host:port of the publish API
	path  string
	log   *logLines

	stop func()
}

// rigOptions are what startRig makes a rig of.
type rigOptions struct {
	Options
	Engine engine.Options
	// prepare, if set, runs before anything is served.
	prepare func(*Server)
	// listen, if set, opens the stream listener.
	listen func() (net.Listener, error)
}

// startRig starts a server and stops it when the test ends; then no goroutine
// and no descriptor may be left.
func startRig(t testing.TB, via string, o rigOptions) *rig {
	t.Helper()
	checkLeaks(t)
	r := &rig{t: t, via: via, log: &logLines{}}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r.eng = engine.New(o.Engine)
	srv, err := NewServer(r.eng, o.Options)
	if err != nil {
		t.Fatal(err)
	}
	r.srv = srv
	r.path = srv.settings.Load().Path
	if o.prepare != nil {
		o.prepare(srv)
	}
	if o.listen == nil {
		o.listen = func() (net.Listener, error) { return Listen(context.Background(), "127.0.0.1:0") }
	}
	streams, err := o.listen()
	if err != nil {
		t.Fatal(err)
	}
	adminListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr, r.admin = streams.Addr().String(), adminListener.Addr().String()

	var served sync.WaitGroup
	served.Go(func() {
		if err := srv.ServeAdmin(adminListener); err != nil {
			t.Errorf("ServeAdmin: %v", err)
		}
	})
	closeStreams := func() {}
	switch via {
	case viaFast:
		served.Go(func() {
			if err := srv.Serve(streams); err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
	case viaStd:
		mux := http.NewServeMux()
		mux.Handle(r.path, srv.Handler())
		std := &http.Server{Handler: mux, ReadHeaderTimeout: patience, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(r.log, nil), slog.LevelInfo)}
		served.Go(func() {
			if err := std.Serve(streams); !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("http.Server.Serve: %v", err)
			}
		})
		closeStreams = func() { _ = std.Close() }
	default:
		t.Fatalf("no server %q", via)
	}
	r.stop = sync.OnceFunc(func() {
		srv.Close()
		closeStreams()
		r.eng.Close()
		served.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

// onBoth runs a test against the server of each kind.
func onBoth(t *testing.T, o rigOptions, test func(t *testing.T, r *rig)) {
	t.Helper()
	for _, via := range []string{viaFast, viaStd} {
		t.Run(via, func(t *testing.T) { test(t, startRig(t, via, o)) })
	}
}

// logLines keeps what the server logs.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// checkLeaks fails the test if it ends with goroutines or descriptors that were
// not there when checkLeaks was called. Not for parallel tests.
func checkLeaks(t testing.TB) {
	t.Helper()
	files, before := openFiles(), goleak.IgnoreCurrent()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		var err error
		if !poll(10*time.Second, func() bool {
			err = goleak.Find(before, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1")) // one for the process
			return err == nil
		}) {
			t.Errorf("goroutines are left: %v", err)
		}
		// The runtime's own poller takes descriptors when first used.
		if ok := poll(5*time.Second, func() bool { return openFiles() <= files+3 }); !ok {
			t.Errorf("%d descriptors are open, %d before", openFiles(), files)
		}
	})
}

// openFiles counts the descriptors of this process; 0 where that is not known.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// poll waits until ok holds, for at most d.
func poll(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); ; time.Sleep(time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// eventually fails the test unless ok holds before patience is over.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !poll(patience, ok) {
		t.Fatalf("%s: not within %s", what, patience)
	}
}

// wire is a client that decides about every byte.
type wire struct {
	t    testing.TB
	conn *net.TCPConn
	in   *bufio.Reader
	// set by head
	status int
	header textproto.MIMEHeader
	body   io.Reader // without the chunked framing, if there was one
}

// dial connects to the stream listener.
func (r *rig) dial() *wire { return dial(r.t, r.addr) }

func dial(t testing.TB, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newWire(t, c)
}

// newWire makes a client of a connection, which ends with the test.
func newWire(t testing.TB, c net.Conn) *wire {
	w := &wire{t: t, conn: c.(*net.TCPConn), in: bufio.NewReader(c)}
	t.Cleanup(w.close)
	return w
}

func (w *wire) close() { _ = w.conn.Close() }

// reset ends the connection by RST.
func (w *wire) reset() {
	_ = w.conn.SetLinger(0)
	_ = w.conn.Close()
}

// send writes bytes as they are.
func (w *wire) send(text string) {
	w.t.Helper()
	_ = w.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(w.conn, text); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

// discard reads whatever comes until the connection ends.
func (w *wire) discard() {
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.Copy(io.Discard, w.in)
}

// readHead reads the status line and the header fields, and returns them as
// they came, without the empty line.
func (w *wire) readHead() string {
	w.t.Helper()
	text, err := w.tryHead()
	if err != nil {
		w.t.Fatalf("reading the head: %v, after %q", err, text)
	}
	return text
}

func (w *wire) tryHead() (string, error) {
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	var text strings.Builder
	for {
		line, err := w.in.ReadString('\n')
		if err != nil {
			return text.String() + line, err
		}
		if line == "\r\n" {
			break
		}
		text.WriteString(line)
	}
	status, fields, _ := strings.Cut(text.String(), "\r\n")
	parts := strings.SplitN(status, " ", 3)
	if len(parts) < 2 {
		return text.String(), fmt.Errorf("status line %q", status)
	}
	var err error
	if w.status, err = strconv.Atoi(parts[1]); err != nil {
		return text.String(), err
	}
	w.header, err = textproto.NewReader(bufio.NewReader(strings.NewReader(fields + "\r\n"))).ReadMIMEHeader()
	w.body = w.in
	switch {
	case w.header.Get("Transfer-Encoding") == "chunked":
		w.body = httputil.NewChunkedReader(w.in)
	case w.header.Get("Content-Length") != "":
		n, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64)
		if err != nil {
			return text.String(), err
		}
		w.body = io.LimitReader(w.in, n)
	}
	return text.String(), err
}

// read returns the next n bytes of the body, or what there was before it ended.
func (w *wire) read(n int) string {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, n)
	got, err := io.ReadFull(w.body, b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		w.t.Errorf("reading the body: %v, after %q", err, clip(string(b[:got])))
	}
	return string(b[:got])
}

// expect reads as much as want has and fails the test if it is anything else.
func (w *wire) expect(want string) {
	w.t.Helper()
	if got := w.read(len(want)); got != want {
		w.t.Fatalf("read  %q\nwant  %q", clip(got), clip(want))
	}
}

// rest returns the body to its end, which must come.
func (w *wire) rest() string {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(w.body)
	if err != nil {
		w.t.Errorf("reading to the end: %v, after %q", err, clip(string(b)))
	}
	return string(b)
}

// ended fails the test unless the server closes the connection and sends nothing before.
func (w *wire) ended() {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(w.in); err != nil || len(b) > 0 {
		w.t.Fatalf("want the end of the connection, got %q, %v", clip(string(b)), err)
	}
}

// quiet fails the test if anything arrives within d.
func (w *wire) quiet(d time.Duration) {
	w.t.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(d))
	_, err := w.in.Peek(1)
	if err == nil {
		b, _ := w.in.Peek(w.in.Buffered())
		w.t.Fatalf("want silence, got %q", b)
	}
	if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
		w.t.Fatalf("want silence, got %v", err)
	}
}

func clip(s string) string {
	if len(s) > 2000 {
		return s[:1000] + "…" + s[len(s)-1000:]
	}
	return s
}

// get is the head of a stream request with the query, such as
// "connectKey=news", and header lines.
func (r *rig) get(query string, header ...string) string {
	target := r.path
	if query != "" {
		target += "?" + query
	}
	return request11("GET", target, header...)
}

func request11(method, target string, header ...string) string {
	text := method + " " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
	for _, h := range header {
		text += h + "\r\n"
	}
	return text + "\r\n"
}

// stream opens a stream, which must succeed, and reads its head.
func (r *rig) stream(query string, header ...string) *wire {
	r.t.Helper()
	w := r.dial()
	w.send(r.get(query, header...))
	if head := w.readHead(); w.status != 200 || w.header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("%s: %s%s", query, head, w.rest())
	}
	return w
}

// message is a codec.Message of its own memory.
type message struct{ Type, Data, ID string }

// events is a client that understands the stream.
type events struct {
	*wire
	parser codec.Parser
	queue  []message
	err    error // why no more messages come
}

// subscribe opens a stream that understands what it reads. Without PlainIDs it
// has read the opening block, so that lastID is its position.
func (r *rig) subscribe(query string, header ...string) *events {
	r.t.Helper()
	e := &events{wire: r.stream(query, header...)}
	if !r.srv.settings.Load().PlainIDs {
		for e.lastID() == "" && e.err == nil {
			e.feed()
		}
	}
	return e
}

func (e *events) lastID() string { return string(e.parser.LastEventID()) }

// feed reads once.
func (e *events) feed() {
	_ = e.conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 16<<10)
	n, err := e.body.Read(buf)
	perr := e.parser.Feed(buf[:n], func(m codec.Message) {
		if string(m.Type) != "position" || len(m.Data) > 0 { // what a stream begins with
			e.queue = append(e.queue, message{string(m.Type), string(m.Data), string(m.LastEventID)})
		}
	})
	e.err = errors.Join(err, perr)
}

// next returns the next message, which must come.
func (e *events) next() message {
	e.t.Helper()
	for len(e.queue) == 0 {
		if e.err != nil {
			e.t.Fatalf("no next message: %v", e.err)
		}
		e.feed()
	}
	m := e.queue[0]
	e.queue = e.queue[1:]
	return m
}

// wantData reads messages, which must have these data.
func (e *events) wantData(data ...string) {
	e.t.Helper()
	for i, want := range data {
		if m := e.next(); m.Data != want {
			e.t.Fatalf("message %d: %+v, want data %q", i, m, want)
		}
	}
}

// gapData is the JSON of a gap event.
type gapData struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
	Missed *int64 `json:"missed"`
	After  string `json:"after"`
	Next   string `json:"next"`
}

// gap reads the data of a gap event.
func (m message) gap(t testing.TB) (g gapData) {
	t.Helper()
	if m.Type != "gap" {
		t.Fatalf("%+v is no gap", m)
	}
	if err := json.Unmarshal([]byte(m.Data), &g); err != nil {
		t.Fatalf("gap %q: %v", m.Data, err)
	}
	return g
}

// reply is an answer of the admin listener.
type reply struct {
	status int
	header http.Header
	body   string
}

// decode reads a JSON answer.
func (a reply) decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
}

// The JSON of the publish API, as a client sees it.
type (
	failure struct {
		Error, Field string
		Line         int
	}
	publishAnswer struct {
		ID          string
		IDs         []string
		Events      int
		Subscribers int
	}
	allAnswer    struct{ Keys, Subscribers, Events int }
	closedAnswer struct{ Closed int }
	countAnswer  struct{ Count int }
	keysAnswer   struct {
		Keys int64
		Top  []engine.KeyStats
	}
)

// failed is the error of an answer that must be one.
func (a reply) failed(t testing.TB) failure {
	t.Helper()
	var f failure
	a.decode(t, &f)
	if f.Error == "" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Fatalf("%d %v %q: not an error as documented", a.status, a.header, a.body)
	}
	return f
}

// call sends a request to the admin listener; header holds "Name: value" lines.
func (r *rig) call(method, target, body string, header ...string) reply {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.admin+target, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		} else {
			req.Header.Add(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

// post publishes a body to a key over HTTP, which must succeed.
func (r *rig) post(key, contentType, body string) publishAnswer {
	r.t.Helper()
	a := r.call("POST", "/publish?key="+url.QueryEscape(key), body, "Content-Type: "+contentType)
	if a.status != 200 {
		r.t.Fatalf("publish %q: %d %s", clip(body), a.status, a.body)
	}
	var p publishAnswer
	a.decode(r.t, &p)
	return p
}

// publish publishes text to a key over HTTP and returns its id.
func (r *rig) publish(key, text string) string { return r.post(key, "text/plain", text).ID }

// count asks over HTTP how many subscribers a key has.
func (r *rig) count(key string) int {
	r.t.Helper()
	var c countAnswer
	r.call("GET", "/count?key="+url.QueryEscape(key), "").decode(r.t, &c)
	return c.Count
}

// waitCount waits until a key has n subscribers.
func (r *rig) waitCount(key string, n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%q has %d subscribers, now %d", key, n, r.eng.Count(key)), func() bool { return r.eng.Count(key) == n })
}

// waitOpen waits until n streams are open.
func (r *rig) waitOpen(n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d streams are open, now %d", n, r.srv.Open()), func() bool { return r.srv.Open() == n })
}

// metric returns the value of a series of /metrics, written as there, such as
// `fanfare_rejected_total{limit="drain"}`.
func (r *rig) metric(series string) float64 {
	r.t.Helper()
	text := r.call("GET", "/metrics", "").body
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				r.t.Fatal(err)
			}
			return f
		}
	}
	r.t.Fatalf("no series %s in\n%s", series, text)
	return 0
}
