package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
)

// ACME obtains certificates from a CA such as Let's Encrypt and renews them.
//
// The CA proves the control of a domain by the challenge TLS-ALPN-01 (RFC 8737): it connects to port 443 of the domain, and the
// listener of the Store answers. So certificates are obtained in the background while the listener is open. Until the first one is
// there, handshakes for its domain get a certificate of Options.Pairs, or fail if there are none.
type ACME struct {
	Domains   []string
	Directory File // its Path is the URL of the ACME server
	Email     string
	Cache     File // a directory, where everything is kept between two starts
	CA        File // CA certificates for the connection to the ACME server; without a Path those of the system

	// For tests. Zero values are replaced.
	profile    string                           // of the CA
	renewEvery time.Duration                    // between two looks at the expiry; certmagic's default is 10 minutes
	retryAfter func(failures int) time.Duration // until the next attempt
}

// Events of certmagic.
const (
	eventObtained = "cert_obtained"
	eventFailed   = "cert_failed"
)

// acmeProtocol is the ALPN name of the challenge.
const acmeProtocol = "acme-tls/1"

// equal compares what settings can change.
func (a ACME) equal(b ACME) bool {
	return slices.Equal(a.Domains, b.Domains) && a.Directory == b.Directory && a.Email == b.Email && a.Cache == b.Cache && a.CA == b.CA
}

// isChallenge reports whether a handshake is the CA's look at a challenge (RFC 8737 3).
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmeProtocol
}

// prepare makes the cache directory, and reads the roots of the ACME server.
func (a ACME) prepare() (roots *x509.CertPool, err error) {
	if err := os.MkdirAll(a.Cache.Path, 0o700); err != nil {
		return nil, a.Cache.problem("cannot be made: %s", err)
	}
	probe, err := os.CreateTemp(a.Cache.Path, ".writable-")
	if err != nil {
		return nil, a.Cache.problem("is not writable: %s", err)
	}
	_, _ = probe.Close(), os.Remove(probe.Name())
	if a.CA.Path == "" {
		return nil, nil
	}
	ca, err := loadAuthorities(a.CA)
	if err != nil {
		return nil, err
	}
	return ca.pool, nil
}

// manager obtains and renews the certificates of an ACME configuration.
type manager struct {
	options  ACME
	log      *slog.Logger
	failures *atomic.Int64
	cache    *certmagic.Cache
	config   *certmagic.Config
	issuer   *certmagic.ACMEIssuer

	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	running sync.WaitGroup
	taken   net.Listener // of start, or nil
	started bool         // under the lock of the Store, as are start and close
}

func newManager(o ACME, roots *x509.CertPool, log *slog.Logger, failures *atomic.Int64) *manager {
	if o.retryAfter == nil {
		o.retryAfter = retryAfter
	}
	m := &manager{options: o, log: log, failures: failures}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	zap := zapLogger(log)
	settings := certmagic.Config{
		Storage:           &certmagic.FileStorage{Path: o.Cache.Path},
		OCSP:              certmagic.OCSPConfig{DisableStapling: true},
		DefaultServerName: o.Domains[0],
		OnEvent:           m.event,
		ShouldEmitFunc:    func(event string) bool { return event == eventObtained || event == eventFailed },
		Logger:            zap,
	}
	var renewing *certmagic.Config
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return renewing, nil },
		RenewCheckInterval: o.renewEvery,
		Logger:             zap,
	})
	m.config, renewing = certmagic.New(m.cache, settings), certmagic.New(m.cache, settings)
	m.issuer = certmagic.NewACMEIssuer(m.config, certmagic.ACMEIssuer{
		CA: o.Directory.Path,
		// The same again: certmagic would make second attempts at the test server of Let's Encrypt.
		TestCA:               o.Directory.Path,
		Email:                o.Email,
		Agreed:               true,
		Profile:              o.profile,
		TrustedRoots:         roots,
		DisableHTTPChallenge: true,
		Logger:               zap,
	})
	m.config.Issuers = []certmagic.Issuer{silent{m.issuer}}
	renewing.Issuers = []certmagic.Issuer{m.issuer}
	return m
}

// silent is an issuer that never asks questions. ManageSync would ask for an email address on the standard input. Renewals, which
// certmagic does by itself, do not ask, and need the issuer's own type (for the field "replaces" of RFC 9773).
type silent struct{ *certmagic.ACMEIssuer }

// PreCheck implements certmagic.PreChecker.
func (s silent) PreCheck(ctx context.Context, names []string, _ bool) error {
	return s.ACMEIssuer.PreCheck(ctx, names, false)
}

// start obtains what is missing, in the background. addr is where the listener is.
func (m *manager) start(addr net.Addr) {
	if m.started {
		return
	}
	m.started = true
	// certmagic answers challenges on an address of its own if nothing listens there, and port 443 is its default. So it gets
	// the listener's address, or for a Unix socket, behind a proxy that passes TLS on, a port that is taken and answers nothing.
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
			m.taken, tcp = ln, ln.Addr().(*net.TCPAddr)
		}
	}
	if tcp != nil {
		m.issuer.AltTLSALPNPort = tcp.Port
		if !tcp.IP.IsUnspecified() {
			m.issuer.ListenHost = tcp.IP.String()
		}
	}
	for _, domain := range m.options.Domains {
		m.running.Go(func() { m.obtain(domain) })
	}
}

// obtain loads the certificate of domain from the cache, or gets it from the CA, until it has one. Renewals follow by themselves.
func (m *manager) obtain(domain string) {
	for failures := 0; ; failures++ {
		err := m.config.ManageSync(m.ctx, []string{domain})
		if m.ctx.Err() != nil {
			return
		}
		if err == nil {
			m.log.Info("certificate ready", "name", domain)
			return
		}
		wait := m.options.retryAfter(failures)
		m.failures.Add(1)
		m.log.Error("certificate not obtained", "name", domain, "directory", m.options.Directory.Path, "error", err, "retryIn", wait.String())
		select {
		case <-m.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// retryAfter grows to an hour. Let's Encrypt allows five failed validations of a domain per hour: there are five attempts in the
// first one, and one in each hour after it.
func retryAfter(failures int) time.Duration {
	waits := [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour}
	return waits[min(failures, len(waits)-1)]
}

// event gets what certmagic reports. Its own retries, of renewals, are at 1 minute and up to 6 hours apart.
func (m *manager) event(_ context.Context, event string, data map[string]any) error {
	renewal, _ := data["renewal"].(bool)
	switch {
	case event == eventObtained && renewal:
		m.log.Info("certificate renewed", "name", data["identifier"])
	case event == eventFailed && renewal:
		m.failures.Add(1)
		m.log.Error("certificate not renewed: the previous one stays in effect, and another attempt follows",
			"name", data["identifier"], "directory", m.options.Directory.Path, "error", data["error"])
	}
	return nil
}

// challenge answers the CA. Only names that are ours get as far as the storage.
func (m *manager) challenge(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if !m.manages(hello.ServerName) {
		return nil, fmt.Errorf("no ACME challenge for %q", hello.ServerName)
	}
	return m.config.GetCertificate(hello)
}

func (m *manager) manages(name string) bool { return slices.Contains(m.options.Domains, name) }

// certificate is the one that has been obtained for name, or nil.
func (m *manager) certificate(name string, hello *tls.ClientHelloInfo) *tls.Certificate {
	if !m.manages(name) || len(m.cache.AllMatchingCertificates(name)) == 0 {
		return nil
	}
	c, err := m.config.GetCertificate(hello)
	if err != nil {
		return nil
	}
	return c
}

// other is for names that nothing is there for: the certificate of the first domain, or else an error.
func (m *manager) other(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if m.manages(hello.ServerName) {
		return nil, fmt.Errorf("the certificate of %s has not been obtained yet from %s", hello.ServerName, m.options.Directory.Path)
	}
	first := m.cache.AllMatchingCertificates(m.options.Domains[0])
	if len(first) == 0 {
		return nil, fmt.Errorf("no certificate has been obtained yet from %s", m.options.Directory.Path)
	}
	return &first[0].Certificate, nil
}

// leaves are the certificates that have been obtained.
func (m *manager) leaves() (list []*x509.Certificate) {
	for _, domain := range m.options.Domains {
		for _, c := range m.cache.AllMatchingCertificates(domain) {
			list = append(list, c.Leaf)
		}
	}
	return list
}

// close ends the attempts and the renewals, and waits for them.
func (m *manager) close() {
	m.cancel()
	m.running.Wait()
	m.cache.Stop()
	if m.taken != nil {
		_ = m.taken.Close()
	}
}
