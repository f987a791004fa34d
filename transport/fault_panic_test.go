package transport

import (
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// bug is a histogram that panics once when armed: it stands for a bug in the
// code that observes it.
type bug struct {
	prometheus.Histogram
	armed atomic.Bool
}

func (b *bug) Observe(v float64) {
	if b.armed.CompareAndSwap(true, false) {
		panic("a bug that the test put here")
	}
	b.Histogram.Observe(v)
}

// TestPanicInStream: a panic on a stream's write path ends that stream alone. It
// strikes a waker with fasthttp, and the stream's goroutine with the others.
func TestPanicInStream(t *testing.T) {
	plainOnly(t)
	for _, via := range []string{viaFast, viaStd, "TLS"} {
		t.Run(via, func(t *testing.T) {
			var b bug
			o := rigOptions{prepare: func(s *Server) {
				b.Histogram = s.metrics.Delivery
				s.metrics.Delivery = &b
			}}
			server, dialer := via, net.Dial
			if via == "TLS" {
				server = viaFast
				var client *tls.Config
				o.listen, client = listenTLS(t)
				dialer = func(network, addr string) (net.Conn, error) { return tls.Dial(network, addr, client) }
			}
			r := startRig(t, server, o)
			const streams = 8
			var clients []*plain
			for range streams {
				clients = append(clients, openPlain(t, r, dialer, "connectKey=k"))
			}
			r.waitCount("k", streams)
			r.publish("k", "one")
			for _, c := range clients {
				c.until("data: one\n")
			}
			b.armed.Store(true)
			r.publish("k", "two")
			r.waitOpen(streams - 1)
			r.waitCount("k", streams-1)
			r.publish("k", "three")
			ended := 0
			for _, c := range clients {
				if !c.tryUntil("data: three\n") {
					ended++
				} else if !strings.Contains(c.seen, "data: two\n") {
					t.Error("a stream without the bug lost an event")
				}
			}
			if ended != 1 {
				t.Errorf("%d streams ended, want 1", ended)
			}
			if n := r.metric("fanfare_panics_total"); n != 1 {
				t.Errorf("%v panics counted", n)
			}
			if n := r.metric(`fanfare_connections_closed_total{reason="error"}`); n != 1 {
				t.Errorf("%v closed by an error", n)
			}
			if log := r.log.String(); !strings.Contains(log, "a bug that the test put here") || !strings.Contains(log, "fault_panic_test.go") {
				t.Errorf("the log has no panic with its stack: %s", log)
			}
			for _, c := range clients {
				c.close()
			}
			r.waitOpen(0)
		})
	}
}

// TestPanicInPublish: a panic in a request on the admin listener is answered
// and ends nothing else.
func TestPanicInPublish(t *testing.T) {
	var b bug
	r := startRig(t, viaFast, rigOptions{prepare: func(s *Server) {
		b.Histogram = s.metrics.Publish
		s.metrics.Publish = &b
	}})
	c := r.subscribe("connectKey=k")
	b.armed.Store(true)
	if a := r.call("POST", "/publish?key=k", "one", "Content-Type: text/plain"); a.status != 500 {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.publish("k", "two")
	c.WantData("one", "two")
	if n := r.metric("fanfare_panics_total"); n != 1 {
		t.Errorf("%v panics counted", n)
	}
	if log := r.log.String(); !strings.Contains(log, "a bug that the test put here") {
		t.Errorf("the log has no panic: %s", log)
	}
}
