package transport

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// TestStreamHead: the head is exact, goes out before there is an event, and is
// followed by the opening block.
func TestStreamHead(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{Retry: 1500 * time.Millisecond}}, func(t *testing.T, r *rig) {
		w := r.dial()
		w.Send(r.get("connectKey=k"))
		head := w.ReadHead()
		date := w.Header.Get("Date")
		if _, err := fasthttp.ParseHTTPDate([]byte(date)); err != nil {
			t.Errorf("Date %q: %v", date, err)
		}
		want := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n" +
			"Access-Control-Allow-Origin: *\r\nDate: " + date + "\r\nConnection: close\r\n"
		if r.via == viaFast && head != want {
			t.Errorf("head %q\nwant %q", head, want)
		}
		for line := range strings.Lines(want) {
			if line == "Connection: close\r\n" {
				continue // net/http ends the body by its last chunk
			}
			if !strings.Contains(head, line) {
				t.Errorf("%q lacks %q", head, line)
			}
		}
		if te := w.Header.Get("Transfer-Encoding"); (te != "") != (r.via == viaStd) {
			t.Errorf("Transfer-Encoding %q", te)
		}
		if w.Header.Get("Content-Length") != "" {
			t.Error("a stream with a length")
		}
		e := wiretest.NewEvents(w)
		for e.LastID() == "" {
			e.Feed()
		}
		queue := e.Take()
		if d, ok := e.Retry(); !ok || d != 1500*time.Millisecond || len(queue) > 0 {
			t.Errorf("retry %v %v, events %v", d, ok, queue)
		}
		id := r.publish("k", "x")
		first := strings.TrimSuffix(id, "-1") + "-0"
		if e.LastID() != first {
			t.Errorf("the stream began at %q, the first event was %q", e.LastID(), id)
		}
		second := r.stream("connectKey=k")
		second.Expect("retry: 1500\nevent: position\ndata:\nid: " + id + "\n\n")
	})
	t.Run("ids off", func(t *testing.T) {
		onBoth(t, rigOptions{Options: Options{PlainIDs: true}}, func(t *testing.T, r *rig) {
			w := r.stream("connectKey=k")
			w.Quiet(50 * time.Millisecond)
			if p := r.post("k", "text/plain", "x"); p.ID != "" {
				t.Errorf("ids are off, got %q", p.ID)
			}
			w.Expect("data: x\n\n")
		})
	})
	t.Run("ids off, retry", func(t *testing.T) {
		r := startRig(t, viaFast, rigOptions{Options: Options{PlainIDs: true, Retry: time.Second}})
		r.stream("connectKey=k").Expect("retry: 1000\n\n")
	})
}

func TestStreamHeaderOption(t *testing.T) {
	headers := map[string]string{"cache-control": "no-store", "X-Accel-Buffering": "", "x-custom": "a, b", "Access-Control-Allow-Origin": "https://app.example",
		"Access-Control-Allow-Credentials": "true", "Vary": "Origin"}
	onBoth(t, rigOptions{Options: Options{Headers: headers}}, func(t *testing.T, r *rig) {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "bad key"} {
			w := r.dial()
			if method == "bad key" {
				w.Send(r.get("connectKey=%FF"))
			} else {
				w.Send(wiretest.Request(method, r.path))
			}
			w.ReadHead()
			if got := w.Header.Get("Access-Control-Allow-Origin") + w.Header.Get("Access-Control-Allow-Credentials") + w.Header.Get("Vary"); got != "https://app.exampletrueOrigin" {
				t.Errorf("%s: %v", method, w.Header)
			}
			if method != "GET" && method != "HEAD" {
				continue
			}
			if w.Header.Get("Cache-Control") != "no-store" || w.Header.Get("X-Custom") != "a, b" || w.Header.Get("Content-Type") != "text/event-stream" {
				t.Errorf("%s: %v", method, w.Header)
			}
			if _, there := w.Header["X-Accel-Buffering"]; there {
				t.Errorf("%s: not removed: %v", method, w.Header)
			}
			w.Close()
		}
	})
	t.Run("Connection", func(t *testing.T) {
		// The body ends with the connection. A proxy that is told to keep it takes the answer for one without a body:
		// egg-sse's default value, which its plugin always passes on, is not meant as a wish.
		for said, want := range map[string]string{"keep-alive": "close", "Keep-Alive": "close", "close": "close", "": ""} {
			r := startRig(t, viaFast, rigOptions{Options: Options{Headers: map[string]string{"connection": said}}})
			if w := r.stream(""); w.Header.Get("Connection") != want {
				t.Errorf("headers say %q: Connection: %q, want %q", said, w.Header.Get("Connection"), want)
			}
			r.stop()
		}
	})
	t.Run("no Connection", func(t *testing.T) {
		r := startRig(t, viaFast, rigOptions{Options: Options{Headers: map[string]string{"Connection": ""}}})
		if w := r.stream(""); w.Header.Get("Connection") != "" {
			t.Error(w.Header)
		}
	})
	for name, value := range map[string]string{"X": "a\r\nSet-Cookie: b", "Y": "a\nb", "Z": "a\x00b", "A b": "c", "": "x", "B:": "x", "C\r\n": "x",
		"content-type": "text/plain", "Content-Length": "1", "Transfer-Encoding": "off", "Date": "now"} {
		if _, err := newSettings(Options{Headers: map[string]string{name: value}}); err == nil || !strings.HasPrefix(err.Error(), "headers: ") {
			t.Errorf("%q: %q: %v", name, value, err)
		}
	}
}

// TestStreamMethods: what is not GET opens nothing and leaves nothing behind.
func TestStreamMethods(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		for _, method := range []string{"HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "BREW"} {
			w := r.dial()
			for range 2 { // the connection stays usable
				w.Send(wiretest.Request(method, r.path+"?connectKey=k", "Content-Length: 0", "Origin: https://app.example", "Access-Control-Request-Headers: last-event-id"))
				w.ReadHead()
				switch method {
				case "HEAD":
					if w.Status != 200 || w.Header.Get("Content-Type") != "text/event-stream" || w.Header.Get("Access-Control-Allow-Origin") != "*" || w.Header.Get("Date") == "" {
						t.Errorf("HEAD: %d %v", w.Status, w.Header)
					}
					if w.Header.Get("Content-Length") != "" {
						t.Errorf("HEAD tells a length that GET has not: %v", w.Header)
					}
				case "OPTIONS":
					if w.Status != 204 || w.Header.Get("Allow") != "GET, HEAD, OPTIONS" || w.Header.Get("Access-Control-Allow-Origin") != "*" ||
						w.Header.Get("Access-Control-Allow-Headers") != "last-event-id" || !strings.Contains(w.Header.Get("Access-Control-Allow-Methods"), "GET") {
						t.Errorf("OPTIONS: %d %v", w.Status, w.Header)
					}
				default:
					if w.Status != 405 || w.Header.Get("Allow") != "GET, HEAD, OPTIONS" || w.Header.Get("Access-Control-Allow-Origin") != "*" {
						t.Errorf("%s: %d %v", method, w.Status, w.Header)
					}
					if body := w.Read(len("method \"\": a stream is opened by GET\n") + len(method)); body != "method \""+method+"\": a stream is opened by GET\n" {
						t.Errorf("%s: %q", method, body)
					}
				}
			}
			w.Close()
		}
		if n := r.eng.Stats().Keys; n != 0 || r.srv.Open() != 0 {
			t.Errorf("%d keys and %d streams are left", n, r.srv.Open())
		}
	})
}

// TestStreamPaths: only the path itself is the stream, and the other answers
// say where it is.
func TestStreamPaths(t *testing.T) {
	for _, path := range []string{"/stream", "/sse/events"} {
		r := startRig(t, viaFast, rigOptions{Options: Options{Path: path, NoPage: true}})
		r.stream("connectKey=k").Close()
		for _, other := range []string{"/", path + "/", strings.ToUpper(path), path + "x", "/nothing", "/publish", "/metrics"} {
			w := r.dial()
			w.Send(wiretest.Request("GET", other+"?connectKey=k"))
			w.ReadHead()
			if body := w.Read(1000); w.Status != 404 || !strings.Contains(body, "streams are at "+path+"?connectKey=KEY\n") {
				t.Errorf("%s: %d %q", other, w.Status, body)
			}
		}
		r.waitOpen(0)
		r.stop()
	}
	for _, path := range []string{"stream", "/a?b", "/a#b", "/a b"} {
		if _, err := newSettings(Options{Path: path}); err == nil || !strings.HasPrefix(err.Error(), "path ") {
			t.Errorf("%q: %v", path, err)
		}
	}
}

// TestStreamKeys: how connectKey is read.
func TestStreamKeys(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{MaxKeysPerConnection: 4, MaxKeyBytes: 30, CacheKey: "pool"}}, func(t *testing.T, r *rig) {
		for query, keys := range map[string]string{
			"":                                     "pool",
			"connectKey":                           "pool",
			"connectKey=":                          "pool",
			"other=1&connectKey=a":                 "a",
			"connectKey=a&connectKey=b":            "a b",
			"connectKey=b&connectKey=a&connectKey": "b a pool",
			"connectKey=a&connectKey=a&connectKey=b&connectKey=a&connectKey=b": "a b",
			"connectKey=a&connectKey=b&connectKey=c&connectKey=d":              "a b c d",
			"connectKey=%E4%BD%A0":                        "你",
			"connectKey=constructor&connectKey=__proto__": "constructor __proto__",
			"connectKey=100%zz":                           "100%zz",
			"connectKey=" + strings.Repeat("k", 30):       strings.Repeat("k", 30),
			"connectkey=a":                                "pool",
			"connectKey[]=a":                              "pool",
			"connectKey=a;b":                              "a;b",
			"connectKey=a%26connectKey%3Db":               "a&connectKey=b",
		} {
			e := r.subscribe(query)
			list := strings.Split(keys, " ")
			if n := strings.Count(e.LastID(), ",") + 1; n != len(list) {
				t.Errorf("%s: %d positions in %q, want %d", query, n, e.LastID(), len(list))
			}
			for i, key := range list {
				if r.eng.Count(key) != 1 {
					t.Errorf("%s: key %q has no subscriber", query, key)
				}
				before := strings.Split(e.LastID(), ",")
				r.publish(key, key)
				e.WantData(key)
				after := strings.Split(e.LastID(), ",")
				for j := range after { // the position of this key alone moves
					if (before[j] != after[j]) != (i == j) {
						t.Errorf("%s: %q came after %q by an event of %q", query, e.LastID(), before, key)
					}
				}
			}
			e.Close()
			for _, key := range list {
				r.waitCount(key, 0)
			}
		}
		keys := r.eng.Stats().Keys
		for query, says := range map[string]string{
			"connectKey=%FF":                        "UTF-8",
			"connectKey=a&connectKey=%C3%28":        "UTF-8",
			"connectKey=" + strings.Repeat("k", 31): "maxKeyBytes",
			"connectKey=e1&connectKey=e2&connectKey=e3&connectKey=e4&connectKey=e5": "maxKeysPerConnection",
		} {
			w := r.dial()
			w.Send(r.get(query))
			w.ReadHead()
			body := w.Read(1000)
			if w.Status != 400 || w.Header.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.HasPrefix(body, "connectKey ") || !strings.Contains(body, says) {
				t.Errorf("%s: %d %q", query, w.Status, body)
			}
			w.Close()
		}
		if n := r.eng.Stats().Keys; n != keys {
			t.Errorf("refused requests left %d keys", n-keys)
		}
	})
}

// TestStreamHTTP10: an old client, and one that asks for the end of the
// connection, get the stream, and an honest Connection field.
func TestStreamHTTP10(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		for name, request := range map[string]string{
			"1.0":            "GET " + r.path + "?connectKey=k HTTP/1.0\r\n\r\n",
			"1.0 keep-alive": "GET " + r.path + "?connectKey=k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			"1.1 close":      r.get("connectKey=k", "Connection: close"),
			"1.1 keep-alive": r.get("connectKey=k", "Connection: keep-alive"),
		} {
			w := r.dial()
			w.Send(request)
			w.ReadHead()
			if w.Status != 200 {
				t.Fatalf("%s: %d", name, w.Status)
			}
			if c := w.Header.Get("Connection"); name == "1.0" && strings.EqualFold(c, "keep-alive") || name == "1.1 close" && c != "close" {
				t.Errorf("%s: Connection: %q", name, c)
			}
			if te := w.Header.Get("Transfer-Encoding"); te != "" && (r.via == viaFast || strings.HasPrefix(name, "1.0")) {
				t.Errorf("%s: Transfer-Encoding: %q", name, te)
			}
			e := wiretest.NewEvents(w)
			r.publish("k", name)
			e.WantData(name)
			if n := r.call("POST", "/close?key=k", "").body; n != `{"closed":1}`+"\n" {
				t.Error(n)
			}
			if rest := e.Rest(); rest != "" {
				t.Errorf("%s: %q", name, rest)
			}
			r.waitOpen(0)
			w.Close()
		}
	})
}

// TestStreamPipelined: bytes behind the request are no harm, and no request.
func TestStreamPipelined(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	for _, size := range []int{1, 100, 10_000, 1 << 20} {
		w := r.dial()
		w.Send(r.get("connectKey=k"))
		w.ReadHead()
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(w.NetConn(), strings.Repeat("GET / HTTP/1.1\r\n\r\n", size/18+1)[:size])
			w.CloseWrite()
			sent <- err
		}()
		// With little behind the request the FIN is seen, and ends the stream; a
		// client that floods is ended.
		r.waitOpen(0)
		w.Discard()
		w.Close()
		<-sent
	}
	// At once with the request, and without an end: the stream lives.
	w := r.dial()
	w.Send(r.get("connectKey=k") + r.get("connectKey=other") + "garbage")
	w.ReadHead()
	e := wiretest.NewEvents(w)
	r.publish("k", "x")
	e.WantData("x")
	if n := r.count("other"); n != 0 {
		t.Errorf("the second request was served: %d", n)
	}
	// And its end arrives, in spite of the bytes that nobody has read.
	r.call("POST", "/close?key=k", "")
	e.Ended()
	r.waitOpen(0)
}

// TestStreamPipelinedStd: behind net/http the bytes hide the client's end; the
// next heartbeat finds out.
func TestStreamPipelinedStd(t *testing.T) {
	r := startRig(t, viaStd, rigOptions{Options: Options{PingInterval: 200 * time.Millisecond}})
	for _, size := range []int{1, 1 << 20} {
		w := r.stream("connectKey=k")
		go func() { _, _ = io.WriteString(w.NetConn(), strings.Repeat("x", size)) }()
		time.Sleep(10 * time.Millisecond) // the bytes may also come late: nothing depends on it
		w.Close()
		r.waitOpen(0)
	}
}

// TestStreamHalfClose: a client that closes its sending side has gone.
func TestStreamHalfClose(t *testing.T) {
	onBoth(t, rigOptions{}, func(t *testing.T, r *rig) {
		e := r.subscribe("connectKey=k")
		start := time.Now()
		e.CloseWrite()
		r.waitCount("k", 0)
		t.Logf("noticed after %s", time.Since(start))
		e.Discard()
		r.waitOpen(0)
		if n := r.metric(`fanfare_connections_closed_total{reason="gone"}`); n != 1 {
			t.Errorf("%v gone", n)
		}
	})
}

// TestStreamBadRequests: what cannot be read is answered with a text, and a slow
// head by its end.
func TestStreamBadRequests(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{prepare: func(s *Server) { s.requestTimeout = 300 * time.Millisecond }})
	long := strings.Repeat("x", 80<<10)
	for _, test := range []struct {
		send   string
		status int
		text   string
	}{
		{r.get("connectKey=" + long), 431, "more than 59136 bytes"},
		{r.get("connectKey=k", "X: "+long), 431, "more than 59136 bytes"},
		{"nonsense\r\n\r\n", 400, "request"},
		{"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", 405, "opened by GET"},
		{"GET /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", 413, "without one"},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "request"}, // a TLS client
		{"GET " + r.path, 408, "too long"},
		{r.get("connectKey=k")[:40], 408, "too long"},
		{r.get("connectKey=k", "Content-Length: 10") + "half", 413, "without one"},
	} {
		w := r.dial()
		w.Send(test.send)
		w.ReadHead()
		body := w.Read(1000)
		if w.Status != test.status || !strings.Contains(body, test.text) {
			t.Errorf("%q: %d %q", wiretest.Clip(test.send), w.Status, body)
		}
		w.CloseWrite()
		w.Ended()
	}
	// A byte now and then does not help.
	w := r.dial()
	start := time.Now()
	go func() {
		for i := range 1000 {
			if _, err := fmt.Fprintf(w.NetConn(), "%c", r.get("connectKey=k")[i%20]); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	if _, err := w.TryHead(); err == nil && w.Status != 408 {
		t.Errorf("slow head: %d", w.Status)
	}
	if d := time.Since(start); d > eventually.Patience/2 {
		t.Errorf("ended after %s", d)
	}
	w.Close()
	if r.srv.Open() != 0 || r.eng.Stats().Keys != 0 {
		t.Error("something is left of them")
	}
	// A long request that the settings call for is read.
	wide := startRig(t, viaFast, rigOptions{Options: Options{MaxKeyBytes: 16 << 10}})
	key := strings.Repeat("你", 5000)
	e := wide.subscribe("connectKey=" + strings.Repeat("%E4%BD%A0", 5000))
	wide.publish(key, "x")
	e.WantData("x")
}

// TestStreamRequestTimeoutEnds: the request's deadlines are not the stream's.
func TestStreamRequestTimeoutEnds(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{prepare: func(s *Server) { s.requestTimeout = 100 * time.Millisecond }})
	e := r.subscribe("connectKey=k")
	e.Quiet(300 * time.Millisecond)
	if r.publish("k", "x"); r.srv.Open() != 1 {
		t.Fatal("the stream ended with the request's time")
	}
	e.WantData("x")
}

// TestStreamPing: a quiet stream gets a comment, a busy one does not need one.
func TestStreamPing(t *testing.T) {
	onBoth(t, rigOptions{Options: Options{PlainIDs: true, PingInterval: 200 * time.Millisecond}}, func(t *testing.T, r *rig) {
		start := time.Now()
		w := r.stream("connectKey=k")
		w.Expect(": ping\n\n: ping\n\n: ping\n\n")
		if d := time.Since(start); d < 200*time.Millisecond {
			t.Errorf("three pings in %s", d)
		}
	})
}
