// Package api is the HTTP API on the admin listener: publishing, one event at a
// time or in batches, counts, closing, health, metrics; and the built-in page,
// which the stream listener serves.
//
//	api.go       API, its configuration, the routes and how a request is dispatched
//	head.go      what the head of a request decides, before a body is read
//	access.go    which pages may call it: the Host, Origin and Sec-Fetch-Site fields; and the publish token
//	identify.go  who sends a request, and their rights
//	rate.go      how many events per second a publisher may publish
//	body.go      reading a body, within the limits on one and on all
//	publisher.go from an event to a frame: what may be published
//	deliver.go   from a frame to the engine or the backplane
//	repeats.go   Idempotency-Key: what is published once although it is sent twice
//	publish.go   POST /publish and /publishAll
//	batch.go     POST /batch; batch_run.go: with a backplane many lines are published at once
//	token.go     POST /token: tokens for subscribers
//	keys.go      closing, counting, listing keys; fleet.go: on all nodes
//	history.go   GET /history: past events
//	health.go    /healthz and /readyz
//	answer.go    answers, errors, and the JSON of both
//	pprof.go     profiles
//	page.go      the built-in page
package api

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"fanfare/auth"
	"fanfare/cluster"
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
	// MaxBodyTotalBytes bounds what the bodies of all requests take at once.
	MaxBodyTotalBytes int
	MaxBatchLines     int

	// StreamTLS and AdminTLS say which listeners speak TLS, for the page.
	StreamTLS, AdminTLS bool

	PublishToken string
	// Identify finds out who sends a request, nil if PublishToken alone says it.
	Identify func(context.Context, auth.PublishRequest) (auth.Publisher, error)
	// NeedsCertificate is set if the listener asks for client certificates, and nothing
	// else says who may use it.
	NeedsCertificate bool
	// MaxPublishRate is the events per second of a publisher without a rate of its own,
	// 0 for no limit.
	MaxPublishRate int
	AdminOrigins   []string
	Proxies        gate.Proxies
	NoPage         bool
	Pprof          bool

	// DuplicateWindow is how long a message's ID is remembered, and MaxIdempotencyKeys how many are, without a backplane.
	DuplicateWindow    time.Duration
	MaxIdempotencyKeys int
	// ReadyNeedsBroker makes /readyz fail while the broker cannot be reached.
	ReadyNeedsBroker bool

	// Mint makes tokens, nil for none.
	Mint func(auth.Publisher, auth.TokenRequest) (auth.Token, error)
}

// API answers the requests of the admin listener. All methods may be called
// concurrently.
type API struct {
	*Publisher

	// Disconnect ends the streams of a subject on this node, Presence counts those on a
	// key by their subjects. Both are set before the first request.
	Disconnect func(subject string) int
	Presence   func(key string) map[string]int

	// Ready is what /readyz answers.
	Ready atomic.Bool
	// Starting is why the server cannot do more than answer health checks yet, nil if it can. The backplane is set before that.
	Starting atomic.Pointer[string]
	// The ports of the listeners, for the page and its origin; 0 if unknown.
	StreamPort, AdminPort atomic.Int32

	bodies bodies
	rates  rates
}

// New returns the API of an engine, which publishes through the backplane if that is not nil.
func New(eng *engine.Engine, backplane *cluster.Node, m *metrics.Metrics, l *clientlog.Log, c *Config) *API {
	a := &API{Publisher: &Publisher{eng: eng, backplane: backplane, metrics: m, log: l}}
	a.Reconfigure(c)
	a.Ready.Store(true)
	return a
}

// SetBackplane sets the backplane while Starting is set.
func (a *API) SetBackplane(node *cluster.Node) { a.backplane = node }

// Reconfigure replaces the settings.
func (a *API) Reconfigure(c *Config) { a.config.Store(c) }

// route is a resource of the admin listener.
type route struct {
	method string
	serve  func(*API, *fasthttp.RequestCtx, auth.Publisher)
	// rights are what the sender needs one of, for the keys of scope.
	rights []auth.Right
	scope  scope
	// whole is set if only those who may do everything may do this.
	whole bool
	// param is the query parameter that the resource takes, "" for none; more are others.
	param string
	more  []string
	// open resources need no token: load balancers and orchestrators request them.
	open bool
	// publishes is set if the body is what to publish, and typed if its type matters.
	publishes, typed bool
	// seconds is set if the parameter seconds says how long the request takes.
	seconds bool
}

// one is the rights of a route that needs a certain one.
func one(r auth.Right) []auth.Right { return []auth.Right{r} }

var routes = map[string]route{
	"/publish":    {method: fasthttp.MethodPost, serve: (*API).servePublish, rights: one(auth.RightPublish), scope: ofKey, param: "key", publishes: true, typed: true},
	"/publishAll": {method: fasthttp.MethodPost, serve: (*API).servePublishAll, rights: one(auth.RightPublishAll), scope: ofAll, publishes: true, typed: true},
	"/batch": {
		method: fasthttp.MethodPost, serve: (*API).serveBatch, publishes: true,
		rights: []auth.Right{auth.RightPublish, auth.RightPublishAll, auth.RightClose, auth.RightRead}, scope: ofBody,
	},
	"/close":      {method: fasthttp.MethodPost, serve: (*API).serveClose, rights: one(auth.RightClose), scope: ofKey, param: "key"},
	"/closeAll":   {method: fasthttp.MethodPost, serve: (*API).serveCloseAll, rights: one(auth.RightClose), scope: ofAll},
	"/count":      {method: fasthttp.MethodGet, serve: (*API).serveCount, rights: one(auth.RightRead), scope: ofKey, param: "key"},
	"/countAll":   {method: fasthttp.MethodGet, serve: (*API).serveCountAll, rights: one(auth.RightRead), scope: ofAll},
	"/token":      {method: fasthttp.MethodPost, serve: (*API).serveToken, rights: one(auth.RightMint), scope: ofBody},
	"/disconnect": {method: fasthttp.MethodPost, serve: (*API).serveDisconnect, rights: one(auth.RightDisconnect), scope: ofAll, param: "subject"},
	"/presence":   {method: fasthttp.MethodGet, serve: (*API).servePresence, rights: one(auth.RightRead), scope: ofKey, param: "key"},
	"/history":    {method: fasthttp.MethodGet, serve: (*API).serveHistory, rights: one(auth.RightRead), scope: ofKey, param: "key", more: []string{"limit", "after", "from"}},
	"/keys":       {method: fasthttp.MethodGet, serve: (*API).serveKeys, rights: one(auth.RightRead), scope: ofBody, param: "top"},
	"/metrics":    {method: fasthttp.MethodGet, serve: (*API).serveMetrics, rights: one(auth.RightRead), scope: ofAll, param: anyParam},
	"/healthz":    {method: fasthttp.MethodGet, serve: serveHealth("/healthz"), open: true, param: anyParam},
	"/readyz":     {method: fasthttp.MethodGet, serve: serveHealth("/readyz"), open: true, param: anyParam},
}

func serveHealth(path string) func(*API, *fasthttp.RequestCtx, auth.Publisher) {
	return func(a *API, ctx *fasthttp.RequestCtx, _ auth.Publisher) { a.ServeHealth(ctx, path, true) }
}

// anyParam allows every parameter: probes and scrapers add their own.
const anyParam = "*"

// Handle answers a request on the admin listener. cert is the client's verified
// certificate, nil without one. Handle calls begin when it has found that the request
// may go on.
func (a *API) Handle(ctx *fasthttp.RequestCtx, cert *x509.Certificate, begin func()) {
	defer a.log.RecoverPanic(func() {
		fail(ctx, fasthttp.StatusInternalServerError, "", "internal error; see the server's log")
	})
	c := a.config.Load()
	d := a.decide(&ctx.Request.Header, cert, c)
	defer a.logFailure(ctx, d.target.Path)
	if d.problem == nil && gate.Skipped(&ctx.Request.Header) {
		d.problem = &problem{status: fasthttp.StatusServiceUnavailable, field: "request", text: "the settings changed while this request arrived: send it again"}
	}
	a.setCORS(ctx, c)
	switch {
	case d.problem != nil:
		a.refuse(ctx, d.route, d.problem)
	case ctx.IsOptions():
		ctx.Response.Header.Set("Allow", d.route.allow())
		ctx.SetStatusCode(fasthttp.StatusNoContent)
	default:
		begin()
		d.route.serve(a, ctx, d.publisher)
	}
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

func (a *API) serveMetrics(ctx *fasthttp.RequestCtx, _ auth.Publisher) {
	fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(a.metrics.Registry, promhttp.HandlerOpts{}))(ctx)
}

// minBodyRate is the slowest rate at which a body may arrive, in bytes per second.
const minBodyRate = 256 << 10

// BodyTime is the longest time that the body of an admitted request may take, by its
// Content-Length, or by the limit if that is not known (negative).
func (a *API) BodyTime(length int) time.Duration {
	most := a.config.Load().MaxBodyBytes
	if length < 0 || length > most {
		length = most
	}
	return time.Duration(length) * time.Second / minBodyRate
}

// RefuseRequest answers a request whose head, or the first bytes of whose body,
// could not be read. status and problem are what the front end makes of the error.
func (a *API) RefuseRequest(ctx *fasthttp.RequestCtx, status int, problem string) {
	fail(ctx, status, "request", problem)
	a.log.Refused(clientlog.Refusal{
		Kind: fmt.Sprint("admin", status, "request"), Listener: "admin", Status: status, Reason: problem, Remote: ctx.RemoteAddr().String(),
	})
}
