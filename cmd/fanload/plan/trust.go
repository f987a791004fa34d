package plan

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Trust says which certificates to accept if a URL is https.
type Trust struct {
	CA         string `json:"ca,omitempty"`          // PEM file with the roots; "": the system's
	Insecure   bool   `json:"insecure,omitempty"`    // accept any certificate
	ServerName string `json:"server_name,omitempty"` // the name that the certificate must have, also sent as SNI; "": the URL's host
}

// Check refuses flags that contradict each other or have no effect, and a file without certificates.
func (t *Trust) Check(secure bool) error {
	switch {
	case *t == Trust{}:
		return nil
	case !secure:
		return errors.New("--ca, --insecure and --server-name are for https, but no URL is https: give https://, or remove them")
	case t.CA != "" && t.Insecure:
		return errors.New("--ca and --insecure contradict each other: give only one of them")
	}
	_, err := t.Config("")
	return err
}

// Config is the client's configuration, for a server whose certificate must have a certain name. It offers HTTP/1.1 only (RFC
// 7301). Each connection makes a full handshake: with session tickets, connections would be cheaper than those of as many
// users.
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
		return nil, fmt.Errorf("--ca %s: the file has no certificate: give a file in PEM, with -----BEGIN CERTIFICATE-----", t.CA)
	}
	return c, nil
}

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
	}
	return fmt.Errorf("TLS: %w%s", err, hint)
}
