package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"fanfare/cmd/fanfare/certs"
	"fanfare/cmd/fanfare/config"
	"fanfare/transport"
)

// streamCerts converts the settings of the stream listener's certificates.
func streamCerts(c *config.Config) (o certs.Options) {
	for i, cert := range c.TLSCert {
		o.Pairs = append(o.Pairs, certs.Pair{
			Cert: certs.File{Setting: "tlsCert", Path: cert},
			Key:  certs.File{Setting: "tlsKey", Path: c.TLSKey[i]}, // Validate has compared their numbers
		})
	}
	if len(c.ACMEDomains) > 0 {
		o.ACME = certs.ACME{
			Domains:   c.ACMEDomains,
			Directory: certs.File{Setting: "acmeDirectory", Path: c.ACMEDirectory},
			Email:     c.ACMEEmail,
			Cache:     certs.File{Setting: "acmeCache", Path: c.ACMEDir()},
			CA:        certs.File{Setting: "acmeCA", Path: c.ACMECA},
		}
	}
	return o
}

// adminCerts converts the settings of the admin listener's certificate.
func adminCerts(c *config.Config) (o certs.Options) {
	if c.AdminTLSCert != "" && c.Admin != config.Off {
		o.Pairs = []certs.Pair{{
			Cert: certs.File{Setting: "adminTLSCert", Path: c.AdminTLSCert},
			Key:  certs.File{Setting: "adminTLSKey", Path: c.AdminTLSKey},
		}}
		o.ClientCA = certs.File{Setting: "adminClientCA", Path: c.AdminClientCA}
	}
	return o
}

// checkCerts reads the files of certificates and keys as the server does at the start.
func checkCerts(c *config.Config) (warnings []string, err error) {
	stream, streamErr := certs.Check(streamCerts(c))
	admin, adminErr := certs.Check(adminCerts(c))
	return append(stream, admin...), errors.Join(streamErr, adminErr)
}

// listenerCerts are the certificates of both listeners.
type listenerCerts struct{ stream, admin listenerCert }

// listenerCert is the Store of a listener, or nil if that speaks plain HTTP.
type listenerCert struct{ *certs.Store }

// open reads the files, and sets the options of the server.
func (l *listenerCerts) open(c *config.Config, to *transport.Options, log *slog.Logger) (err error) {
	if o := streamCerts(c); o.Enabled() {
		if l.stream.Store, err = certs.New("stream", o, log); err != nil {
			return err
		}
	}
	if o := adminCerts(c); o.Enabled() {
		if l.admin.Store, err = certs.New("admin", o, log); err != nil {
			l.close()
			return err
		}
	}
	l.options(to)
	return nil
}

func (l *listenerCerts) options(to *transport.Options) {
	if l.stream.Store != nil {
		to.TLS = l.stream.TLSConfig()
	}
	if l.admin.Store != nil {
		to.AdminTLS = l.admin.TLSConfig()
	}
}

// stores are the certificates of the listeners that speak TLS.
func (l *listenerCerts) stores() (list []*certs.Store) {
	for _, c := range []listenerCert{l.stream, l.admin} {
		if c.Store != nil {
			list = append(list, c.Store)
		}
	}
	return list
}

// start begins the reloads and ACME. The listeners are open. onChange is called when the options of the server have changed.
func (l *listenerCerts) start(open *listeners, onChange func()) {
	if l.stream.Store != nil {
		l.stream.Start(open.stream.Addr(), onChange)
	}
	if l.admin.Store != nil {
		l.admin.Start(open.admin.Addr(), onChange)
	}
}

func (l *listenerCerts) close() {
	for _, s := range l.stores() {
		s.Close()
	}
}

// load reads what other settings name, and sets the options of the server. Nothing is in effect until use is called. hasAdmin says
// whether there is an admin listener, which the settings decide at the start only.
func (l *listenerCerts) load(next *config.Config, to *transport.Options, hasAdmin bool) (use func(), err error) {
	l.options(to)
	stream, err := l.stream.load(streamCerts(next), &to.TLS, "tlsCert and acmeDomains", "stream")
	if err != nil {
		return nil, err
	}
	admin := func() {}
	if o := adminCerts(next); hasAdmin && next.Admin != config.Off {
		if l.admin.Store != nil && o.Enabled() && o.ClientCA.Path == "" && l.admin.TLSConfig().ClientCAs != nil {
			return nil, errors.New("adminClientCA: cannot be removed while the admin listener is open: restart the server")
		}
		if admin, err = l.admin.load(o, &to.AdminTLS, "adminTLSCert", "admin"); err != nil {
			return nil, err
		}
	}
	return func() { stream(); admin() }, nil
}

func (c listenerCert) load(o certs.Options, to **tls.Config, settings, listener string) (use func(), err error) {
	switch {
	case o.Enabled() != (c.Store != nil):
		// A file that is just being written is empty for a moment, and clients have the scheme in their URLs.
		return nil, fmt.Errorf("%s: cannot switch TLS on or off while the %s listener is open: restart the server", settings, listener)
	case c.Store == nil:
		return func() {}, nil
	}
	next, err := c.Load(o)
	if err != nil {
		return nil, err
	}
	*to = next.TLSConfig()
	return func() { c.Use(next) }, nil
}

// reach returns the origin of a listener, as this machine reaches it, and what curl needs for it besides the URL. The host of an
// https origin is a name of the certificate.
func (c listenerCert) reach(a net.Addr) (origin, curl string) {
	at := reachable(a)
	if c.Store == nil {
		return "http://" + at, ""
	}
	host, port, err := net.SplitHostPort(at)
	if err != nil { // a Unix socket, which curl uses for every name
		host, port = at, ""
	}
	name, file := c.Name()
	if file != "" {
		// A certificate is a trust anchor for curl, even if it is not one of a CA. So this works for each.
		curl = " --cacert " + shellWord(file)
	}
	switch {
	case name == "" || c.Covers(host):
	case port == "":
		at = name
	default:
		curl += " --connect-to ::" + at
		at = net.JoinHostPort(name, port)
	}
	return "https://" + at, curl
}
