package certs

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/acmetest"
	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
)

// options are for l. retryAfter is short.
func options(l *acmetest.Server, cache string, domains ...string) ACME {
	return ACME{
		Domains: domains, Directory: File{"acmeDirectory", l.Directory}, Cache: File{"acmeCache", cache},
		CA: File{"acmeCA", l.Identity.Cert}, retryAfter: func(int) time.Duration { return 100 * time.Millisecond },
	}
}

func TestACME(t *testing.T) {
	l := acmetest.New(t)
	cache := filepath.Join(t.TempDir(), "acme")
	const domain, second = "live.example.com", "news.example.com"

	t.Run("the server is down at the start", func(t *testing.T) {
		other := certtest.New(t, "other.example.com")
		p := serveAt(t, l.Site, Options{Pairs: []Pair{pairOf(other)}, ACME: options(l, cache, domain, second)})
		eventually.True(t, "the failure is logged", func() bool { return strings.Contains(p.log.String(), "certificate not obtained") })
		if !strings.Contains(p.log.String(), l.Directory) || p.failures.Load() == 0 {
			t.Errorf("the log does not name the server, or nothing is counted (%d)", p.failures.Load())
		}
		if !p.leaf(t, domain).Equal(other.Leaf) || !p.leaf(t, "other.example.com").Equal(other.Leaf) {
			t.Error("without a certificate of its own the name does not get the default")
		}
		open, err := p.dial(&tls.Config{ServerName: "other.example.com", RootCAs: other.Roots})
		if err != nil {
			t.Fatal(err)
		}

		// Then it is there.
		l.Start()
		roots := l.Roots()
		for _, name := range []string{domain, second} {
			eventually.NoError(t, name+" has a certificate", func() error {
				_, err := p.dial(&tls.Config{ServerName: name, RootCAs: roots})
				return err
			})
		}
		if !p.leaf(t, "other.example.com").Equal(other.Leaf) || !p.leaf(t, "").Equal(other.Leaf) {
			t.Error("names that are not ACME's do not get the certificate of the files")
		}
		if err := ping(open); err != nil {
			t.Errorf("the connection that was open: %v", err)
		}
		if n := len(p.current.Load().acme.leaves()); n != 2 {
			t.Errorf("%d certificates in the metrics, want 2", n)
		}
	})

	t.Run("a restart uses the cache", func(t *testing.T) {
		roots := l.Roots()
		l.Stop(syscall.SIGTERM)
		p := serveAt(t, l.Site, Options{ACME: options(l, cache, domain, second)})
		eventually.NoError(t, "the certificate is read", func() error {
			_, err := p.dial(&tls.Config{ServerName: domain, RootCAs: roots})
			return err
		})
		if got := p.leaf(t, ""); got.DNSNames[0] != domain {
			t.Errorf("without a name: the certificate of %v, want the first domain", got.DNSNames)
		}
		if strings.Contains(p.log.String(), "not obtained") {
			t.Error("the server was asked")
		}
		l.Start()
	})

	t.Run("a domain is refused", func(t *testing.T) {
		p := serveAt(t, l.Site, Options{ACME: options(l, t.TempDir(), acmetest.Blocked, domain)})
		eventually.True(t, "the refusal is logged", func() bool {
			return strings.Contains(p.log.String(), "certificate not obtained") && strings.Contains(p.log.String(), "rejectedIdentifier")
		})
		eventually.NoError(t, "the other domain has a certificate", func() error {
			_, err := p.dial(&tls.Config{ServerName: domain, RootCAs: l.Roots()})
			return err
		})
		if _, err := p.dial(&tls.Config{ServerName: acmetest.Blocked, InsecureSkipVerify: true}); err == nil {
			t.Error("a handshake for the refused domain succeeds")
		}
	})

	t.Run("renewal", func(t *testing.T) {
		o := options(l, t.TempDir(), domain)
		o.profile, o.renewEvery = acmetest.Short, 100*time.Millisecond
		p := serveAt(t, l.Site, Options{ACME: o})
		var open *tls.Conn
		eventually.NoError(t, "there is a certificate", func() (err error) {
			open, err = p.dial(&tls.Config{ServerName: domain, InsecureSkipVerify: true})
			return err
		})
		first := open.ConnectionState().PeerCertificates[0]
		if life := first.NotAfter.Sub(first.NotBefore); life > time.Minute {
			t.Fatalf("the certificate is valid for %s, so this tests nothing", life)
		}
		eventually.True(t, "there is another one", func() bool { return !p.leaf(t, domain).Equal(first) })
		if err := ping(open); err != nil {
			t.Errorf("the connection that was open: %v", err)
		}
		eventually.True(t, "the log says so", func() bool { return strings.Contains(p.log.String(), "certificate renewed") })
	})

	t.Run("a Unix socket behind a proxy", func(t *testing.T) {
		sock := filepath.Join(t.TempDir(), "stream.sock")
		p := serveAt(t, sock, Options{ACME: options(l, t.TempDir(), domain)})
		proxy, err := net.Listen("tcp", l.Site)
		if err != nil {
			t.Fatal(err)
		}
		defer proxy.Close()
		go func() {
			for {
				c, err := proxy.Accept()
				if err != nil {
					return
				}
				s, err := net.Dial("unix", sock)
				if err != nil {
					_ = c.Close()
					continue
				}
				go func() { _, _ = io.Copy(s, c); _ = s.Close() }()
				go func() { _, _ = io.Copy(c, s); _ = c.Close() }()
			}
		}()
		p.addr = l.Site
		eventually.NoError(t, "there is a certificate", func() error {
			c, err := p.dial(&tls.Config{ServerName: domain, RootCAs: l.Roots()})
			if err == nil {
				err = c.Close()
			}
			return err
		})
	})

	t.Run("other settings", func(t *testing.T) {
		p := serveAt(t, l.Site, Options{ACME: options(l, cache, domain)})
		before := p.current.Load().acme
		use := func(o ACME) {
			t.Helper()
			next, err := p.Load(Options{ACME: o})
			if err != nil {
				t.Fatal(err)
			}
			p.Use(next)
		}
		same := before.options
		use(same)
		if p.current.Load().acme != before {
			t.Error("the same settings begin again")
		}
		use(options(l, cache, second))
		eventually.NoError(t, "the other domain has a certificate", func() error {
			_, err := p.dial(&tls.Config{ServerName: second, InsecureSkipVerify: true})
			return err
		})
	})

	t.Run("a challenge that nobody has begun", func(t *testing.T) {
		p := serveAt(t, l.Site, Options{ACME: options(l, cache, domain)})
		for _, name := range []string{domain, "a.example.com"} {
			_, err := p.dial(&tls.Config{ServerName: name, NextProtos: []string{acmeProtocol}, InsecureSkipVerify: true})
			if err == nil {
				t.Errorf("%s: there is an answer", name)
			}
		}
		for line := range strings.Lines(p.log.String()) {
			if strings.Contains(line, "tls-alpn challenge") && !strings.Contains(line, "level=DEBUG") {
				t.Errorf("every client can fill the log with: %s", line)
			}
		}
	})
}

// TestACMECache: a directory that cannot be used is an error at the start, with its setting.
func TestACMECache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New("stream", Options{ACME: ACME{Domains: []string{"a.example.com"}, Cache: File{"acmeCache", file}}}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.HasPrefix(err.Error(), "acmeCache: "+file) {
		t.Error(err)
	}
}

// TestRetryAfter: Let's Encrypt's limit of five failures per hour is kept.
func TestRetryAfter(t *testing.T) {
	attempts, at := 0, time.Duration(0)
	for at < time.Hour {
		at += retryAfter(attempts)
		attempts++
	}
	if attempts > 5 || retryAfter(100) != time.Hour {
		t.Errorf("%d attempts in the first hour, then one per %s", attempts, retryAfter(100))
	}
}
