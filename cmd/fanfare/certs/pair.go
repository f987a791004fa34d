package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"
)

// maxFile bounds a file: the largest bundle of CAs in use has a quarter of it.
const maxFile = 1 << 20

// certificate is a Pair that has been read.
type certificate struct {
	files    Pair
	pair     tls.Certificate // with its Leaf
	sum      [32]byte        // of the bytes of both files
	warnings []string
}

func loadPair(p Pair) (*certificate, error) {
	cert, key, sum, err := readPair(p)
	if err != nil {
		return nil, err
	}
	return parsePair(p, cert, key, sum)
}

// readPair reads both files. sum is that of their bytes, or of the error.
func readPair(p Pair) (cert, key []byte, sum [32]byte, err error) {
	cert, certErr := p.Cert.read()
	key, keyErr := p.Key.read()
	if err = errors.Join(certErr, keyErr); err != nil {
		return nil, nil, sha256.Sum256([]byte(err.Error())), err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d ", len(cert)) // so that bytes that move from one file to the other make a difference
	h.Write(cert)
	h.Write(key)
	h.Sum(sum[:0])
	return cert, key, sum, nil
}

func parsePair(p Pair, cert, key []byte, sum [32]byte) (*certificate, error) {
	chain, err := p.Cert.parse(cert)
	if err != nil {
		return nil, err
	}
	if err := p.Key.checkKey(key); err != nil {
		return nil, err
	}
	c := &certificate{files: p, sum: sum}
	if c.pair, err = tls.X509KeyPair(cert, key); err != nil {
		text := strings.TrimPrefix(err.Error(), "tls: ")
		if strings.Contains(text, "does not match") {
			return nil, p.Key.problem("is not the private key of the first certificate in %s (%s)", p.Cert.Path, p.Cert.Setting)
		}
		return nil, p.Key.problem("has a private key that cannot be used: %s", text)
	}
	c.pair.Leaf = chain[0]
	c.warnings = p.warnings(chain[0], time.Now())
	return c, nil
}

// warnings are about what does not keep the pair from being used.
func (p Pair) warnings(leaf *x509.Certificate, now time.Time) (list []string) {
	warn := func(f File, format string, args ...any) { list = append(list, f.problem(format, args...).Error()) }
	if w := validity(leaf, now); w != "" {
		warn(p.Cert, "%s: clients refuse it", w)
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		warn(p.Cert, "has no subject alternative name: clients refuse it, because they do not look at the common name")
	}
	if info, err := os.Stat(p.Key.Path); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		warn(p.Key, "can be read by every user of this machine (mode %04o): chmod o= it", info.Mode().Perm())
	}
	return list
}

// validity says why a certificate is not valid now, or returns "".
func validity(c *x509.Certificate, now time.Time) string {
	switch {
	case now.After(c.NotAfter):
		return "expired on " + c.NotAfter.UTC().Format(time.RFC3339)
	case now.Before(c.NotBefore):
		return "is valid from " + c.NotBefore.UTC().Format(time.RFC3339) + " on, which is in the future"
	}
	return ""
}

// authorities are CA certificates.
type authorities struct {
	pool     *x509.CertPool
	sum      [32]byte
	warnings []string
}

// same reports whether both are nil, or come from the same bytes.
func (a *authorities) same(b *authorities) bool {
	return a == nil && b == nil || a != nil && b != nil && a.sum == b.sum
}

func loadAuthorities(f File) (*authorities, error) {
	text, err := f.read()
	if err != nil {
		return nil, err
	}
	list, err := f.parse(text)
	if err != nil {
		return nil, err
	}
	a := &authorities{pool: x509.NewCertPool(), sum: sha256.Sum256(text)}
	for i, c := range list {
		if w := validity(c, time.Now()); w != "" {
			a.warnings = append(a.warnings, f.problem("certificate %d (%s) %s", i+1, c.Subject, w).Error())
		}
		a.pool.AddCert(c)
	}
	return a, nil
}

// problem is an error about the file: "SETTING: PATH TEXT".
func (f File) problem(format string, args ...any) error {
	return fmt.Errorf("%s: %s %s", f.Setting, f.Path, fmt.Sprintf(format, args...))
}

func (f File) read() ([]byte, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, f.cannotRead(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, f.cannotRead(err)
	case len(text) > maxFile:
		return nil, f.problem("is larger than 1 MiB: it is not a file of certificates or keys")
	}
	return text, nil
}

func (f File) cannotRead(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err // without the path, which the message has already
	}
	if errors.Is(err, fs.ErrPermission) {
		return f.problem("cannot be read: %s: allow it to the user of the server (uid %d)", err, os.Geteuid())
	}
	return f.problem("cannot be read: %s", err)
}

// parse returns the certificates of a file, at least one.
func (f File) parse(text []byte) (list []*x509.Certificate, err error) {
	other := ""
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			other = block.Type
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, f.problem("has a certificate (number %d) that cannot be parsed: %s", len(list)+1, err)
		}
		list = append(list, c)
	}
	switch {
	case len(list) > 0:
		return list, nil
	case other != "":
		return nil, f.problem("has no certificate, but a %s", strings.ToLower(other))
	}
	return nil, f.problem("has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----")
}

// checkKey finds the mistakes that crypto/tls does not name.
func (f File) checkKey(text []byte) error {
	other := ""
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch {
		case strings.HasPrefix(block.Type, "ENCRYPTED ") || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return f.problem("has an encrypted private key, and the server has no passphrase: decrypt it with \"openssl pkey\"")
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil
		}
		other = block.Type
	}
	if other != "" {
		return f.problem("has no private key, but a %s", strings.ToLower(other))
	}
	return f.problem("has no private key in PEM, which begins with -----BEGIN PRIVATE KEY-----")
}
