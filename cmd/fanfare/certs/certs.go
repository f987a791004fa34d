// Package certs makes the TLS configurations of the listeners: from files, which are read again when they change, and by ACME.
//
//	store, err := certs.New("stream", certs.Options{
//		Pairs: []certs.Pair{{Cert: certs.File{"tlsCert", "cert.pem"}, Key: certs.File{"tlsKey", "key.pem"}}},
//	}, logger)
//	options.TLS = store.TLSConfig() // of transport.Options
//	store.Start(listener.Addr(), func() { ... })
//	defer store.Close()
//
// The configuration that TLSConfig returns asks the Store for a certificate at each handshake, so new certificates are for new
// connections, and open streams do not notice. It is another one only when the CAs of clients change.
//
// # What is in effect
//
// A certificate is put into effect together with its private key, and only if the two belong together. Files that are half written,
// or of which only one has been replaced, leave the previous certificate in effect; the log says why.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// File is a file and the setting that names it.
type File struct{ Setting, Path string }

// Pair is a certificate with its chain, and its private key.
type Pair struct{ Cert, Key File }

// Options are the certificates of one listener.
type Options struct {
	// Pairs are chosen by the name that a client asks for (SNI). Of several with this name, the first that the client supports
	// is taken; for other names, and for none, the first of all.
	Pairs []Pair
	// ClientCA has the CA certificates that must have signed the certificate of a client. Without a Path no client needs one.
	ClientCA File
	// ACME is off without domains. A certificate that it has obtained goes before the Pairs with the same name.
	ACME ACME
}

// Enabled reports whether the listener speaks TLS.
func (o Options) Enabled() bool { return len(o.Pairs) > 0 || len(o.ACME.Domains) > 0 }

// Store has the certificates of one listener. Its methods can be called by several goroutines.
type Store struct {
	listener string
	log      *slog.Logger
	every    time.Duration // between two looks at the files

	current  atomic.Pointer[set]
	failures atomic.Int64

	mu       sync.Mutex // of what follows, and of each change of current
	addr     net.Addr   // of the listener; nil before Start
	onChange func()     // of Start
	stop     chan struct{}
	done     chan struct{}
	closed   bool
}

// set is what is in effect at one time. It does not change; a change makes another one.
type set struct {
	options  Options
	pairs    []*certificate // in the order of options.Pairs
	clientCA *authorities   // nil: clients need no certificate
	acme     *manager       // nil without ACME
	config   *tls.Config
}

// New reads the files of o. The error has a line for each file that cannot be used. listener is for the log and the metrics.
func New(listener string, o Options, log *slog.Logger) (*Store, error) {
	s := &Store{listener: listener, log: log.With("listener", listener), every: pollInterval, stop: make(chan struct{}), done: make(chan struct{})}
	next, err := s.Load(o)
	if err != nil {
		return nil, err
	}
	s.Use(next)
	return s, nil
}

// Check reads the files of o as New does, and returns the warnings that the log would get.
func Check(o Options) (warnings []string, err error) {
	next, err := read(o)
	if err != nil {
		return nil, err
	}
	for _, c := range next.pairs {
		warnings = append(warnings, c.warnings...)
	}
	if next.clientCA != nil {
		warnings = append(warnings, next.clientCA.warnings...)
	}
	return warnings, nil
}

// Next is what has been read for a change of the options, and is not in effect yet.
type Next struct {
	set   *set
	roots *x509.CertPool // of the ACME server
}

// TLSConfig is what Store.TLSConfig returns after Use.
func (n *Next) TLSConfig() *tls.Config { return n.set.config }

// Load reads the files of other options. Nothing changes until Use.
func (s *Store) Load(o Options) (*Next, error) {
	n, err := read(o)
	if err != nil {
		return nil, err
	}
	next := &Next{set: n}
	if len(o.ACME.Domains) > 0 {
		if next.roots, err = o.ACME.prepare(); err != nil {
			return nil, err
		}
	}
	n.config = s.configFor(n, s.current.Load())
	return next, nil
}

// read reads the files of o, all of them even if some cannot be used.
func read(o Options) (*set, error) {
	n := &set{options: o}
	var problems []error
	for _, p := range o.Pairs {
		c, err := loadPair(p)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		n.pairs = append(n.pairs, c)
	}
	if o.ClientCA.Path != "" {
		var err error
		if n.clientCA, err = loadAuthorities(o.ClientCA); err != nil {
			problems = append(problems, err)
		}
	}
	if o.ACME.CA.Path != "" {
		if _, err := loadAuthorities(o.ACME.CA); err != nil {
			problems = append(problems, err)
		}
	}
	return n, errors.Join(problems...)
}

// Use puts into effect what Load has read.
func (s *Store) Use(next *Next) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, old := next.set, s.current.Load()
	for _, c := range n.pairs {
		s.warn(c.warnings)
	}
	if n.clientCA != nil {
		s.warn(n.clientCA.warnings)
	}

	// Keep the manager of ACME while its options stay the same: it may be waiting for a certificate.
	var retired *manager
	switch {
	case old != nil && old.acme != nil && old.options.ACME.equal(n.options.ACME):
		n.acme = old.acme
	default:
		if old != nil {
			retired = old.acme
		}
		if len(n.options.ACME.Domains) > 0 {
			n.acme = newManager(n.options.ACME, next.roots, s.log, &s.failures)
		}
	}
	s.current.Store(n)
	if retired != nil {
		retired.close()
	}
	if n.acme != nil && s.addr != nil {
		n.acme.start(s.addr) // does nothing if it has been started
	}
}

func (s *Store) warn(warnings []string) {
	for _, w := range warnings {
		s.log.Warn("certificate: " + w)
	}
}

// TLSConfig is for transport.Options. It is another one after a change of the options has added or removed ACME, and after the CAs
// of clients have changed.
func (s *Store) TLSConfig() *tls.Config { return s.current.Load().config }

// configFor is the configuration for n. It is the one of old if possible, because it has the keys of session tickets.
func (s *Store) configFor(n, old *set) *tls.Config {
	acme := len(n.options.ACME.Domains) > 0
	if old != nil && acme == (len(old.options.ACME.Domains) > 0) && n.clientCA.same(old.clientCA) {
		return old.config
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.certificate}
	if acme {
		c.NextProtos = []string{acmeProtocol}
	}
	if n.clientCA != nil {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, n.clientCA.pool
	}
	return c
}

// certificate chooses one for a handshake.
func (s *Store) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	n := s.current.Load()
	if n.acme != nil {
		if isChallenge(hello) {
			return n.acme.challenge(hello)
		}
		if c := n.acme.certificate(hello.ServerName, hello); c != nil {
			return c, nil
		}
	}
	for _, c := range n.pairs {
		if hello.SupportsCertificate(&c.pair) == nil {
			return &c.pair, nil
		}
	}
	if len(n.pairs) > 0 {
		return &n.pairs[0].pair, nil
	}
	if n.acme != nil {
		return n.acme.other(hello)
	}
	return nil, errors.New("no certificate")
}

// Name is a name of the default certificate, for URLs in messages: "" if it has none. File is the file it is read from, or "".
func (s *Store) Name() (name, file string) {
	n := s.current.Load()
	if len(n.pairs) == 0 {
		return n.options.ACME.Domains[0], ""
	}
	leaf := n.pairs[0].pair.Leaf
	file = n.pairs[0].files.Cert.Path
	if len(leaf.DNSNames) > 0 {
		// Any name will do for the * of a wildcard.
		return strings.Replace(leaf.DNSNames[0], "*", "www", 1), file
	}
	if len(leaf.IPAddresses) > 0 {
		return leaf.IPAddresses[0].String(), file
	}
	return "", file
}

// Covers reports whether the default certificate is valid for host, a name or an IP address.
func (s *Store) Covers(host string) bool {
	n := s.current.Load()
	if len(n.pairs) == 0 {
		return slices.Contains(n.options.ACME.Domains, host)
	}
	return n.pairs[0].pair.Leaf.VerifyHostname(host) == nil
}

// Start begins to look at the files, and to obtain certificates by ACME. addr is the address of the listener, which must be open:
// the CA connects to it. onChange is called when a file has changed so that TLSConfig returns another value.
func (s *Store) Start(addr net.Addr, onChange func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addr != nil || s.closed {
		return
	}
	s.addr, s.onChange = addr, onChange
	if n := s.current.Load(); n.acme != nil {
		n.acme.start(addr)
	}
	go s.watch()
}

// Close ends what Start began. The certificates can still be used.
func (s *Store) Close() {
	s.mu.Lock()
	started, first := s.addr != nil, !s.closed
	s.closed = true
	s.mu.Unlock()
	if !first {
		return
	}
	close(s.stop)
	if started {
		<-s.done
	}
	if n := s.current.Load(); n.acme != nil {
		n.acme.close()
	}
}
