// Package keys reads the public keys and secrets that verify tokens, and keeps those of a JWKS URL fresh.
//
// Each key has the one algorithm that it verifies. A token has no say in it, so a public key cannot be taken for the secret of
// an HMAC (RFC 8725, 3.1).
package keys

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Algorithms of RFC 7518 and RFC 8037 that keys may have.
const (
	HS256 = "HS256"
	RS256 = "RS256"
	PS256 = "PS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

// Algorithms are all of them.
var Algorithms = []string{HS256, RS256, PS256, ES256, EdDSA}

const (
	minSecretBytes = 32 // RFC 7518, 3.2
	minRSABits     = 2048
	maxRSABits     = 8192
	maxIDBytes     = 256
	maxKeys        = 64
)

// Key verifies tokens.
type Key struct {
	ID        string // "kid"; "" for a key that tokens do not name
	Algorithm string
	Public    any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or the []byte of a secret
}

// String has nothing of the key.
func (k Key) String() string { return fmt.Sprintf("%s key %q", k.Algorithm, k.ID) }

// GoString has nothing of the key.
func (k Key) GoString() string { return k.String() }

// Parse reads the keys of a configuration: a public key or certificate in PEM, a JWK or a JWK Set in JSON, or, for HS256 alone,
// a secret. The algorithm may be "" if the text says it; RSA then means RS256. The errors quote nothing of the text.
func Parse(text []byte, algorithm, id string) ([]Key, error) {
	trimmed := strings.TrimSpace(string(text))
	switch {
	case algorithm != "" && !slices.Contains(Algorithms, algorithm):
		return nil, fmt.Errorf("algorithm %q is unknown: use one of %s", algorithm, strings.Join(Algorithms, ", "))
	case len(id) > maxIDBytes:
		return nil, fmt.Errorf("its id has more than %d bytes", maxIDBytes)
	case trimmed == "":
		return nil, errors.New("is empty")
	case strings.HasPrefix(trimmed, "-----BEGIN"):
		public, err := parsePEM([]byte(trimmed))
		if err != nil {
			return nil, err
		}
		return one(public, algorithm, id)
	case strings.HasPrefix(trimmed, "{"):
		return parseConfigured([]byte(trimmed), algorithm, id)
	case algorithm == HS256:
		return one([]byte(trimmed), algorithm, id)
	}
	return nil, errors.New("is neither PEM nor JSON: write a public key, or set the algorithm HS256 for a secret")
}

func one(public any, algorithm, id string) ([]Key, error) {
	algorithm, err := algorithmOf(public, algorithm)
	if err != nil {
		return nil, err
	}
	return []Key{{ID: id, Algorithm: algorithm, Public: public}}, nil
}

func parsePEM(text []byte) (any, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("is not valid PEM")
	}
	if strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("has more than one PEM block: give each key an entry of its own")
	}
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = cert.PublicKey
		}
	default:
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, errors.New("is a private key: this server needs only the public one (openssl pkey -pubout)")
		}
		return nil, errors.New("is PEM of another kind: write a PUBLIC KEY or a CERTIFICATE")
	}
	if err != nil {
		return nil, errors.New("is PEM, but its content is not a valid public key")
	}
	return public, nil
}

// algorithmOf returns the algorithm of a key. wanted is what the configuration says, or "".
func algorithmOf(public any, wanted string) (string, error) {
	var possible []string
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return "", fmt.Errorf("has %d bits: use RSA keys of %d to %d", bits, minRSABits, maxRSABits)
		}
		if k.E < 3 || k.E%2 == 0 {
			return "", errors.New("has an unusable RSA exponent")
		}
		possible = []string{RS256, PS256}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return "", errors.New("is not on the curve P-256, which ES256 needs")
		}
		possible = []string{ES256}
	case ed25519.PublicKey:
		possible = []string{EdDSA}
	case []byte:
		if len(k) < minSecretBytes {
			return "", fmt.Errorf("has %d bytes: HS256 needs at least %d (RFC 7518, 3.2)", len(k), minSecretBytes)
		}
		possible = []string{HS256}
	default:
		return "", errors.New("is of a kind that is not supported: use RSA, P-256 or Ed25519")
	}
	if wanted == "" {
		return possible[0], nil
	}
	if !slices.Contains(possible, wanted) {
		return "", fmt.Errorf("cannot be used with %s: it is a key for %s", wanted, strings.Join(possible, " or "))
	}
	return wanted, nil
}

// Named returns the keys that may have signed a token that names the key id, or none ("").
func Named(list []Key, id string) (found []Key) {
	for _, k := range list {
		if id == "" || k.ID == "" || k.ID == id {
			found = append(found, k)
		}
	}
	return found
}
