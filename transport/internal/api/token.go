package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"fanfare/auth"
)

// tokenRequest is the body of POST /token.
type tokenRequest struct {
	Keys    []string `json:"keys"` // patterns that the token grants
	Subject string   `json:"subject"`
	TTL     string   `json:"ttl"` // a duration such as "1h"; "" is that of Config.Mint
}

type tokenAnswer struct {
	Token   string `json:"token"`
	Expires string `json:"expires"` // RFC 3339, in UTC
}

// serveToken makes a token for a subscriber. It grants no key that the sender does not have
// the right for.
func (a *API) serveToken(ctx *fasthttp.RequestCtx, who auth.Publisher) {
	mint := a.config.Load().Mint
	if mint == nil {
		fail(ctx, fasthttp.StatusNotFound, "path", "this server makes no tokens: set tokenSecret")
		return
	}
	b, ok := a.readBody(ctx, smallBody)
	defer b.release()
	if !ok {
		return
	}
	var r tokenRequest
	if field, err := decodeToken(b.bytes, &r); err != nil {
		fail(ctx, fasthttp.StatusBadRequest, field, err.Error())
		return
	}
	var ttl time.Duration
	if r.TTL != "" {
		var err error
		if ttl, err = time.ParseDuration(r.TTL); err != nil || ttl <= 0 {
			fail(ctx, fasthttp.StatusBadRequest, "ttl", fmt.Sprintf("ttl %q is not a time above 0: write it as 90s, 15m or 1h", r.TTL))
			return
		}
	}
	token, err := mint(who, auth.TokenRequest{Keys: r.Keys, Subject: r.Subject, TTL: ttl})
	var denied *auth.Denied
	switch {
	case errors.As(err, &denied):
		a.refuse(ctx, route{}, refusalOf(denied))
	case errors.Is(err, auth.ErrBadToken):
		fail(ctx, fasthttp.StatusBadRequest, "body", err.Error())
	case err != nil:
		fail(ctx, fasthttp.StatusServiceUnavailable, "", "no token can be made now: try again")
	default:
		ctx.Response.Header.Set("Cache-Control", "no-store")
		answer(ctx, fasthttp.StatusOK, tokenAnswer{string(token.Text), token.Expires.UTC().Format(time.RFC3339)})
	}
}

// decodeToken reads the body strictly. A member that is misspelled would be ignored, and of two with the same name a proxy that
// checks the body may see the other one: the token would grant something else.
func decodeToken(body []byte, r *tokenRequest) (field string, err error) {
	errBody := errors.New(`the body is not a JSON object: send {"keys": ["news"], "subject": "u42", "ttl": "1h"}`)
	if !json.Valid(body) || !utf8.Valid(body) {
		return "body", errBody
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if begin, err := dec.Token(); err != nil || begin != json.Delim('{') {
		return "body", errBody
	}
	members := map[string]any{"keys": &r.Keys, "subject": &r.Subject, "ttl": &r.TTL}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return "body", errBody
		}
		into, known := members[name]
		if !known {
			return name, fmt.Errorf("the member %q is unknown: a token has keys, subject and ttl", name)
		}
		if seen[name] {
			return name, fmt.Errorf("the member %q is given twice: name it once", name)
		}
		seen[name] = true
		if err := dec.Decode(into); err != nil {
			return name, fmt.Errorf("%s has the wrong type: keys is a list of strings, subject and ttl are strings", name)
		}
	}
	return "", nil
}
