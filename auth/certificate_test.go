package auth_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"fanfare/auth"
)

func certificate(cn string, names ...string) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: cn}}
	for _, n := range names {
		if u, err := url.Parse(n); err == nil && u.Scheme != "" {
			c.URIs = append(c.URIs, u)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	return c
}

// TestIdentifyByCertificate: a verified certificate is the publisher that names it, unless a bearer token says who it is.
func TestIdentifyByCertificate(t *testing.T) {
	a := newAuthorizer(t, auth.Options{PublishTokens: []auth.PublishToken{
		{Name: "shop", Certificate: "shop", Keys: []string{"shop.*"}, MaxRate: 7},
		{Name: "mail", Certificate: "mail.internal", Keys: []string{"mail.*"}},
		{Name: "job", Certificate: "spiffe://fanfare.example/job", Keys: []string{"job.*"}, Rights: []auth.Right{auth.RightClose}},
		{Name: "news", Token: hashed, Keys: []string{"news.*"}},
	}})
	for _, test := range []struct {
		token auth.Secret
		cert  *x509.Certificate
		want  string // name of the publisher, or code of the refusal
	}{
		{"", certificate("shop"), "shop"},
		{"", certificate("", "shop"), "shop"},
		{"", certificate("x", "other.internal", "mail.internal"), "mail"},
		{"", certificate("x", "spiffe://fanfare.example/job"), "job"},
		{"", certificate("shop", "mail.internal"), "shop"}, // the first entry
		{"", certificate("Shop"), auth.CodeMissing},
		{"", certificate("shop "), auth.CodeMissing},
		{"", certificate("x", "*.internal"), auth.CodeMissing},
		{"", certificate("x", "spiffe://fanfare.example/job/2"), auth.CodeMissing},
		{"", certificate(""), auth.CodeMissing},
		{"", nil, auth.CodeMissing},
		{"Bearer 0123456789abcdef", certificate("shop"), "news"},
		{"Bearer 0123456789abcdef", certificate("unknown"), "news"},
		{"Bearer 0123456789abcdeF", certificate("shop"), auth.CodeInvalid}, // a wrong token is not overlooked
		{"Bearer ", certificate("shop"), auth.CodeInvalid},
		{"Bearer shop", nil, auth.CodeInvalid}, // the name is not a secret
	} {
		p, err := a.Identify(context.Background(), auth.PublishRequest{Authorization: test.token, Certificate: test.cert})
		var d *auth.Denied
		switch {
		case err == nil:
			if p.Name != test.want {
				t.Errorf("%d bytes, %v: %q, want %s", len(test.token), test.cert, p.Name, test.want)
			}
			if p.Name == "shop" && (p.MaxRate != 7 || !p.Allows(auth.RightPublish, "shop.1") || p.Allows(auth.RightPublish, "mail.1") || p.Has(auth.RightClose)) {
				t.Errorf("%+v", p)
			}
		case !errors.As(err, &d) || d.Code != test.want || d.Status != http.StatusUnauthorized:
			t.Errorf("%d bytes, %v: %v, want %s", len(test.token), test.cert, err, test.want)
		}
	}
	p, _ := a.Identify(context.Background(), auth.PublishRequest{Certificate: certificate("shop")})
	p.Keys[0], p.Rights[0] = "**", auth.RightMint
	if p, _ = a.Identify(context.Background(), auth.PublishRequest{Certificate: certificate("shop")}); p.Keys[0] != "shop.*" || p.Rights[0] != auth.RightPublish {
		t.Error("callers share the keys and rights of a Publisher")
	}
}

func TestBadCertificateEntries(t *testing.T) {
	keys := []string{"**"}
	for want, list := range map[string][]auth.PublishToken{
		"publishTokens[0] needs a token or a certificate":                           {{Name: "a", Keys: keys}},
		"publishTokens[0].certificate cannot be combined with token":                {{Name: "a", Keys: keys, Token: hashed, Certificate: "a"}},
		`publishTokens[0].certificate " a" is not a name`:                           {{Name: "a", Keys: keys, Certificate: " a"}},
		`publishTokens[0].certificate "a\n" is not a name`:                          {{Name: "a", Keys: keys, Certificate: "a\n"}},
		`publishTokens[1].certificate "c" is the certificate of publishTokens[0]`:   {{Name: "a", Keys: keys, Certificate: "c"}, {Name: "b", Keys: keys, Certificate: "c"}},
		"publishTokens[0].maxPublishRate -1 is negative":                            {{Name: "a", Keys: keys, Certificate: "c", MaxRate: -1}},
		"publishTokens[1].name \"a\" is the name of publishTokens[0]":               {{Name: "a", Keys: keys, Certificate: "c"}, {Name: "a", Keys: keys, Token: hashed}},
		"publishTokens[1].token is the token of publishTokens[0], too: give each i": {{Name: "a", Keys: keys, Token: hashed}, {Name: "b", Keys: keys, Token: hashed}},
	} {
		if _, err := auth.New(auth.Options{PublishTokens: list}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
