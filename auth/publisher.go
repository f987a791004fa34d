package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"fanfare/auth/pattern"
)

// Right is a kind of operation of the publish API. None includes another.
type Right string

// Rights of publishers.
const (
	RightPublish    Right = "publish"    // publish to keys
	RightPublishAll Right = "publishAll" // publish to all keys at once
	RightClose      Right = "close"      // end the streams of keys
	RightDisconnect Right = "disconnect" // end the streams of a subject
	RightRead       Right = "read"       // counts, history, metrics
	RightMint       Right = "mint"       // make tokens for subscribers
)

// AllRights are all of them.
var AllRights = []Right{RightPublish, RightPublishAll, RightClose, RightDisconnect, RightRead, RightMint}

// Publisher is somebody who uses the publish API. The zero Publisher may do nothing. A server of your own may make one without
// an Authorizer.
type Publisher struct {
	Name    string
	Rights  []Right
	Keys    []string  // patterns
	Expires time.Time // of the credential; zero is never

	templates templates // of a Mercure token
}

// Allows reports whether the publisher has the right for the key.
func (p Publisher) Allows(right Right, key string) bool {
	return slices.Contains(p.Rights, right) && (pattern.List(p.Keys).Match(key) || p.templates.match(key))
}

// AllowsAll reports whether the publisher has the right for all keys that there are or will be.
func (p Publisher) AllowsAll(right Right) bool {
	return slices.Contains(p.Rights, right) && slices.Contains(p.Keys, pattern.All)
}

// allowsPattern reports whether the publisher has the right for every key that matches the pattern.
func (p Publisher) allowsPattern(right Right, keys string) bool {
	return slices.Contains(p.Rights, right) && pattern.List(p.Keys).Covers(keys)
}

// check returns the refusal of an operation on the keys, or on all keys if there are none.
func (p Publisher) check(right Right, keys []string) error {
	if !slices.Contains(p.Rights, right) {
		return rightDenied(right)
	}
	if len(keys) == 0 && !p.AllowsAll(right) {
		return &Denied{http.StatusForbidden, CodeKey, `this concerns all keys: use a credential for the keys "**"`, "publisher " + p.Name}
	}
	for _, key := range keys {
		if !p.Allows(right, key) {
			return keyDenied(key, "publisher "+p.Name)
		}
	}
	return nil
}

func rightDenied(right Right) *Denied {
	return &Denied{http.StatusForbidden, CodeRight, fmt.Sprintf("the credential does not have the right %q: use one that has", right), ""}
}

// publisher is a configured token.
type publisher struct {
	Publisher
	hash [sha256.Size]byte // of its token
}

const (
	hashPrefix       = "sha256:"
	minPublishTokens = 16 // bytes of a token
)

// publishers checks the configured tokens.
func publishers(list []PublishToken) ([]publisher, error) {
	var all []publisher
	for i, t := range list {
		p, err := t.publisher()
		if err != nil {
			return nil, fmt.Errorf("publishTokens[%d]%w", i, err)
		}
		for j, other := range all {
			switch {
			case other.Name == p.Name:
				return nil, fmt.Errorf("publishTokens[%d].name %q is the name of publishTokens[%d], too: give each its own", i, p.Name, j)
			case other.hash == p.hash:
				return nil, fmt.Errorf("publishTokens[%d].token is the token of publishTokens[%d], too: give each its own", i, j)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

func (t PublishToken) publisher() (p publisher, err error) {
	p.Publisher = Publisher{Name: t.Name, Rights: slices.Clone(t.Rights), Keys: slices.Clone(t.Keys)}
	if len(p.Rights) == 0 {
		p.Rights = []Right{RightPublish}
	}
	if t.Name == "" || !subjectOK(t.Name) {
		return p, fmt.Errorf(".name %q is not a name for the log: write a short text", cut(t.Name))
	}
	if p.hash, err = tokenHash(string(t.Token)); err != nil {
		return p, err
	}
	for _, r := range p.Rights {
		if !slices.Contains(AllRights, r) {
			return p, fmt.Errorf(".rights has %q, which is unknown: use some of %s", r, rightNames())
		}
	}
	if len(p.Keys) == 0 {
		return p, fmt.Errorf(".keys is empty: write patterns of keys, such as news.*, or ** for all")
	}
	for j, k := range p.Keys {
		if err := pattern.Check(k); err != nil {
			return p, fmt.Errorf(".keys[%d] %q %w", j, cut(k), err)
		}
	}
	return p, nil
}

func rightNames() string {
	names := make([]string, len(AllRights))
	for i, r := range AllRights {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

// tokenHash returns the hash of a token, or the one that stands in its place. The errors quote nothing of it.
func tokenHash(token string) (hash [sha256.Size]byte, err error) {
	if text, isHash := strings.CutPrefix(token, hashPrefix); isHash {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != len(hash) {
			return hash, fmt.Errorf(".token has sha256: with something other than 64 hexadecimal digits: see printf %%s TOKEN | sha256sum")
		}
		return [sha256.Size]byte(b), nil
	}
	switch {
	case len(token) < minPublishTokens:
		return hash, fmt.Errorf(".token has fewer than %d characters: make one by openssl rand -hex 32", minPublishTokens)
	case !tokenChars(token):
		return hash, fmt.Errorf(".token may have only letters, digits and -._~+/ with = at the end (RFC 6750, 2.1), because it is sent in a header")
	}
	return sha256.Sum256([]byte(token)), nil
}

// tokenChars reports whether s is a b64token (RFC 6750, 2.1).
func tokenChars(s string) bool {
	body := strings.TrimRight(s, "=")
	return body != "" && !strings.ContainsFunc(body, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/", r)
	})
}

// AuthorizePublish decides whether the bearer of an Authorization field has the right for the keys; none stands for an operation
// on all keys, which needs the pattern "**". It returns who it is, for the log and for Mint. The error is a *Denied or wraps
// ErrLater. Everybody has all rights if GuardsPublish is false.
func (a *Authorizer) AuthorizePublish(ctx context.Context, authorization Secret, right Right, keys ...string) (Publisher, error) {
	p, err := a.publisher(ctx, authorization)
	if err != nil {
		return Publisher{}, err
	}
	if err := p.check(right, keys); err != nil {
		return Publisher{}, err
	}
	return p, nil
}

// publisher finds who the bearer is.
func (a *Authorizer) publisher(ctx context.Context, authorization Secret) (Publisher, error) {
	if !a.GuardsPublish() {
		return Publisher{Name: WayOpen, Rights: slices.Clone(AllRights), Keys: []string{pattern.All}}, nil
	}
	token, ok := bearer(string(authorization))
	if !ok {
		if authorization == "" {
			return Publisher{}, missing("no credential: send \"Authorization: Bearer TOKEN\"")
		}
		return Publisher{}, invalid("the Authorization field is not \"Bearer TOKEN\"")
	}
	if p, ok := a.named(token); ok {
		return p, nil
	}
	c, ok := parseCompact(token)
	if !a.publishJWT || !ok || c.own() {
		return Publisher{}, invalid("it is not one of publishTokens")
	}
	g, err := a.fromJWT(ctx, c)
	if err != nil {
		return Publisher{}, err
	}
	return Publisher{Name: WayJWT + ":" + g.Subject, Rights: []Right{RightPublish}, Keys: g.Publish, Expires: g.Expires, templates: g.publishTemplates}, nil
}

// named finds a configured token. It compares the hashes of all, each in constant time, so that the time tells nothing.
func (a *Authorizer) named(token string) (p Publisher, found bool) {
	hash := sha256.Sum256([]byte(token))
	for i := range a.publishers {
		if subtle.ConstantTimeCompare(hash[:], a.publishers[i].hash[:]) == 1 {
			p, found = a.publishers[i].Publisher, true
		}
	}
	p.Rights, p.Keys = slices.Clone(p.Rights), slices.Clone(p.Keys)
	return p, found
}
