// Package api is the HTTP API on the admin listener: publishing, one event at a
// time or in batches, counts, closing, health, metrics; and the built-in page,
// which the stream listener serves.
//
//	api.go       API, its configuration, the routes and how a request is dispatched
//	access.go    who may call it: the token, the Host and Origin fields
//	publisher.go from an event to the engine: what may be published
//	publish.go   POST /publish and /publishAll
//	batch.go     POST /batch
//	keys.go      closing, counting, listing keys
//	answer.go    answers, errors, and the JSON of both
//	page.go      the built-in page
package api

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
	"github.com/valyala/fasthttp/pprofhandler"

	"fanfare/engine"
	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/gate"
	"fanfare/transport/internal/metrics"
)

// Config are the settings of the API, see the fields of the same names in
// transport.Options. A Config is not changed once an API has it.
type Config struct {
	Path string // of streams, for the page
	Keys gate.Keys

	PlainIDs       bool
	MaxEventBytes  int
	MaxIDBytes     int
	RefuseReserved bool
	MaxBodyBytes   int

	PublishToken string
	AdminOrigins []string
	Proxies      gate.Proxies
	NoPage       bool
	Pprof        bool
}

// API answers the requests of the admin listener. All methods may be called
// concurrently.
type API struct {
	*Publisher

	// Ready is what /readyz answers.
	Ready atomic.Bool
	// The ports of the listeners, for the page and its origin; 0 if unknown.
	StreamPort, AdminPort atomic.Int32
}

// New returns the API of an engine.
func New(eng *engine.Engine, m *metrics.Metrics, l *clientlog.Log, c *Config) *API {
	a := &API{Publisher: &Publisher{eng: eng, metrics: m, log: l}}
	a.Reconfigure(c)
	a.Ready.Store(true)
	return a
}

// Reconfigure replaces the settings.
func (a *API) Reconfigure(c *Config) { a.config.Store(c) }

// route is a resource of the admin listener.
type route struct {
	method string
	serve  func(*API, *fasthttp.RequestCtx)
	// param is the one query parameter that the resource takes, "" for none.
	param string
	// open resources need no token: load balancers and orchestrators request them.
	open bool
}

var routes = map[string]route{
	"/publish":    {method: fasthttp.MethodPost, serve: (*API).servePublish, param: "key"},
	"/publishAll": {method: fasthttp.MethodPost, serve: (*API).servePublishAll},
	"/batch":      {method: fasthttp.MethodPost, serve: (*API).serveBatch},
	"/close":      {method: fasthttp.MethodPost, serve: (*API).serveClose, param: "key"},
	"/closeAll":   {method: fasthttp.MethodPost, serve: (*API).serveCloseAll},
	"/count":      {method: fasthttp.MethodGet, serve: (*API).serveCount, param: "key"},
	"/countAll":   {method: fasthttp.MethodGet, serve: (*API).serveCountAll},
	"/keys":       {method: fasthttp.MethodGet, serve: (*API).serveKeys, param: "top"},
	"/metrics":    {method: fasthttp.MethodGet, serve: (*API).serveMetrics, param: anyParam},
	"/healthz":    {method: fasthttp.MethodGet, serve: func(a *API, ctx *fasthttp.RequestCtx) { a.ServeHealth(ctx, "/healthz") }, open: true, param: anyParam},
	"/readyz":     {method: fasthttp.MethodGet, serve: func(a *API, ctx *fasthttp.RequestCtx) { a.ServeHealth(ctx, "/readyz") }, open: true, param: anyParam},
}

// Handle answers a request on the admin listener.
func (a *API) Handle(ctx *fasthttp.RequestCtx) {
	defer a.log.RecoverPanic(func() {
		fail(ctx, fasthttp.StatusInternalServerError, "", "internal error; see the server's log")
	})
	defer a.logFailure(ctx)
	c := a.config.Load()
	path := string(ctx.Path())
	r, ok := routes[path]
	if !ok && c.Pprof && strings.HasPrefix(path, "/debug/pprof/") {
		r, ok = route{method: fasthttp.MethodGet, serve: func(_ *API, ctx *fasthttp.RequestCtx) { pprofhandler.PprofHandler(ctx) }, param: anyParam}, true
	}
	if !a.checkOrigin(ctx, c) {
		return
	}
	method := string(ctx.Method())
	switch {
	case !ok:
		fail(ctx, fasthttp.StatusNotFound, "path", fmt.Sprintf("nothing at %q: use one of %s", path, strings.Join(routeNames(), ", ")))
	case method == fasthttp.MethodOptions:
		ctx.Response.Header.Set("Allow", r.allow())
		ctx.SetStatusCode(fasthttp.StatusNoContent)
	case !r.open && !authorized(ctx, c.PublishToken):
		ctx.Response.Header.Set("WWW-Authenticate", "Bearer")
		if r.method == fasthttp.MethodPost {
			a.metrics.PublishFails.Inc()
		}
		fail(ctx, fasthttp.StatusUnauthorized, "Authorization", `this needs the publish token: send "Authorization: Bearer TOKEN"`)
	case method != r.method && !(method == fasthttp.MethodHead && r.method == fasthttp.MethodGet):
		ctx.Response.Header.Set("Allow", r.allow())
		fail(ctx, fasthttp.StatusMethodNotAllowed, "method", fmt.Sprintf("%s does not take %s: use %s", path, method, r.method))
	default:
		if name, problem := r.checkQuery(path, ctx.QueryArgs()); problem != "" {
			if method == fasthttp.MethodPost {
				a.metrics.PublishFails.Inc()
			}
			fail(ctx, fasthttp.StatusBadRequest, name, problem)
			return
		}
		r.serve(a, ctx)
	}
}

// anyParam allows every parameter: probes and scrapers add their own.
const anyParam = "*"

// checkQuery refuses a parameter that the resource does not have, or that is given
// twice: the request would not do what was meant.
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
			name := clientlog.Cut(strings.ToValidUTF8(string(k), "\uFFFD"))
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
		return "GET, HEAD, OPTIONS"
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

func (a *API) serveMetrics(ctx *fasthttp.RequestCtx) {
	fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(a.metrics.Registry, promhttp.HandlerOpts{}))(ctx)
}

// ServeHealth answers /healthz, which says that the process answers, and /readyz,
// which says that it takes streams: /readyz fails first when the server drains.
func (a *API) ServeHealth(ctx *fasthttp.RequestCtx, path string) {
	ctx.SetContentType("text/plain; charset=utf-8")
	if path == "/readyz" && !a.Ready.Load() {
		ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
		ctx.SetBodyString("draining\n")
		return
	}
	ctx.SetBodyString("ok\n")
}

// minBodyRate is the slowest rate at which a body may arrive, in bytes per second.
const minBodyRate = 256 << 10

// BodyTime is the longest time that the body of a request may take, by its
// Content-Length, or by the limit if that is not known (negative).
func (a *API) BodyTime(length int) time.Duration {
	most := a.config.Load().MaxBodyBytes
	if length < 0 || length > most {
		length = most
	}
	return time.Duration(length) * time.Second / minBodyRate
}

// MaxBodyBytes is the limit on a request's body.
func (a *API) MaxBodyBytes() int { return a.config.Load().MaxBodyBytes }

// RefuseRequest answers a request that could not be read, because of err. status
// and problem are what the front end makes of the error.
func (a *API) RefuseRequest(ctx *fasthttp.RequestCtx, err error, status int, problem string) {
	field := "request"
	if errors.Is(err, fasthttp.ErrBodyTooLarge) {
		a.metrics.Refused["maxBodyBytes"].Inc()
		a.metrics.PublishFails.Inc()
		status, field = fasthttp.StatusRequestEntityTooLarge, "maxBodyBytes"
		problem = fmt.Sprintf("the body has more than %d bytes (maxBodyBytes): send less at once, or raise the limit", a.MaxBodyBytes())
	}
	fail(ctx, status, field, problem)
	a.log.Refused(clientlog.Refusal{
		Kind: fmt.Sprint("admin", status, field), Listener: "admin", Status: status, Reason: problem, Remote: ctx.RemoteAddr().String(),
	})
}
