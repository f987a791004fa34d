package api

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/gate"
)

// A request is decided by its head alone: version, target, Host, Sec-Fetch-Site,
// Origin, token, method, parameters, and the type and length of the body, in this
// order. decide is called twice, with the same head: when it has arrived, so that
// no byte of a refused body is read or kept, and when the handler runs, which
// answers.

// problem is the answer to a request that is refused.
type problem struct {
	status      int
	field, text string
}

// unclear is the problem of a request that two readers may understand differently. Its end is not known, so its connection is closed.
var unclear = &problem{fasthttp.StatusBadRequest, "request",
	"a header field is folded, has a name with a space or a similar byte, or is a Transfer-Encoding other than chunked (RFC 9112, 5 and 6)"}

// smallBody bounds the body of a request that publishes nothing.
const smallBody = 4 << 10

// Admits reports whether a request may go on, as far as its head tells. If not,
// Handle refuses it.
func (a *API) Admits(h *fasthttp.RequestHeader) bool {
	_, _, p := a.decide(h, a.config.Load())
	return p == nil
}

// decide finds the route of a request, or why it is refused. Of a preflight and
// other OPTIONS requests the route is known and serves nothing.
func (a *API) decide(h *fasthttp.RequestHeader, c *Config) (r route, t gate.Target, p *problem) {
	if !gate.KnownVersion(h) {
		return r, t, &problem{fasthttp.StatusHTTPVersionNotSupported, "request", "the version of HTTP is not supported: use HTTP/1.1"}
	}
	if !gate.ClearFields(h) {
		return r, t, unclear
	}
	t, ok := gate.TargetOf(h)
	if !ok {
		return r, t, &problem{fasthttp.StatusBadRequest, "path", "the target is not of the form /PATH?QUERY or http://HOST/PATH?QUERY (RFC 9112, 3.2), or has a fragment"}
	}
	if p = a.checkOrigin(h, t.Host, c); p != nil {
		return r, t, p
	}
	if r, ok = find(t.Path, c); !ok {
		return r, t, &problem{fasthttp.StatusNotFound, "path", fmt.Sprintf("nothing at %q: use one of %s", clientlog.CutTo(t.Path, maxEcho), strings.Join(routeNames(), ", "))}
	}
	method := string(h.Method())
	if method == fasthttp.MethodOptions {
		return r, t, a.checkSmall(h)
	}
	if !r.open && !c.authorized(h) {
		return r, t, &problem{fasthttp.StatusUnauthorized, "Authorization", `this needs the publish token: send "Authorization: Bearer TOKEN"`}
	}
	if method != r.method && !(method == fasthttp.MethodHead && r.method == fasthttp.MethodGet) {
		return r, t, &problem{fasthttp.StatusMethodNotAllowed, "method", fmt.Sprintf("%s does not take the method %q: use %s", t.Path, clientlog.CutTo(method, maxEcho), r.method)}
	}
	if p = r.checkQuery(t, c); p != nil {
		return r, t, p
	}
	if !r.publishes {
		return r, t, a.checkSmall(h)
	}
	if p = checkCoding(h); p == nil && r.typed {
		p = checkType(h)
	}
	if p == nil {
		p = a.checkLength(h, c.MaxBodyBytes)
	}
	return r, t, p
}

// maxEcho bounds what an answer repeats of a request, in bytes.
const maxEcho = 256

// find returns the route of a path. Profiles of net/http/pprof have names of
// lower-case letters.
func find(path string, c *Config) (route, bool) {
	r, ok := routes[path]
	if name, under := strings.CutPrefix(path, "/debug/pprof/"); !ok && c.Pprof && under && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz") == "" {
		return pprofRoute, true
	}
	return r, ok
}

// checkQuery refuses a parameter that the resource does not have, or that is given
// twice: the request would not do what was meant.
func (r route) checkQuery(t gate.Target, c *Config) *problem {
	if r.seconds {
		return checkSeconds(t.Query)
	}
	if r.param == anyParam || t.Query == "" {
		return nil
	}
	args := fasthttp.AcquireArgs()
	defer fasthttp.ReleaseArgs(args)
	args.Parse(t.Query)
	given := 0
	for k, v := range args.All() {
		switch {
		case len(k) == 0 && len(v) == 0: // "&&"
		case string(k) != r.param || r.param == "":
			takes := "takes none"
			if r.param != "" {
				takes = fmt.Sprintf("takes %s, as in %s?%s=VALUE", r.param, t.Path, r.param)
			}
			name := clientlog.Cut(strings.ToValidUTF8(string(k), "\uFFFD"))
			return &problem{fasthttp.StatusBadRequest, name, fmt.Sprintf("the parameter %q is unknown: %s %s", name, t.Path, takes)}
		default:
			given++
		}
	}
	if given > 1 {
		return &problem{fasthttp.StatusBadRequest, r.param, fmt.Sprintf("the parameter %s is given %d times: make one request for each", r.param, given)}
	}
	if r.param == "key" {
		if reason := c.Keys.Check(string(args.Peek("key"))); reason != "" {
			return &problem{fasthttp.StatusBadRequest, "key", "key " + reason}
		}
	}
	return nil
}

// maxProfile is the longest that a request may profile, in seconds.
const maxProfile = 60

// checkSeconds bounds how long a profile takes. It reads the query as net/http does,
// which serves the profiles.
func checkSeconds(query string) *problem {
	values, err := url.ParseQuery(query)
	for _, v := range values["seconds"] {
		if n, nerr := strconv.Atoi(v); nerr != nil || n < 0 || n > maxProfile {
			err = fmt.Errorf("it is %q", clientlog.Cut(v))
		}
	}
	if err != nil {
		return &problem{fasthttp.StatusBadRequest, "seconds", fmt.Sprintf("seconds must be a whole number from 0 to %d", maxProfile)}
	}
	return nil
}

// checkCoding refuses a compressed body.
func checkCoding(h *fasthttp.RequestHeader) *problem {
	for _, enc := range h.PeekAll("Content-Encoding") {
		if len(enc) > 0 && !strings.EqualFold(string(enc), "identity") {
			return &problem{fasthttp.StatusUnsupportedMediaType, "Content-Encoding", fmt.Sprintf("%q is not supported: send the body as it is", clientlog.CutTo(string(enc), maxEcho))}
		}
	}
	return nil
}

// checkType refuses a body of a type that cannot be published. Multipart is one of
// these, and never parsed.
func checkType(h *fasthttp.RequestHeader) *problem {
	t := mediaType(string(h.ContentType()))
	if slices.Contains([]string{typeJSON, typeText, typeFrames}, t) {
		return nil
	}
	return &problem{fasthttp.StatusUnsupportedMediaType, "Content-Type",
		fmt.Sprintf("%q is not a type to publish: send %s (a string or an object with data, event, id, retry), %s (the data) or %s (finished events), in UTF-8",
			clientlog.CutTo(t, maxEcho), typeJSON, typeText, typeFrames)}
}

// checkLength refuses a body that is announced with more than most bytes. A body in
// chunks is counted as it arrives.
func (a *API) checkLength(h *fasthttp.RequestHeader, most int) *problem {
	if gate.BodyLength(h) <= most {
		return nil
	}
	return bodyTooLarge(most)
}

// checkSmall refuses a long body of a request that publishes nothing.
func (a *API) checkSmall(h *fasthttp.RequestHeader) *problem {
	if gate.BodyLength(h) <= smallBody {
		return nil
	}
	return &problem{fasthttp.StatusRequestEntityTooLarge, "body", fmt.Sprintf("this request takes no body, or a small one, and this one has more than %d bytes", smallBody)}
}

func bodyTooLarge(most int) *problem {
	return &problem{fasthttp.StatusRequestEntityTooLarge, "maxBodyBytes", fmt.Sprintf("the body has more than %d bytes (maxBodyBytes): send less at once, or raise the limit", most)}
}

// refuse answers a request that its head decides against.
func (a *API) refuse(ctx *fasthttp.RequestCtx, r route, p *problem) {
	switch p.status {
	case fasthttp.StatusUnauthorized:
		ctx.Response.Header.Set("WWW-Authenticate", "Bearer")
	case fasthttp.StatusMethodNotAllowed:
		ctx.Response.Header.Set("Allow", r.allow())
	case fasthttp.StatusHTTPVersionNotSupported:
		ctx.SetConnectionClose()
	}
	if p == unclear {
		ctx.SetConnectionClose()
	}
	if strings.HasPrefix(p.field, "max") { // the name of a limit
		a.metrics.Refused[p.field].Inc()
	}
	if r.method == fasthttp.MethodPost && p.status != fasthttp.StatusMethodNotAllowed {
		a.metrics.PublishFails.Inc()
	}
	fail(ctx, p.status, p.field, p.text)
}
