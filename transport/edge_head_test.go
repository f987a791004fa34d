package transport

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// edgeToken is long enough for a listener that other machines reach.
const edgeToken = "edge-token-of-the-test"

// TestHeadDecides: what the head of a request decides is answered before its body, with and without an expectation of a 100
// (RFC 9110, 10.1.1): a client may wait for the answer.
func TestHeadDecides(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{Options: Options{PublishToken: edgeToken, MaxBodyBytes: 1 << 20}})
	auth, text := "Authorization: Bearer "+edgeToken, "Content-Type: text/plain"
	requests := []struct {
		name, addr, method, target string
		fields                     []string
		status                     int
		field                      string
	}{
		{"no token", r.admin, "POST", "/publish", []string{text}, 401, "Authorization"},
		{"wrong token", r.admin, "POST", "/batch", []string{"Authorization: Bearer " + edgeToken + "x"}, 401, "Authorization"},
		{"an origin", r.admin, "POST", "/publish", []string{auth, text, "Origin: https://evil.example"}, 403, "Origin"},
		{"another site", r.admin, "POST", "/publish", []string{auth, text, "Sec-Fetch-Site: cross-site"}, 403, "Sec-Fetch-Site"},
		{"two sites", r.admin, "POST", "/publish", []string{auth, text, "Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"}, 403, "Sec-Fetch-Site"},
		{"two origins", r.admin, "POST", "/publish", []string{auth, text, "Origin: http://" + r.addr, "Origin: https://evil.example"}, 403, "Origin"},
		{"two codings", r.admin, "POST", "/publish", []string{auth, text, "Content-Encoding: identity", "Content-Encoding: gzip"}, 415, "Content-Encoding"},
		{"no such path", r.admin, "POST", "/nothing", []string{auth, text}, 404, "path"},
		{"a method", r.admin, "PUT", "/publish", []string{auth, text}, 405, "method"},
		{"GET", r.admin, "GET", "/publish", []string{auth, text}, 405, "method"},
		{"a parameter", r.admin, "POST", "/publish?Key=k", []string{auth, text}, 400, "Key"},
		{"a key", r.admin, "POST", "/publish?key=%FF", []string{auth, text}, 400, "key"},
		{"a type", r.admin, "POST", "/publish", []string{auth, "Content-Type: image/png"}, 415, "Content-Type"},
		{"no type", r.admin, "POST", "/publishAll", []string{auth}, 415, "Content-Type"},
		{"multipart", r.admin, "POST", "/publish", []string{auth, "Content-Type: multipart/form-data; boundary=b"}, 415, "Content-Type"},
		{"a coding", r.admin, "POST", "/batch", []string{auth, "Content-Encoding: gzip"}, 415, "Content-Encoding"},
		{"a length", r.admin, "POST", "/publish", []string{auth, text, "Content-Length: 1048577"}, 413, "maxBodyBytes"},
		{"a length for close", r.admin, "POST", "/close", []string{auth, "Content-Length: 4097"}, 413, "body"},
		{"a length for count", r.admin, "GET", "/count", []string{auth, "Content-Length: 1000000"}, 413, "body"},
		{"a length for a preflight", r.admin, "OPTIONS", "/publish", []string{"Content-Length: 1000000"}, 413, "body"},
		{"POST of a stream", r.addr, "POST", "/stream", nil, 405, ""},
		{"a stream with a body", r.addr, "GET", "/stream?connectKey=k", nil, 413, ""},
		{"no such path for a stream", r.addr, "PUT", "/nothing", nil, 404, ""},
		{"a page", r.addr, "POST", "/", nil, 405, ""},
		{"health", r.addr, "POST", "/healthz", nil, 405, ""},
	}
	for _, q := range requests {
		for _, how := range []string{"length", "chunked"} {
			for _, expect := range []bool{false, true} {
				t.Run(fmt.Sprint(q.name, " ", how, " ", expect), func(t *testing.T) {
					fields := append([]string(nil), q.fields...)
					switch sized := strings.Contains(strings.Join(fields, " "), "Content-Length"); {
					case sized && how == "chunked":
						t.Skip("the length is what is refused")
					case sized:
					case how == "length":
						fields = append(fields, "Content-Length: 100000")
					default:
						fields = append(fields, "Transfer-Encoding: chunked")
					}
					if expect {
						fields = append(fields, "Expect: 100-continue")
					}
					w := wiretest.Dial(t, q.addr)
					defer w.Close()
					w.Send(wiretest.Request(q.method, q.target, fields...)) // and no byte of the body
					w.ReadHead()
					body := w.Rest()
					if w.Status != q.status || q.field != "" && !strings.Contains(body, `"field":"`+q.field+`"`) {
						t.Fatalf("%d %s, want %d for %s", w.Status, body, q.status, q.field)
					}
					if w.Header.Get("Connection") != "close" {
						t.Errorf("the connection stays open, and the body would be read as a request: %v", w.Header)
					}
					w.Send("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
					w.CloseWrite()
					w.Ended()
				})
			}
		}
	}
	if n := r.eng.Stats().Keys; n != 0 || r.srv.Open() != 0 {
		t.Errorf("%d keys, %d streams", n, r.srv.Open())
	}
	// What may go on gets its 100, and is served.
	w := wiretest.Dial(t, r.admin)
	defer w.Close()
	for range 2 {
		w.Send(wiretest.Request("POST", "/publish?key=k", auth, text, "Expect: 100-continue", "Transfer-Encoding: chunked"))
		if w.ReadHead(); w.Status != 100 {
			t.Fatal(w.Status)
		}
		w.Send("5\r\nhello\r\n0\r\n\r\n")
		if w.ReadHead(); w.Status != 200 {
			t.Fatal(w.Status)
		}
		w.Rest()
	}
	// The mark of a skipped body is the server's own.
	if a := r.call("POST", "/publish?key=k", "x", auth, text, "Fanfare-Body-Skipped: 1"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestRefusedRequestsKeepTheConnection: without a body, a refusal does not end the connection.
func TestRefusedRequestsKeepTheConnection(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{Options: Options{PublishToken: edgeToken}})
	for _, addr := range []string{r.addr, r.admin} {
		w := wiretest.Dial(t, addr)
		for range 3 {
			w.Send(wiretest.Request("GET", "/nothing"))
			if w.ReadHead(); w.Status != 404 || w.Header.Get("Connection") == "close" {
				t.Fatalf("%d %v", w.Status, w.Header)
			}
			w.Rest()
		}
		w.Close()
	}
}

// TestBodiesNeedNoMemoryBeforeTheyArrive: neither refused bodies, whatever is sent of them, nor announced ones cost memory.
func TestBodiesNeedNoMemoryBeforeTheyArrive(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{PublishToken: edgeToken}})
	const n, length = 20, 15 << 20
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	chunk := []byte(strings.Repeat("x", 1<<20))
	for name, fields := range map[string][]string{
		"refused":   {"Content-Type: text/plain"},
		"multipart": {"Content-Type: multipart/form-data; boundary=b"},
		"announced": {"Content-Type: text/plain", "Authorization: Bearer " + edgeToken},
	} {
		t.Run(name, func(t *testing.T) {
			before := allocated()
			var open []*wiretest.Conn
			for range n {
				w := wiretest.Dial(t, r.admin)
				defer w.Close()
				w.Send(wiretest.Request("POST", "/publish?key=k", append(fields, fmt.Sprint("Content-Length: ", length))...))
				open = append(open, w)
				if name == "announced" {
					w.Send(string(chunk[:9<<10])) // more than fasthttp reads ahead
					continue
				}
				_ = w.NetConn().SetWriteDeadline(time.Now().Add(eventually.Patience))
				for range 4 { // the server may have closed the connection
					if _, err := w.NetConn().Write(chunk); err != nil {
						break
					}
				}
			}
			if name == "announced" {
				eventually.True(t, "the bodies are being read", func() bool { return r.srv.api.BodyBytes() >= n*9<<10 })
			} else {
				for _, w := range open {
					if w.ReadHead(); w.Status != 401 {
						t.Fatal(w.Status)
					}
				}
			}
			if by := (allocated() - before) / n; by > 256<<10 {
				t.Errorf("%d bytes for each request", by)
			}
			if got := r.srv.api.BodyBytes(); got > n*16<<10 {
				t.Errorf("%d bytes count as bodies", got)
			}
		})
	}
	eventually.True(t, "nothing is left of the bodies", func() bool { return r.srv.api.BodyBytes() == 0 })
}

// TestMaxBodyTotalBytes: the bodies of all requests together are bounded, and what does not fit is told to come later.
func TestMaxBodyTotalBytes(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxBodyBytes: 1 << 20, MaxBodyTotalBytes: 3 << 20}})
	half := strings.Repeat("x", 768<<10)
	var held []*wiretest.Conn
	hold := func() *wiretest.Conn {
		w := wiretest.Dial(t, r.admin)
		w.Send(wiretest.Request("POST", "/publish?key=k", "Content-Type: text/plain", fmt.Sprint("Content-Length: ", 1<<20)))
		w.Send(half)
		held = append(held, w)
		return w
	}
	for i := range 3 {
		hold()
		eventually.True(t, "the body counts", func() bool { return r.srv.api.BodyBytes() >= int64(i+1)*(512<<10) })
	}
	eventually.True(t, "all three count", func() bool { return r.srv.api.BodyBytes() == 3<<20 })
	if n := r.metric("fanfare_admin_body_bytes"); n != 3<<20 {
		t.Errorf("the metric says %v", n)
	}
	before := r.metric(`fanfare_rejected_total{limit="maxBodyTotalBytes"}`)
	w := wiretest.Dial(t, r.admin)
	defer w.Close()
	w.Send(wiretest.Request("POST", "/publish?key=k", "Content-Type: text/plain", "Content-Length: 5") + "hello")
	if w.ReadHead(); w.Status != 503 || w.Header.Get("Retry-After") == "" || !strings.Contains(w.Rest(), `"field":"maxBodyTotalBytes"`) {
		t.Fatalf("%d %v", w.Status, w.Header)
	}
	if n := r.metric(`fanfare_rejected_total{limit="maxBodyTotalBytes"}`); n != before+1 {
		t.Errorf("%v refusals", n-before)
	}
	for i, w := range held {
		switch i {
		case 0: // it arrives
			w.Send(strings.Repeat("x", 256<<10))
			if w.ReadHead(); w.Status != 200 {
				t.Fatal(w.Status, w.Rest())
			}
		case 1: // it breaks off
			w.CloseWrite()
			if w.ReadHead(); w.Status != 400 {
				t.Fatal(w.Status, w.Rest())
			}
		}
		w.Close()
	}
	eventually.True(t, "all is given back", func() bool { return r.srv.api.BodyBytes() == 0 })
	if a := r.call("POST", "/publish?key=k", strings.Repeat("x", 1<<20), "Content-Type: text/plain"); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	if _, err := newSettings(Options{MaxBodyBytes: 2, MaxBodyTotalBytes: 1}); err == nil || !strings.Contains(err.Error(), "maxBodyTotalBytes") {
		t.Error(err)
	}
}

// TestMaxAdminConnections: one connection too many takes the place of the idlest, and never that of a request.
func TestMaxAdminConnections(t *testing.T) {
	const limit = 5
	r := startRig(t, viaFast, rigOptions{Options: Options{MaxAdminConnections: limit, PublishToken: edgeToken}})
	auth := "Authorization: Bearer " + edgeToken
	limited := func() float64 {
		w := wiretest.Dial(t, r.admin)
		defer w.Close()
		w.Send(wiretest.Request("GET", "/metrics", auth, "Connection: close"))
		w.ReadHead()
		for line := range strings.Lines(w.Rest()) {
			if value, ok := strings.CutPrefix(line, `fanfare_rejected_total{limit="maxAdminConnections"} `); ok {
				var n float64
				_, _ = fmt.Sscan(value, &n)
				return n
			}
		}
		t.Fatal("no metric")
		return 0
	}
	// A flood of silent connections, and of refused ones, shuts nobody out.
	for i := range 50 {
		w := wiretest.Dial(t, r.admin)
		defer w.Close()
		if i%2 == 0 {
			w.Send(wiretest.Request("POST", "/publish", "Content-Type: text/plain", "Content-Length: 1000"))
		}
	}
	eventually.True(t, "the flood is bounded", func() bool { return r.srv.adminConns.open() <= limit })
	if n := limited(); n < 40 {
		t.Errorf("%v connections were closed", n)
	}
	if a := r.call("POST", "/publish?key=k", "x", "Content-Type: text/plain", auth); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	// Requests keep their places.
	var busy []*wiretest.Conn
	for i := range limit {
		w := wiretest.Dial(t, r.admin)
		defer w.Close()
		w.Send(wiretest.Request("POST", "/publish?key=k", auth, "Content-Type: text/plain", "Content-Length: 100000") + strings.Repeat("x", 50_000))
		busy = append(busy, w)
		eventually.True(t, "the body arrives", func() bool { return r.srv.api.BodyBytes() == int64(i+1)*(64<<10) })
	}
	w := wiretest.Dial(t, r.admin)
	defer w.Close()
	w.Send(wiretest.Request("GET", "/healthz"))
	if w.ReadHead(); w.Status != 503 || !strings.Contains(w.Rest(), "maxAdminConnections") || w.Header.Get("Retry-After") == "" {
		t.Fatalf("%d %v", w.Status, w.Header)
	}
	w.Ended()
	if !strings.Contains(r.log.String(), "maxAdminConnections") {
		t.Error("the log says nothing")
	}
	for _, w := range slices.Backward(busy) {
		w.Send(strings.Repeat("x", 50_000))
		if w.ReadHead(); w.Status != 200 {
			t.Fatal(w.Status)
		}
		w.Rest()
	}
	// And now they are idle: a new one is served, and the one that was used first is closed.
	last := wiretest.Dial(t, r.admin)
	defer last.Close()
	last.Send(wiretest.Request("GET", "/healthz"))
	if last.ReadHead(); last.Status != 200 {
		t.Error(last.Status)
	}
	busy[limit-1].Ended()
	busy[0].Send(wiretest.Request("GET", "/healthz"))
	if busy[0].ReadHead(); busy[0].Status != 200 {
		t.Error("the one that was used last was closed")
	}
}
