package auth

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fanfare/auth/internal/keys"
	"fanfare/auth/pattern"
)

// TokenRequest asks for a token for a subscriber.
type TokenRequest struct {
	Keys    []string      `json:"keys"`    // patterns that it grants
	Subject string        `json:"subject"` // who it is for; may be empty
	TTL     time.Duration `json:"-"`       // how long it is valid; 0 is one hour
}

// Token is a token for a subscriber.
type Token struct {
	Text    Secret
	Expires time.Time
}

// tokens makes and verifies this server's own tokens.
//
// They are JSON Web Tokens, too, rather than a format of our own: the same library and the same checks verify them, and people
// can read them with the tools that they know. Two things keep the kinds apart. The header's "typ" is fanfare+jwt. And the key is
// not the secret but derived from it (RFC 5869) for this alone, so that a secret that also signs other tokens verifies none of
// them here, and none of ours elsewhere.
type tokens struct {
	verifier
	keys   []keys.Key // the first signs
	maxTTL time.Duration
}

const keyPurpose = "fanfare token of a subscriber, version 1"

func newTokens(secrets []Secret, maxTTL time.Duration, now func() time.Time) (*tokens, error) {
	if maxTTL < 0 {
		return nil, fmt.Errorf("maxTokenTTL %s is negative", maxTTL)
	}
	t := &tokens{maxTTL: maxTTL}
	if maxTTL == 0 {
		t.maxTTL = defaultMaxTokenTTL
	}
	for i, s := range secrets {
		if len(s) < minSecretBytes {
			return nil, fmt.Errorf("tokenSecret (entry %d) has fewer than %d bytes: make one by openssl rand -hex 32", i, minSecretBytes)
		}
		key, err := hkdf.Key(sha256.New, []byte(s), nil, keyPurpose, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("tokenSecret: %w", err)
		}
		t.keys = append(t.keys, keys.Key{Algorithm: keys.HS256, Public: key})
	}
	// No leeway: the clocks that make and verify these tokens are those of one installation.
	t.verifier = verifier{now: now, find: func(context.Context, string) ([]keys.Key, error) { return t.keys, nil }}
	return t, nil
}

// grant is what a token allows.
func (t *tokens) grant(ctx context.Context, c compact) (Grant, error) {
	claims, err := t.verify(ctx, c)
	if err != nil {
		return Grant{}, err
	}
	g, err := t.grantOf(claims, WayToken)
	if err != nil {
		return Grant{}, err
	}
	if err := readClaim(&g, claims[defaultClaim]); err != nil {
		return Grant{}, err
	}
	return g, nil
}

// Mint makes a token that grants its bearer the keys of the request. p is who asks for it, from AuthorizePublish, and must have
// RightMint for each of the keys; an embedding program that asks for itself gives Publisher{Rights: AllRights, Keys: {"**"}}.
// The token is valid on every server with the same TokenSecrets, and cannot be taken back before it expires. The error is a
// *Denied or wraps ErrBadToken.
func (a *Authorizer) Mint(p Publisher, r TokenRequest) (Token, error) {
	if a.tokens == nil {
		return Token{}, fmt.Errorf("%w: this server makes no tokens: set tokenSecret", ErrBadToken)
	}
	if !slices.Contains(p.Rights, RightMint) {
		return Token{}, p.lacks(RightMint)
	}
	if err := a.tokens.checkRequest(r); err != nil {
		return Token{}, err
	}
	for _, k := range r.Keys {
		if !p.allowsPattern(RightMint, k) {
			return Token{}, &Denied{http.StatusForbidden, CodeKey, fmt.Sprintf("the key or pattern %q is not granted: use a credential for it", cut(k)), "publisher " + p.Name}
		}
	}
	return a.tokens.sign(r)
}

// checkRequest refuses what means nothing.
func (t *tokens) checkRequest(r TokenRequest) error {
	switch {
	case len(r.Keys) == 0:
		return fmt.Errorf("%w: keys is empty: name the keys that the token is for", ErrBadToken)
	case len(r.Keys) > maxPatterns:
		return fmt.Errorf("%w: keys has %d entries, more than %d: use patterns", ErrBadToken, len(r.Keys), maxPatterns)
	case !subjectOK(r.Subject):
		return fmt.Errorf("%w: subject has more than %d bytes, is not valid UTF-8 or has control characters", ErrBadToken, maxSubjectBytes)
	case r.TTL < 0 || r.TTL > 0 && r.TTL < time.Second || r.TTL > t.maxTTL:
		return fmt.Errorf("%w: ttl %s is out of range: 1s to %s (maxTokenTTL)", ErrBadToken, r.TTL, t.maxTTL)
	}
	for i, k := range r.Keys {
		if err := pattern.Check(k); err != nil {
			return fmt.Errorf("%w: keys[%d] %q %w", ErrBadToken, i, cut(k), err)
		}
		if len(k) > maxPatternBytes {
			return fmt.Errorf("%w: keys[%d] has more than %d bytes", ErrBadToken, i, maxPatternBytes)
		}
	}
	return nil
}

func (t *tokens) sign(r TokenRequest) (Token, error) {
	ttl := r.TTL
	if ttl == 0 {
		ttl = min(defaultTokenTTL, t.maxTTL)
	}
	now := t.now()
	expires := now.Add(ttl).Truncate(time.Second)
	claims := jwt.MapClaims{
		"iat":        now.Unix(),
		"exp":        expires.Unix(),
		defaultClaim: map[string]any{"subscribe": r.Keys},
	}
	if r.Subject != "" {
		claims["sub"] = r.Subject
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	unsigned.Header["typ"] = ownType
	text, err := unsigned.SignedString(t.keys[0].Public)
	if err != nil {
		return Token{}, fmt.Errorf("%w: it cannot be signed", ErrBadToken)
	}
	if len(text) > maxTokenBytes {
		return Token{}, fmt.Errorf("%w: it would have %d bytes, more than %d: use fewer or shorter keys, or patterns", ErrBadToken, len(text), maxTokenBytes)
	}
	return Token{Secret(text), time.Unix(expires.Unix(), 0)}, nil
}
