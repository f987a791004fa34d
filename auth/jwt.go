package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fanfare/auth/internal/keys"
	"fanfare/auth/internal/strictjson"
)

// ownType is the header "typ" of this server's own tokens (RFC 8725, 3.11). It only chooses the keys that a token is verified
// with. Since those of own tokens are used for nothing else, a lie about it is an invalid signature.
const ownType = "fanfare+jwt"

// compact is a token whose signature has not been verified: nothing may be decided from it but how to verify it.
type compact struct {
	text   string
	typ    string
	id     string // "kid"
	alg    string
	header map[string]any
	claims map[string]any
}

// parseCompact reads the compact serialization of RFC 7515, 7.1. ok is false for what is no token at all, and may be a
// credential of another kind.
func parseCompact(text string) (c compact, ok bool) {
	if len(text) > maxTokenBytes || strings.Count(text, ".") != 2 || !tokenChars(text) { // base64 would pass over line ends
		return c, false
	}
	parts := strings.Split(text, ".")
	c.text = text
	if c.header, ok = object(parts[0]); !ok {
		return c, false
	}
	if c.claims, ok = object(parts[1]); !ok {
		return c, false
	}
	if c.alg, ok = c.header["alg"].(string); !ok {
		return c, false
	}
	c.typ, _ = c.header["typ"].(string)
	c.id, _ = c.header["kid"].(string)
	return c, true
}

func object(segment string) (map[string]any, bool) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return nil, false
	}
	o, err := strictjson.Object(text)
	return o, err == nil
}

// own reports whether it claims to be a token of this server's own.
func (c compact) own() bool { return strings.EqualFold(c.typ, ownType) }

// verifier verifies tokens of one kind.
type verifier struct {
	// find returns the keys that may have signed a token that names the key id, or none ("").
	find     func(ctx context.Context, id string) ([]keys.Key, error)
	issuer   string
	audience []string
	leeway   time.Duration
	now      func() time.Time
}

// verify returns the claims of a token once its signature and its time, issuer and audience have been checked. The error is a
// *Denied or wraps ErrLater.
func (v *verifier) verify(ctx context.Context, c compact) (jwt.MapClaims, error) {
	if cause := headerProblem(c.header); cause != "" {
		return nil, invalid(cause)
	}
	if !plausibleDates(c.claims) {
		return nil, invalid("exp, nbf or iat is not a time")
	}
	candidates, err := v.candidates(ctx, c)
	if err != nil {
		return nil, err
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(keys.Algorithms), jwt.WithExpirationRequired(), jwt.WithTimeFunc(v.now), jwt.WithLeeway(v.leeway),
		jwt.WithStrictDecoding(),
	}
	if v.issuer != "" {
		options = append(options, jwt.WithIssuer(v.issuer))
	}
	if len(v.audience) > 0 {
		options = append(options, jwt.WithAudience(v.audience...))
	}
	claims := jwt.MapClaims{} // names exactly as they are; a struct would take "Exp" for "exp"
	_, err = jwt.NewParser(options...).ParseWithClaims(c.text, claims, func(*jwt.Token) (any, error) { return candidates, nil })
	if err != nil {
		return nil, refusal(err)
	}
	if audience, _ := claims.GetAudience(); claims["aud"] != nil && len(audience) == 0 {
		return nil, invalid("aud is neither a text nor a list of texts")
	} else if len(audience) > 0 && len(v.audience) == 0 {
		return nil, invalid("aud names somebody, and no audience is configured")
	}
	return claims, nil
}

// candidates are the keys that a token is verified with: those that it names, and whose own algorithm it uses.
func (v *verifier) candidates(ctx context.Context, c compact) (set jwt.VerificationKeySet, err error) {
	found, err := v.find(ctx, c.id)
	switch {
	case errors.Is(err, keys.ErrUnknown):
		return set, invalid(err.Error())
	case err != nil:
		return set, later("the keys for tokens cannot be fetched now")
	}
	for _, k := range found {
		if k.Algorithm == c.alg && len(set.Keys) < maxCandidates {
			set.Keys = append(set.Keys, k.Public)
		}
	}
	if len(set.Keys) == 0 {
		return set, invalid("no key has the token's kid and alg")
	}
	return set, nil
}

// headerProblem refuses what changes the meaning of a token in a way that is not understood here. Other fields that name or
// bring a key (jku, jwk, x5u, x5c) are ignored.
func headerProblem(header map[string]any) string {
	if _, has := header["crit"]; has {
		return "it has critical extensions (crit), which are not understood" // RFC 7515, 4.1.11
	}
	if content, has := header["cty"].(string); has && strings.EqualFold(content, "JWT") {
		return "it contains another token (cty)"
	}
	if id, has := header["kid"]; has {
		if text, ok := id.(string); !ok || len(text) > maxSubjectBytes {
			return "its kid is not a text, or too long"
		}
	}
	return ""
}

// lastDate is the end of the year 9999. Beyond it, conversions to a time overflow.
const lastDate = 253402300799

// plausibleDates reports whether the dates of a token are numbers that can be converted to a time.
func plausibleDates(claims map[string]any) bool {
	for _, name := range []string{"exp", "nbf", "iat"} {
		v, has := claims[name]
		if n, ok := v.(float64); has && (!ok || math.IsNaN(n) || n < 0 || n > lastDate) {
			return false
		}
	}
	return true
}

// refusal says why golang-jwt refuses a token. Its own text may quote parts of it, so it is not used. Claims are looked at
// only after the signature has been found valid.
func refusal(err error) *Denied {
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return invalid("the signature is not valid")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return invalid("exp, or a claim that must be checked, is missing")
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return invalid("iss is somebody else")
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return invalid("aud is somebody else")
	case errors.Is(err, jwt.ErrTokenExpired):
		return &Denied{http.StatusUnauthorized, CodeExpired, "the credential has expired: get a new one", ""}
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return invalid("nbf is in the future")
	}
	return invalid("it is malformed")
}

// grantOf reads who a verified token is for, and when its streams must end.
func (v *verifier) grantOf(claims jwt.MapClaims, way string) (Grant, error) {
	g := Grant{Way: way}
	subject, has := claims["sub"]
	if has {
		var ok bool
		if g.Subject, ok = subject.(string); !ok || !subjectOK(g.Subject) {
			return Grant{}, invalid("sub is not a text, too long, or has control characters")
		}
	}
	exp, err := claims.GetExpirationTime()
	if err != nil || exp == nil {
		return Grant{}, invalid("exp is missing")
	}
	g.Expires = exp.Add(v.leeway)
	return g, nil
}
