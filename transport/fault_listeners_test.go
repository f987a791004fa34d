package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

// plain is a client over any kind of connection.
type plain struct {
	t    *testing.T
	conn net.Conn
	seen string // all that it has read
}

// openPlain opens a stream over a connection that dial makes.
func openPlain(t *testing.T, r *rig, dial func(network, addr string) (net.Conn, error), query string) *plain {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(r.addr, "/") {
		network = "unix"
	}
	c, err := dial(network, r.addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &plain{t: t, conn: c}
	t.Cleanup(p.close)
	if _, err := c.Write([]byte(r.get(query, "Connection: close"))); err != nil {
		t.Fatal(err)
	}
	p.until("\r\n\r\n")
	return p
}

func (p *plain) close() { _ = p.conn.Close() }

// tryUntil reads until it has seen text, and returns false if the stream ends before.
func (p *plain) tryUntil(text string) bool {
	_ = p.conn.SetReadDeadline(time.Now().Add(eventually.Patience))
	b := make([]byte, 64<<10)
	for !strings.Contains(p.seen, text) {
		n, err := p.conn.Read(b)
		p.seen += string(b[:n])
		if err != nil {
			return strings.Contains(p.seen, text)
		}
	}
	return true
}

func (p *plain) until(text string) {
	p.t.Helper()
	if !p.tryUntil(text) {
		p.t.Fatalf("the stream ended without %q: %q", text, wiretest.Clip(p.seen))
	}
}

// listenTLS returns what opens a TLS listener, and what its clients need.
func listenTLS(t *testing.T) (listen func() (net.Listener, error), client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	return func() (net.Listener, error) {
		ln, err := Listen(context.Background(), "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		return tls.NewListener(ln, server), nil
	}, &tls.Config{RootCAs: roots}
}

// TestOtherListeners: streams over TLS, where bytes cannot go to the socket
// directly, over a unix socket, and over a listener that wraps its connections.
func TestOtherListeners(t *testing.T) {
	plainOnly(t)
	listen, client := listenTLS(t)
	path := filepath.Join(t.TempDir(), "s")
	kinds := []struct {
		name   string
		listen func() (net.Listener, error)
		dial   func(network, addr string) (net.Conn, error)
	}{
		{"TLS", listen, func(network, addr string) (net.Conn, error) { return tls.Dial(network, addr, client) }},
		{"unix", func() (net.Listener, error) { return net.Listen("unix", path) }, net.Dial},
		{"wrapped", func() (net.Listener, error) {
			ln, err := Listen(context.Background(), "127.0.0.1:0")
			return wrapping{ln}, err
		}, net.Dial},
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			r := startRig(t, viaFast, rigOptions{listen: kind.listen, Options: Options{PingInterval: 400 * time.Millisecond}})
			open := func(query string) *plain { return openPlain(t, r, kind.dial, query) }

			a, b := open("connectKey=a"), open("connectKey=a&connectKey=b")
			r.publish("a", "one")
			r.publish("b", "two")
			a.until("data: one\n")
			b.until("data: one\n")
			b.until("data: two\n")
			a.until("\n\n:\n")
			large := strings.Repeat("x", 1<<20)
			r.publish("a", large)
			a.until(large + "\n")
			b.until(large + "\n")

			// The client's end is noticed, and nothing is sent to make it so.
			attempts(t, 3, func() string {
				c := open("connectKey=gone")
				r.waitCount("gone", 1)
				worst, start := disturbance(), time.Now()
				c.close()
				r.waitCount("gone", 0)
				took := time.Since(start)
				if took > prompt()+4*worst() {
					return "noticed after " + took.String()
				}
				return ""
			})

			// A client that does not read is ended, once its socket is full. The
			// others are gone by then: a loaded machine could take them for blocked.
			stuck := open("connectKey=a")
			r.waitCount("a", 3)
			a.close()
			b.close()
			r.waitOpen(1)
			if err := r.reconfigure(Options{WriteTimeout: 300 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			eventually.True(t, "the client that does not read is ended", func() bool {
				r.must("a", numbered(1, 64<<10))
				return r.srv.Open() == 0
			})
			if n := r.metric(`fanfare_connections_closed_total{reason="stalled"}`); n != 1 {
				t.Errorf("%v streams ended as stalled", n)
			}
			stuck.close()

			// The end comes behind the last event, and the server drains.
			d := open("connectKey=d")
			r.publish("d", "last")
			r.srv.Drain(t.Context())
			d.until("\n\nretry: ")
			if d.tryUntil("nothing more") {
				t.Error("the stream goes on")
			}
		})
	}
}

// wrapping is a listener whose connections are of a type that the server does
// not know.
type wrapping struct{ net.Listener }

func (l wrapping) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

// Of the goroutines that many connections at once have needed, some are kept for those to come.
func TestWaitingGoroutinesAreBounded(t *testing.T) {
	plainOnly(t)
	r := startRig(t, viaFast, rigOptions{})
	stacks := func() (serving, waiting int) {
		buf := make([]byte, 16<<20)
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			switch {
			case !strings.Contains(g, "(*acceptor).work("):
			case strings.Contains(g, "(*acceptor).serveConn("):
				serving++
			default:
				waiting++
			}
		}
		return serving, waiting
	}
	var conns []net.Conn
	for range maxWaiting + 100 {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	if !eventually.Within(eventually.Patience, func() bool { n, _ := stacks(); return n == len(conns) }) {
		n, _ := stacks()
		t.Fatalf("%d of %d connections have a goroutine", n, len(conns))
	}
	for _, c := range conns {
		_ = c.Close()
	}
	if !eventually.Within(eventually.Patience, func() bool { serving, waiting := stacks(); return serving == 0 && waiting == maxWaiting }) {
		serving, waiting := stacks()
		t.Errorf("%d goroutines serve and %d wait; want 0 and %d", serving, waiting, maxWaiting)
	}
}

// TestServeWithoutListener: nil is an error, and no panic.
func TestServeWithoutListener(t *testing.T) {
	r := startRig(t, viaFast, rigOptions{})
	for _, err := range []error{r.srv.Serve(nil), r.srv.ServeAdmin(nil)} {
		if err == nil || !strings.Contains(err.Error(), "listener is nil") {
			t.Error(err)
		}
	}
}
