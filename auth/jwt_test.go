package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fanfare/auth"
)

const secret = "a secret of the tests, which has more than 32 bytes"

// Keys are made once: RSA keys take long.
var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey { _, k, err := ed25519.GenerateKey(rand.Reader); return must(k, err) })
	otherKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pemOf(t testing.TB, public any) auth.Secret {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return auth.Secret(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(2_000_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *clock) unix(d time.Duration) int64 { return c.Now().Add(d).Unix() }

// signed makes a token of any two texts, so also of texts that no library makes.
func signed(t testing.TB, method jwt.SigningMethod, key any, header, claims string) auth.Secret {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	signature, err := method.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return auth.Secret(text + "." + base64.RawURLEncoding.EncodeToString(signature))
}

func newAuthorizer(t testing.TB, o auth.Options) *auth.Authorizer {
	t.Helper()
	a, err := auth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// ask asks for a stream of one key with a token.
func ask(a *auth.Authorizer, token auth.Secret, key string) (auth.Grant, error) {
	return a.Authorize(context.Background(), auth.Request{Keys: []string{key}, Token: token})
}

// wantDenied checks a refusal. what is a part of its cause, for a test that must fail for the reason that it is about.
func wantDenied(t testing.TB, err error, status int, code, what string) {
	t.Helper()
	var d *auth.Denied
	if !errors.As(err, &d) || d.Status != status || d.Code != code || !strings.Contains(d.Error(), what) {
		t.Errorf("error %v, want status %d, code %s, with %q", err, status, code, what)
	}
}

func TestAlgorithms(t *testing.T) {
	c := newClock()
	for _, k := range []struct {
		source auth.KeySource
		method jwt.SigningMethod
		key    any
	}{
		{auth.KeySource{Algorithm: "HS256", Data: secret}, jwt.SigningMethodHS256, []byte(secret)},
		{auth.KeySource{Data: pemOf(t, rsaKey().Public())}, jwt.SigningMethodRS256, rsaKey()},
		{auth.KeySource{Algorithm: "PS256", Data: pemOf(t, rsaKey().Public())}, jwt.SigningMethodPS256, rsaKey()},
		{auth.KeySource{Data: pemOf(t, ecKey().Public())}, jwt.SigningMethodES256, ecKey()},
		{auth.KeySource{Data: pemOf(t, edKey().Public())}, jwt.SigningMethodEdDSA, edKey()},
	} {
		alg := k.method.Alg()
		a := newAuthorizer(t, auth.Options{JWT: auth.JWT{Keys: []auth.KeySource{k.source}}, Now: c.Now})
		claims := fmt.Sprintf(`{"sub":"u42","exp":%d,"fanfare":{"subscribe":["news.*"],"publish":["chat"]}}`, c.unix(time.Hour))
		token := signed(t, k.method, k.key, `{"alg":"`+alg+`"}`, claims)
		g, err := ask(a, token, "news.a")
		if err != nil || g.Subject != "u42" || !g.Expires.Equal(c.Now().Add(time.Hour+30*time.Second)) || g.Way != auth.WayJWT {
			t.Errorf("%s: %+v, %v", alg, g, err)
		}
		if !g.AllowsPublish("chat") || g.AllowsPublish("news.a") || g.AllowsSubscribe("chat") {
			t.Errorf("%s: wrong keys: %+v", alg, g)
		}
		_, err = ask(a, token, "secret")
		wantDenied(t, err, http.StatusForbidden, auth.CodeKey, "secret")
		broken := []byte(token)
		broken[len(broken)-10] ^= 1
		_, err = ask(a, auth.Secret(broken), "news.a")
		wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "")
		// The signature is over the header, too.
		changed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + alg + `","x":1}`))
		_, rest, _ := strings.Cut(string(token), ".")
		_, err = ask(a, auth.Secret(changed+"."+rest), "news.a")
		wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "signature")
	}
}

// TestTokenAbuse has one key of each kind configured, and tokens that must not pass for each.
func TestTokenAbuse(t *testing.T) {
	c := newClock()
	rsaPEM, edPEM := pemOf(t, rsaKey().Public()), pemOf(t, edKey().Public())
	a := newAuthorizer(t, auth.Options{Now: c.Now, JWT: auth.JWT{Issuer: "https://login.example", Audience: []string{"sse", "other"}, Keys: []auth.KeySource{
		{ID: "rsa", Data: rsaPEM}, {ID: "ec", Data: pemOf(t, ecKey().Public())}, {ID: "ed", Data: edPEM},
		{ID: "hs", Algorithm: "HS256", Data: secret},
	}}})
	good := fmt.Sprintf(`"iss":"https://login.example","aud":"sse","fanfare":{"subscribe":["news"]},"exp":%d`, c.unix(time.Hour))
	ec := func(header, claims string) auth.Secret {
		return signed(t, jwt.SigningMethodES256, ecKey(), header, claims)
	}
	hs := func(key string, header, claims string) auth.Secret {
		return signed(t, jwt.SigningMethodHS256, []byte(key), header, claims)
	}
	es := `{"alg":"ES256","kid":"ec"}`
	if _, err := ask(a, ec(es, "{"+good+"}"), "news"); err != nil {
		t.Fatalf("a good token is refused: %v", err)
	}
	if _, err := ask(a, ec(`{"alg":"ES256"}`, "{"+good+"}"), "news"); err != nil {
		t.Fatalf("a good token without a kid is refused: %v", err)
	}
	none := func(header string) auth.Secret {
		return signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, header, "{"+good+"}")
	}
	plain := strings.TrimSpace(string(rsaPEM))
	der, _ := pem.Decode([]byte(rsaPEM))
	without := func(name string) string { // the claims without one
		var parts []string
		for _, p := range strings.Split(good, ",\"") {
			if p = strings.TrimPrefix(p, `"`); !strings.HasPrefix(p, name+`"`) {
				parts = append(parts, `"`+p)
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	with := func(name, value string) string {
		return strings.TrimSuffix(without(name), "}") + `,"` + name + `":` + value + "}"
	}
	const status, code = http.StatusUnauthorized, auth.CodeInvalid
	for name, token := range map[string]struct {
		text auth.Secret
		what string
	}{
		"alg none":                     {none(`{"alg":"none"}`), "kid and alg"},
		"alg None":                     {none(`{"alg":"None"}`), "kid and alg"},
		"alg none, kid":                {none(`{"alg":"none","kid":"ec"}`), "kid and alg"},
		"alg empty":                    {none(`{"alg":""}`), "kid and alg"},
		"no alg":                       {none(`{}`), "not a token"},
		"alg a list":                   {none(`{"alg":["ES256"]}`), "not a token"},
		"HS256 by the RSA PEM":         {hs(string(rsaPEM), `{"alg":"HS256","kid":"rsa"}`, "{"+good+"}"), "kid and alg"},
		"HS256 by the trimmed PEM":     {hs(plain, `{"alg":"HS256","kid":"rsa"}`, "{"+good+"}"), "kid and alg"},
		"HS256 by the DER":             {hs(string(der.Bytes), `{"alg":"HS256"}`, "{"+good+"}"), "signature"},
		"HS256 by the Ed25519 key":     {hs(string(edKey().Public().(ed25519.PublicKey)), `{"alg":"HS256"}`, "{"+good+"}"), "signature"},
		"HS256 by nothing":             {hs("", `{"alg":"HS256"}`, "{"+good+"}"), "signature"},
		"HS512 by the secret":          {signed(t, jwt.SigningMethodHS512, []byte(secret), `{"alg":"HS512","kid":"hs"}`, "{"+good+"}"), "kid and alg"},
		"PS256 with a key for RS256":   {signed(t, jwt.SigningMethodPS256, rsaKey(), `{"alg":"PS256","kid":"rsa"}`, "{"+good+"}"), "kid and alg"},
		"RS512":                        {signed(t, jwt.SigningMethodRS512, rsaKey(), `{"alg":"RS512","kid":"rsa"}`, "{"+good+"}"), "kid and alg"},
		"somebody else's key":          {signed(t, jwt.SigningMethodES256, otherKey(), es, "{"+good+"}"), "signature"},
		"zero signature":               {zeroSignature(ec(es, "{"+good+"}")), "signature"},
		"no signature":                 {noSignature(ec(es, "{"+good+"}")), "signature"},
		"kid of another key":           {ec(`{"alg":"ES256","kid":"rsa"}`, "{"+good+"}"), "kid and alg"},
		"kid is a path":                {ec(`{"alg":"ES256","kid":"../../../../dev/null"}`, "{"+good+"}"), "kid and alg"},
		"kid is a URL":                 {ec(`{"alg":"ES256","kid":"https://evil.example/jwks"}`, "{"+good+"}"), "kid and alg"},
		"kid is SQL":                   {hs("", `{"alg":"HS256","kid":"x' UNION SELECT ''--"}`, "{"+good+"}"), "kid and alg"},
		"kid very long":                {ec(`{"alg":"ES256","kid":"`+strings.Repeat("k", 4000)+`"}`, "{"+good+"}"), "kid"},
		"kid a number":                 {ec(`{"alg":"ES256","kid":1}`, "{"+good+"}"), "kid is not"},
		"kid null":                     {ec(`{"alg":"ES256","kid":null}`, "{"+good+"}"), "kid is not"},
		"jwk in the header":            {signed(t, jwt.SigningMethodES256, otherKey(), `{"alg":"ES256","jwk":`+jwkOf(otherKey(), "x")+`}`, "{"+good+"}"), "signature"},
		"jku in the header":            {signed(t, jwt.SigningMethodES256, otherKey(), `{"alg":"ES256","kid":"x","jku":"http://127.0.0.1/"}`, "{"+good+"}"), "kid and alg"},
		"crit":                         {ec(`{"alg":"ES256","crit":["exp"],"exp":1}`, "{"+good+"}"), "crit"},
		"crit empty":                   {ec(`{"alg":"ES256","crit":[]}`, "{"+good+"}"), "crit"},
		"crit b64":                     {ec(`{"alg":"ES256","crit":["b64"],"b64":false}`, "{"+good+"}"), "crit"},
		"nested":                       {ec(`{"alg":"ES256","cty":"jwt"}`, "{"+good+"}"), "another token"},
		"a token as the payload":       {ec(`{"alg":"ES256"}`, string(ec(es, "{"+good+"}"))), "not a token"},
		"JWE":                          {"e30.e30.e30.e30.e30", "not a token"},
		"claims a list":                {ec(es, `[{`+good+`}]`), "not a token"},
		"claims null":                  {ec(es, `null`), "not a token"},
		"duplicate claim":              {ec(es, `{`+good+`,"exp":9}`), "not a token"},
		"duplicate claim, escaped":     {ec(es, `{`+good+`,"\u0065xp":9}`), "not a token"},
		"duplicate claim, nested":      {ec(es, with("fanfare", `{"subscribe":["x"],"subscribe":["news"]}`)), "not a token"},
		"duplicate alg":                {ec(`{"alg":"none","alg":"ES256"}`, "{"+good+"}"), "not a token"},
		"Exp is not exp":               {ec(es, strings.TrimSuffix(without("exp"), "}")+fmt.Sprintf(`,"Exp":%d}`, c.unix(time.Hour))), "missing"},
		"Fanfare is not fanfare":       {ec(es, strings.TrimSuffix(without("fanfare"), "}")+`,"Fanfare":{"subscribe":["news"]}}`), "not granted"},
		"claims not UTF-8":             {ec(es, "{"+good+",\"x\":\"\xff\"}"), "not a token"},
		"subject not UTF-8 by escapes": {ec(es, "{"+good+`,"sub":"a\u0000b"}`), "sub is not"},
		"subject a list":               {ec(es, "{"+good+`,"sub":["u"]}`), "sub is not"},
		"subject very long":            {ec(es, "{"+good+`,"sub":"`+strings.Repeat("u", 300)+`"}`), "sub is not"},
		"something after the claims":   {ec(es, "{"+good+"}{}"), "not a token"},
		"no exp":                       {ec(es, without("exp")), "missing"},
		"exp 0":                        {ec(es, with("exp", "0")), "missing"},
		"exp a text":                   {ec(es, with("exp", `"2100-01-01"`)), "not a time"},
		"exp null":                     {ec(es, with("exp", "null")), "not a time"},
		"exp negative":                 {ec(es, with("exp", "-1")), "not a time"},
		"exp huge":                     {ec(es, with("exp", "1e300")), "not a time"},
		"exp beyond int64":             {ec(es, with("exp", "9223372036854775808")), "not a time"},
		"nbf huge":                     {ec(es, "{"+good+`,"nbf":1e18}`), "not a time"},
		"nbf a text":                   {ec(es, "{"+good+`,"nbf":"soon"}`), "not a time"},
		"future":                       {ec(es, "{"+good+fmt.Sprintf(`,"nbf":%d}`, c.unix(time.Minute))), "nbf"},
		"no iss":                       {ec(es, without("iss")), "missing"},
		"wrong iss":                    {ec(es, with("iss", `"https://login.example.evil"`)), "iss"},
		"iss with a slash":             {ec(es, with("iss", `"https://login.example/"`)), "iss"},
		"iss a list":                   {ec(es, with("iss", `["https://login.example"]`)), "malformed"},
		"no aud":                       {ec(es, without("aud")), "missing"},
		"wrong aud":                    {ec(es, with("aud", `"sse2"`)), "aud"},
		"wrong auds":                   {ec(es, with("aud", `["a","b"]`)), "aud"},
		"aud a number":                 {ec(es, with("aud", `1`)), "missing"},
		"patterns not texts":           {ec(es, with("fanfare", `{"subscribe":[1]}`)), "lists of valid patterns"},
		"pattern bad":                  {ec(es, with("fanfare", `{"subscribe":["news","["]}`)), "lists of valid patterns"},
		"pattern long":                 {ec(es, with("fanfare", `{"subscribe":["`+strings.Repeat("n", 2000)+`"]}`)), "lists of valid patterns"},
		"many patterns":                {ec(es, with("fanfare", `{"subscribe":["news"`+strings.Repeat(`,"n"`, 500)+`]}`)), "lists of valid patterns"},
		"claim a text":                 {ec(es, with("fanfare", `"news"`)), "not an object"},
		"huge":                         {ec(es, "{"+good+`,"x":"`+strings.Repeat("x", 10_000)+`"}`), "not a token"},
		"deep":                         {ec(es, "{"+good+`,"x":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+`}`), "not a token"},
		"dots":                         {auth.Secret(strings.Repeat(".", 100_000)), "not a token"},
		"padding":                      {ec(es, "{"+good+"}") + "==", ""},
		"a line end":                   {ec(es, "{"+good+"}") + "\n", ""},
		"empty segments":               {"..", "not a token"},
		"own type with a foreign key":  {ec(`{"alg":"ES256","typ":"fanfare+jwt"}`, "{"+good+"}"), "not a token"},
	} {
		g, err := ask(a, token.text, "news")
		if err == nil {
			t.Errorf("%s: allowed %v", name, g)
			continue
		}
		if strings.Contains(name, "is not fanfare") {
			wantDenied(t, err, http.StatusForbidden, auth.CodeKey, token.what)
			continue
		}
		t.Run(name, func(t *testing.T) { wantDenied(t, err, status, code, token.what) })
	}
}

func zeroSignature(token auth.Secret) auth.Secret {
	i := strings.LastIndex(string(token), ".")
	return token[:i+1] + auth.Secret(base64.RawURLEncoding.EncodeToString(make([]byte, 64)))
}

func noSignature(token auth.Secret) auth.Secret {
	return token[:strings.LastIndex(string(token), ".")+1]
}

// jwkOf is the JSON Web Key of a public key.
func jwkOf(key crypto.Signer, id string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := key.Public().(type) {
	case *ecdsa.PublicKey:
		point := must(k.Bytes())
		return fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":%q,"x":%q,"y":%q}`, id, b64(point[1:33]), b64(point[33:]))
	case *rsa.PublicKey:
		return fmt.Sprintf(`{"kty":"RSA","kid":%q,"n":%q,"e":"AQAB"}`, id, b64(k.N.Bytes()))
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, id, b64(k))
	}
	panic("a key of another kind")
}

func TestTokenTimes(t *testing.T) {
	c := newClock()
	a := newAuthorizer(t, auth.Options{JWT: auth.JWT{Keys: []auth.KeySource{{Algorithm: "HS256", Data: secret}}, Leeway: 10 * time.Second}, Now: c.Now})
	token := signed(t, jwt.SigningMethodHS256, []byte(secret), `{"alg":"HS256"}`,
		fmt.Sprintf(`{"exp":%d,"nbf":%d,"fanfare":{"subscribe":["news"]}}`, c.unix(time.Minute), c.unix(5*time.Second)))
	end := c.Now().Add(70 * time.Second)
	g, err := ask(a, token, "news")
	if err != nil || !g.Expires.Equal(end) {
		t.Errorf("within the leeway before nbf: %v, %v", g.Expires, err)
	}
	c.add(69 * time.Second)
	if g, err := ask(a, token, "news"); err != nil || !g.Expires.Equal(end) {
		t.Errorf("within the leeway after exp: %v, %v", g.Expires, err)
	}
	c.add(time.Second)
	_, err = ask(a, token, "news")
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeExpired, "expired")

	// Steps of the clock, to both ends of what a time can be, change the verdict but not the end.
	for _, step := range []time.Duration{-time.Hour, 1<<63 - 1, -1 << 63, -1 << 63} {
		c.add(step)
		if g, err := ask(a, token, "news"); err == nil && !g.Expires.Equal(end) {
			t.Errorf("at %v the end is %v", c.Now(), g.Expires)
		}
	}
}

func TestAudienceOfSomebody(t *testing.T) {
	c := newClock()
	a := newAuthorizer(t, auth.Options{JWT: auth.JWT{Keys: []auth.KeySource{{Algorithm: "HS256", Data: secret}}}, Now: c.Now})
	for aud, what := range map[string]string{`"other"`: "aud names somebody", `["a"]`: "aud names somebody", `7`: "aud is neither", `{}`: "aud is neither"} {
		_, err := ask(a, signed(t, jwt.SigningMethodHS256, []byte(secret), `{"alg":"HS256"}`,
			fmt.Sprintf(`{"aud":%s,"exp":%d,"fanfare":{"subscribe":["news"]}}`, aud, c.unix(time.Hour))), "news")
		wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, what)
	}
}

func TestWhereTokensAre(t *testing.T) {
	c := newClock()
	a := newAuthorizer(t, auth.Options{JWT: auth.JWT{Keys: []auth.KeySource{{Algorithm: "HS256", Data: secret}}, Mercure: true}, Now: c.Now, AnonymousKeys: []string{"public"}})
	token := func(subject string) string {
		return string(signed(t, jwt.SigningMethodHS256, []byte(secret), `{"alg":"HS256"}`,
			fmt.Sprintf(`{"sub":%q,"exp":%d,"fanfare":{"subscribe":["news"]}}`, subject, c.unix(time.Hour))))
	}
	bad := token("x") + "x"
	for name, test := range map[string]struct {
		r    auth.Request
		want string // subject; "" for a refusal
	}{
		"field":                     {auth.Request{Authorization: auth.Secret("Bearer " + token("a"))}, "a"},
		"field, lower case":         {auth.Request{Authorization: auth.Secret("bearer  " + token("a"))}, "a"},
		"field without a scheme":    {auth.Request{Authorization: auth.Secret(token("a"))}, ""},
		"query":                     {auth.Request{Token: auth.Secret(token("b"))}, "b"},
		"cookie":                    {auth.Request{Cookie: auth.Secret("a=1; fanfare=" + token("c") + "; b=2")}, "c"},
		"cookie of Mercure":         {auth.Request{Cookie: auth.Secret("mercureAuthorization=" + token("c"))}, "c"},
		"another cookie":            {auth.Request{Cookie: auth.Secret("other=" + token("c"))}, ""},
		"cookie of a foreign page":  {auth.Request{Cookie: auth.Secret("fanfare=" + token("c")), Origin: "https://evil.example", ForeignOrigin: true}, ""},
		"query of a foreign page":   {auth.Request{Token: auth.Secret(token("b")), Origin: "https://x.example", ForeignOrigin: true}, "b"},
		"field before the others":   {auth.Request{Authorization: auth.Secret("Bearer " + token("a")), Token: auth.Secret(token("b")), Cookie: auth.Secret("fanfare=" + token("c"))}, "a"},
		"query before the cookie":   {auth.Request{Token: auth.Secret(token("b")), Cookie: auth.Secret("fanfare=" + token("c"))}, "b"},
		"the first one decides":     {auth.Request{Token: auth.Secret(bad), Cookie: auth.Secret("fanfare=" + token("c"))}, ""},
		"another kind is passed by": {auth.Request{Authorization: "Basic dTpw", Token: "opaque", Cookie: auth.Secret("fanfare=" + token("c"))}, "c"},
		"nothing":                   {auth.Request{}, ""},
	} {
		test.r.Keys = []string{"news", "public"}
		g, err := a.Authorize(context.Background(), test.r)
		if (err == nil) != (test.want != "") || g.Subject != test.want {
			t.Errorf("%s: subject %q, error %v, want %q", name, g.Subject, err, test.want)
		}
		// A key that needs nothing stays allowed, whatever the credential.
		test.r.Keys = []string{"public"}
		if g, err := a.Authorize(context.Background(), test.r); err != nil || g.Subject != test.want {
			t.Errorf("%s: an anonymous key: subject %q, error %v", name, g.Subject, err)
		}
	}
	_, err := a.Authorize(context.Background(), auth.Request{Keys: []string{"news"}})
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeMissing, "needed")
	_, err = a.Authorize(context.Background(), auth.Request{Token: auth.Secret(token("b"))})
	wantDenied(t, err, http.StatusForbidden, auth.CodeKey, "no key")
}

func TestMercure(t *testing.T) {
	c := newClock()
	o := auth.Options{JWT: auth.JWT{Keys: []auth.KeySource{{Algorithm: "HS256", Data: secret}}, Mercure: true}, Now: c.Now}
	token := func(selectors string) auth.Secret {
		return signed(t, jwt.SigningMethodHS256, []byte(secret), `{"alg":"HS256"}`,
			fmt.Sprintf(`{"exp":%d,"mercure":{"subscribe":%s,"publish":%[2]s,"payload":{"x":1}}}`, c.unix(time.Hour), selectors))
	}
	a := newAuthorizer(t, o)
	for _, s := range []struct {
		selectors, key string
		want           bool
	}{
		{`["*"]`, "https://example.com/books/1", true},
		{`["https://example.com/books/1"]`, "https://example.com/books/1", true},
		{`["https://example.com/books/1"]`, "https://example.com/books/2", false},
		{`["https://example.com/*"]`, "https://example.com/a", false}, // not a pattern for Mercure
		{`["https://example.com/[a-z]"]`, "https://example.com/a", false},
		{`["https://example.com/books/{id}"]`, "https://example.com/books/a-1", true},
		{`["https://example.com/books/{id}"]`, "https://example.com/books/%20", true},
		{`["https://example.com/books/{id}"]`, "https://example.com/books/1/x", false},
		{`["https://example.com/books/{id}"]`, "https://example.com/books/1?x=y", false},
		{`["https://example.com/books/{id}"]`, "https://example.com/books/1#x", false},
		{`["https://example.com/books/{id}"]`, "https://example.com/books/1\n", false},
		{`["https://example.com/books/{id}"]`, "https://example_com/books/1", false},
		{`["https://example.com/{a}/{b}"]`, "https://example.com/x/y", true},
		{`["https://example.com/{+path}"]`, "https://example.com/x/y", false},
		{`["{?q}"]`, "x", false},
		{`["{"]`, "x", false},
		{`[""]`, "", false},
		{`null`, "x", false},
	} {
		if g, err := ask(a, token(s.selectors), s.key); (err == nil) != s.want || g.AllowsPublish(s.key) != s.want {
			t.Errorf("%s for %q: %v, want allowed = %v", s.selectors, s.key, err, s.want)
		}
	}
	_, err := ask(a, token(`"*"`), "x")
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "mercure")
	o.JWT.Mercure = false
	_, err = ask(newAuthorizer(t, o), token(`["*"]`), "x")
	wantDenied(t, err, http.StatusForbidden, auth.CodeKey, "")
}

func TestKeysOfTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(file, []byte(pemOf(t, ecKey().Public())), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FANFARE_TEST_KEY", `{"keys":[`+jwkOf(edKey(), "ed")+`]}`)
	c := newClock()
	a := newAuthorizer(t, auth.Options{Now: c.Now, JWT: auth.JWT{Claim: "https://example.com/fanfare", Keys: []auth.KeySource{{File: file}, {Env: "FANFARE_TEST_KEY"}}}})
	claims := fmt.Sprintf(`{"exp":%d,"https://example.com/fanfare":{"subscribe":["news"]}}`, c.unix(time.Hour))
	for name, token := range map[string]auth.Secret{
		"file":        signed(t, jwt.SigningMethodES256, ecKey(), `{"alg":"ES256","kid":"any"}`, claims),
		"environment": signed(t, jwt.SigningMethodEdDSA, edKey(), `{"alg":"EdDSA","kid":"ed"}`, claims),
	} {
		if _, err := ask(a, token, "news"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := ask(a, signed(t, jwt.SigningMethodEdDSA, edKey(), `{"alg":"EdDSA","kid":"other"}`, claims), "news")
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "kid and alg")
}

func TestNewRefuses(t *testing.T) {
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	curve := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(ecKey()))}))
	key := func(k auth.KeySource) auth.Options { return auth.Options{JWT: auth.JWT{Keys: []auth.KeySource{k}}} }
	publish := func(p auth.PublishToken) auth.Options {
		return auth.Options{PublishTokens: []auth.PublishToken{p}}
	}
	long := "0123456789abcdef"
	for name, test := range map[string]struct {
		o    auth.Options
		want string
	}{
		"short secret":        {key(auth.KeySource{Algorithm: "HS256", Data: "a short secret"}), "jwtKeys[0]: the key has 14 bytes: HS256 needs at least 32"},
		"public key as HS256": {key(auth.KeySource{Algorithm: "HS256", Data: pemOf(t, rsaKey().Public())}), "cannot be used with HS256"},
		"RSA as ES256":        {key(auth.KeySource{Algorithm: "ES256", Data: pemOf(t, rsaKey().Public())}), "cannot be used with ES256"},
		"algorithm none":      {key(auth.KeySource{Algorithm: "none", Data: pemOf(t, ecKey().Public())}), `algorithm "none" is unknown`},
		"secret without HS":   {key(auth.KeySource{Data: secret}), "neither PEM nor JSON"},
		"private key":         {key(auth.KeySource{Data: auth.Secret(private)}), "is a private key"},
		"private JWK":         {key(auth.KeySource{Data: `{"kty":"OKP","crv":"Ed25519","x":"","d":"AAAA"}`}), "is a private key"},
		"small RSA":           {key(auth.KeySource{Data: pemOf(t, small.Public())}), "has 1024 bits"},
		"P-384":               {key(auth.KeySource{Data: pemOf(t, curve.Public())}), "not on the curve P-256"},
		"two PEM blocks":      {key(auth.KeySource{Data: pemOf(t, ecKey().Public()) + pemOf(t, ecKey().Public())}), "more than one PEM block"},
		"broken PEM":          {key(auth.KeySource{Data: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"}), "not a valid public key"},
		"JWK of two minds":    {key(auth.KeySource{Algorithm: "PS256", Data: `{"keys":[{"kty":"RSA","alg":"RS256","n":"` + auth.Secret(base64.RawURLEncoding.EncodeToString(rsaKey().N.Bytes())) + `","e":"AQAB"}]}`}), "is for RS256"},
		"empty JWK Set":       {key(auth.KeySource{Data: `{"keys":[]}`}), "is empty"},
		"no source":           {key(auth.KeySource{}), "one of data, file and env"},
		"two sources":         {key(auth.KeySource{Data: "x", Env: "X"}), "one of data, file and env"},
		"no file":             {key(auth.KeySource{File: "/nowhere/key.pem"}), "jwtKeys[0]: open /nowhere/key.pem"},
		"no variable":         {key(auth.KeySource{Env: "FANFARE_TEST_NO_KEY"}), "FANFARE_TEST_NO_KEY is not set"},
		"endless file":        {key(auth.KeySource{File: "/dev/zero"}), "/dev/zero has more than 1048576 bytes"},
		"issuer alone":        {auth.Options{JWT: auth.JWT{Issuer: "https://login.example"}}, "jwtIssuer needs jwtKeys or jwksURL"},
		"audience alone":      {auth.Options{JWT: auth.JWT{Audience: []string{"live"}}, AnonymousKeys: []string{"a"}}, "jwtAudience needs jwtKeys or jwksURL"},
		"JWKS over http":      {auth.Options{JWT: auth.JWT{JWKSURL: "http://login.example/jwks", Issuer: "x"}}, "is not https"},
		"JWKS for anybody":    {auth.Options{JWT: auth.JWT{JWKSURL: "https://login.example/jwks"}}, "needs jwtIssuer or jwtAudience"},
		"JWKS of a file":      {auth.Options{JWT: auth.JWT{JWKSURL: "file:///etc/passwd", Issuer: "x"}}, "jwksURL is not a valid URL"},
		"JWKS with password":  {auth.Options{JWT: auth.JWT{JWKSURL: "https://u:hunter2@login.example/", Issuer: "x"}}, "user and password"},
		"JWKS and nameless":   {auth.Options{JWT: auth.JWT{JWKSURL: "https://login.example/", Issuer: "x", Keys: []auth.KeySource{{Algorithm: "HS256", Data: secret}}}}, "need ids"},
		"short tokenSecret":   {auth.Options{TokenSecrets: []auth.Secret{secret, "short"}}, "tokenSecret (entry 1) has fewer than 32 bytes"},
		"bad callback":        {auth.Options{Callback: auth.Callback{URL: "127.0.0.1:7001"}}, "authCallback is not a valid URL"},
		"negative time":       {auth.Options{Callback: auth.Callback{URL: "http://127.0.0.1", Timeout: -1}}, "timeout is negative"},
		"bad pattern":         {auth.Options{AnonymousKeys: []string{"a", "a["}}, `anonymousKeys[1] "a[" is a bad pattern`},
		"publishJWT alone":    {auth.Options{PublishJWT: true}, "publishJWT needs jwtKeys"},
		"short token":         {publish(auth.PublishToken{Name: "a", Token: "0123456789abcde", Keys: []string{"*"}}), "publishTokens[0].token has fewer than 16 characters"},
		"token with a space":  {publish(auth.PublishToken{Name: "a", Token: "0123456789 abcdef", Keys: []string{"*"}}), "publishTokens[0].token may have only"},
		"bad hash":            {publish(auth.PublishToken{Name: "a", Token: "sha256:0123456789abcdef", Keys: []string{"*"}}), "64 hexadecimal digits"},
		"no name":             {publish(auth.PublishToken{Token: auth.Secret(long), Keys: []string{"*"}}), "publishTokens[0].name"},
		"no keys":             {publish(auth.PublishToken{Name: "a", Token: auth.Secret(long)}), "publishTokens[0].keys is empty"},
		"bad keys":            {publish(auth.PublishToken{Name: "a", Token: auth.Secret(long), Keys: []string{"a**"}}), "publishTokens[0].keys[0]"},
		"unknown right":       {publish(auth.PublishToken{Name: "a", Token: auth.Secret(long), Keys: []string{"*"}, Rights: []auth.Right{"all"}}), `rights has "all"`},
		"same name": {auth.Options{PublishTokens: []auth.PublishToken{{Name: "a", Token: auth.Secret(long), Keys: []string{"*"}},
			{Name: "a", Token: auth.Secret(long + "x"), Keys: []string{"*"}}}}, "publishTokens[1].name"},
		"same token": {auth.Options{PublishTokens: []auth.PublishToken{{Name: "a", Token: auth.Secret(long), Keys: []string{"*"}},
			{Name: "b", Token: "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f", Keys: []string{"*"}}}}, "publishTokens[1].token is the token"},
	} {
		_, err := auth.New(test.o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
			continue
		}
		for _, s := range []string{"hunter2", "a short secret", secret, long, "0123456789 abcdef"} {
			if strings.Contains(err.Error(), s) {
				t.Errorf("%s: the error has the credential: %v", name, err)
			}
		}
		if strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%s: the error has key material: %v", name, err)
		}
	}
}
