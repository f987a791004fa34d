package keys

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"fanfare/auth/internal/strictjson"
)

// ParseSet reads a JWK Set (RFC 7517, 5) from an untrusted place. As the standard asks for, keys that cannot be used here are
// passed over: of other kinds, for encryption, private ones and secrets, which nobody should publish. An error means that
// none is left, or that the text is not a set. It quotes nothing of the text.
func ParseSet(text []byte) ([]Key, error) {
	object, err := strictjson.Object(text)
	if err != nil {
		return nil, fmt.Errorf("the JWK Set %w", err)
	}
	entries, err := entriesOf(object)
	if err != nil {
		return nil, err
	}
	var list []Key
	for _, e := range entries {
		jwk, ok := e.(map[string]any)
		if !ok {
			continue
		}
		if k, err := parseJWK(jwk); err == nil && k.Algorithm != HS256 {
			list = append(list, k)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the JWK Set has no key for RS256, PS256, ES256 or EdDSA")
	}
	return list, nil
}

func entriesOf(set map[string]any) ([]any, error) {
	entries, ok := set["keys"].([]any)
	switch {
	case !ok:
		return nil, errors.New("the JWK Set has no list \"keys\"")
	case len(entries) > maxKeys:
		return nil, fmt.Errorf("the JWK Set has more than %d keys", maxKeys)
	}
	return entries, nil
}

// parseConfigured reads a JWK or a JWK Set of the configuration, in which every key must be usable.
func parseConfigured(text []byte, algorithm, id string) ([]Key, error) {
	object, err := strictjson.Object(text)
	if err != nil {
		return nil, err
	}
	entries := []any{object}
	if _, isSet := object["keys"]; isSet {
		if entries, err = entriesOf(object); err != nil {
			return nil, err
		}
	}
	var list []Key
	for i, e := range entries {
		jwk, ok := e.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("key %d of the JWK Set is not an object", i)
		}
		k, err := parseJWK(jwk)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		if algorithm != "" && k.Algorithm != algorithm && jwk["alg"] != nil {
			return nil, fmt.Errorf("key %d is for %s, not for %s", i, k.Algorithm, algorithm)
		}
		if k.Algorithm, err = algorithmOf(k.Public, cmp.Or(algorithm, k.Algorithm)); err != nil {
			return nil, fmt.Errorf("key %d %w", i, err)
		}
		if id != "" {
			k.ID = id
		}
		list = append(list, k)
	}
	if len(list) == 0 {
		return nil, errors.New("the JWK Set is empty")
	}
	return list, nil
}

var errJWK = errors.New("is not a valid JSON Web Key")

// parseJWK reads one key (RFC 7517, 4; RFC 7518, 6; RFC 8037, 2).
func parseJWK(jwk map[string]any) (Key, error) {
	if _, private := jwk["d"]; private {
		return Key{}, errors.New("is a private key: this server needs only the public one")
	}
	if !forVerifying(jwk) {
		return Key{}, errors.New("is not for verifying signatures (use, key_ops)")
	}
	id, ok := optional(jwk, "kid")
	algorithm, ok2 := optional(jwk, "alg")
	if !ok || !ok2 || len(id) > maxIDBytes {
		return Key{}, errJWK
	}
	if algorithm != "" && !slices.Contains(Algorithms, algorithm) {
		return Key{}, errors.New("has an algorithm that is not supported (alg)")
	}
	public, err := publicOf(jwk)
	if err != nil {
		return Key{}, err
	}
	if algorithm, err = algorithmOf(public, algorithm); err != nil {
		return Key{}, err
	}
	return Key{ID: id, Algorithm: algorithm, Public: public}, nil
}

func forVerifying(jwk map[string]any) bool {
	if use, has := jwk["use"]; has && use != "sig" {
		return false
	}
	operations, has := jwk["key_ops"]
	if !has {
		return true
	}
	list, ok := strictjson.Strings(operations)
	return ok && slices.Contains(list, "verify")
}

func optional(jwk map[string]any, name string) (string, bool) {
	v, has := jwk[name]
	if !has {
		return "", true
	}
	s, ok := v.(string)
	return s, ok
}

func publicOf(jwk map[string]any) (any, error) {
	switch jwk["kty"] {
	case "RSA":
		n, e := octets(jwk, "n"), octets(jwk, "e")
		if len(n) > maxRSABits/8 || len(n) == 0 || len(e) > 4 || len(e) == 0 {
			return nil, errJWK
		}
		exponent := new(big.Int).SetBytes(e).Int64()
		if exponent > 1<<31-1 { // the most that crypto/rsa takes
			return nil, errJWK
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}, nil
	case "EC":
		x, y := octets(jwk, "x"), octets(jwk, "y")
		if jwk["crv"] != "P-256" || len(x) != 32 || len(y) != 32 {
			return nil, errJWK
		}
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil {
			return nil, errJWK // not a point of the curve
		}
		return public, nil
	case "OKP":
		x := octets(jwk, "x")
		if jwk["crv"] != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return nil, errJWK
		}
		return ed25519.PublicKey(x), nil
	case "oct":
		if k := octets(jwk, "k"); len(k) > 0 {
			return k, nil
		}
	}
	return nil, errJWK
}

// octets decodes a field, nil if it is not there or not base64url.
func octets(jwk map[string]any, name string) []byte {
	s, _ := jwk[name].(string)
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
