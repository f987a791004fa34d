package keys_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"slices"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"fanfare/auth/internal/keys"
)

const (
	ed = `{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`                                                            // RFC 8037, A.2
	ec = `{"kty":"EC","crv":"P-256","kid":"ec","use":"sig","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}` // RFC 7517, A.1
	rs = `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`
)

// TestStandardKeys reads the examples of the standards.
func TestStandardKeys(t *testing.T) {
	list, err := keys.ParseSet([]byte(`{"keys":[` + ed + `,` + ec + `,` + rs + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range list {
		got = append(got, k.String())
	}
	if want := []string{`EdDSA key "ed"`, `ES256 key "ec"`, `RS256 key "2011-04-29"`}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}

// FuzzKeys reads any text as a JWK Set and as a key of the configuration. Each key that comes out can verify by its algorithm, so
// with a broken signature that fails and does not panic.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{`{"keys":[` + ed + `,` + ec + `,` + rs + `]}`, ed, ec, rs, `{"keys":[{}]}`, `{"kty":"oct","k":"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE","alg":"HS256"}`,
		"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMKBCTNIcKUSDii11ySs3526iDZ8A\niTo7Tu6KPAqv7D7gS2XpJFbZiItSs3m9+9Ue6GnvHw/GW2ZZaVtszggXIw==\n-----END PUBLIC KEY-----"} {
		f.Add([]byte(s), "", "")
		f.Add([]byte(s), "HS256", "id")
	}
	f.Fuzz(func(t *testing.T, text []byte, algorithm, id string) {
		list, err := keys.ParseSet(text)
		if err == nil && len(list) == 0 || err != nil && list != nil {
			t.Errorf("%d keys, %v", len(list), err)
		}
		for _, k := range list {
			if k.Algorithm == keys.HS256 {
				t.Errorf("a secret comes out of %q", text)
			}
			use(t, k)
		}
		configured, err := keys.Parse(text, algorithm, id)
		if err == nil && len(configured) == 0 {
			t.Error("no key and no error")
		}
		for _, k := range configured {
			if algorithm != "" && k.Algorithm != algorithm {
				t.Errorf("a key for %s, not for %s", k.Algorithm, algorithm)
			}
			use(t, k)
		}
	})
}

func use(t *testing.T, k keys.Key) {
	t.Helper()
	ok := false
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		ok = (k.Algorithm == keys.RS256 || k.Algorithm == keys.PS256) && public.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		ok = k.Algorithm == keys.ES256
	case ed25519.PublicKey:
		ok = k.Algorithm == keys.EdDSA
	case []byte:
		ok = k.Algorithm == keys.HS256 && len(public) >= 32
	}
	if !ok {
		t.Errorf("%v has a %T", k, k.Public)
	}
	if jwt.GetSigningMethod(k.Algorithm).Verify("text", make([]byte, 64), k.Public) == nil {
		t.Errorf("%v verifies a signature of zeros", k)
	}
}
