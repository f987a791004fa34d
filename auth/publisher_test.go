package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fanfare/auth"
)

// hashed is the hash of "0123456789abcdef".
const hashed = "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"

func TestPublish(t *testing.T) {
	c := newClock()
	a := newAuthorizer(t, auth.Options{
		Now: c.Now, PublishJWT: true, JWT: auth.JWT{Keys: []auth.KeySource{{Algorithm: "HS256", Data: secret}}}, TokenSecrets: []auth.Secret{secret},
		PublishTokens: []auth.PublishToken{
			{Name: "news", Token: hashed, Keys: []string{"news.*"}},
			{Name: "ops", Token: "ops-token-ops-token", Keys: []string{"**"}, Rights: []auth.Right{auth.RightRead, auth.RightClose}},
			{Name: "all", Token: "all-token-all-token", Keys: []string{"*", "a/*"}, Rights: auth.AllRights},
			{Name: "root", Token: "root-token-root-token", Keys: []string{"**"}, Rights: auth.AllRights},
		},
	})
	writer := string(signed(t, jwt.SigningMethodHS256, []byte(secret), `{"alg":"HS256"}`, fmt.Sprintf(`{"sub":"w","exp":%d,"fanfare":{"publish":["chat.*"],"subscribe":["**"]}}`, c.unix(time.Hour))))
	all := string(signed(t, jwt.SigningMethodHS256, []byte(secret), `{"alg":"HS256"}`, fmt.Sprintf(`{"exp":%d,"fanfare":{"publish":["**"]}}`, c.unix(time.Hour))))
	reader := string(signed(t, jwt.SigningMethodHS256, []byte(secret), `{"alg":"HS256"}`, fmt.Sprintf(`{"exp":%d,"fanfare":{"subscribe":["**"]}}`, c.unix(time.Hour))))
	own := string(must(a.Mint(auth.Publisher{Rights: auth.AllRights, Keys: []string{"**"}}, auth.TokenRequest{Keys: []string{"**"}})).Text)
	for _, test := range []struct {
		token string
		right auth.Right
		keys  []string // nil: all
		want  string   // name of the publisher, or code of the refusal
	}{
		{"0123456789abcdef", auth.RightPublish, []string{"news.a"}, "news"},
		{"0123456789abcdef", auth.RightPublish, []string{"news.a", "secret"}, auth.CodeKey},
		{"0123456789abcdef", auth.RightPublish, []string{"news.a/b"}, auth.CodeKey},
		{"0123456789abcdef", auth.RightPublish, []string{"news.*"}, "news"}, // a key of this very name
		{"0123456789abcdef", auth.RightPublish, []string{"**"}, auth.CodeKey},
		{"0123456789abcdef", auth.RightPublish, nil, auth.CodeKey},
		{"0123456789abcdef", auth.RightPublishAll, nil, auth.CodeRight},
		{"0123456789abcdef", auth.RightClose, []string{"news.a"}, auth.CodeRight},
		{"0123456789abcdef", auth.RightClose, nil, auth.CodeRight},
		{"0123456789abcdef", auth.RightDisconnect, nil, auth.CodeRight},
		{"0123456789abcdef", auth.RightRead, []string{"news.a"}, auth.CodeRight},
		{"0123456789abcdef", auth.RightMint, []string{"news.a"}, auth.CodeRight},
		{hashed, auth.RightPublish, []string{"news.a"}, auth.CodeInvalid}, // the hash is not the token
		{strings.TrimPrefix(hashed, "sha256:"), auth.RightPublish, []string{"news.a"}, auth.CodeInvalid},
		{"0123456789abcdeF", auth.RightPublish, []string{"news.a"}, auth.CodeInvalid},
		{"0123456789abcde", auth.RightPublish, []string{"news.a"}, auth.CodeInvalid},
		{"", auth.RightPublish, []string{"news.a"}, auth.CodeInvalid},
		{strings.Repeat("x", 1_000_000), auth.RightPublish, []string{"news.a"}, auth.CodeInvalid},
		{"ops-token-ops-token", auth.RightRead, nil, "ops"},
		{"ops-token-ops-token", auth.RightClose, nil, "ops"},
		{"ops-token-ops-token", auth.RightPublish, []string{"news.a"}, auth.CodeRight},
		{"ops-token-ops-token", auth.Right(""), []string{"news.a"}, auth.CodeRight},
		{"all-token-all-token", auth.RightPublishAll, nil, auth.CodeKey}, // "*" is not all keys
		{"all-token-all-token", auth.RightClose, nil, auth.CodeKey},
		{"all-token-all-token", auth.RightClose, []string{"x"}, "all"},
		{"root-token-root-token", auth.RightPublishAll, nil, "root"},
		{writer, auth.RightPublish, []string{"chat.1"}, "jwt:w"},
		{writer, auth.RightPublish, []string{"news.a"}, auth.CodeKey},
		{writer, auth.RightRead, []string{"chat.1"}, auth.CodeRight},
		{writer, auth.RightMint, []string{"chat.1"}, auth.CodeRight},
		{all, auth.RightPublish, []string{"x/y"}, "jwt:"},
		{all, auth.RightPublishAll, nil, auth.CodeRight},
		{reader, auth.RightPublish, []string{"chat.1"}, auth.CodeKey},
		{writer + "x", auth.RightPublish, []string{"chat.1"}, auth.CodeInvalid},
		{own, auth.RightPublish, []string{"chat.1"}, auth.CodeInvalid}, // tokens of subscribers publish nothing
	} {
		p, err := a.AuthorizePublish(context.Background(), auth.PublishRequest{Authorization: auth.Secret("Bearer " + test.token)}, test.right, test.keys...)
		var d *auth.Denied
		switch {
		case err == nil:
			if p.Name != test.want {
				t.Errorf("%.20s %s %q: allowed to %q, want %s", test.token, test.right, test.keys, p.Name, test.want)
			}
		case !errors.As(err, &d) || d.Code != test.want || (d.Status == http.StatusUnauthorized) != (d.Code == auth.CodeInvalid):
			t.Errorf("%.20s %s %q: %v, want %s", test.token, test.right, test.keys, err, test.want)
		}
		if err != nil && (p.Name != "" || p.Rights != nil || p.Keys != nil) {
			t.Errorf("%.20s %s %q: a refusal comes with %v", test.token, test.right, test.keys, p)
		}
	}
	for _, field := range []auth.Secret{"", "0123456789abcdef", "Basic 0123456789abcdef", "Bearer", "Bearer ", "Bearer a b", "Bearer 0123456789abcdef,", "Bearer\t0123456789abcdef"} {
		_, err := a.AuthorizePublish(context.Background(), auth.PublishRequest{Authorization: field}, auth.RightPublish, "news.a")
		var d *auth.Denied
		if !errors.As(err, &d) || d.Status != http.StatusUnauthorized {
			t.Errorf("field %d bytes long: %v", len(field), err)
		}
	}
	// What a caller does to its Publisher changes nothing.
	p, _ := a.AuthorizePublish(context.Background(), auth.PublishRequest{Authorization: "Bearer 0123456789abcdef"}, auth.RightPublish, "news.a")
	p.Keys[0] = "**"
	if _, err := a.AuthorizePublish(context.Background(), auth.PublishRequest{Authorization: "Bearer 0123456789abcdef"}, auth.RightPublish, "secret"); err == nil {
		t.Error("callers share the keys of a Publisher")
	}
	p.Rights[0] = auth.RightMint
	if _, err := a.AuthorizePublish(context.Background(), auth.PublishRequest{Authorization: "Bearer 0123456789abcdef"}, auth.RightMint, "news.a"); err == nil {
		t.Error("callers share the rights of a Publisher")
	}
}

// TestPublishJWTIsOff: tokens of subscribers must not begin to publish because publish tokens exist.
func TestPublishJWTIsOff(t *testing.T) {
	c := newClock()
	token := signed(t, jwt.SigningMethodHS256, []byte(secret), `{"alg":"HS256"}`, fmt.Sprintf(`{"exp":%d,"fanfare":{"publish":["**"]}}`, c.unix(time.Hour)))
	o := auth.Options{Now: c.Now, JWT: auth.JWT{Keys: []auth.KeySource{{Algorithm: "HS256", Data: secret}}}}
	o.PublishTokens = []auth.PublishToken{{Name: "news", Token: hashed, Keys: []string{"news.*"}}}
	_, err := newAuthorizer(t, o).AuthorizePublish(context.Background(), auth.PublishRequest{Authorization: "Bearer " + token}, auth.RightPublish, "x")
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "publishTokens")
}

func TestNothingConfigured(t *testing.T) {
	a := newAuthorizer(t, auth.Options{})
	if a.GuardsSubscribe() || a.GuardsPublish() {
		t.Error("nothing is configured, but something is guarded")
	}
	g, err := a.Authorize(context.Background(), auth.Request{Keys: []string{"a/b"}, Authorization: "x"})
	if err != nil || g.Way != auth.WayOpen || g.AllowsPublish("a") {
		t.Errorf("%+v, %v", g, err)
	}
	for _, right := range auth.AllRights {
		if _, err := a.AuthorizePublish(context.Background(), auth.PublishRequest{Authorization: ""}, right); err != nil {
			t.Error(err)
		}
	}
	var none auth.Grant
	if none.AllowsSubscribe("") || none.AllowsPublish("") || (auth.Publisher{}).Allows(auth.RightPublish, "") || (auth.Publisher{Keys: []string{"**"}}).AllowsAll("") {
		t.Error("a zero value allows something")
	}
	if _, err := a.Mint(auth.Publisher{Rights: auth.AllRights, Keys: []string{"**"}}, auth.TokenRequest{Keys: []string{"a"}}); !errors.Is(err, auth.ErrBadToken) {
		t.Error(err)
	}
	// One side does not guard the other.
	b := newAuthorizer(t, auth.Options{AnonymousKeys: []string{"a"}})
	d := newAuthorizer(t, auth.Options{PublishTokens: []auth.PublishToken{{Name: "a", Token: hashed, Keys: []string{"*"}}}})
	if !b.GuardsSubscribe() || b.GuardsPublish() || d.GuardsSubscribe() || !d.GuardsPublish() {
		t.Error("the wrong side is guarded")
	}
}

func TestMint(t *testing.T) {
	c := newClock()
	old := auth.Secret("an old secret of the tests, with more than 32 bytes")
	a := newAuthorizer(t, auth.Options{Now: c.Now, TokenSecrets: []auth.Secret{secret, old}, MaxTokenTTL: 2 * time.Hour,
		JWT: auth.JWT{Keys: []auth.KeySource{{Algorithm: "HS256", Data: secret}}}}) // the same secret, which must not matter
	minter := auth.Publisher{Name: "m", Rights: []auth.Right{auth.RightMint}, Keys: []string{"user.*", "news"}}
	for _, test := range []struct {
		keys []string
		want string // code or "" for a token
	}{
		{[]string{"news"}, ""},
		{[]string{"user.42.*", "user.*", "user.[0-9]?", "news"}, ""},
		{[]string{"news", "secret"}, auth.CodeKey},
		{[]string{"*"}, auth.CodeKey},
		{[]string{"**"}, auth.CodeKey},
		{[]string{"user*"}, auth.CodeKey},
		{[]string{"user.a/b"}, auth.CodeKey},
		{[]string{"user.[^a]"}, auth.CodeKey}, // matches user./
		{[]string{"?ews"}, auth.CodeKey},
		{[]string{`\news`}, ""},
	} {
		token, err := a.Mint(minter, auth.TokenRequest{Keys: test.keys, Subject: "u42"})
		if test.want != "" {
			wantDenied(t, err, http.StatusForbidden, test.want, "")
			continue
		}
		if err != nil {
			t.Fatalf("%q: %v", test.keys, err)
		}
		g, err := ask(a, token.Text, "news")
		if !slices.Contains(test.keys, "news") && test.keys[0] != `\news` {
			continue
		}
		if err != nil || g.Subject != "u42" || g.Way != auth.WayToken || !g.Expires.Equal(c.Now().Add(time.Hour)) || !g.Expires.Equal(token.Expires) {
			t.Errorf("%q: %+v, %v", test.keys, g, err)
		}
	}
	for _, p := range []auth.Publisher{{}, {Rights: []auth.Right{auth.RightPublish, auth.RightPublishAll, auth.RightClose}, Keys: []string{"**"}}} {
		_, err := a.Mint(p, auth.TokenRequest{Keys: []string{"news"}})
		wantDenied(t, err, http.StatusForbidden, auth.CodeRight, "mint")
	}
	root := auth.Publisher{Rights: auth.AllRights, Keys: []string{"**"}}
	many := make([]string, 257)
	for i := range many {
		many[i] = "k"
	}
	for name, r := range map[string]auth.TokenRequest{
		"no keys":         {},
		"an empty key":    {Keys: []string{""}},
		"a bad pattern":   {Keys: []string{"["}},
		"a key of bytes":  {Keys: []string{"\xff"}},
		"a long key":      {Keys: []string{strings.Repeat("k", 1025)}},
		"many keys":       {Keys: many},
		"a long token":    {Keys: slices.Repeat([]string{strings.Repeat("k", 1000)}, 10)},
		"a long subject":  {Keys: []string{"k"}, Subject: strings.Repeat("s", 257)},
		"a bad subject":   {Keys: []string{"k"}, Subject: "a\nb"},
		"a negative time": {Keys: []string{"k"}, TTL: -1},
		"a tiny time":     {Keys: []string{"k"}, TTL: 1},
		"a long time":     {Keys: []string{"k"}, TTL: 2*time.Hour + 1},
	} {
		if token, err := a.Mint(root, r); !errors.Is(err, auth.ErrBadToken) || token.Text != "" {
			t.Errorf("%s: %v", name, err)
		}
	}

	// A token of the old secret stays valid, one of another does not, and no token passes for one of the other kind.
	mint := func(s auth.Secret) auth.Secret {
		return must(newAuthorizer(t, auth.Options{Now: c.Now, TokenSecrets: []auth.Secret{s}}).Mint(root, auth.TokenRequest{Keys: []string{"**"}})).Text
	}
	if _, err := ask(a, mint(old), "x"); err != nil {
		t.Errorf("a token of the old secret: %v", err)
	}
	_, err := ask(a, mint("another secret of the tests, with more than 32 bytes"), "x")
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "signature")
	claims := fmt.Sprintf(`{"exp":%d,"fanfare":{"subscribe":["**"]}}`, c.unix(time.Hour))
	for _, typ := range []string{"fanfare+jwt", "FANFARE+JWT"} {
		_, err = ask(a, signed(t, jwt.SigningMethodHS256, []byte(secret), `{"alg":"HS256","typ":"`+typ+`"}`, claims), "x")
		wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "signature")
	}
	jwtOnly := newAuthorizer(t, auth.Options{Now: c.Now, JWT: auth.JWT{Keys: []auth.KeySource{{Algorithm: "HS256", Data: secret}}}})
	_, err = ask(jwtOnly, mint(secret), "x")
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "not a token")
	ownOnly := newAuthorizer(t, auth.Options{Now: c.Now, TokenSecrets: []auth.Secret{secret}})
	_, err = ask(ownOnly, signed(t, jwt.SigningMethodHS256, []byte(secret), `{"alg":"HS256"}`, claims), "x")
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "not a token")

	token := mint(secret)
	c.add(time.Hour)
	_, err = ask(a, token, "x")
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeExpired, "")
}
