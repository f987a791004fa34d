package transport

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/transport/internal/api"
	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/gate"
)

const requestTimeout = 10 * time.Second // to send a request's head, and to take its answer

// streamHead looks at the head of a request on the stream listener. None of its
// requests has a body: what comes with one is refused, and its body not read.
func (s *Server) streamHead(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	if gate.HasBody(h) {
		gate.SkipBody(h)
	}
	return c
}

// adminHead looks at the head of a request on the admin listener. The body of one
// that it refuses is not read, see api.API.Handle. cert is the client's verified
// certificate, nil without one.
func (s *Server) adminHead(h *fasthttp.RequestHeader, cert *x509.Certificate) fasthttp.RequestConfig {
	body, admitted := gate.HasBody(h), s.api.Admits(h, cert)
	if body && !admitted {
		gate.SkipBody(h)
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: math.MaxInt, ReadTimeout: s.requestTimeout + s.api.BodyTime(h.ContentLength())}
}

// handleAdmin answers a request on the admin listener.
func (s *Server) handleAdmin(ctx *fasthttp.RequestCtx) {
	c, _ := ctx.Conn().(*conn)
	var counted *adminConn
	if c != nil {
		counted, _ = c.Conn.(*adminConn)
	}
	if counted != nil {
		defer counted.state.CompareAndSwap(handling, answering)
	}
	defer func() {
		if s.adminConns.draining.Load() { // looked at after the event is published: DrainAdmin may have begun meanwhile
			ctx.SetConnectionClose()
		}
	}()
	s.api.Handle(ctx, s.certificateOf(ctx.Conn()), func() {
		if counted != nil {
			counted.state.Store(handling)
		}
	})
	if c != nil && api.Unread(ctx) {
		c.unread = true
	}
}

// handle answers a request on the stream listener.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	o := s.settings.Load()
	defer s.log.RecoverPanic(func() {
		ctx.Error("internal error; see the server's log\n", fasthttp.StatusInternalServerError) // removes all fields
		o.setCORS(ctx, originOf(ctx))
	})
	c, ok := ctx.Conn().(*conn)
	defer func() {
		if !ok || !c.taken {
			o.setCORS(ctx, originOf(ctx))
			s.logFailure(ctx)
		}
	}()
	if ok {
		// fasthttp holds an answer back while another request waits after it. If that
		// request is for a stream, the stream would take the connection before the
		// answer is sent (RFC 9112, 9.3.2). A deadline of the handler's own makes
		// fasthttp send it.
		defer func() {
			if !c.taken {
				_ = ctx.SetWriteDeadline(time.Now().Add(s.requestTimeout))
			}
		}()
	}
	target, valid := gate.TargetOf(&ctx.Request.Header)
	if problem, status := headProblem(&ctx.Request.Header, valid); problem != "" {
		ctx.Error(problem+"\n", status)
		ctx.SetConnectionClose()
		return
	}
	if ok && gate.Skipped(&ctx.Request.Header) {
		c.unread = true
	}
	switch path := target.Path; path {
	case o.Path:
		s.handleStream(ctx, o)
	case "/healthz", "/readyz":
		if !ctx.IsGet() && !ctx.IsHead() {
			ctx.Error(fmt.Sprintf("method %q: health is read by GET\n", clientlog.Cut(string(ctx.Method()))), fasthttp.StatusMethodNotAllowed)
			ctx.Response.Header.Set("Allow", "GET, HEAD")
			return
		}
		s.api.ServeHealth(ctx, path, false)
	case "/":
		if !o.NoPage {
			s.api.ServePage(ctx)
			return
		}
		fallthrough
	default:
		ctx.Error(o.notFound(path), fasthttp.StatusNotFound)
	}
}

// headProblem returns what is wrong with a request whatever it is for.
func headProblem(h *fasthttp.RequestHeader, valid bool) (problem string, status int) {
	switch {
	case !gate.KnownVersion(h):
		return gate.VersionProblem, fasthttp.StatusHTTPVersionNotSupported
	case !valid:
		return gate.TargetProblem, fasthttp.StatusBadRequest
	case !gate.ClearFields(h):
		return gate.FieldsProblem, fasthttp.StatusBadRequest
	}
	return "", 0
}

func (o *settings) notFound(path string) string {
	return fmt.Sprintf("nothing at %q: streams are at %s?connectKey=KEY\n", clientlog.CutTo(path, 256), o.Path)
}

// allowedMethods is the Allow field of the stream resource (RFC 9110, 10.2.1).
const allowedMethods = "GET, HEAD, OPTIONS"

func (s *Server) handleStream(ctx *fasthttp.RequestCtx, o *settings) {
	switch string(ctx.Method()) {
	case fasthttp.MethodGet:
	case fasthttp.MethodHead: // answered below, once the parameters are known to be valid
	case fasthttp.MethodOptions:
		for _, f := range o.preflight(string(ctx.Request.Header.Peek("Access-Control-Request-Headers")), originOf(ctx)) {
			ctx.Response.Header.Set(f[0], f[1])
		}
		ctx.SetStatusCode(fasthttp.StatusNoContent)
		return
	default:
		ctx.Error(methodProblem(string(ctx.Method()))+"\n", fasthttp.StatusMethodNotAllowed)
		ctx.Response.Header.Set("Allow", allowedMethods)
		return
	}
	if gate.Skipped(&ctx.Request.Header) {
		s.metrics.Refused["request"].Inc()
		ctx.Error("the request has a body: a stream is opened by GET, without one\n", fasthttp.StatusRequestEntityTooLarge)
		return
	}
	req, problem := o.parse(ctx.QueryArgs(), string(ctx.Request.Header.Peek("Last-Event-ID")))
	if problem != "" {
		s.metrics.Refused[req.refusedBy()].Inc()
		ctx.Error(problem+"\n", fasthttp.StatusBadRequest)
		return
	}
	if ctx.IsHead() {
		for _, f := range o.fields {
			ctx.Response.Header.Set(f[0], f[1])
		}
		ctx.Response.SkipBody = true
		return
	}
	req.Remote = o.proxies.ClientOf(ctx)
	s.warnUnknown(req)
	req.origin = originOf(ctx)
	req.close = ctx.Request.Header.ConnectionClose()
	if o.AccessLog {
		req.Agent = clientlog.CutTo(string(ctx.UserAgent()), maxAgent)
	}
	var v verdict
	v.limit, req.wait = s.streams.Admit(req.Remote)
	if v.limit == "" && o.Authorize != nil {
		secure := false
		if c, ok := ctx.Conn().(*conn); ok {
			c.requested()
			secure = c.secure()
		}
		h := &ctx.Request.Header
		v = s.authorize(ctx, o, &req, credentials{
			authorization: string(h.Peek("Authorization")), cookie: string(h.Peek("Cookie")), token: string(lastValue(ctx.QueryArgs(), "token")),
			host: string(ctx.Host()), fetchSite: string(h.Peek("Sec-Fetch-Site")), agent: string(ctx.UserAgent()),
			scheme: o.schemeOf(ctx.RemoteAddr().String(), secure, string(h.Peek("X-Forwarded-Proto"))),
		})
	}
	if v.status != 0 {
		for _, f := range v.fields() {
			ctx.Response.Header.Set(f[0], f[1])
		}
		ctx.SetStatusCode(v.status)
		ctx.SetBody(v.body)
		return
	}
	c, ok := ctx.Conn().(*conn)
	if !ok { // fasthttp wrapped it: no option that we set makes it do so
		ctx.Error("internal error: the connection cannot be taken over for a stream", fasthttp.StatusInternalServerError)
		return
	}
	nc := c.take()
	defer s.log.RecoverPanic(func() { _ = nc.Close() })
	if v.limit != "" {
		s.refuse(nc, o, v.limit, req)
		return
	}
	s.start(nc, req)
}

// originOf is the origin of the page that a request comes from, "" for none.
func originOf(ctx *fasthttp.RequestCtx) string { return string(ctx.Request.Header.Peek("Origin")) }

// setCORS lets pages of other origins see an answer that is not a stream. Without
// it a page's script would see a network error, and retry indefinitely.
func (o *settings) setCORS(ctx *fasthttp.RequestCtx, origin string) {
	for _, f := range o.cors(origin) {
		ctx.Response.Header.Set(f[0], f[1])
	}
}

// streamError answers requests that fasthttp refuses before a handler runs.
func (s *Server) streamError(ctx *fasthttp.RequestCtx, err error) {
	status, problem := s.requestProblem(ctx, err)
	ctx.Error(problem+"\n", status)
	// The origin of such a request is not known. If only one is allowed, its pages may see
	// the answer.
	o := s.settings.Load()
	o.setCORS(ctx, o.origins.Only())
	s.log.Refused(clientlog.Refusal{Kind: fmt.Sprint("streams", status), Listener: "streams", Status: status, Reason: problem, Remote: ctx.RemoteAddr().String()})
}

// requestProblem says why a request could not be read to its end.
func (s *Server) requestProblem(ctx *fasthttp.RequestCtx, err error) (status int, problem string) {
	streams := false
	if c, ok := ctx.Conn().(*conn); ok {
		c.unread = true
		streams = c.from.streams
	}
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.As(err, &small):
		return fasthttp.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the request line and headers have more than %d bytes", s.settings.Load().maxHead(streams))
	case errors.As(err, &network) && network.Timeout():
		return fasthttp.StatusRequestTimeout, "the request took too long to arrive"
	default:
		// The error would repeat the request, credentials included.
		return fasthttp.StatusBadRequest, "this is not an HTTP/1.1 request (RFC 9112): it cannot be read"
	}
}

func methodProblem(method string) string {
	return fmt.Sprintf("method %q: a stream is opened by GET", clientlog.Cut(method))
}

// preflight is the answer to a CORS preflight (Fetch, 3.2): polyfills send
// Last-Event-ID as a header that is not safelisted.
func (o *settings) preflight(requested, origin string) [][2]string {
	if requested == "" {
		requested = "Last-Event-ID, Cache-Control"
	}
	fields := [][2]string{
		{"Allow", allowedMethods},
		{"Access-Control-Allow-Methods", allowedMethods},
		{"Access-Control-Allow-Headers", requested},
		{"Access-Control-Max-Age", "86400"},
	}
	return append(fields, o.cors(origin)...)
}

// start makes a stream of a connection whose request has been read.
func (s *Server) start(c net.Conn, req request) {
	o := s.settings.Load()
	st, limit := s.streams.Subscribe(c, req.Request)
	if limit != "" {
		s.refuse(c, o, limit, req)
		return
	}
	head := append(make([]byte, 0, len(o.head)+256), o.head...)
	connection := o.connection
	if req.close {
		connection = "close"
	}
	for _, f := range o.origins.Fields(req.origin) {
		head = append(append(append(append(head, f[0]...), ": "...), f[1]...), "\r\n"...)
	}
	head = appendDate(head)
	if connection != "" {
		head = append(append(append(head, "Connection: "...), connection...), "\r\n"...)
	}
	st.Start(append(head, "\r\n"...))
}

func appendDate(dst []byte) []byte {
	dst = append(dst, "Date: "...)
	dst = fasthttp.AppendHTTPDate(dst, time.Now())
	return append(dst, "\r\n"...)
}
