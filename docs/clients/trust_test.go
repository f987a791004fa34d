package clients_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

// makeCertificate makes a certificate for 127.0.0.1 in the places' folder.
func makeCertificate(t *testing.T, p *places) *trust {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	p.cert, p.key, p.pair = filepath.Join(p.dir, "cert.pem"), filepath.Join(p.dir, "key.pem"), filepath.Join(p.dir, "pair.pem")
	for file, text := range map[string][]byte{p.cert: certPEM, p.key: keyPEM, p.pair: append(certPEM, keyPEM...)} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ofKey, ofAll := sha256.Sum256(public), sha256.Sum256(der)
	return &trust{
		file:        p.cert,
		fingerprint: base64.StdEncoding.EncodeToString(ofKey[:]),
		digest:      strings.ReplaceAll(fmt.Sprintf("% X", ofAll), " ", ":"),
	}
}
