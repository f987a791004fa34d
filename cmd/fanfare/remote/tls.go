package remote

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
)

// TLS are the flags of a client about certificates. kong reads them.
type TLS struct {
	CA         string `name:"ca" type:"text" placeholder:"FILE" help:"https: trust the certificates in this PEM file instead of the system's."`
	Cert       string `name:"cert" type:"text" placeholder:"FILE" help:"https: client certificate in PEM, for a server that asks for one. Needs --key."`
	PrivateKey string `name:"key" type:"text" placeholder:"FILE" help:"https: private key of --cert in PEM."`
	Insecure   bool   `name:"insecure" help:"https: accept any certificate of the server. Whoever is on the way can then read the token."`
}

// Transport makes a transport for requests to u. An error is a *UsageError.
func (t *TLS) Transport(u *url.URL) (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	switch {
	case *t == TLS{}:
		return transport, nil
	case u.Scheme != "https":
		return nil, Usage("--ca, --cert, --key and --insecure are for https, and %s is not: write https://, or remove them", Show(u))
	case t.CA != "" && t.Insecure:
		return nil, Usage("--ca and --insecure contradict each other: give only one of them")
	case (t.Cert == "") != (t.PrivateKey == ""):
		return nil, Usage("--cert and --key belong together: give both, or neither")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.Insecure} // --insecure
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, Usage("--ca: %s", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, Usage("--ca %s: the file has no certificate: give a file in PEM, with -----BEGIN CERTIFICATE-----", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.PrivateKey)
		if err != nil {
			return nil, Usage("--cert %s and --key %s: %s", t.Cert, t.PrivateKey, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	transport.TLSClientConfig = c
	return transport, nil
}
