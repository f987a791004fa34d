package clients_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"fanfare/internal/test/certtest"
)

// trust is what a client needs to believe a proxy's certificate.
type trust struct {
	file        string // PEM
	fingerprint string // of the public key, as Chromium wants it
	digest      string // of the certificate, as Firefox wants it
}

// environment is what the programs that look there need.
func (tr *trust) environment() []string {
	if tr == nil {
		return nil
	}
	return []string{"NODE_EXTRA_CA_CERTS=" + tr.file, "SSL_CERT_FILE=" + tr.file, "CURL_CA_BUNDLE=" + tr.file}
}

// arguments is what tool needs.
func (tr *trust) arguments(tool string) []string {
	if tr != nil && tool == "wget" {
		return []string{"--ca-certificate=" + tr.file}
	}
	return nil
}

// makeCertificate makes a certificate for 127.0.0.1.
func makeCertificate(t *testing.T, p *places) *trust {
	t.Helper()
	c := certtest.New(t, "127.0.0.1")
	p.cert, p.key, p.pair = c.Cert, c.Key, c.Pair
	ofKey, ofAll := sha256.Sum256(c.Leaf.RawSubjectPublicKeyInfo), sha256.Sum256(c.Leaf.Raw)
	return &trust{
		file:        p.cert,
		fingerprint: base64.StdEncoding.EncodeToString(ofKey[:]),
		digest:      strings.ReplaceAll(fmt.Sprintf("% X", ofAll), " ", ":"),
	}
}
