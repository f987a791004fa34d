package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/proctest"
)

// The tests of ACME run Pebble, the ACME server that Let's Encrypt makes for tests, and its DNS server, by which every name is
// 127.0.0.1. The folder pebble is a module of its own: the server does not depend on it.

// lab is Pebble, and an address at which it expects the domains.
type lab struct {
	t         *testing.T
	bin, dir  string
	directory string // URL
	manage    string // address of its management
	dns       string
	identity  *certtest.Certificate // of its own HTTPS
	site      string                // where it looks for the challenge, port 443 elsewhere
	*proctest.Process
}

func newLab(t *testing.T) *lab {
	t.Helper()
	bin := t.TempDir()
	const module = "github.com/letsencrypt/pebble/v2/cmd/"
	if out, err := exec.Command("go", "build", "-C", "pebble", "-o", bin+"/", module+"pebble", module+"pebble-challtestsrv").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l := &lab{
		t: t, bin: bin, dir: t.TempDir(), dns: proctest.FreeAddr(t), site: proctest.FreeAddr(t), manage: proctest.FreeAddr(t),
		identity: certtest.New(t, "127.0.0.1"),
	}
	listen := proctest.FreeAddr(t)
	l.directory = "https://" + listen + "/dir"
	_, port, err := net.SplitHostPort(l.site)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": l.manage,
		"certificate": l.identity.Cert, "privateKey": l.identity.Key,
		"tlsPort": json.Number(port), "keyAlgorithm": "ecdsa",
		"domainBlocklist": []string{"blocked.example.com"},
		"retryAfter":      map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{
			"default": map[string]any{"description": "usual", "validityPeriod": 7776000},
			"short":   map[string]any{"description": "ten seconds", "validityPeriod": 10},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	dns := exec.Command(filepath.Join(bin, "pebble-challtestsrv"), "-dnsserver", l.dns, "-management", proctest.FreeAddr(t),
		"-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	proctest.Start(t, dns)
	return l
}

// start runs Pebble until stop or the end of the test. It keeps nothing: each start is a new CA.
func (l *lab) start() {
	l.t.Helper()
	cmd := exec.Command(filepath.Join(l.bin, "pebble"), "-config", filepath.Join(l.dir, "config.json"), "-dnsserver", l.dns, "-strict")
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1") // it waits up to 15 s for no purpose but variety
	l.Process = proctest.Start(l.t, cmd)
	l.Await("the ACME server answers", func() error {
		_, err := l.get(l.directory)
		return err
	})
}

func (l *lab) get(url string) ([]byte, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: l.identity.Roots},
	}}
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// roots trusts the certificates that Pebble issues.
func (l *lab) roots() *x509.CertPool {
	l.t.Helper()
	pem, err := l.get("https://" + l.manage + "/roots/0")
	if err != nil {
		l.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		l.t.Fatalf("not a certificate: %s", pem)
	}
	return pool
}

func (l *lab) options(cache string, domains ...string) ACME {
	return ACME{
		Domains: domains, Directory: File{"acmeDirectory", l.directory}, Cache: File{"acmeCache", cache},
		CA: File{"acmeCA", l.identity.Cert}, retryAfter: func(int) time.Duration { return 100 * time.Millisecond },
	}
}

func TestACME(t *testing.T) {
	l := newLab(t)
	cache := filepath.Join(t.TempDir(), "acme")
	const domain, second = "live.example.com", "news.example.com"

	t.Run("the server is down at the start", func(t *testing.T) {
		other := certtest.New(t, "other.example.com")
		p := serveAt(t, l.site, Options{Pairs: []Pair{pairOf(other)}, ACME: l.options(cache, domain, second)})
		eventually.True(t, "the failure is logged", func() bool { return strings.Contains(p.log.String(), "certificate not obtained") })
		if !strings.Contains(p.log.String(), l.directory) || p.failures.Load() == 0 {
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
		l.start()
		roots := l.roots()
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
		roots := l.roots()
		l.Stop(syscall.SIGTERM)
		p := serveAt(t, l.site, Options{ACME: l.options(cache, domain, second)})
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
		l.start()
	})

	t.Run("a domain is refused", func(t *testing.T) {
		p := serveAt(t, l.site, Options{ACME: l.options(t.TempDir(), "blocked.example.com", domain)})
		eventually.True(t, "the refusal is logged", func() bool {
			return strings.Contains(p.log.String(), "certificate not obtained") && strings.Contains(p.log.String(), "rejectedIdentifier")
		})
		eventually.NoError(t, "the other domain has a certificate", func() error {
			_, err := p.dial(&tls.Config{ServerName: domain, RootCAs: l.roots()})
			return err
		})
		if _, err := p.dial(&tls.Config{ServerName: "blocked.example.com", InsecureSkipVerify: true}); err == nil {
			t.Error("a handshake for the refused domain succeeds")
		}
	})

	t.Run("renewal", func(t *testing.T) {
		o := l.options(t.TempDir(), domain)
		o.profile, o.renewEvery = "short", 100*time.Millisecond
		p := serveAt(t, l.site, Options{ACME: o})
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

	t.Run("other settings", func(t *testing.T) {
		p := serveAt(t, l.site, Options{ACME: l.options(cache, domain)})
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
		use(l.options(cache, second))
		eventually.NoError(t, "the other domain has a certificate", func() error {
			_, err := p.dial(&tls.Config{ServerName: second, InsecureSkipVerify: true})
			return err
		})
	})

	t.Run("a challenge that nobody has begun", func(t *testing.T) {
		p := serveAt(t, l.site, Options{ACME: l.options(cache, domain)})
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
