package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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
	MaxRate int       // events per second; 0 is what the server says for everybody

	templates templates // of a Mercure token
}

// Has reports whether the publisher has the right, for some keys at least.
func (p Publisher) Has(right Right) bool { return slices.Contains(p.Rights, right) }

// Allows reports whether the publisher has the right for the key.
func (p Publisher) Allows(right Right, key string) bool {
	return p.Has(right) && (pattern.List(p.Keys).Match(key) || p.templates.match(key))
}

// AllowsAll reports whether the publisher has the right for all keys that there are or will be.
func (p Publisher) AllowsAll(right Right) bool {
	return p.Has(right) && slices.Contains(p.Keys, pattern.All)
}

// allowsPattern reports whether the publisher has the right for every key that matches the pattern.
func (p Publisher) allowsPattern(right Right, keys string) bool {
	return p.Has(right) && pattern.List(p.Keys).Covers(keys)
}

// Check returns the refusal, a *Denied, of an operation on the keys, or on all keys if there are none.
func (p Publisher) Check(right Right, keys ...string) error {
	if !p.Has(right) {
		return p.lacks(right)
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

func (p Publisher) lacks(right Right) *Denied {
	return &Denied{http.StatusForbidden, CodeRight, fmt.Sprintf("the credential does not have the right %q: use one that has", right), "publisher " + p.Name}
}

// publisher is a configured token.
type publisher struct {
	Publisher
	hash        [sha256.Size]byte // of its token
	certificate string            // a name of its client certificate, "" if it has a token
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
			case p.certificate != "" && other.certificate == p.certificate:
				return nil, fmt.Errorf("publishTokens[%d].certificate %q is the certificate of publishTokens[%d], too: give each its own", i, cut(p.certificate), j)
			case p.certificate == "" && other.certificate == "" && other.hash == p.hash:
				return nil, fmt.Errorf("publishTokens[%d].token is the token of publishTokens[%d], too: give each its own", i, j)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

func (t PublishToken) publisher() (p publisher, err error) {
	p.Publisher = Publisher{Name: t.Name, Rights: slices.Clone(t.Rights), Keys: slices.Clone(t.Keys), MaxRate: t.MaxRate}
	p.certificate = t.Certificate
	if len(p.Rights) == 0 {
		p.Rights = []Right{RightPublish}
	}
	if t.Name == "" || !subjectOK(t.Name) {
		return p, fmt.Errorf(".name %q is not a name for the log: write a short text", cut(t.Name))
	}
	switch {
	case t.Token == "" && t.Certificate == "":
		return p, errors.New(" needs a token or a certificate")
	case t.Token != "" && t.Certificate != "":
		return p, errors.New(".certificate cannot be combined with token: make two entries")
	case t.Certificate != "" && !certificateNameOK(t.Certificate):
		return p, fmt.Errorf(".certificate %q is not a name of a certificate: write its common name, or a DNS name or URI of its subjectAltName", cut(t.Certificate))
	case t.Token != "":
		if p.hash, err = tokenHash(string(t.Token)); err != nil {
			return p, err
		}
	}
	if t.MaxRate < 0 {
		return p, fmt.Errorf(".maxPublishRate %d is negative: write the events per second, or 0 for the setting of that name", t.MaxRate)
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

// PublishRequest is what a request to the publish API brings.
type PublishRequest struct {
	// Authorization is the value of this header field, whole.
	Authorization Secret
	// Certificate is the client's certificate, if the connection is TLS and the certificate has been verified; nil otherwise.
	Certificate *x509.Certificate
}

// AuthorizePublish decides whether the sender of a request has the right for the keys; none stands for an operation on all keys,
// which needs the pattern "**". It returns who it is, for the log and for Mint. The error is a *Denied or wraps ErrLater. For
// several decisions about one request, ask Identify once, and then Publisher.Check.
func (a *Authorizer) AuthorizePublish(ctx context.Context, r PublishRequest, right Right, keys ...string) (Publisher, error) {
	p, err := a.Identify(ctx, r)
	if err != nil {
		return Publisher{}, err
	}
	if err := p.Check(right, keys...); err != nil {
		return Publisher{}, err
	}
	return p, nil
}

// Identify finds out who sends a request to the publish API. A bearer token decides, if there is one; then the client's
// certificate. The error is a *Denied or wraps ErrLater. If GuardsPublish is false, everybody has all rights for all keys.
func (a *Authorizer) Identify(ctx context.Context, r PublishRequest) (Publisher, error) {
	if !a.GuardsPublish() {
		return Publisher{Name: WayOpen, Rights: slices.Clone(AllRights), Keys: []string{pattern.All}}, nil
	}
	if r.Authorization == "" && r.Certificate != nil {
		if p, ok := a.certified(r.Certificate); ok {
			return p, nil
		}
		return Publisher{}, missing("no entry of publishTokens names this client certificate: add one, or send \"Authorization: Bearer TOKEN\" as well")
	}
	token, ok := bearer(string(r.Authorization))
	if !ok {
		if r.Authorization == "" {
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
		if subtle.ConstantTimeCompare(hash[:], a.publishers[i].hash[:]) == 1 && a.publishers[i].certificate == "" {
			p, found = a.publishers[i].Publisher, true
		}
	}
	return p.clone(), found
}

// certified finds the entry that names a verified certificate. If several do, the first counts.
func (a *Authorizer) certified(c *x509.Certificate) (p Publisher, found bool) {
	for i := range a.publishers {
		if name := a.publishers[i].certificate; name != "" && hasName(c, name) {
			return a.publishers[i].clone(), true
		}
	}
	return p, false
}

// hasName reports whether a certificate has a name. Names are compared byte by byte. A wildcard in a certificate is not one here.
func hasName(c *x509.Certificate, name string) bool {
	return c.Subject.CommonName == name || slices.Contains(c.DNSNames, name) ||
		slices.ContainsFunc(c.URIs, func(u *url.URL) bool { return u.String() == name })
}

// certificateNameOK reports whether a certificate could have the name.
func certificateNameOK(name string) bool { return subjectOK(name) && strings.TrimSpace(name) == name }

// clone makes a copy that shares nothing that a caller can change.
func (p Publisher) clone() Publisher {
	p.Rights, p.Keys = slices.Clone(p.Rights), slices.Clone(p.Keys)
	return p
}
