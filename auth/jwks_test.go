package auth_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fanfare/auth"
	"fanfare/internal/test/eventually"
)

// provider serves a JWK Set as a test wants it to.
type provider struct {
	*httptest.Server
	fetches atomic.Int32
	answer  atomic.Value // of func(http.ResponseWriter, *http.Request)
}

func newProvider(t testing.TB) *provider {
	p := &provider{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.fetches.Add(1)
		p.answer.Load().(func(http.ResponseWriter, *http.Request))(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// sets makes it serve these JSON Web Keys.
func (p *provider) sets(jwks ...string) {
	p.answers(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"keys":[%s]}`, strings.Join(jwks, ",")) })
}

func (p *provider) answers(f func(http.ResponseWriter, *http.Request)) { p.answer.Store(f) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// jwksAuthorizer trusts the provider's keys.
func jwksAuthorizer(t testing.TB, p *provider, c *clock) *auth.Authorizer {
	return newAuthorizer(t, auth.Options{Now: c.Now, Logger: quiet(), JWT: auth.JWT{JWKSURL: p.URL, Issuer: "i", JWKSTimeout: 2 * time.Second}})
}

func tokenOf(t testing.TB, c *clock, method jwt.SigningMethod, key crypto.Signer, id string) auth.Secret {
	return signed(t, method, key, fmt.Sprintf(`{"alg":%q,"kid":%q}`, method.Alg(), id),
		fmt.Sprintf(`{"iss":"i","exp":%d,"fanfare":{"subscribe":["news"]}}`, c.unix(48*time.Hour)))
}

func TestJWKSRotation(t *testing.T) {
	c, p := newClock(), newProvider(t)
	p.sets(jwkOf(ecKey(), "one"))
	a := jwksAuthorizer(t, p, c)
	one, two := tokenOf(t, c, jwt.SigningMethodES256, ecKey(), "one"), tokenOf(t, c, jwt.SigningMethodRS256, rsaKey(), "two")
	for range 3 {
		if _, err := ask(a, one, "news"); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.fetches.Load(); n != 1 {
		t.Fatalf("%d fetches for three tokens of a known key", n)
	}

	// A new key within the interval: nobody knows yet, so the client comes back. After it, the key is there.
	p.sets(jwkOf(ecKey(), "one"), jwkOf(rsaKey(), "two"))
	if _, err := ask(a, two, "news"); !errors.Is(err, auth.ErrLater) || p.fetches.Load() != 1 {
		t.Errorf("a new key within the interval: %v, %d fetches", err, p.fetches.Load())
	}
	c.add(30 * time.Second)
	if _, err := ask(a, two, "news"); err != nil || p.fetches.Load() != 2 {
		t.Errorf("a new key after the interval: %v, %d fetches", err, p.fetches.Load())
	}

	// A key that is taken out is refused after the next refresh, which the first token after that time causes.
	p.sets(jwkOf(rsaKey(), "two"))
	c.add(10 * time.Minute)
	eventually.True(t, "the refresh takes the key out", func() bool {
		_, err := ask(a, one, "news")
		return err != nil
	})
	c.add(30 * time.Second)
	_, err := ask(a, one, "news")
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "JWK Set does not have")
}

func TestJWKSUnknownKid(t *testing.T) {
	c, p := newClock(), newProvider(t)
	p.sets(jwkOf(ecKey(), "one"))
	a := jwksAuthorizer(t, p, c)
	var wg sync.WaitGroup
	for round := range int32(3) {
		for i := range 50 {
			wg.Go(func() {
				if _, err := ask(a, tokenOf(t, c, jwt.SigningMethodES256, ecKey(), fmt.Sprint("k", i)), "news"); err == nil {
					t.Error("an unknown kid is allowed")
				}
			})
		}
		wg.Wait()
		if n := p.fetches.Load(); n != round+1 {
			t.Errorf("%d fetches in %d intervals", n, round+1)
		}
		if _, err := ask(a, tokenOf(t, c, jwt.SigningMethodES256, ecKey(), "one"), "news"); err != nil {
			t.Errorf("a good token among unknown kids: %v", err)
		}
		c.add(30 * time.Second)
	}
}

// TestJWKSTroubles has providers that hang or lie: before a set is known nobody can decide, and one that is known stays in use.
func TestJWKSTroubles(t *testing.T) {
	over := make(chan struct{})
	defer close(over)
	elsewhere := newProvider(t)
	elsewhere.sets(jwkOf(otherKey(), "one"), jwkOf(ecKey(), "one"))
	text := func(s string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }
	}
	good := jwkOf(ecKey(), "one")
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-over:
			}
		},
		"hangs in the body": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"keys":[`)
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-over:
			}
		},
		"breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"keys":[`+good+`]}`)
		},
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		},
		"is huge": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"keys":[`+good+`],"x":"`)
			for range 100 {
				if _, err := io.WriteString(w, strings.Repeat("x", 10_000)); err != nil {
					return
				}
			}
			io.WriteString(w, `"}`)
		},
		"has a huge head": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-A", strings.Repeat("x", 100_000))
			io.WriteString(w, `{"keys":[`+good+`]}`)
		},
		"status 500": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			io.WriteString(w, `{"keys":[`+good+`]}`)
		},
		"status 204":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"is a page":          text("<html>"),
		"is empty":           text(""),
		"is null":            text("null"),
		"has no keys":        text(`{"keys":[]}`),
		"keys twice":         text(`{"keys":[],"keys":[` + good + `]}`),
		"kty twice":          text(`{"keys":[{"kty":"oct",` + good[1:] + `]}`),
		"too many keys":      text(`{"keys":[` + strings.Repeat(good+",", 64) + good + `]}`),
		"a secret":           text(`{"keys":[{"kty":"oct","kid":"one","alg":"HS256","k":"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE"}]}`),
		"a private key":      text(`{"keys":[{"d":"AAAA",` + good[1:] + `]}`),
		"for encryption":     text(`{"keys":[{"use":"enc",` + good[1:] + `]}`),
		"for signing":        text(`{"keys":[{"key_ops":["sign"],` + good[1:] + `]}`),
		"another algorithm":  text(`{"keys":[{"alg":"ES384",` + good[1:] + `]}`),
		"algorithm none":     text(`{"keys":[{"alg":"none",` + good[1:] + `]}`),
		"HS256 with EC":      text(`{"keys":[{"alg":"HS256",` + good[1:] + `]}`),
		"not on the curve":   text(`{"keys":[{"kty":"EC","crv":"P-256","kid":"one","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}]}`),
		"point at infinity":  text(`{"keys":[{"kty":"EC","crv":"P-256","kid":"one","x":"","y":""}]}`),
		"RSA exponent 1":     text(`{"keys":[` + strings.Replace(jwkOf(rsaKey(), "one"), "AQAB", "AQ", 1) + `]}`),
		"RSA exponent even":  text(`{"keys":[` + strings.Replace(jwkOf(rsaKey(), "one"), "AQAB", "Ag", 1) + `]}`),
		"RSA exponent large": text(`{"keys":[` + strings.Replace(jwkOf(rsaKey(), "one"), "AQAB", "_____w", 1) + `]}`),
		"RSA small":          text(`{"keys":[{"kty":"RSA","kid":"one","n":"AQAB","e":"AQAB"}]}`),
		"RSA huge":           text(`{"keys":[{"kty":"RSA","kid":"one","n":"` + strings.Repeat("_", 100_000) + `","e":"AQAB"}]}`),
		"kid a list":         text(`{"keys":[{"kid":["one"],` + strings.Replace(good, `"kid":"one",`, "", 1)[1:] + `]}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, p := newClock(), newProvider(t)
			a := newAuthorizer(t, auth.Options{Now: c.Now, Logger: quiet(), JWT: auth.JWT{JWKSURL: p.URL, Issuer: "i", JWKSTimeout: 300 * time.Millisecond}})
			token := tokenOf(t, c, jwt.SigningMethodES256, ecKey(), "one")
			p.answers(answer)
			if g, err := ask(a, token, "news"); !errors.Is(err, auth.ErrLater) {
				t.Errorf("before a set is known: %v, %v", g, err)
			}
			// The provider is well again, and the set is known.
			p.sets(good)
			c.add(30 * time.Second)
			eventually.True(t, "a good set is taken", func() bool {
				defer c.add(30 * time.Second)
				_, err := ask(a, token, "news")
				return err == nil
			})
			// It is in trouble once more: the old set stays in use, for a day.
			p.answers(answer)
			fetches := p.fetches.Load()
			c.add(time.Hour)
			if _, err := ask(a, token, "news"); err != nil {
				t.Errorf("with a set from before: %v", err)
			}
			eventually.True(t, "the set is asked for again", func() bool { return p.fetches.Load() > fetches })
			if _, err := ask(a, token, "news"); err != nil {
				t.Errorf("after a refresh that failed: %v", err)
			}
			c.add(24 * time.Hour)
			if _, err := ask(a, token, "news"); !errors.Is(err, auth.ErrLater) {
				t.Errorf("with a set from yesterday: %v", err)
			}
		})
	}
	if n := elsewhere.fetches.Load(); n != 0 {
		t.Errorf("the place that a redirect names was asked %d times", n)
	}
}

// TestJWKSDuplicateKids tries each key of the name, and each with its own algorithm alone.
func TestJWKSDuplicateKids(t *testing.T) {
	c, p := newClock(), newProvider(t)
	p.sets(jwkOf(rsaKey(), "one"), jwkOf(otherKey(), "one"), jwkOf(ecKey(), "one"), jwkOf(edKey(), ""), `{"kty":"XY","kid":"one"}`, `7`)
	a := jwksAuthorizer(t, p, c)
	for _, token := range []auth.Secret{
		tokenOf(t, c, jwt.SigningMethodES256, ecKey(), "one"), tokenOf(t, c, jwt.SigningMethodES256, otherKey(), "one"),
		tokenOf(t, c, jwt.SigningMethodRS256, rsaKey(), "one"), tokenOf(t, c, jwt.SigningMethodEdDSA, edKey(), "one"),
	} {
		if _, err := ask(a, token, "news"); err != nil {
			t.Error(err)
		}
	}
	_, err := ask(a, tokenOf(t, c, jwt.SigningMethodPS256, rsaKey(), "one"), "news")
	wantDenied(t, err, http.StatusUnauthorized, auth.CodeInvalid, "kid and alg")
}

// TestJWKSClockSteps: a clock that is set back neither keeps a set for longer nor stops fetching.
func TestJWKSClockSteps(t *testing.T) {
	c, p := newClock(), newProvider(t)
	p.sets(jwkOf(ecKey(), "one"))
	a := jwksAuthorizer(t, p, c)
	token := tokenOf(t, c, jwt.SigningMethodES256, ecKey(), "one")
	for i, step := range []time.Duration{0, -48 * time.Hour, -48 * time.Hour, 30 * 24 * time.Hour, -30 * 24 * time.Hour} {
		c.add(step)
		if _, err := ask(a, token, "news"); err != nil && i != 3 { // far in the future the token has expired
			t.Errorf("after step %d: %v", i, err)
		}
		if n := p.fetches.Load(); n != int32(i+1) {
			t.Errorf("after step %d: %d fetches", i, n)
		}
	}
}

// TestJWKSCallers: one that gives up does not take the fetch from the others, and Close ends it for all.
func TestJWKSCallers(t *testing.T) {
	c, p := newClock(), newProvider(t)
	release := make(chan struct{})
	p.answers(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
			fmt.Fprintf(w, `{"keys":[%s]}`, jwkOf(ecKey(), "one"))
		case <-r.Context().Done():
		}
	})
	a := newAuthorizer(t, auth.Options{Now: c.Now, Logger: quiet(), JWT: auth.JWT{JWKSURL: p.URL, Issuer: "i", JWKSTimeout: time.Minute}})
	r := auth.Request{Keys: []string{"news"}, Token: tokenOf(t, c, jwt.SigningMethodES256, ecKey(), "one")}
	ctx, cancel := context.WithCancel(context.Background())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := a.Authorize(ctx, r); first <- err }()
	eventually.True(t, "the fetch begins", func() bool { return p.fetches.Load() == 1 })
	go func() { _, err := a.Authorize(context.Background(), r); second <- err }()
	cancel()
	if err := <-first; !errors.Is(err, auth.ErrLater) {
		t.Errorf("a request that has ended: %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Errorf("a request that waits: %v", err)
	}

	p.answers(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	b := newAuthorizer(t, auth.Options{Now: c.Now, Logger: quiet(), JWT: auth.JWT{JWKSURL: p.URL, Issuer: "i", JWKSTimeout: time.Minute}})
	go func() { _, err := b.Authorize(context.Background(), r); first <- err }()
	eventually.True(t, "the fetch begins", func() bool { return p.fetches.Load() == 2 })
	b.Close()
	if err := <-first; !errors.Is(err, auth.ErrLater) {
		t.Errorf("after Close: %v", err)
	}
}
