package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/internal/test/eventually"
)

// browser is a client of HTTP/2 with one connection for all its streams.
type browser struct {
	*http.Client
	base  string
	conns atomic.Int32
}

// newBrowser returns a client of the rig's streams: by ALPN if the rig speaks TLS, otherwise with prior knowledge.
func newBrowser(t *testing.T, r *rig) *browser {
	b := &browser{base: "http://" + r.addr}
	protocols := new(http.Protocols)
	tr := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		b.conns.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}
	if r.tls != nil {
		protocols.SetHTTP2(true)
		tr.TLSClientConfig, b.base = r.tls, "https://"+r.addr
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	b.Client = &http.Client{Transport: tr}
	t.Cleanup(tr.CloseIdleConnections)
	return b
}

// tab is one stream of a browser.
type tab struct {
	*http.Response
	cancel context.CancelFunc
	parser codec.Parser
	queue  []string
}

func (b *browser) open(t *testing.T, target string, header ...string) *tab {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", b.base+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := b.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.ProtoMajor != 2 {
		t.Fatalf("%s", resp.Proto)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &tab{Response: resp, cancel: cancel, parser: codec.Parser{MaxBytes: 64 << 20}}
}

// next returns the data of the next event, or an error.
func (b *tab) next() (string, error) {
	buf := make([]byte, 16<<10)
	for len(b.queue) == 0 {
		n, err := b.Body.Read(buf)
		if failed := b.parser.Feed(buf[:n], func(m codec.Message) {
			if string(m.Type) != "position" {
				b.queue = append(b.queue, string(m.Data))
			}
		}); failed != nil {
			return "", failed
		}
		if err != nil && len(b.queue) == 0 {
			return "", err
		}
	}
	data := b.queue[0]
	b.queue = b.queue[1:]
	return data, nil
}

// want fails the test unless these events come next.
func (b *tab) want(t *testing.T, data ...string) {
	t.Helper()
	for _, w := range data {
		if got, err := b.next(); err != nil || got != w {
			t.Fatalf("%.80q, %v, want %.80q", got, err, w)
		}
	}
}

// onHTTP2 runs a test with TLS and without.
func onHTTP2(t *testing.T, o rigOptions, test func(t *testing.T, r *rig)) {
	t.Run("ALPN", func(t *testing.T) { test(t, startTLS(t, o)) })
	t.Run("prior knowledge", func(t *testing.T) {
		plainOnly(t)
		test(t, startRig(t, viaFast, o))
	})
}

// TestHTTP2Tabs: a browser with 30 tabs on one origin has 30 streams on one connection, and each gets every event once and
// in order. A tab that is closed leaves the others alone.
func TestHTTP2Tabs(t *testing.T) {
	onHTTP2(t, rigOptions{}, func(t *testing.T, r *rig) {
		const tabs, events = 30, 200
		b := newBrowser(t, r)
		var all []*tab
		for i := range tabs {
			all = append(all, b.open(t, r.path+fmt.Sprintf("?connectKey=k&connectKey=k%d", i)))
		}
		r.waitOpen(tabs)
		if n := b.conns.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
		all[0].cancel()
		r.waitOpen(tabs - 1)
		var reading sync.WaitGroup
		for i, tab := range all[1:] {
			reading.Go(func() {
				for n := range events {
					if got, err := tab.next(); err != nil || got != fmt.Sprint(n) {
						t.Errorf("tab %d: %q, %v, want %d", i, got, err, n)
						return
					}
				}
			})
		}
		for n := range events {
			r.must("k", codec.Event{Data: fmt.Append(nil, n)})
		}
		reading.Wait()
		r.must("k7", codec.Event{Data: []byte("only one")})
		all[7].want(t, "only one")
		r.eng.CloseKey("k")
		for _, tab := range all[1:] {
			if data, err := tab.next(); err != io.EOF {
				t.Fatalf("%q, %v instead of the end", data, err)
			}
		}
	})
}

// TestHTTP2Answers: what is not a stream gets the same answer as by HTTP/1.1.
func TestHTTP2Answers(t *testing.T) {
	onHTTP2(t, rigOptions{Options: Options{AllowedOrigins: []string{"https://app.example"}, AllowCredentials: true}}, func(t *testing.T, r *rig) {
		b := newBrowser(t, r)
		for _, test := range []struct {
			method, target string
			status         int
			body           string
		}{
			{"GET", "/", 200, "<!doctype html>"},
			{"GET", "/healthz", 200, "ok\n"},
			{"GET", "/readyz", 200, "ok\n"},
			{"POST", "/readyz", 405, ""},
			{"GET", "/nothing?connectKey=k", 404, "nothing at \"/nothing\""},
			{"POST", "/stream?connectKey=k", 405, "a stream is opened by GET"},
			{"HEAD", "/stream?connectKey=k", 200, ""},
			{"OPTIONS", "/stream?connectKey=k", 204, ""},
			{"GET", "/stream?connectKey=" + strings.Repeat("k", 2000), 400, "connectKey"},
		} {
			req, err := http.NewRequest(test.method, b.base+test.target, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Origin", "https://app.example")
			resp, err := b.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != test.status || !strings.Contains(strings.ToLower(string(body)), strings.ToLower(test.body)) {
				t.Errorf("%s %.40s: %d %.100q, want %d %q", test.method, test.target, resp.StatusCode, body, test.status, test.body)
			}
			if origin := resp.Header.Get("Access-Control-Allow-Origin"); origin != "https://app.example" {
				t.Errorf("%s %.40s: Access-Control-Allow-Origin %q", test.method, test.target, origin)
			}
		}
	})
}

// TestHTTP2Resumes: a client that comes back with an id gets what it missed.
func TestHTTP2Resumes(t *testing.T) {
	onHTTP2(t, rigOptions{}, func(t *testing.T, r *rig) {
		b := newBrowser(t, r)
		first := b.open(t, r.path+"?connectKey=k")
		id := r.publish("k", "one")
		first.want(t, "one")
		first.cancel()
		r.waitOpen(0)
		r.publish("k", "two")
		b.open(t, r.path+"?connectKey=k", "Last-Event-ID: "+id).want(t, "two")
	})
}

// TestHTTP2StreamsPerConnection: the client is told how many streams it may open, and waits.
func TestHTTP2StreamsPerConnection(t *testing.T) {
	onHTTP2(t, rigOptions{Options: Options{MaxStreamsPerConnection: 3}}, func(t *testing.T, r *rig) {
		b := newBrowser(t, r)
		for range 8 { // net/http opens another connection, a browser waits
			b.open(t, r.path+"?connectKey=k")
		}
		r.waitOpen(8)
		if n := b.conns.Load(); n < 3 {
			t.Errorf("%d connections for 8 streams, of which one may have 3", n)
		}
	})
}

// TestHTTP2SlowTab: a tab that does not read is ended by the write timeout; the others on its connection go on.
func TestHTTP2SlowTab(t *testing.T) {
	onHTTP2(t, rigOptions{Options: Options{WriteTimeout: 2 * time.Second}}, func(t *testing.T, r *rig) {
		b := newBrowser(t, r)
		_ = b.open(t, r.path+"?connectKey=slow")
		fast := b.open(t, r.path+"?connectKey=fast")
		r.waitOpen(2)
		for range 300 { // net/http takes 4 MB for a stream that nobody reads
			r.must("slow", codec.Event{Data: make([]byte, 32<<10)})
		}
		r.waitOpen(1)
		r.must("fast", codec.Event{Data: []byte("one")})
		fast.want(t, "one")
		if n := b.conns.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestHTTP2Idle: connections without a stream count as idle ones, and only they.
func TestHTTP2Idle(t *testing.T) {
	onHTTP2(t, rigOptions{Options: Options{MaxIdleConnections: 1}}, func(t *testing.T, r *rig) {
		busy := newBrowser(t, r)
		stream := busy.open(t, r.path+"?connectKey=k")
		r.waitOpen(1)
		for range 2 * minIdle {
			b := newBrowser(t, r)
			resp, err := b.Get(b.base + "/healthz")
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		eventually.True(t, "idle connections are closed", func() bool { return r.metric("fanfare_idle_connections_closed_total") >= minIdle-1 })
		r.must("k", codec.Event{Data: []byte("one")})
		stream.want(t, "one")
	})
}

// TestHTTP2Drain: streams end with a time to come back after, and then the connection.
func TestHTTP2Drain(t *testing.T) {
	onHTTP2(t, rigOptions{}, func(t *testing.T, r *rig) {
		b := newBrowser(t, r)
		stream := b.open(t, r.path+"?connectKey=k")
		r.waitOpen(1)
		r.srv.Drain(t.Context())
		if data, err := stream.next(); err != io.EOF {
			t.Errorf("%q, %v", data, err)
		}
		if d, ok := stream.parser.Retry(); !ok || d < time.Second {
			t.Errorf("retry %v, %v", d, ok)
		}
	})
}

// TestHTTP2Off: without HTTP/2 a client gets HTTP/1.1 by ALPN, and an error for the preface.
func TestHTTP2Off(t *testing.T) {
	r := startTLS(t, rigOptions{Options: Options{NoHTTP2: true}})
	c, err := tls.Dial("tcp", r.addr, &tls.Config{RootCAs: r.tls.RootCAs, ServerName: "localhost", NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("ALPN %q", p)
	}
	if testTLS {
		return
	}
	plain := startRig(t, viaFast, rigOptions{Options: Options{NoHTTP2: true}})
	w := plain.dial()
	w.Send(preface)
	if w.ReadHead(); w.Status < 400 {
		t.Errorf("%d for the preface", w.Status)
	}
}

// TestHTTP2Preface: the preface is found however it is cut, and what only begins like it is a request of HTTP/1.1.
func TestHTTP2Preface(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{})
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for cut := range len(preface) {
		w := r.dial()
		if cut > 0 {
			w.Send(preface[:cut])
			time.Sleep(2 * time.Millisecond)
		}
		w.Send(preface[cut:] + settings)
		got := make([]byte, 9)
		if _, err := io.ReadFull(w.In, got); err != nil || got[3] != 4 { // a frame of SETTINGS
			t.Fatalf("cut at %d: the server answers %q, %v", cut, got, err)
		}
		w.Close()
	}
	for _, method := range []string{"POST", "PUT", "PRI", "P"} {
		w := r.dial()
		w.Send(method + " /stream HTTP/1.1\r\nHost: a\r\n\r\n")
		if w.ReadHead(); w.Status != 405 {
			t.Errorf("%s: %d", method, w.Status)
		}
	}
	w := r.dial()
	w.Send(preface[:10])
	w.CloseWrite()
	if w.ReadHead(); w.Status != 400 {
		t.Errorf("a part of the preface: %d", w.Status)
	}
}
