//go:build linux

package swarm

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/wire"
)

// BenchmarkDelivery is what one event costs behind the read: parsing, the sequence, the histogram. Events come 100 in a read.
func BenchmarkDelivery(b *testing.B) {
	p := &plan.Plan{
		Run: "abcde", Subscribe: plan.Request{Method: "GET", URL: "http://127.0.0.1/"}, Key: "k", Keys: 1, Subscribers: 1, Ready: plan.ReadyHead,
	}
	l, err := newLoop(p, netip.MustParseAddrPort("127.0.0.1:80"), []int{0}, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer l.closeFiles()
	s := &l.subs[0]
	s.state, s.head.Status = streaming, 200
	s.body.Begin(&wire.Head{Length: -1})
	s.check.Begin(0)
	l.measureFrom = 0
	var seq int64
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		buf = buf[:0]
		for range 100 {
			seq++
			buf = append(buf, "id: mf3k2a9x1b-42\ndata: "...)
			buf = plan.AppendPayload(buf, p.Run, 0, seq, l.nowAgain(), 64)
			buf = append(buf, "\n\n"...)
		}
		b.StartTimer()
		if err := l.consume(s, buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/event")
	if l.counts.Delivered != seq || l.counts.Reordered != 0 {
		b.Fatalf("%+v of %d", l.counts, seq)
	}
}

// BenchmarkSecureDelivery is the same with TLS, where each event is a record of its own, as servers send them: reading,
// decryption, and all of the above.
func BenchmarkSecureDelivery(b *testing.B) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", certified.TLS)
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	p := testPlan(listener.Addr().String(), 1)
	p.Certified, p.Trust.Insecure = "127.0.0.1", true
	addr := netip.MustParseAddrPort(p.Address)
	l, err := newLoop(p, addr, []int{0}, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer l.closeFiles()
	s := &l.subs[0]
	client, err := net.Dial("tcp", p.Address)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	server, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	file, err := client.(*net.TCPConn).File()
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	s.fd, s.state, l.counts.Opening = int(file.Fd()), heading, 1
	if err := unix.SetNonblock(s.fd, true); err != nil {
		b.Fatal(err)
	}
	s.secure = newSecure(s.fd, l.trust, 0)
	done := make(chan error, 1)
	go func() { done <- s.secure.tls.Handshake() }()
	go func() { _ = server.(*tls.Conn).Handshake() }()
	for shaken := false; !shaken; {
		if err := l.feedHandshake(s.fd, s.secure); err != nil {
			b.Fatal(err)
		}
		select {
		case err := <-done:
			if err != nil {
				b.Fatal(err)
			}
			shaken = true
		case <-time.After(time.Millisecond):
		}
	}
	s.secure.join()
	if _, err := io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"); err != nil {
		b.Fatal(err)
	}
	l.measureFrom = 0
	var seq int64
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for range 100 {
			seq++
			buf = append(buf[:0], "id: mf3k2a9x1b-42\ndata: "...)
			buf = plan.AppendPayload(buf, p.Run, 0, seq, l.nowAgain(), 64)
			buf = append(buf, "\n\n"...)
			if _, err := server.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		for l.counts.Delivered < seq && s.state != over {
			l.read(s)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*100), "ns/event")
	if s.state != streaming || l.counts.Reordered != 0 {
		b.Fatalf("%+v of %d", l.counts, seq)
	}
}
