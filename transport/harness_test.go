package transport

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// The servers that a rig can put in front of an engine.
const (
	viaFast = "fasthttp"
	viaStd  = "net/http"
)

// testTLS makes the tests of viaFast use TLS: the same tests, over other bytes.
var testTLS = os.Getenv("FANFARE_TLS") != ""

// plainOnly skips a test that speaks to the stream listener by other means than the rig's.
func plainOnly(t *testing.T) {
	t.Helper()
	if testTLS {
		t.Skip("this test speaks plain HTTP itself")
	}
}

// rig is an engine and a server at work on loopback.
type rig struct {
	t     testing.TB
	via   string // viaFast or viaStd
	eng   *engine.Engine
	srv   *Server
	addr  string // host:port of streams
	admin string // host:port of the publish API
	path  string
	log   *proctest.Log
	tls   *tls.Config // of clients; nil without TLS

	stop func()
}

// rigOptions are what startRig makes a rig of.
type rigOptions struct {
	Options
	Engine engine.Options
	// prepare, if set, runs before anything is served.
	prepare func(*Server)
	// backplane, if set, makes the node that the server is part of. startFleet checks for leaks.
	backplane func(*engine.Engine) *cluster.Node
	// listen, if set, opens the stream listener.
	listen func() (net.Listener, error)
}

// startRig starts a server and stops it when the test ends; then no goroutine
// and no descriptor may be left.
func startRig(t testing.TB, via string, o rigOptions) *rig {
	t.Helper()
	if o.backplane == nil {
		checkLeaks(t)
	}
	r := &rig{t: t, via: via, log: &proctest.Log{}}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if o.PingInterval == 0 {
		o.PingInterval = time.Hour // so that no heartbeat comes in between, however slow the machine is
	}
	if via == viaFast && testTLS && o.TLS == nil {
		cert := certtest.New(t, "localhost")
		o.TLS = &tls.Config{Certificates: []tls.Certificate{cert.TLS}}
		r.tls = &tls.Config{RootCAs: cert.Roots, ServerName: "localhost"}
	}
	r.eng = engine.New(o.Engine)
	if o.backplane != nil {
		o.Backplane = o.backplane(r.eng)
	}
	srv, err := NewServer(r.eng, o.Options)
	if err != nil {
		t.Fatal(err)
	}
	r.srv = srv
	r.path = srv.settings.Load().Path
	if o.prepare != nil {
		o.prepare(srv)
	}
	if o.Backplane != nil {
		o.Backplane.Start()
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
		std := &http.Server{Handler: mux, ReadHeaderTimeout: eventually.Patience, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(r.log, nil), slog.LevelInfo)}
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
		if o.Backplane != nil {
			o.Backplane.Close()
		}
		r.eng.Close()
		served.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

// reconfigure is Server.Reconfigure. A server that speaks TLS goes on with it if the options say nothing about it.
func (r *rig) reconfigure(o Options) error {
	if o.TLS == nil && testTLS {
		o.TLS = r.srv.settings.Load().TLS
	}
	return r.srv.Reconfigure(o)
}

// onBoth runs a test against the server of each kind.
func onBoth(t *testing.T, o rigOptions, test func(t *testing.T, r *rig)) {
	t.Helper()
	for _, via := range []string{viaFast, viaStd} {
		t.Run(via, func(t *testing.T) { test(t, startRig(t, via, o)) })
	}
}

// checkLeaks fails the test if it ends with goroutines or descriptors that were
// not there when checkLeaks was called. Not for parallel tests.
func checkLeaks(t testing.TB) {
	t.Helper()
	files, before := openFiles(), goleak.IgnoreCurrent()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		const limit = 30 * time.Second // what ends by a timeout of the server's is a leak, too
		var err error
		if !eventually.Within(limit, func() bool {
			err = goleak.Find(before, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1")) // one for the process
			return err == nil
		}) {
			t.Errorf("goroutines are left: %v", err)
		}
		// The runtime's own poller takes descriptors when first used.
		if ok := eventually.Within(limit, func() bool { return openFiles() <= files+3 }); !ok {
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

// dial connects to the stream listener.
func (r *rig) dial() *wiretest.Conn {
	r.t.Helper()
	if r.tls != nil {
		return wiretest.DialTLS(r.t, r.addr, r.tls)
	}
	return wiretest.Dial(r.t, r.addr)
}

// get is a stream request with the query, such as "connectKey=news", and header lines.
func (r *rig) get(query string, header ...string) string {
	return wiretest.Request("GET", r.target(query), header...)
}

// target is the path of streams with a query, if there is one.
func (r *rig) target(query string) string {
	if query == "" {
		return r.path
	}
	return r.path + "?" + query
}

// stream opens a stream, which must succeed, and reads its head.
func (r *rig) stream(query string, header ...string) *wiretest.Conn {
	r.t.Helper()
	return r.dial().Open(r.target(query), header...)
}

// subscribe opens a stream and reads its events. Without PlainIDs it has read the position, so that LastID is where the
// stream begins.
func (r *rig) subscribe(query string, header ...string) *wiretest.Events {
	r.t.Helper()
	e := wiretest.NewEvents(r.stream(query, header...))
	if !r.srv.settings.Load().PlainIDs {
		e.AwaitPosition()
	}
	return e
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
		r.t.Fatalf("publish %q: %d %s", wiretest.Clip(body), a.status, a.body)
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
	eventually.Equal(r.t, fmt.Sprintf("subscribers of %q", key), n, func() int { return r.eng.Count(key) })
}

// waitOpen waits until n streams are open.
func (r *rig) waitOpen(n int) {
	r.t.Helper()
	eventually.Equal(r.t, "open streams", n, r.srv.Open)
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
