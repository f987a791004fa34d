package transport

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/engine"
	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// startTLS starts a rig whose stream listener speaks TLS.
func startTLS(t *testing.T, o rigOptions) *rig {
	t.Helper()
	cert := certtest.New(t, "localhost")
	o.TLS = &tls.Config{Certificates: []tls.Certificate{cert.TLS}}
	r := startRig(t, viaFast, o)
	r.tls = &tls.Config{RootCAs: cert.Roots, ServerName: "localhost"}
	return r
}

// TestTLSStream: a stream over TLS is as one without, whatever the version, and needs no goroutine.
func TestTLSStream(t *testing.T) {
	r := startTLS(t, rigOptions{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r.tls.MaxVersion = version
		key := fmt.Sprint("k", version)
		e := r.subscribe("connectKey=" + key)
		r.publish(key, "one")
		r.publish(key, "two")
		e.WantData("one", "two")
		eventually.Equal(t, "no goroutine is at a stream", 0, streamGoroutines)
		r.must(key, codec.Event{Data: []byte(strings.Repeat("x", 300<<10))}) // many records
		e.WantData(strings.Repeat("x", 300<<10))
		r.eng.CloseKey(key)
		e.ExpectEnd()
	}
	if n := r.metric(`fanfare_tls_handshakes_total{result="ok"}`); n != 2 {
		t.Errorf("%v handshakes", n)
	}
}

// TestTLSStreamEnds: a drain tells the client to come back, and the end is one that TLS announces; a client that says
// close_notify has gone, with its FIN or without it.
func TestTLSStreamEnds(t *testing.T) {
	r := startTLS(t, rigOptions{})
	e := r.subscribe("connectKey=k")
	w := r.stream("connectKey=k")
	r.waitOpen(2)
	w.CloseWrite() // close_notify only
	r.waitOpen(1)
	r.srv.Drain(t.Context())
	e.ExpectEnd() // without close_notify it would be io.ErrUnexpectedEOF
	if d, ok := e.Retry(); !ok || d < time.Second {
		t.Errorf("retry %v, %v", d, ok)
	}
}

// TestTLSStreamBlocked: a TLS client that does not read for a while gets everything, in order; one that never does is
// ended by the write timeout.
func TestTLSStreamBlocked(t *testing.T) {
	r := startTLS(t, rigOptions{
		Options: Options{WriteTimeout: 2 * time.Second, MinReadRate: 1},
		Engine:  engine.Options{Key: engine.KeyOptions{History: 1 << 16, HistoryBytes: 256 << 20}},
	})
	_ = r.stream("connectKey=k") // never reads
	e := r.subscribe("connectKey=k")
	r.waitOpen(2)
	n := 0
	for r.blocked() < 2 {
		r.must("k", codec.Event{Data: fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 40<<10))})
		n++
	}
	for i := range n {
		if m := e.Next(); !strings.HasPrefix(m.Data, fmt.Sprintf("%d x", i)) {
			t.Fatalf("event %d is %s", i, wiretest.Clip(m.Data))
		}
	}
	r.waitOpen(1)
	eventually.Equal(t, "stalled streams", 1, func() float64 { return r.metric(`fanfare_connections_closed_total{reason="stalled"}`) })
	r.publish("k", "last")
	e.WantData("last")
}

// TestTLSJunk: what a client sends on a TLS stream is discarded, up to a limit.
func TestTLSJunk(t *testing.T) {
	r := startTLS(t, rigOptions{})
	e := r.subscribe("connectKey=k")
	e.Send("junk")
	r.publish("k", "one")
	e.WantData("one")
	_ = e.TrySend(strings.Repeat("x", 100<<10))
	r.waitOpen(0)
}

// TestTLSRefusesPlainHTTP: a client that forgot the s gets told so.
func TestTLSRefusesPlainHTTP(t *testing.T) {
	r := startTLS(t, rigOptions{})
	w := wiretest.Dial(t, r.addr)
	w.Send("GET / HTTP/1.1\r\n\r\n")
	w.ReadHead()
	if body := w.Rest(); w.Status != 400 || !strings.Contains(body, "https://") {
		t.Errorf("%d %q", w.Status, body)
	}
	if n := r.metric(`fanfare_tls_handshakes_total{result="failed"}`); n != 1 {
		t.Errorf("%v failed handshakes", n)
	}
}

// TestTLSSilentHandshakes: clients that connect and say nothing, or a part of a ClientHello, do not keep others out; the
// oldest go when there are too many, and all go in the end.
func TestTLSSilentHandshakes(t *testing.T) {
	const limit = 40
	r := startTLS(t, rigOptions{Options: Options{MaxIdleConnections: limit}, prepare: func(s *Server) { s.requestTimeout = 3 * time.Second }})
	for i := range 3 * limit {
		c := wiretest.Dial(t, r.addr)
		if i%2 == 0 {
			c.Send("\x16\x03\x01\x02\x00\x01")
		}
	}
	e := r.subscribe("connectKey=k")
	r.publish("k", "one")
	e.WantData("one")
	eventually.True(t, "the oldest are gone", func() bool { return r.metric("fanfare_idle_connections_closed_total") > 0 })
	eventually.Equal(t, "connections without a request", 0, func() float64 { return r.metric("fanfare_idle_connections") })
	if n := r.metric(`fanfare_tls_handshakes_total{result="timeout"}`); n == 0 {
		t.Error("no handshake timed out")
	}
	r.publish("k", "two")
	e.WantData("two")
}

// TestTLSReconfigure: new certificates are for new connections, and open streams go on; TLS cannot be switched off.
func TestTLSReconfigure(t *testing.T) {
	r := startTLS(t, rigOptions{})
	e := r.subscribe("connectKey=k")
	second := certtest.New(t, "localhost")
	if err := r.srv.Reconfigure(Options{TLS: &tls.Config{Certificates: []tls.Certificate{second.TLS}}}); err != nil {
		t.Fatal(err)
	}
	r.tls = &tls.Config{RootCAs: second.Roots, ServerName: "localhost"}
	other := r.subscribe("connectKey=k")
	r.publish("k", "one")
	e.WantData("one")
	other.WantData("one")
	if err := r.srv.Reconfigure(Options{}); err == nil {
		t.Error("TLS was switched off")
	}
}

// TestTLSOldVersions: TLS 1.1 is refused.
func TestTLSOldVersions(t *testing.T) {
	r := startTLS(t, rigOptions{})
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake(); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
}

// TestTLSAdmin: the admin listener speaks TLS, and gets a client certificate where that is asked for.
func TestTLSAdmin(t *testing.T) {
	cert, client := certtest.New(t, "localhost", "127.0.0.1"), certtest.New(t, "publisher")
	admin := &tls.Config{Certificates: []tls.Certificate{cert.TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: client.Roots}
	r := startRig(t, viaFast, rigOptions{Options: Options{AdminTLS: admin}})
	post := func(certificates ...tls.Certificate) error {
		h := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: cert.Roots, Certificates: certificates}, DisableKeepAlives: true}}
		resp, err := h.Post("https://"+r.admin+"/publish?key=k", "text/plain", strings.NewReader("hello"))
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != 200 {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	}
	e := r.subscribe("connectKey=k")
	if err := post(); err == nil {
		t.Error("published without a certificate")
	}
	if err := post(client.TLS); err != nil {
		t.Error(err)
	}
	e.WantData("hello")
}
