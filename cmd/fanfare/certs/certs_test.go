package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// certmagic's goroutine for a lock looks every 5 s whether the lock is gone; that of its rate limiter stays.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"))
}

// logBuffer is the log of a Store.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// place is where a Store listens, and what it logs.
type place struct {
	*Store
	addr string
	log  *logBuffer
}

// serve listens with a Store of these options. Each connection is echoed.
func serve(t *testing.T, o Options) place {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", o)
}

func serveAt(t *testing.T, addr string, o Options) place {
	t.Helper()
	log := &logBuffer{}
	s, err := New("stream", o, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	s.every = 10 * time.Millisecond
	network := "tcp"
	if filepath.IsAbs(addr) {
		network = "unix"
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	var config atomic.Pointer[tls.Config]
	config.Store(s.TLSConfig())
	ending, end := context.WithCancel(context.Background())
	var open sync.WaitGroup
	open.Go(func() {
		for {
			tcp, err := ln.Accept()
			if err != nil {
				return
			}
			c := tls.Server(tcp, config.Load())
			open.Go(func() {
				stop := context.AfterFunc(ending, func() { _ = c.Close() })
				defer stop()
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	s.Start(ln.Addr(), func() { config.Store(s.TLSConfig()) })
	t.Cleanup(func() {
		_ = ln.Close()
		end()
		s.Close()
		open.Wait()
		if t.Failed() {
			t.Log(log)
		}
	})
	return place{s, ln.Addr().String(), log}
}

// dial makes a connection, and exchanges bytes: with TLS 1.3 a client learns only then that its certificate is refused.
func (p place) dial(config *tls.Config) (*tls.Conn, error) {
	dialer := &net.Dialer{Timeout: time.Minute}
	c, err := tls.DialWithDialer(dialer, "tcp", p.addr, config)
	if err != nil {
		return nil, err
	}
	return c, ping(c)
}

func ping(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "ping"); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return err
}

// leaf is the certificate that a client which asks for name gets.
func (p place) leaf(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	c, err := p.dial(&tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

func pairOf(c *certtest.Certificate) Pair {
	return Pair{Cert: File{"tlsCert", c.Cert}, Key: File{"tlsKey", c.Key}}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestNameDecides: each name gets its certificate, and others the first.
func TestNameDecides(t *testing.T) {
	a, b := certtest.New(t, "a.example"), certtest.New(t, "b.example", "*.b.example")
	p := serve(t, Options{Pairs: []Pair{pairOf(a), pairOf(b)}})
	for name, want := range map[string]*certtest.Certificate{"a.example": a, "b.example": b, "x.b.example": b, "c.example": a, "": a} {
		if got := p.leaf(t, name); !got.Equal(want.Leaf) {
			t.Errorf("%q got the certificate of %v", name, got.DNSNames)
		}
	}
	if _, err := p.dial(&tls.Config{ServerName: "b.example", RootCAs: b.Roots}); err != nil {
		t.Error(err)
	}
}

// TestReload: a pair is replaced when both files have been, and an open connection goes on.
func TestReload(t *testing.T) {
	a, b := certtest.New(t, "a.example"), certtest.New(t, "a.example")
	first := a.Leaf
	p := serve(t, Options{Pairs: []Pair{pairOf(a)}})
	open, err := p.dial(&tls.Config{ServerName: "a.example", RootCAs: a.Roots})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	reports := func(text string) {
		t.Helper()
		eventually.True(t, "the log has "+text, func() bool { return strings.Contains(p.log.String(), text) })
		if !p.leaf(t, "a.example").Equal(first) {
			t.Fatalf("after %q the certificate in effect has changed", text)
		}
	}

	// The certificate without its key, half a key, no key at all: the first one stays.
	copyFile(t, b.Cert, a.Cert)
	reports("is not the private key of the first certificate in")
	key, err := os.ReadFile(b.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.Key, key[:len(key)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	reports("has no private key in PEM")
	if err := os.Remove(a.Key); err != nil {
		t.Fatal(err)
	}
	reports("cannot be read")
	if n := p.failures.Load(); n < 3 || n != int64(strings.Count(p.log.String(), "previous one stays in effect")) {
		t.Errorf("%d failures, and in the log:\n%s", n, p.log)
	}

	copyFile(t, b.Key, a.Key)
	eventually.True(t, "the new certificate is in effect", func() bool { return p.leaf(t, "a.example").Equal(b.Leaf) })
	if err := ping(open); err != nil {
		t.Errorf("the open connection: %v", err)
	}
}

// TestReportedOnce: a state of the files is reported once, however often it is looked at.
func TestReportedOnce(t *testing.T) {
	a, log := certtest.New(t, "a.example"), &logBuffer{}
	s, err := New("stream", Options{Pairs: []Pair{pairOf(a)}, ClientCA: File{"adminClientCA", a.Cert}}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{a.Key, a.Cert} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	failed := map[File][32]byte{}
	for range 3 {
		s.refresh(failed)
	}
	if n := strings.Count(log.String(), "not reloaded"); n != 2 || s.failures.Load() != 2 {
		t.Errorf("%d reports of two mistakes, %d failures:\n%s", n, s.failures.Load(), log)
	}
}

// TestReloadThroughLinks: Kubernetes swaps the link ..data, and certbot the link of each file.
func TestReloadThroughLinks(t *testing.T) {
	a, b := certtest.New(t, "a.example"), certtest.New(t, "a.example")
	dir := t.TempDir()
	link := func(target, name string) {
		t.Helper()
		temporary := filepath.Join(dir, "tmp")
		if err := os.Symlink(target, temporary); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link(filepath.Dir(a.Cert), "..data")
	link("..data/cert.pem", "tls.crt")
	link("..data/key.pem", "tls.key")
	p := serve(t, Options{Pairs: []Pair{{File{"tlsCert", filepath.Join(dir, "tls.crt")}, File{"tlsKey", filepath.Join(dir, "tls.key")}}}})
	if !p.leaf(t, "a.example").Equal(a.Leaf) {
		t.Fatal("the first certificate is not in effect")
	}
	link(filepath.Dir(b.Cert), "..data")
	eventually.True(t, "the new certificate is in effect", func() bool { return p.leaf(t, "a.example").Equal(b.Leaf) })
}

// TestUse: other settings are read as a whole, or not at all.
func TestUse(t *testing.T) {
	a, b := certtest.New(t, "a.example"), certtest.New(t, "b.example")
	p := serve(t, Options{Pairs: []Pair{pairOf(a)}})
	missing := Pair{File{"tlsCert", "missing.pem"}, File{"tlsKey", b.Key}}
	if _, err := p.Load(Options{Pairs: []Pair{pairOf(b), missing}}); err == nil || !strings.Contains(err.Error(), "tlsCert: missing.pem cannot be read: no such file") {
		t.Errorf("%v", err)
	}
	before := p.TLSConfig()
	next, err := p.Load(Options{Pairs: []Pair{pairOf(b)}})
	if err != nil {
		t.Fatal(err)
	}
	if !p.leaf(t, "b.example").Equal(a.Leaf) {
		t.Error("Load alone has an effect")
	}
	p.Use(next)
	if !p.leaf(t, "a.example").Equal(b.Leaf) {
		t.Error("the certificate that has been removed is still in effect")
	}
	if p.TLSConfig() != before {
		t.Error("another configuration, so that session tickets are lost")
	}
}

// TestMessages: what is wrong with a file is said with the setting and the file.
func TestMessages(t *testing.T) {
	a, b := certtest.New(t, "a.example"), certtest.New(t, "b.example")
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const block = "-----BEGIN %s-----\nAAAA\n-----END %[1]s-----\n"
	text := file("text", "hello")
	broken := file("broken", fmt.Sprintf(block, "CERTIFICATE"))
	encrypted := file("encrypted", fmt.Sprintf(block, "ENCRYPTED PRIVATE KEY"))
	brokenKey := file("brokenKey", fmt.Sprintf(block, "PRIVATE KEY"))
	large := file("large", strings.Repeat("x", maxFile+1))
	for _, c := range []struct{ cert, key, want string }{
		{"none.pem", a.Key, "tlsCert: none.pem cannot be read: no such file or directory"},
		{dir, a.Key, "tlsCert: " + dir + " cannot be read: is a directory"},
		{text, a.Key, "tlsCert: " + text + " has no certificate in PEM"},
		{a.Key, a.Cert, "tlsCert: " + a.Key + " has no certificate, but a private key"},
		{broken, a.Key, "tlsCert: " + broken + " has a certificate (number 1) that cannot be parsed: "},
		{large, a.Key, "tlsCert: " + large + " is larger than 1 MiB"},
		{a.Cert, b.Key, "tlsKey: " + b.Key + " is not the private key of the first certificate in " + a.Cert + " (tlsCert)"},
		{a.Cert, a.Cert, "tlsKey: " + a.Cert + " has no private key, but a certificate"},
		{a.Cert, text, "tlsKey: " + text + " has no private key in PEM"},
		{a.Cert, encrypted, "tlsKey: " + encrypted + " has an encrypted private key"},
		{a.Cert, brokenKey, "tlsKey: " + brokenKey + " has a private key that cannot be used: "},
	} {
		_, err := Check(Options{Pairs: []Pair{{File{"tlsCert", c.cert}, File{"tlsKey", c.key}}}})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s, %s: %v, want %s", c.cert, c.key, err, c.want)
		}
	}
	if _, err := Check(Options{Pairs: []Pair{pairOf(a)}, ClientCA: File{"adminClientCA", text}}); err == nil || !strings.HasPrefix(err.Error(), "adminClientCA: "+text) {
		t.Errorf("%v", err)
	}
	// One file may have both.
	if w, err := Check(Options{Pairs: []Pair{{File{"tlsCert", a.Pair}, File{"tlsKey", a.Pair}}}}); err != nil || len(w) > 0 {
		t.Errorf("%v, %v", w, err)
	}
}

// TestWarnings: an expired certificate and a key that everybody can read are used, and reported.
func TestWarnings(t *testing.T) {
	expired := certtest.NewAuthority(t, "CA").Issue(t, -time.Hour, "a.example")
	if err := os.Chmod(expired.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	p := serve(t, Options{Pairs: []Pair{pairOf(expired)}})
	for _, want := range []string{"expired on " + expired.Leaf.NotAfter.UTC().Format(time.RFC3339), "can be read by every user of this machine (mode 0644)"} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log does not have %q:\n%s", want, p.log)
		}
	}
	if !p.leaf(t, "a.example").Equal(expired.Leaf) {
		t.Error("the expired certificate is not used")
	}
	if err := os.Chmod(expired.Key, 0o640); err != nil {
		t.Fatal(err)
	}
	if w, err := Check(Options{Pairs: []Pair{pairOf(expired)}}); err != nil || len(w) != 1 {
		t.Errorf("%v, %v: want the expiry alone", w, err)
	}
}

// TestClientCertificates: clients need one that a CA of the file has signed, as the file is at the time.
func TestClientCertificates(t *testing.T) {
	server := certtest.New(t, "admin.example")
	old, other, next := certtest.NewAuthority(t, "old"), certtest.NewAuthority(t, "other"), certtest.NewAuthority(t, "next")
	bundle := filepath.Join(t.TempDir(), "clients.pem")
	join := func(files ...string) {
		t.Helper()
		var all []byte
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text...)
		}
		if err := os.WriteFile(bundle, all, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	join(old.Cert, other.Cert)
	p := serve(t, Options{Pairs: []Pair{pairOf(server)}, ClientCA: File{"adminClientCA", bundle}})

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := func(c *certtest.Certificate) *tls.Config {
			conf := &tls.Config{ServerName: "admin.example", RootCAs: server.Roots, MaxVersion: version}
			if c != nil {
				pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
				if err != nil {
					t.Fatal(err)
				}
				// Sent whatever the server asks for.
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
			}
			return conf
		}
		join(old.Cert, other.Cert)
		eventually.NoError(t, "the CA of the other client is in effect", func() error { _, err := p.dial(config(other.Issue(t, time.Hour, "publisher"))); return err })
		good := config(old.Issue(t, time.Hour, "publisher"))
		good.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for _, want := range []bool{false, true} {
			c, err := p.dial(good)
			if err != nil {
				t.Fatal(err)
			}
			if c.ConnectionState().DidResume != want {
				t.Errorf("resumed: %t", !want)
			}
			_ = c.Close()
		}
		for name, bad := range map[string]*certtest.Certificate{
			"none": nil, "of another CA": next.Issue(t, time.Hour, "publisher"), "expired": old.Issue(t, -time.Hour, "publisher"),
		} {
			if _, err := p.dial(config(bad)); err == nil {
				t.Errorf("a client certificate (%s) is accepted", name)
			}
		}

		// A file without the CA takes its clients out, and a session ticket does not bring them back.
		if err := os.WriteFile(bundle, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually.True(t, "the log has the mistake", func() bool { return strings.Contains(p.log.String(), "has no certificate in PEM") })
		if _, err := p.dial(good); err != nil {
			t.Errorf("after a mistake in the file: %v", err)
		}
		join(next.Cert)
		eventually.NoError(t, "the new CA is in effect", func() error { _, err := p.dial(config(next.Issue(t, time.Hour, "publisher"))); return err })
		if _, err := p.dial(good); err == nil {
			t.Error("a session ticket makes a client certificate valid again")
		}
	}
}

// TestVersions: TLS 1.1 is refused, with client certificates and without.
func TestVersions(t *testing.T) {
	a := certtest.New(t, "a.example")
	for _, o := range []Options{{Pairs: []Pair{pairOf(a)}}, {Pairs: []Pair{pairOf(a)}, ClientCA: File{"adminClientCA", a.Cert}}} {
		p := serve(t, o)
		_, err := p.dial(&tls.Config{ServerName: "a.example", RootCAs: a.Roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		if err == nil || !strings.Contains(err.Error(), "protocol version not supported") {
			t.Errorf("%v", err)
		}
	}
}

// TestMetrics: the expiry has one series for each name, whatever is reloaded.
func TestMetrics(t *testing.T) {
	ca := certtest.NewAuthority(t, "CA")
	long, short := ca.Issue(t, 2*time.Hour, "a.example"), ca.Issue(t, time.Hour, "a.example", "b.example")
	p := serve(t, Options{Pairs: []Pair{pairOf(long), pairOf(short)}})
	r := prometheus.NewRegistry()
	if err := r.Register(p.Store); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.Metric {
			got = append(got, fmt.Sprint(f.GetName(), m.Label, m.GetGauge().GetValue(), m.GetCounter().GetValue()))
		}
	}
	want := []string{
		fmt.Sprint(expiryName, `[name:"listener" value:"stream" name:"name" value:"a.example"] `, float64(short.Leaf.NotAfter.Unix()), 0.0),
		fmt.Sprint(failureName, `[name:"listener" value:"stream"] `, 0.0, 0.0),
	}
	// The texts of protobuf messages vary in their spaces.
	if flat := strings.Join(strings.Fields(strings.Join(got, " ")), " "); flat != strings.Join(strings.Fields(strings.Join(want, " ")), " ") {
		t.Errorf("%s\nwant %s", flat, want)
	}
}
