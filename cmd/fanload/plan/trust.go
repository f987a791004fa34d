package plan

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Trust says whose certificates are taken where a URL is https.
type Trust struct {
	CA         string `json:"ca,omitempty"`          // PEM file with the roots; "": the system's
	Insecure   bool   `json:"insecure,omitempty"`    // take any certificate
	ServerName string `json:"server_name,omitempty"` // what it must be for, and what SNI asks for; "": the URL's host
}

// Check refuses flags that contradict each other or do nothing, and a file of roots that has none.
func (t *Trust) Check(secure bool) error {
	switch {
	case *t == Trust{}:
		return nil
	case !secure:
		return errors.New("--ca, --insecure and --server-name are for https, and no URL is: give https://, or leave them out")
	case t.CA != "" && t.Insecure:
		return errors.New("--ca and --insecure contradict each other: give one of them")
	}
	_, err := t.Config("")
	return err
}

// Config is that of a client, for a server whose certificate must be for a name. It asks for HTTP/1.1 (RFC 7301), and
// makes a full handshake for each connection: tickets of one would make the others cheaper than those of so many users.
func (t *Trust) Config(certified string) (*tls.Config, error) {
	c := &tls.Config{
		ServerName:         cmp.Or(t.ServerName, certified),
		NextProtos:         []string{"http/1.1"},
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: t.Insecure, // --insecure
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
		return nil, fmt.Errorf("--ca %s: there is no certificate in it: give a file in PEM, with -----BEGIN CERTIFICATE-----", t.CA)
	}
	return c, nil
}

// ExplainTLS says what to do about a handshake that failed, if that is known.
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
	}
	return fmt.Errorf("TLS: %w%s", err, hint)
}
