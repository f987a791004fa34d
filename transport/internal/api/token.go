package api

import (
	"errors"
	"fmt"
	"time"

	"github.com/goccy/go-json"
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

// serveToken makes a token for a subscriber.
func (a *API) serveToken(ctx *fasthttp.RequestCtx) {
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
	token, expires, err := mint(r.Keys, r.Subject, ttl)
	var denied *auth.Denied
	switch {
	case errors.As(err, &denied):
		fail(ctx, denied.Status, "Authorization", denied.Message)
	case errors.Is(err, auth.ErrBadToken):
		fail(ctx, fasthttp.StatusBadRequest, "body", err.Error())
	case err != nil:
		fail(ctx, fasthttp.StatusServiceUnavailable, "", "no token can be made now: try again")
	default:
		ctx.Response.Header.Set("Cache-Control", "no-store")
		answer(ctx, fasthttp.StatusOK, tokenAnswer{token, expires.UTC().Format(time.RFC3339)})
	}
}

// decodeToken reads the body strictly: a member that is misspelled would be ignored, and the token would grant something else.
func decodeToken(body []byte, r *tokenRequest) (field string, err error) {
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &members); err != nil {
		return "body", errors.New(`the body is not a JSON object: send {"keys": ["news"], "subject": "u42", "ttl": "1h"}`)
	}
	for name, value := range members {
		var into any
		switch name {
		case "keys":
			into = &r.Keys
		case "subject":
			into = &r.Subject
		case "ttl":
			into = &r.TTL
		default:
			return name, fmt.Errorf("the member %q is unknown: a token has keys, subject and ttl", name)
		}
		if err := json.Unmarshal(value, into); err != nil {
			return name, fmt.Errorf("%s has the wrong type: keys is a list of strings, subject and ttl are strings", name)
		}
	}
	return "", nil
}
