package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"fanfare/auth/internal/strictjson"
	"fanfare/auth/pattern"
	"fanfare/internal/ratelog"
)

const (
	defaultCallbackTimeout = 3 * time.Second
	defaultInFlight        = 64
	defaultCached          = 10_000
	maxCacheTime           = time.Hour
	maxGrantTime           = 365 * 24 * time.Hour
	maxAnswerBytes         = 64 << 10
	maxResponseHead        = 64 << 10
)

// callback asks the application.
type callback struct {
	url     *url.URL
	timeout time.Duration
	client  *http.Client
	now     func() time.Time
	logger  *slog.Logger
	limiter *ratelog.Limiter

	ctx    context.Context // of the requests, which end with the Authorizer and not with whoever asked first
	cancel context.CancelFunc
	slots  chan struct{} // one for each request at once
	cache  cache
}

func newCallback(o Callback, now func() time.Time, logger *slog.Logger, limiter *ratelog.Limiter) (*callback, error) {
	u, err := checkURL("authCallback", o.URL)
	if err != nil {
		return nil, err
	}
	for name, n := range map[string]int{"timeout": int(o.Timeout), "maxInFlight": o.MaxInFlight, "maxCached": o.MaxCached} {
		if n < 0 {
			return nil, fmt.Errorf("authCallback: %s is negative", name)
		}
	}
	c := &callback{url: u, timeout: or(o.Timeout, defaultCallbackTimeout), now: now, logger: logger, limiter: limiter}
	c.slots = make(chan struct{}, or(o.MaxInFlight, defaultInFlight))
	c.cache.max, c.cache.now = or(o.MaxCached, defaultCached), now
	c.client = client(o.Transport, cap(c.slots))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// ask returns the application's grant. The error is a *Denied or wraps ErrLater. Requests that are alike wait for one answer.
func (c *callback) ask(ctx context.Context, r Request) (Grant, error) {
	if r.ForeignOrigin {
		r.Cookie = ""
	}
	if !fieldOK(string(r.Authorization)) || !fieldOK(string(r.Cookie)) || !fieldOK(r.Origin) || !fieldOK(string(r.Token)) {
		return Grant{}, invalid("a header field has control characters")
	}
	return c.cache.get(ctx, questionOf(r), func() (Grant, time.Duration, error) { return c.fetch(r) })
}

// question identifies everything that an answer may depend on.
type question [sha256.Size]byte

func questionOf(r Request) question {
	keys := slices.Clone(r.Keys)
	slices.Sort(keys)
	var text []byte
	for _, part := range append([]string{string(r.Authorization), string(r.Cookie), string(r.Token), r.Origin, r.Address}, keys...) {
		text = binary.AppendUvarint(text, uint64(len(part))) // so that no two requests have the same text
		text = append(text, part...)
	}
	return sha256.Sum256(text)
}

// fetch asks once. keep is how long the answer may be kept.
func (c *callback) fetch(r Request) (g Grant, keep time.Duration, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.timeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return g, 0, c.trouble("too many requests are waiting for it")
	}
	resp, err := c.client.Do(c.request(ctx, r))
	if err != nil {
		return g, 0, c.trouble(connectionProblem(err))
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return g, 0, &Denied{resp.StatusCode, CodeDenied, "the application does not allow this", "authCallback"}
	case resp.StatusCode/100 != 2:
		return g, 0, c.trouble(fmt.Sprintf("it answers with status %d: 2xx allows, 401 and 403 deny", resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return g, 0, c.trouble(connectionProblem(err))
	case len(body) > maxAnswerBytes:
		return g, 0, c.trouble(fmt.Sprintf("its answer has more than %d bytes", maxAnswerBytes))
	}
	g, keep, problem := parseAnswer(body, resp.Header.Get("Content-Type"), r.Keys, c.now())
	if problem != "" {
		return Grant{}, 0, c.trouble(problem)
	}
	return g, keep, nil
}

// trouble logs why the application's answer is none. Nothing of the request or of the answer is logged.
func (c *callback) trouble(problem string) error {
	if c.ctx.Err() == nil {
		c.limiter.Log(c.logger, slog.LevelWarn, "callback:"+problem, "the application cannot be asked who may subscribe: clients are told to come back", "setting", "authCallback", "problem", problem)
	}
	return later("the callback gives no answer")
}

// request is what the application sees: the query and the fields of the browser's request, so that its middlewares decide as if
// the browser had come to them.
func (c *callback) request(ctx context.Context, r Request) *http.Request {
	u := *c.url
	query := u.Query()
	for _, k := range r.Keys {
		query.Add("connectKey", k)
	}
	u.RawQuery = query.Encode()
	req := (&http.Request{Method: http.MethodGet, URL: &u, Host: u.Host, Header: http.Header{}}).WithContext(ctx)
	set := func(name, value string) {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	set("Accept", "application/json")
	set("User-Agent", cmp.Or(r.UserAgent, "fanfare"))
	set("Cookie", string(r.Cookie))
	set("Origin", r.Origin)
	set("X-Forwarded-For", r.Address)
	set("X-Forwarded-Host", r.Host)
	set("X-Forwarded-Proto", r.Scheme)
	set("Authorization", string(r.Authorization))
	if r.Authorization == "" && r.Token != "" {
		set("Authorization", "Bearer "+string(r.Token)) // an EventSource cannot set the field
	}
	return req
}

// answer is the optional body of an answer that allows.
//
//	{"keys": ["news", "user.42.*"], "subject": "u42", "ttl": "1h", "cache": "30s"}
//
// Each field is optional. Others are refused, so that {"allowed": false} with status 200 does not allow.
func parseAnswer(body []byte, contentType string, asked []string, now time.Time) (g Grant, keep time.Duration, problem string) {
	g = Grant{Way: WayCallback}
	for _, k := range asked {
		g.Subscribe = append(g.Subscribe, pattern.Quote(k))
	}
	if strings.TrimSpace(string(body)) == "" {
		return g, 0, ""
	}
	if media, _, _ := mime.ParseMediaType(contentType); media != "application/json" {
		return g, 0, "its answer has a body that is not application/json: leave it empty, or send JSON"
	}
	object, err := strictjson.Object(body)
	if err != nil {
		return g, 0, "its answer " + err.Error()
	}
	for name, v := range object {
		var ok bool
		switch name {
		case "keys":
			g.Subscribe, ok = patternList(v)
			ok = ok && v != nil // null is a mistake rather than no key
		case "subject":
			g.Subject, ok = v.(string)
			ok = ok && subjectOK(g.Subject)
		case "ttl":
			var ttl time.Duration
			ttl, ok = duration(v, maxGrantTime)
			g.Expires = now.Add(ttl)
		case "cache":
			keep, ok = duration(v, maxCacheTime)
		default:
			return g, 0, "its answer has a field other than keys, subject, ttl and cache"
		}
		if !ok {
			return g, 0, fmt.Sprintf("the field %s of its answer is not valid", name)
		}
	}
	return g, keep, ""
}

// duration reads a text such as "90s", more than 0 and at most the limit.
func duration(v any, limit time.Duration) (time.Duration, bool) {
	text, _ := v.(string)
	d, err := time.ParseDuration(text)
	return d, err == nil && d > 0 && d <= limit
}

// connectionProblem describes an error of net/http without its URL, and without what the application has sent.
func connectionProblem(err error) string {
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "it does not answer in time"
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	}
	return "the connection breaks, or its answer is not valid HTTP"
}

// fieldOK reports whether a value can stand in a header field (RFC 9110, 5.5).
func fieldOK(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
