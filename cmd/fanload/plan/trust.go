package plan

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
)

// The protocols' names in ALPN.
const (
	HTTP1 = "http/1.1"
	HTTP2 = "h2"
)

// Trust says which certificates to accept if a URL is https.
type Trust struct {
	CA         string `json:"ca,omitempty"`          // PEM file with the roots; "": the system's
	Insecure   bool   `json:"insecure,omitempty"`    // accept any certificate
	ServerName string `json:"server_name,omitempty"` // the name that the certificate must have, also sent as SNI; "": the URL's host
	Resume     bool   `json:"resume,omitempty"`      // resume sessions by tickets
}

// Check refuses flags that contradict each other or have no effect, and a file without certificates.
func (t *Trust) Check(secure bool) error {
	switch {
	case *t == Trust{}:
		return nil
	case !secure:
		return errors.New("--ca, --insecure, --server-name and --resume-sessions are for https, but no URL is https: give https://, or remove them")
	case t.CA != "" && t.Insecure:
		return errors.New("--ca and --insecure contradict each other: give only one of them")
	}
	_, err := t.Config("", HTTP1)
	return err
}

// Config is the client's configuration, for a server whose certificate must have a certain name. It offers one protocol (RFC
// 7301). Unless t.Resume is set, each connection makes a full handshake: with session tickets, connections are cheaper than those
// of as many users.
func (t *Trust) Config(certified, protocol string) (*tls.Config, error) {
	c := &tls.Config{
		ServerName:         cmp.Or(t.ServerName, certified),
		NextProtos:         []string{protocol},
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: t.Insecure, // --insecure
	}
	if t.Resume {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	if t.CA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca %s: the file has no certificate: give a file in PEM, with -----BEGIN CERTIFICATE-----", t.CA)
	}
	return c, nil
}

// noProtocol is the text of the alert of a server that has none of the protocols that were asked for (RFC 7301 3.2). Its type is
// private to crypto/tls.
const noProtocol = "no application protocol"

// ExplainTLS adds to the error of a handshake what to do about it, if that is known.
func ExplainTLS(err error) error {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		plain   tls.RecordHeaderError
		cert    *tls.CertificateVerificationError
	)
	hint := ""
	switch {
	case errors.As(err, &unknown):
		hint = " (give its root by --ca FILE, or --insecure to take any)"
	case errors.As(err, &host):
		hint = " (give the certificate's name by --server-name)"
	case errors.As(err, &plain):
		hint = " (no TLS is spoken there: is the URL http?)"
	case errors.As(err, &cert):
		hint = " (--insecure takes any certificate)"
	case strings.Contains(err.Error(), noProtocol):
		hint = " (the server supports HTTP/2 or HTTP/1.1, and not both: give or leave out --http2)"
	}
	return fmt.Errorf("TLS: %w%s", err, hint)
}
