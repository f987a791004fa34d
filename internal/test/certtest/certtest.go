// Package certtest makes certificates for tests.
package certtest

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"
)

// Certificate is one that signs itself, in files that programs read.
type Certificate struct {
	Cert, Key, Pair string            // PEM files; Pair has both
	Leaf            *x509.Certificate // as it is parsed
	Roots           *x509.CertPool    // for a client that trusts it
	TLS             tls.Certificate   // for a server
}

// New makes a certificate for host names and IP addresses. It is valid for a day, and its files last as long as the test.
func New(t testing.TB, hosts ...string) *Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: hosts[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	c, _ := sign(t, template, nil)
	return c
}
