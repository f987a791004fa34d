package config

import (
	"strings"
	"testing"
)

func TestPublishTokens(t *testing.T) {
	const news = "{name: news, token: 0123456789abcdef, keys: ['news.*']}"
	for text, want := range map[string]string{
		"publishTokens: [" + news + "]":                                       "",
		"admin: ':8081'\npublishTokens: [" + news + "]":                       "",
		"admin: ':8081'\npublishJWT: true\njwtKeys: ['HS256:env:APP_SECRET']": "",
		"admin: ':8081'\npublishTokens: []":                                   "anyone could publish",
		"admin: ':8081'\njwtKeys: ['HS256:env:APP_SECRET']":                   "anyone could publish",
		"publishToken: short\nadmin: ':8081'\npublishTokens: [" + news + "]":  "publishToken: has 5 bytes",
		"publishJWT: true":                                        "publishJWT: needs jwtKeys or jwksURL",
		"publishTokens: [{name: a, keys: ['*']}]":                 "publishTokens[0]: needs a token or a certificate",
		"publishTokens: [{name: a, certificate: x, keys: ['*']}]": "publishTokens[0].certificate: needs adminClientCA",
		"adminTLSCert: a\nadminTLSKey: a\nadminClientCA: a\npublishTokens: [{name: a, certificate: x, keys: ['*']}]": "",
		"publishTokens: [" + news + ", {name: b, token: tooshort, keys: ['*']}]":                                     "publishTokens[1].token: has fewer than 16 characters",
		"publishTokens: [{name: a, token: 'sha256:12', keys: ['*']}]":                                                "publishTokens[0].token: has sha256: with something",
		"publishTokens: [{name: a, token: 0123456789abcdef, keys: []}]":                                              "publishTokens[0].keys: is empty",
		"publishTokens: [{name: a, token: 0123456789abcdef, keys: ['a**']}]":                                         "publishTokens[0].keys[0]: \"a**\" is a bad pattern",
		"publishTokens: [{name: a, token: 0123456789abcdef, keys: ['*'], rights: [admin]}]":                          "publishTokens[0].rights: has \"admin\", which is unknown",
		"publishTokens: [{name: a, token: 0123456789abcdef, keys: ['*'], maxPublishRate: -1}]":                       "publishTokens[0].maxPublishRate: -1 is out of range",
		"publishTokens: [{name: a, token: 0123456789abcdef, keys: ['*'], key: x}]":                                   "key",
		"publishTokens: [" + news + ", " + news + "]":                                                                "publishTokens[1].name: \"news\" is the name of publishTokens[0], too",
		"publishToken: 0123456789abcdef\npublishTokens: [" + news + "]":                                              "publishTokens[0].token: is the publishToken, too",
		"publishTokens: [{token: 0123456789abcdef, keys: ['*']}]":                                                    "name",
		"publishTokens: [{name: a, token: [x], keys: ['*']}]":                                                        "must be a text",
		"publishTokens: [{name: a, token: 'secret secret secret', keys: ['*']}]":                                     "publishTokens[0].token: may have only",
		"publishTokens: [{name: a, token: 12345678901234567, keys: ['*']}]":                                          "in quotes",
		"publishToken: fedcba9876543210\nadminOrigins: ['*']\npublishTokens: [" + news + "]":                         "",
		"adminOrigins: ['*']\npublishTokens: [" + news + "]":                                                         "",
		"adminOrigins: ['*']\npublishTokens: [{name: a, certificate: shop, keys: ['*']}]\n":                          "sends it for every page",
		"adminOrigins: ['*']\npublishTokens: [" + news + ", {name: a, certificate: shop, keys: ['*']}]\n\n":          "sends it for every page",
	} {
		t.Setenv("APP_SECRET", "0123456789abcdef0123456789abcdef")
		c, err := load(t, text+"\n", nil)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", text, err, want)
		case err != nil && (strings.Contains(err.Error(), "0123456789abcdef") || strings.Contains(err.Error(), "secret secret") || strings.Contains(err.Error(), "12345678901234567") || strings.Contains(err.Error(), "tooshort")):
			t.Errorf("%s: the error has the token: %v", text, err)
		case err == nil && (strings.Contains(c.YAML(), "0123456789abcdef") || strings.Contains(c.YAML(), "fedcba9876543210")):
			t.Errorf("a token is printed:\n%s", c.YAML())
		}
	}
}
