package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"fanfare/auth/internal/keys"
	"fanfare/auth/pattern"
	"fanfare/internal/ratelog"
)

// Authorizer decides who may subscribe and publish. Make one with New. Its methods may be called from several goroutines. It
// does not change: for other options make a new one, and close the old one when its last call has returned.
type Authorizer struct {
	anonymous  []string
	jwt        *verifier // nil if off
	claim      string
	mercure    bool
	remote     *keys.Remote // nil without a JWKS URL
	tokens     *tokens      // nil if off
	callback   *callback    // nil if off
	publishers []publisher
	publishJWT bool
	cookies    []string // names
}

// New checks the options, and reads keys from files and the environment. It opens no connection: a JWKS URL is fetched when the
// first token needs it. Close the Authorizer when it is not needed any more.
func New(o Options) (*Authorizer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	limiter := ratelog.New(logInterval)
	a := &Authorizer{anonymous: slices.Clone(o.AnonymousKeys), publishJWT: o.PublishJWT, cookies: []string{or(o.Cookie, defaultCookie)}}
	for i, p := range a.anonymous {
		if err := pattern.Check(p); err != nil {
			return nil, fmt.Errorf("anonymousKeys[%d] %q %w", i, cut(p), err)
		}
	}
	var err error
	if a.publishers, err = publishers(o.PublishTokens); err != nil {
		return nil, err
	}
	if len(o.TokenSecrets) > 0 {
		if a.tokens, err = newTokens(o.TokenSecrets, o.MaxTokenTTL, o.Now); err != nil {
			return nil, err
		}
	}
	if err := a.setJWT(o, limiter); err != nil {
		return nil, err
	}
	if o.Callback.URL != "" {
		if a.callback, err = newCallback(o.Callback, o.Now, o.Logger, limiter); err != nil {
			a.Close()
			return nil, err
		}
	}
	return a, nil
}

func (a *Authorizer) setJWT(o Options, limiter *ratelog.Limiter) error {
	j := o.JWT
	if len(j.Keys) == 0 && j.JWKSURL == "" {
		if o.PublishJWT {
			return errors.New("publishJWT needs jwtKeys or jwksURL")
		}
		// Whoever sets one of these believes that tokens are verified. Without a key they would not be, and everybody could subscribe.
		if j.Issuer != "" {
			return errors.New("jwtIssuer needs jwtKeys or jwksURL: without a key no token is verified")
		}
		if len(j.Audience) > 0 {
			return errors.New("jwtAudience needs jwtKeys or jwksURL: without a key no token is verified")
		}
		return nil
	}
	static, err := loadKeys(j.Keys)
	if err != nil {
		return err
	}
	a.claim, a.mercure = or(j.Claim, defaultClaim), j.Mercure
	if a.mercure {
		a.cookies = append(a.cookies, mercureCookie)
	}
	a.jwt = &verifier{issuer: j.Issuer, audience: slices.Clone(j.Audience), leeway: max(or(j.Leeway, defaultLeeway), 0), now: o.Now}
	a.jwt.find = func(_ context.Context, id string) ([]keys.Key, error) { return keys.Named(static, id), nil }
	if j.JWKSURL == "" {
		return nil
	}
	if err := checkJWKS(j, static); err != nil {
		return err
	}
	a.remote = keys.NewRemote(keys.RemoteOptions{
		URL: j.JWKSURL, Refresh: or(j.JWKSRefresh, defaultRefresh), MaxAge: maxJWKSAge, Interval: or(j.JWKSInterval, defaultInterval),
		Timeout: or(j.JWKSTimeout, defaultTimeout), Client: client(j.Transport, 1), Now: o.Now, Logger: o.Logger, Limiter: limiter,
	})
	a.jwt.find = func(ctx context.Context, id string) ([]keys.Key, error) {
		named := keys.Named(static, id)
		if id != "" && len(named) > 0 {
			return named, nil // all of them have ids
		}
		fetched, err := a.remote.Named(ctx, id)
		return append(named, fetched...), err
	}
	return nil
}

// checkJWKS refuses a JWKS URL that would let others sign.
func checkJWKS(j JWT, static []keys.Key) error {
	u, err := checkURL("jwksURL", j.JWKSURL)
	if err != nil {
		return err
	}
	host, _ := netip.ParseAddr(u.Hostname())
	switch {
	case u.Scheme == "http" && u.Hostname() != "localhost" && !host.IsLoopback():
		return errors.New("jwksURL is not https: whoever is on the way could put in keys of their own")
	case j.Issuer == "" && len(j.Audience) == 0:
		return errors.New("jwksURL needs jwtIssuer or jwtAudience: the provider's keys sign tokens for other applications, too")
	case slices.ContainsFunc(static, func(k keys.Key) bool { return k.ID == "" }):
		return errors.New("jwtKeys with jwksURL need ids (kid), which say whether a token's key is one of them or is to be fetched")
	case j.JWKSInterval < 0 || j.JWKSRefresh < 0 || j.JWKSTimeout < 0:
		return errors.New("jwksURL: a time is negative")
	}
	return nil
}

// checkURL refuses what cannot be asked. The errors do not quote it: its query may have a secret.
func checkURL(setting, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf("%s is not a valid URL: write https://host/path", setting)
	case u.User != nil:
		return nil, fmt.Errorf("%s has a user and password, which are not sent: leave them out", setting)
	}
	return u, nil
}

// loadKeys reads the keys of the configuration.
func loadKeys(sources []KeySource) (list []keys.Key, err error) {
	for i, s := range sources {
		text, err := s.text()
		if err != nil {
			return nil, fmt.Errorf("jwtKeys[%d]: %w", i, err)
		}
		loaded, err := keys.Parse(text, s.Algorithm, s.ID)
		if err != nil {
			return nil, fmt.Errorf("jwtKeys[%d]: the key %w", i, err)
		}
		list = append(list, loaded...)
	}
	return list, nil
}

func (s KeySource) text() ([]byte, error) {
	switch {
	case s.Data != "" && s.File == "" && s.Env == "":
		return []byte(s.Data), nil
	case s.File != "" && s.Data == "" && s.Env == "":
		return readKeyFile(s.File)
	case s.Env != "" && s.Data == "" && s.File == "":
		if v := os.Getenv(s.Env); v != "" {
			return []byte(v), nil
		}
		return nil, fmt.Errorf("the environment variable %s is not set", s.Env)
	}
	return nil, errors.New("it needs one of data, file and env")
}

// client makes a client that follows no redirects: they could lead elsewhere what is meant for one place.
func client(transport http.RoundTripper, connections int) *http.Client {
	if transport == nil {
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: defaultTimeout}).DialContext, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: connections, IdleConnTimeout: logInterval, MaxResponseHeaderBytes: maxResponseHead,
		}
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// or returns v, or the default if it is zero.
func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Close ends requests that are under way, whose callers get ErrLater, and closes idle connections.
func (a *Authorizer) Close() {
	if a.remote != nil {
		a.remote.Close()
	}
	if a.callback != nil {
		a.callback.cancel()
		a.callback.client.CloseIdleConnections()
	}
}

// Format writes "auth.Authorizer" for every verb: its fields have keys and hashes of tokens.
func (a *Authorizer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "auth.Authorizer") }

// Purge forgets the callback's answers for a subject, so that the next stream is asked about again. Call it before the
// subject's streams are ended.
func (a *Authorizer) Purge(subject string) {
	if a.callback != nil {
		a.callback.cache.purge(subject, false)
	}
}

// PurgeAll forgets all answers of the callback.
func (a *Authorizer) PurgeAll() {
	if a.callback != nil {
		a.callback.cache.purge("", true)
	}
}

// GuardsSubscribe reports whether a way is configured to decide who may subscribe. If not, everybody may.
func (a *Authorizer) GuardsSubscribe() bool {
	return a.jwt != nil || a.tokens != nil || a.callback != nil || len(a.anonymous) > 0
}

// GuardsPublish reports whether a credential is needed to publish. If not, everybody who reaches the publish API may.
func (a *Authorizer) GuardsPublish() bool { return len(a.publishers) > 0 || a.publishJWT }

// Authorize decides whether a stream may have all of its keys. The error is a *Denied or wraps ErrLater. Ask once for each
// stream, before it is opened, and end it at Grant.Expires.
//
// The first way that answers decides: a token that this server can verify; patterns of AnonymousKeys, if all keys match them; the
// callback. AnonymousKeys are part of every grant, and stay allowed to those whose token is not valid.
func (a *Authorizer) Authorize(ctx context.Context, r Request) (Grant, error) {
	switch {
	case !a.GuardsSubscribe():
		return Grant{Subscribe: []string{pattern.All}, Way: WayOpen}, nil
	case len(r.Keys) == 0:
		return Grant{}, &Denied{http.StatusForbidden, CodeKey, "there is no key: name one", ""}
	}
	public := Grant{Subscribe: slices.Clone(a.anonymous), Way: WayAnonymous}
	isPublic := public.check(r.Keys) == nil
	g, err := a.decide(ctx, r, isPublic)
	if err == nil {
		g.Subscribe = append(g.Subscribe, a.anonymous...)
		err = g.check(r.Keys)
	}
	if err != nil && isPublic {
		return public, nil
	}
	if err != nil {
		return Grant{}, err
	}
	return g, nil
}

// decide asks the ways one after another.
func (a *Authorizer) decide(ctx context.Context, r Request, isPublic bool) (Grant, error) {
	others := r.Authorization != "" || r.Token != "" // there is a credential of another kind
	for _, text := range a.credentials(r) {
		c, ok := parseCompact(text)
		switch {
		case ok && c.own() && a.tokens != nil:
			return a.tokens.grant(ctx, c)
		case ok && !c.own() && a.jwt != nil:
			return a.fromJWT(ctx, c)
		}
	}
	switch {
	case isPublic:
		return Grant{Way: WayAnonymous}, nil
	case a.callback != nil:
		return a.callback.ask(ctx, r)
	case others:
		return Grant{}, invalid("it is not a token")
	}
	return Grant{}, missing("a credential is needed for these keys")
}

// fromJWT is what a token that somebody else has signed allows.
func (a *Authorizer) fromJWT(ctx context.Context, c compact) (Grant, error) {
	claims, err := a.jwt.verify(ctx, c)
	if err != nil {
		return Grant{}, err
	}
	g, err := a.jwt.grantOf(claims, WayJWT)
	if err != nil {
		return Grant{}, err
	}
	if claim, has := claims[a.claim]; has {
		err = readClaim(&g, claim)
	} else if claim, has := claims["mercure"]; has && a.mercure {
		err = readMercure(&g, claim)
	}
	if err != nil {
		return Grant{}, err
	}
	return g, nil
}

// credentials returns what may be tokens, in the order in which they are looked at. What a page sends on purpose comes before
// a cookie, which a browser sends by itself.
func (a *Authorizer) credentials(r Request) (list []string) {
	if token, ok := bearer(string(r.Authorization)); ok {
		list = append(list, token)
	}
	if r.Token != "" {
		list = append(list, string(r.Token))
	}
	if r.ForeignOrigin || r.Cookie == "" {
		return list
	}
	header := http.Request{Header: http.Header{"Cookie": {string(r.Cookie)}}}
	for _, name := range a.cookies {
		if c, err := header.Cookie(name); err == nil && len(list) < maxCredentials {
			list = append(list, c.Value)
		}
	}
	return list
}

// bearer reads "Bearer TOKEN" (RFC 6750, 2.1).
func bearer(field string) (token string, ok bool) {
	scheme, token, ok := strings.Cut(field, " ")
	token = strings.TrimLeft(token, " ")
	return token, ok && strings.EqualFold(scheme, "Bearer") && tokenChars(token)
}

// maxKeyFileBytes bounds what is read of a key file: far more than a JWK Set has, and an end for a device that has none.
const maxKeyFileBytes = 1 << 20

func readKeyFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes+1))
	if err == nil && len(text) > maxKeyFileBytes {
		err = fmt.Errorf("the file %s has more than %d bytes", name, maxKeyFileBytes)
	}
	return text, err
}
