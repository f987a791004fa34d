package api

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/auth"
	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/gate"
)

// A request is decided by its head: version, target, Host, Sec-Fetch-Site, Origin,
// who sends it, method, parameters, rights, and the type and length of the body, in
// this order. decide is called twice, with the same head: when it has arrived, so that
// no byte of a refused body is read or kept, and when the handler runs, which answers.

// problem is the answer to a request that is refused.
type problem struct {
	status      int
	field, text string
	// code, if there is one, is that of an auth.Denied, and cause what the log has.
	code, cause string
	wait        time.Duration // for Retry-After, 0 for none
}

// decision is what the head of a request decides.
type decision struct {
	route     route
	target    gate.Target
	publisher auth.Publisher // who sends it
	problem   *problem       // nil if the request may go on
}

// unclear is the problem of a request that two readers may understand differently. Its end is not known, so its connection is closed.
var unclear = &problem{status: fasthttp.StatusBadRequest, field: "request",
	text: gate.FieldsProblem}

// smallBody bounds the body of a request that publishes nothing.
const smallBody = 4 << 10

// Admits reports whether a request may go on, as far as its head tells. If not,
// Handle refuses it. cert is the client's verified certificate, nil without one.
func (a *API) Admits(h *fasthttp.RequestHeader, cert *x509.Certificate) bool {
	return a.decide(h, cert, a.config.Load()).problem == nil
}

// decide finds the route of a request and who sends it, or why it is refused. Of a
// preflight and other OPTIONS requests the route is known and serves nothing.
func (a *API) decide(h *fasthttp.RequestHeader, cert *x509.Certificate, c *Config) (d decision) {
	refused := func(p *problem) decision { d.problem = p; return d }
	if !gate.KnownVersion(h) {
		return refused(&problem{status: fasthttp.StatusHTTPVersionNotSupported, field: "request", text: gate.VersionProblem})
	}
	if !gate.ClearFields(h) {
		return refused(unclear)
	}
	t, ok := gate.TargetOf(h)
	d.target = t
	if !ok {
		return refused(&problem{status: fasthttp.StatusBadRequest, field: "path", text: gate.TargetProblem})
	}
	if p := a.checkOrigin(h, t.Host, c); p != nil {
		return refused(p)
	}
	r, ok := find(t.Path, c)
	d.route = r
	if !ok {
		return refused(&problem{status: fasthttp.StatusNotFound, field: "path", text: fmt.Sprintf("nothing at %q: use one of %s", clientlog.CutTo(t.Path, maxEcho), strings.Join(routeNames(), ", "))})
	}
	method := string(h.Method())
	if method == fasthttp.MethodOptions {
		return refused(a.checkSmall(h))
	}
	if !r.open {
		var p *problem
		if d.publisher, p = a.identify(h, cert, c); p != nil {
			return refused(p)
		}
	}
	if method != r.method && !(method == fasthttp.MethodHead && r.method == fasthttp.MethodGet) {
		return refused(&problem{status: fasthttp.StatusMethodNotAllowed, field: "method", text: fmt.Sprintf("%s does not take the method %q: use %s", t.Path, clientlog.CutTo(method, maxEcho), r.method)})
	}
	if p := r.checkQuery(t, c); p != nil {
		return refused(p)
	}
	if p := r.permits(d.publisher, t, c); p != nil {
		return refused(p)
	}
	if reason := a.Starting.Load(); reason != nil && !r.open && t.Path != "/metrics" {
		return refused(&problem{status: fasthttp.StatusServiceUnavailable, field: "request", text: *reason + ": nothing was published or changed; repeat the request", wait: time.Second})
	}
	if !r.publishes {
		return refused(a.checkSmall(h))
	}
	p := checkCoding(h)
	if p == nil {
		p = r.checkRepeatField(h)
	}
	if p == nil && r.typed {
		p = checkType(h)
	}
	if p == nil {
		p = a.checkLength(h, c.MaxBodyBytes)
	}
	return refused(p)
}

// maxEcho bounds what an answer repeats of a request, in bytes.
const maxEcho = 256

// find returns the route of a path. Profiles of net/http/pprof have names of
// lower-case letters.
func find(path string, c *Config) (route, bool) {
	r, ok := routes[path]
	if name, under := strings.CutPrefix(path, "/debug/pprof/"); !ok && c.Pprof && under && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz") == "" {
		r := pprofRoute
		r.whole = name == "cmdline" // a flag may be a token
		return r, true
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
	given := map[string]int{}
	for k, v := range args.All() {
		switch {
		case len(k) == 0 && len(v) == 0: // "&&"
		case (string(k) != r.param || r.param == "") && !slices.Contains(r.more, string(k)):
			takes := "takes none"
			if r.param != "" {
				takes = fmt.Sprintf("takes %s, as in %s?%s=VALUE", strings.Join(append([]string{r.param}, r.more...), ", "), t.Path, r.param)
			}
			name := clientlog.Cut(strings.ToValidUTF8(string(k), "\uFFFD"))
			return &problem{status: fasthttp.StatusBadRequest, field: name, text: fmt.Sprintf("the parameter %q is unknown: %s %s", name, t.Path, takes)}
		default:
			given[string(k)]++
		}
	}
	for name, n := range given {
		if n > 1 {
			return &problem{status: fasthttp.StatusBadRequest, field: name, text: fmt.Sprintf("the parameter %s is given %d times: make one request for each", name, n)}
		}
	}
	if r.param == "key" {
		if reason := c.Keys.Check(string(args.Peek("key"))); reason != "" {
			return &problem{status: fasthttp.StatusBadRequest, field: "key", text: "key " + reason}
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
		return &problem{status: fasthttp.StatusBadRequest, field: "seconds", text: fmt.Sprintf("seconds must be a whole number from 0 to %d", maxProfile)}
	}
	return nil
}

// checkCoding refuses a compressed body.
func checkCoding(h *fasthttp.RequestHeader) *problem {
	for _, enc := range h.PeekAll("Content-Encoding") {
		if len(enc) > 0 && !strings.EqualFold(string(enc), "identity") {
			return &problem{status: fasthttp.StatusUnsupportedMediaType, field: "Content-Encoding", text: fmt.Sprintf("%q is not supported: send the body as it is", clientlog.CutTo(string(enc), maxEcho))}
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
	return &problem{status: fasthttp.StatusUnsupportedMediaType, field: "Content-Type",
		text: fmt.Sprintf("%q is not a type to publish: send %s (a string or an object with data, event, id, retry), %s (the data) or %s (finished events), in UTF-8",
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
	return &problem{status: fasthttp.StatusRequestEntityTooLarge, field: "body", text: fmt.Sprintf("this request takes no body, or a small one, and this one has more than %d bytes", smallBody)}
}

func bodyTooLarge(most int) *problem {
	return &problem{status: fasthttp.StatusRequestEntityTooLarge, field: "maxBodyBytes", text: fmt.Sprintf("the body has more than %d bytes (maxBodyBytes): send less at once, or raise the limit", most)}
}

// refuse answers a request that its head decides against, or a limit.
func (a *API) refuse(ctx *fasthttp.RequestCtx, r route, p *problem) {
	h := &ctx.Response.Header
	if challenge := challengeFor(p); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	switch p.status {
	case fasthttp.StatusMethodNotAllowed:
		h.Set("Allow", r.allow())
	case fasthttp.StatusHTTPVersionNotSupported:
		ctx.SetConnectionClose()
	}
	if p.wait > 0 {
		h.Set("Retry-After", retryAfter(p.wait))
	}
	if p == unclear {
		ctx.SetConnectionClose()
	}
	if strings.HasPrefix(p.field, "max") { // the name of a limit
		a.metrics.Refused[p.field].Inc()
	}
	if p.code != "" {
		a.metrics.Denied(p.code)
	}
	if r.method == fasthttp.MethodPost && p.status != fasthttp.StatusMethodNotAllowed {
		a.metrics.PublishFails.Inc()
	}
	if p.cause != "" {
		ctx.SetUserValue(causeKey{}, p.cause)
	}
	answer(ctx, p.status, failure{Error: p.text, Field: p.field, Code: p.code})
}

// causeKey is the key of what logFailure logs in place of the answer's error.
type causeKey struct{}

// challengeFor is the WWW-Authenticate field of a refusal (RFC 6750, 3). A request
// without a credential gets no error, as 3.1 says.
func challengeFor(p *problem) string {
	switch {
	case p.code == auth.CodeInvalid || p.code == auth.CodeExpired:
		return `Bearer error="invalid_token"`
	case p.code == auth.CodeKey || p.code == auth.CodeRight:
		return `Bearer error="insufficient_scope"`
	case p.status == fasthttp.StatusUnauthorized:
		return "Bearer"
	}
	return ""
}
