package api

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/auth"
	"fanfare/auth/pattern"
	"fanfare/transport/internal/gate"
)

// Who sends a request, and what they may do. Every route names its rights and the keys that they are needed for. Where
// the head names the keys it decides alone; the rest is decided when the body has been read, line by line in a batch.

// scope says which keys the right of a route is needed for. The zero scope allows nobody.
type scope uint8

const (
	ofKey  scope = iota + 1 // the key of the query
	ofAll                   // all keys that there are or will be
	ofBody                  // those that the body names, or the answer shows: one of the rights is enough for the head
)

// everybody is who sends a request if nothing says who may.
var everybody = auth.Publisher{Name: auth.WayOpen, Rights: auth.AllRights, Keys: []string{pattern.All}}

// operator has Config.PublishToken.
var operator = auth.Publisher{Name: "publishToken", Rights: auth.AllRights, Keys: []string{pattern.All}}

// guarded reports whether a client needs a credential: a token or a certificate.
func (c *Config) guarded() bool {
	return c.PublishToken != "" || c.Identify != nil || c.NeedsCertificate
}

// identify finds out who sends a request. cert is the client's verified certificate, nil without one.
func (a *API) identify(h *fasthttp.RequestHeader, cert *x509.Certificate, c *Config) (auth.Publisher, *problem) {
	if cert != nil && time.Now().After(cert.NotAfter) { // it was valid when the connection was made
		cert = nil
	}
	switch {
	case c.PublishToken != "" && c.hasToken(h):
		return operator, nil
	case c.Identify != nil:
		p, err := a.ask(auth.PublishRequest{Authorization: auth.Secret(h.Peek("Authorization")), Certificate: cert}, c)
		if err != nil {
			return auth.Publisher{}, refusalOf(err)
		}
		return p, nil
	case c.PublishToken != "":
		code := auth.CodeMissing
		if len(h.Peek("Authorization")) > 0 {
			code = auth.CodeInvalid
		}
		return auth.Publisher{}, &problem{status: fasthttp.StatusUnauthorized, field: "Authorization", text: `this needs the publish token: send "Authorization: Bearer TOKEN"`, code: code}
	case c.NeedsCertificate && cert == nil: // of a connection that is older than this setting
		return auth.Publisher{}, &problem{status: fasthttp.StatusUnauthorized, field: "certificate", text: "this needs a client certificate that is valid now: connect again with one", code: auth.CodeMissing}
	}
	return everybody, nil
}

// ask calls Config.Identify. A panic there means that nobody can decide now.
func (a *API) ask(r auth.PublishRequest, c *Config) (p auth.Publisher, err error) {
	defer a.log.RecoverPanic(func() { p, err = auth.Publisher{}, errors.New("IdentifyPublisher has panicked") })
	return c.Identify(context.Background(), r)
}

// refusalOf is the answer to a request whose sender may not do this, or cannot be identified now.
func refusalOf(err error) *problem {
	var d *auth.Denied
	if !errors.As(err, &d) {
		return &problem{
			status: fasthttp.StatusServiceUnavailable, field: "Authorization", text: "it cannot be decided now who may do this: send it again later",
			code: codeLater, cause: err.Error(), wait: time.Second,
		}
	}
	p := &problem{status: d.Status, field: "Authorization", text: d.Message, code: d.Code, cause: d.Error()}
	if p.status != fasthttp.StatusUnauthorized {
		p.status = fasthttp.StatusForbidden
	}
	if d.Code == auth.CodeKey {
		p.field = "key"
	}
	return p
}

// codeLater is the code of a refusal after which the same request may be allowed.
const codeLater = "later"

// permits decides what the head tells about the rights for a request.
func (r route) permits(p auth.Publisher, t gate.Target, c *Config) *problem {
	if r.open {
		return nil
	}
	var err error
	switch r.scope {
	case ofKey:
		// checkQuery has found the query to be valid.
		args := fasthttp.AcquireArgs()
		defer fasthttp.ReleaseArgs(args)
		args.Parse(t.Query)
		key, _ := c.Keys.Resolve(string(args.Peek("key")))
		err = p.Check(r.rights[0], key)
	case ofAll:
		err = p.Check(r.rights[0])
	case ofBody:
		if !slices.ContainsFunc(r.rights, p.Has) {
			err = &auth.Denied{Status: fasthttp.StatusForbidden, Code: auth.CodeRight, Message: fmt.Sprintf("the credential does not have a right for this: use one that has %s", oneOf(r.rights)), Cause: "publisher " + p.Name}
		}
	default: // a route that says nothing is for nobody
		err = &auth.Denied{Status: fasthttp.StatusForbidden, Code: auth.CodeRight, Message: "nobody may do this"}
	}
	if err == nil && r.whole && !mayEverything(p) {
		err = &auth.Denied{Status: fasthttp.StatusForbidden, Code: auth.CodeRight, Message: `this needs a credential with all rights for the keys "**"`, Cause: "publisher " + p.Name}
	}
	if err != nil {
		return refusalOf(err)
	}
	return nil
}

func oneOf(rights []auth.Right) string {
	var b strings.Builder
	for i, r := range rights {
		if i > 0 {
			b.WriteString(" or ")
		}
		fmt.Fprintf(&b, "%q", string(r))
	}
	return b.String()
}

func mayEverything(p auth.Publisher) bool {
	return !slices.ContainsFunc(auth.AllRights, func(r auth.Right) bool { return !p.AllowsAll(r) })
}
