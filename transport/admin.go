package transport

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-json"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
	"github.com/valyala/fasthttp/pprofhandler"

	"fanfare/codec"
	"fanfare/engine"
)

// route is a resource of the admin listener.
type route struct {
	method string
	serve  func(*Server, *fasthttp.RequestCtx)
	// param is the one query parameter that the resource takes, "" for none.
	param string
	// open resources need no token: load balancers and orchestrators ask them.
	open bool
}

var routes = map[string]route{
	"/publish":    {method: fasthttp.MethodPost, serve: (*Server).servePublish, param: "key"},
	"/publishAll": {method: fasthttp.MethodPost, serve: (*Server).servePublishAll},
	"/batch":      {method: fasthttp.MethodPost, serve: (*Server).serveBatch},
	"/close":      {method: fasthttp.MethodPost, serve: (*Server).serveClose, param: "key"},
	"/closeAll":   {method: fasthttp.MethodPost, serve: (*Server).serveCloseAll},
	"/count":      {method: fasthttp.MethodGet, serve: (*Server).serveCount, param: "key"},
	"/countAll":   {method: fasthttp.MethodGet, serve: (*Server).serveCountAll},
	"/keys":       {method: fasthttp.MethodGet, serve: (*Server).serveKeys, param: "top"},
	"/metrics":    {method: fasthttp.MethodGet, serve: (*Server).serveMetrics, param: anyParam},
	"/healthz":    {method: fasthttp.MethodGet, serve: func(s *Server, ctx *fasthttp.RequestCtx) { s.handleHealth(ctx, "/healthz") }, open: true, param: anyParam},
	"/readyz":     {method: fasthttp.MethodGet, serve: func(s *Server, ctx *fasthttp.RequestCtx) { s.handleHealth(ctx, "/readyz") }, open: true, param: anyParam},
}

// handleAdmin answers a request on the admin listener.
func (s *Server) handleAdmin(ctx *fasthttp.RequestCtx) {
	defer s.contain(func() {
		fail(ctx, fasthttp.StatusInternalServerError, "", "the server has a bug here: see its log")
	})
	defer s.noteAnswer(ctx, "admin")
	o := s.settings.Load()
	path := string(ctx.Path())
	r, ok := routes[path]
	if !ok && o.Pprof && strings.HasPrefix(path, "/debug/pprof/") {
		r, ok = route{method: fasthttp.MethodGet, serve: func(_ *Server, ctx *fasthttp.RequestCtx) { pprofhandler.PprofHandler(ctx) }, param: anyParam}, true
	}
	if !s.checkOrigin(ctx, o) {
		return
	}
	method := string(ctx.Method())
	switch {
	case !ok:
		fail(ctx, fasthttp.StatusNotFound, "path", fmt.Sprintf("nothing at %q: there are %s", path, strings.Join(routeNames(), ", ")))
	case method == fasthttp.MethodOptions:
		ctx.Response.Header.Set("Allow", r.allow())
		ctx.SetStatusCode(fasthttp.StatusNoContent)
	case !r.open && !authorised(ctx, o.PublishToken):
		ctx.Response.Header.Set("WWW-Authenticate", "Bearer")
		if r.method == fasthttp.MethodPost {
			s.metrics.publishFails.Inc()
		}
		fail(ctx, fasthttp.StatusUnauthorized, "Authorization", `this needs the publish token: send "Authorization: Bearer TOKEN"`)
	case method != r.method && !(method == fasthttp.MethodHead && r.method == fasthttp.MethodGet):
		ctx.Response.Header.Set("Allow", r.allow())
		fail(ctx, fasthttp.StatusMethodNotAllowed, "method", fmt.Sprintf("%s does not take %s: use %s", path, method, r.method))
	default:
		if name, problem := r.checkQuery(path, ctx.QueryArgs()); problem != "" {
			if method == fasthttp.MethodPost {
				s.metrics.publishFails.Inc()
			}
			fail(ctx, fasthttp.StatusBadRequest, name, problem)
			return
		}
		r.serve(s, ctx)
	}
}

// anyParam lets everything stand in a query: probes and scrapers add what they like.
const anyParam = "*"

// checkQuery refuses a parameter that the resource does not take, or one that is
// given twice: the request would do something else than was meant.
func (r route) checkQuery(path string, args *fasthttp.Args) (name, problem string) {
	if r.param == anyParam {
		return "", ""
	}
	given := 0
	for k, v := range args.All() {
		switch {
		case len(k) == 0 && len(v) == 0: // "&&"
		case string(k) != r.param || r.param == "":
			takes := "takes none"
			if r.param != "" {
				takes = fmt.Sprintf("takes %s, as in %s?%s=VALUE", r.param, path, r.param)
			}
			name := cutText(strings.ToValidUTF8(string(k), "\uFFFD"))
			return name, fmt.Sprintf("the parameter %q is unknown: %s %s", name, path, takes)
		default:
			given++
		}
	}
	if given > 1 {
		return r.param, fmt.Sprintf("the parameter %s is given %d times: make one request for each", r.param, given)
	}
	return "", ""
}

// allow is the Allow field of the resource (RFC 9110, 10.2.1).
func (r route) allow() string {
	if r.method == fasthttp.MethodGet {
		return allowedMethods
	}
	return r.method + ", OPTIONS"
}

func routeNames() []string {
	names := make([]string, 0, len(routes))
	for name := range routes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// authorised compares the bearer token (RFC 6750, 2.1) in constant time.
func authorised(ctx *fasthttp.RequestCtx, token string) bool {
	if token == "" {
		return true
	}
	scheme, given, _ := strings.Cut(string(ctx.Request.Header.Peek("Authorization")), " ")
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(strings.TrimSpace(given)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// checkOrigin keeps other sites' pages, open in a browser that can reach this
// listener, from using it: a request with an Origin must come from one that is
// allowed, and without a token the Host must be an address or localhost, so
// that no name which its owner points here (DNS rebinding) counts as this host.
func (s *Server) checkOrigin(ctx *fasthttp.RequestCtx, o *settings) bool {
	host, _, err := net.SplitHostPort(string(ctx.Host()))
	if err != nil {
		host = strings.Trim(string(ctx.Host()), "[]")
	}
	if o.PublishToken == "" && host != "" && host != "localhost" && net.ParseIP(host) == nil {
		fail(ctx, fasthttp.StatusForbidden, "Host", fmt.Sprintf("the host %q is neither an address nor localhost: use one of these, or set publishToken", host))
		return false
	}
	origin := string(ctx.Request.Header.Peek("Origin"))
	if origin == "" {
		return true
	}
	if !slices.Contains(o.AdminOrigins, origin) && !slices.Contains(o.AdminOrigins, anyOrigin) && !s.pageOrigin(origin, o) {
		fail(ctx, fasthttp.StatusForbidden, "Origin", fmt.Sprintf("pages of %s may not call this listener: add the origin to adminOrigins", origin))
		return false
	}
	h := &ctx.Response.Header
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Vary", "Origin")
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	return true
}

// anyOrigin in Options.AdminOrigins allows every origin; newSettings lets it
// stand only with a token.
const anyOrigin = "*"

// pageOrigin reports whether origin is the built-in page's on this machine.
func (s *Server) pageOrigin(origin string, o *settings) bool {
	u, err := url.Parse(origin)
	if err != nil || o.NoPage || u.Scheme != "http" || u.Host == "" {
		return false
	}
	port := cmp.Or(u.Port(), "80")
	return port == strconv.Itoa(int(s.streamPort.Load())) && loopbackName(u.Hostname())
}

func loopbackName(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// answer sends v as JSON.
func answer(ctx *fasthttp.RequestCtx, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = fasthttp.StatusInternalServerError, []byte(`{"error":"the answer could not be encoded"}`)
	}
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	ctx.SetBody(append(b, '\n'))
}

// failure is the body of every error answer.
type failure struct {
	Error string `json:"error"`
	// Field names the field, header or setting at fault.
	Field string `json:"field,omitempty"`
	// Line is the line of a batch, from 1.
	Line int `json:"line,omitempty"`
}

func fail(ctx *fasthttp.RequestCtx, status int, field, text string) {
	answer(ctx, status, failure{Error: text, Field: field})
}

// describe turns an error of publishing into a status and a body.
func describe(err error) (int, failure) {
	var (
		ce *codec.Error
		se *SizeError
		le *engine.LimitError
	)
	switch {
	case errors.As(err, &ce):
		return fasthttp.StatusBadRequest, failure{Error: ce.Error(), Field: ce.Field}
	case errors.As(err, &se):
		return fasthttp.StatusRequestEntityTooLarge, failure{Error: se.Error(), Field: se.Limit}
	case errors.As(err, &le):
		return fasthttp.StatusServiceUnavailable, failure{Error: le.Error(), Field: le.Limit}
	default:
		return fasthttp.StatusBadRequest, failure{Error: err.Error()}
	}
}

// adminError answers what fasthttp refuses before a handler runs.
func (s *Server) adminError(ctx *fasthttp.RequestCtx, err error) {
	status, problem := s.requestProblem(ctx, err)
	field := "request"
	if errors.Is(err, fasthttp.ErrBodyTooLarge) {
		s.metrics.refused["maxBodyBytes"].Inc()
		s.metrics.publishFails.Inc()
		status, field = fasthttp.StatusRequestEntityTooLarge, "maxBodyBytes"
		problem = fmt.Sprintf("the body has more than %d bytes (maxBodyBytes): send less at once, or raise the limit", s.settings.Load().MaxBodyBytes)
	}
	fail(ctx, status, field, problem)
	s.logRefusal(fmt.Sprint("admin", status, field), "admin", status, "", "", problem, ctx.RemoteAddr().String())
}

// minBodyRate is how fast a body must arrive, in bytes per second.
const minBodyRate = 256 << 10

// bodyTimeout is how long the body of a request may take, by its Content-Length
// or, if that is not known (negative), by the limit.
func (s *Server) bodyTimeout(length int, o *settings) time.Duration {
	if length < 0 || length > o.MaxBodyBytes {
		length = o.MaxBodyBytes
	}
	return s.requestTimeout + time.Duration(length)*time.Second/minBodyRate
}

// noBody refuses an object in the body where none is read: its key would be another
// than the one that is closed.
func (s *Server) noBody(ctx *fasthttp.RequestCtx, path string) bool {
	if b := bytes.TrimSpace(ctx.PostBody()); len(b) == 0 || b[0] != '{' || string(b) == "{}" {
		return true
	}
	fail(ctx, fasthttp.StatusBadRequest, "body", path+" takes no body: the streams of a key are closed by POST /close?key=KEY, all by POST /closeAll")
	return false
}

func (s *Server) serveClose(ctx *fasthttp.RequestCtx) {
	if !s.noBody(ctx, "/close") {
		return
	}
	if key, ok := s.keyOf(ctx); ok {
		answer(ctx, fasthttp.StatusOK, closedAnswer{s.eng.CloseKey(key)})
	}
}

func (s *Server) serveCloseAll(ctx *fasthttp.RequestCtx) {
	if !s.noBody(ctx, "/closeAll") {
		return
	}
	answer(ctx, fasthttp.StatusOK, closedAnswer{s.eng.CloseAll()})
}

func (s *Server) serveCount(ctx *fasthttp.RequestCtx) {
	if key, ok := s.keyOf(ctx); ok {
		answer(ctx, fasthttp.StatusOK, countAnswer{s.eng.Count(key)})
	}
}

func (s *Server) serveCountAll(ctx *fasthttp.RequestCtx) {
	answer(ctx, fasthttp.StatusOK, countAnswer{s.eng.CountAll()})
}

// maxTop bounds GET /keys.
const maxTop = 1000

func (s *Server) serveKeys(ctx *fasthttp.RequestCtx) {
	top := 20
	if arg := ctx.QueryArgs().Peek("top"); len(arg) > 0 {
		n, err := strconv.Atoi(string(arg))
		if err != nil || n < 1 || n > maxTop {
			fail(ctx, fasthttp.StatusBadRequest, "top", fmt.Sprintf("top is a number from 1 to %d", maxTop))
			return
		}
		top = n
	}
	stats := s.eng.Top(top)
	if stats == nil {
		stats = []engine.KeyStats{} // [] and not null
	}
	answer(ctx, fasthttp.StatusOK, keysAnswer{s.eng.Stats().Keys, stats})
}

func (s *Server) serveMetrics(ctx *fasthttp.RequestCtx) {
	fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))(ctx)
}

// handleHealth: healthz says that the process answers, readyz that it takes
// streams; readyz turns first when the server drains.
func (s *Server) handleHealth(ctx *fasthttp.RequestCtx, path string) {
	ctx.SetContentType("text/plain; charset=utf-8")
	if path == "/readyz" && !s.ready.Load() {
		ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
		ctx.SetBodyString("draining\n")
		return
	}
	ctx.SetBodyString("ok\n")
}

type (
	publishAnswer struct {
		ID          string   `json:"id"`
		IDs         []string `json:"ids,omitempty"`    // of a text/event-stream body
		Events      int      `json:"events,omitempty"` // likewise
		Subscribers int      `json:"subscribers"`
	}
	allAnswer struct {
		Keys        int `json:"keys"`
		Subscribers int `json:"subscribers"`
		Events      int `json:"events,omitempty"`
	}
	closedAnswer struct {
		Closed int `json:"closed"`
	}
	countAnswer struct {
		Count int `json:"count"`
	}
	keysAnswer struct {
		Keys int64             `json:"keys"` // all that exist
		Top  []engine.KeyStats `json:"top"`
	}
)
