// Package acmetest runs Pebble, the ACME server that Let's Encrypt makes for tests, with its DNS server, by which every name is
// 127.0.0.1.
//
//	acme := acmetest.New(t)
//	acme.Start()
//	// a server on acme.Site gets certificates from acme.Directory, and its clients trust acme.Roots()
//
// The folder pebble is a module of its own, which pins the version: the module of the server does not have it.
package acmetest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"fanfare/internal/test/certtest"
	"fanfare/internal/test/proctest"
)

// Domains and profiles of the server.
const (
	Blocked = "blocked.example.com" // a domain that the CA refuses
	Short   = "short"               // the profile of certificates that are valid for ten seconds
)

// Server is Pebble, and the address at which it expects each domain.
type Server struct {
	Directory string                // its URL
	Identity  *certtest.Certificate // of its own HTTPS
	Site      string                // where it looks for challenges: 127.0.0.1 with a port that is 443 elsewhere
	*proctest.Process

	t        *testing.T
	bin, dir string
	manage   string // address of its management
	dns      string
}

// New builds Pebble and starts its DNS server. The ACME server is down until Start.
func New(t *testing.T) *Server {
	t.Helper()
	bin := t.TempDir()
	root, err := exec.Command("go", "env", "GOMOD").Output() // ROOT/go.mod
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(filepath.Dir(string(root)), "internal", "test", "acmetest", "pebble")
	const module = "github.com/letsencrypt/pebble/v2/cmd/"
	if out, err := exec.Command("go", "build", "-C", folder, "-buildvcs=false", "-o", bin+"/", module+"pebble", module+"pebble-challtestsrv").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l := &Server{
		t: t, bin: bin, dir: t.TempDir(), dns: proctest.FreeAddr(t), Site: proctest.FreeAddr(t), manage: proctest.FreeAddr(t),
		Identity: certtest.New(t, "127.0.0.1"),
	}
	listen := proctest.FreeAddr(t)
	l.Directory = "https://" + listen + "/dir"
	_, port, err := net.SplitHostPort(l.Site)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": l.manage,
		"certificate": l.Identity.Cert, "privateKey": l.Identity.Key,
		"tlsPort": json.Number(port), "keyAlgorithm": "ecdsa",
		"domainBlocklist": []string{Blocked},
		"retryAfter":      map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{
			"default": map[string]any{"description": "usual", "validityPeriod": 7776000},
			Short:     map[string]any{"description": "ten seconds", "validityPeriod": 10},
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

// Start runs Pebble until Stop or the end of the test. It keeps nothing: each start is a new CA.
func (l *Server) Start() {
	l.t.Helper()
	cmd := exec.Command(filepath.Join(l.bin, "pebble"), "-config", filepath.Join(l.dir, "config.json"), "-dnsserver", l.dns, "-strict")
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1") // it waits up to 15 s for no purpose but variety
	l.Process = proctest.Start(l.t, cmd)
	l.Await("the ACME server answers", func() error {
		_, err := l.get(l.Directory)
		return err
	})
}

func (l *Server) get(url string) ([]byte, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: l.Identity.Roots},
	}}
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// Roots trusts the certificates that Pebble issues.
func (l *Server) Roots() *x509.CertPool {
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
