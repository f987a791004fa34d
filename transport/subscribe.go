package transport

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/engine"
)

const (
	requestTimeout = 10 * time.Second // to send a request's head, and to take its answer
	minRequestHead = 16 << 10         // bytes, see settings.maxHead
	maxStreamBody  = 64 << 10         // of a request that should have none
)

// handle answers a request on the stream listener.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	defer s.contain(func() {
		ctx.Error("the server has a bug here: see its log\n", fasthttp.StatusInternalServerError)
	})
	o := s.settings.Load()
	c, ok := ctx.Conn().(*conn)
	defer func() {
		if !ok || !c.taken {
			o.setCORS(ctx, originOf(ctx))
			s.noteAnswer(ctx, "streams")
		}
	}()
	if ok {
		// fasthttp keeps an answer back while another request waits behind it. If
		// that one is a stream, it would take the connection with the answer still
		// unsent (RFC 9112, 9.3.2). With a deadline of the handler's own it does not.
		defer func() {
			if !c.taken {
				_ = ctx.SetWriteDeadline(time.Now().Add(s.requestTimeout))
			}
		}()
	}
	switch path := string(ctx.Path()); path {
	case o.Path:
		s.handleStream(ctx, o)
	case "/healthz", "/readyz":
		if !ctx.IsGet() && !ctx.IsHead() {
			ctx.Error(fmt.Sprintf("method %s: health is read by GET\n", ctx.Method()), fasthttp.StatusMethodNotAllowed)
			ctx.Response.Header.Set("Allow", "GET, HEAD")
			return
		}
		s.handleHealth(ctx, path)
	case "/":
		if !o.NoPage {
			s.handlePage(ctx)
			return
		}
		fallthrough
	default:
		ctx.Error(o.notFound(path), fasthttp.StatusNotFound)
	}
}

func (o *settings) notFound(path string) string {
	return fmt.Sprintf("nothing at %q: streams are at %s?connectKey=KEY\n", path, o.Path)
}

// allowedMethods is the Allow field of the stream resource (RFC 9110, 10.2.1).
const allowedMethods = "GET, HEAD, OPTIONS"

func (s *Server) handleStream(ctx *fasthttp.RequestCtx, o *settings) {
	switch string(ctx.Method()) {
	case fasthttp.MethodGet:
	case fasthttp.MethodHead:
		for _, f := range o.fields {
			ctx.Response.Header.Set(f[0], f[1])
		}
		ctx.Response.SkipBody = true
		return
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
	req, problem := o.parse(ctx.QueryArgs(), string(ctx.Request.Header.Peek("Last-Event-ID")))
	if problem != "" {
		s.metrics.refused["request"].Inc()
		ctx.Error(problem+"\n", fasthttp.StatusBadRequest)
		return
	}
	req.remote = o.clientOf(ctx)
	s.noteStrange(req)
	req.origin = originOf(ctx)
	req.close = ctx.Request.Header.ConnectionClose()
	if o.AccessLog {
		req.agent = cut(string(ctx.UserAgent()), maxAgentText)
	}
	c, ok := ctx.Conn().(*conn)
	if !ok { // fasthttp wrapped it: no option that we set makes it do so
		ctx.Error("this server cannot stream here", fasthttp.StatusInternalServerError)
		return
	}
	nc := c.take()
	defer s.contain(func() { _ = nc.Close() })
	s.start(nc, req)
}

// contain, deferred, keeps a panic to the request that it happened in; after
// tells the client, if anything can be told.
func (s *Server) contain(after func()) {
	if v := recover(); v != nil {
		s.metrics.panics.Inc()
		s.settings.Load().Logger.Error("a request ended by a panic: please report this", "panic", v, "stack", string(debug.Stack()))
		after()
	}
}

// originOf is the origin of the page that a request comes from, "" for none.
func originOf(ctx *fasthttp.RequestCtx) string { return string(ctx.Request.Header.Peek("Origin")) }

// clientOf is the address of a request's client.
func (o *settings) clientOf(ctx *fasthttp.RequestCtx) string {
	var forwarded []string
	for _, v := range ctx.Request.Header.PeekAll("X-Forwarded-For") {
		forwarded = append(forwarded, string(v))
	}
	return o.client(ctx.RemoteAddr().String(), forwarded)
}

// setCORS lets pages of other origins see an answer that is no stream: without it a
// page's script would see a network error, and try again indefinitely.
func (o *settings) setCORS(ctx *fasthttp.RequestCtx, origin string) {
	for _, f := range o.cors(origin) {
		ctx.Response.Header.Set(f[0], f[1])
	}
}

// streamError answers what fasthttp refuses before a handler runs.
func (s *Server) streamError(ctx *fasthttp.RequestCtx, err error) {
	status, problem := s.requestProblem(ctx, err)
	ctx.Error(problem+"\n", status)
	s.settings.Load().setCORS(ctx, "") // the request's origin has not been read
	s.logRefusal(fmt.Sprint("streams", status), "streams", status, "", "", problem, ctx.RemoteAddr().String())
}

// requestProblem tells why a request could not be read, all of it.
func (s *Server) requestProblem(ctx *fasthttp.RequestCtx, err error) (status int, problem string) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.unread = true
	}
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.As(err, &small):
		return fasthttp.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("the request line and headers have more than %d bytes", s.settings.Load().maxHead())
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return fasthttp.StatusRequestEntityTooLarge, fmt.Sprintf("the request has a body of more than %d bytes: a stream is opened by GET, without one", maxStreamBody)
	case errors.As(err, &network) && network.Timeout():
		return fasthttp.StatusRequestTimeout, "the request took too long to arrive"
	default:
		// The error would repeat the request, credentials included.
		return fasthttp.StatusBadRequest, "this is no HTTP/1.1 request (RFC 9112): it cannot be read"
	}
}

func methodProblem(method string) string {
	return fmt.Sprintf("method %s: a stream is opened by GET", method)
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
	st := &stream{srv: s, out: c}
	if st.raw, st.fd = rawOf(c); st.raw == nil {
		st.wake = make(chan struct{}, 1)
	}
	resumed, limit := s.admit(st, req)
	if limit != "" {
		s.refuse(c, o, limit, req)
		return
	}
	head := append(make([]byte, 0, len(o.head)+256), o.head...)
	connection := o.connection
	if req.close {
		connection = "close"
	}
	for _, f := range o.originFields(req.origin) {
		head = append(append(append(append(head, f[0]...), ": "...), f[1]...), "\r\n"...)
	}
	head = appendDate(head)
	if connection != "" {
		head = append(append(append(head, "Connection: "...), connection...), "\r\n"...)
	}
	head = append(head, "\r\n"...)
	st.rest = appendOpening(head, o, &st.sub, resumed)
	if st.raw == nil {
		go st.watchByReading(c)
	}
	s.launch(st)
	// The caller of Subscribe is the owner: it does what a waker would.
	if st.raw == nil {
		go st.run()
	} else {
		st.Ready()
	}
}

func appendDate(dst []byte) []byte {
	dst = append(dst, "Date: "...)
	dst = fasthttp.AppendHTTPDate(dst, time.Now())
	return append(dst, "\r\n"...)
}

// admit makes st a subscriber, or returns the name of the limit that forbids it.
func (s *Server) admit(st *stream, req request) (resumed engine.Resumed, limit string) {
	o := s.settings.Load()
	// Counted first, then draining: so Close and Drain, which set draining and
	// then wait until none is open, see this one, or this one sees them.
	open := s.open.Add(1)
	if s.draining.Load() {
		s.open.Add(-1)
		return 0, "drain"
	}
	if open > int64(o.MaxConnections) {
		s.open.Add(-1)
		return 0, "maxConnections"
	}
	st.render = newRendering(req, o)
	if o.AccessLog {
		st.access = newAccess(req)
	}
	st.opened = s.clock.Load()
	st.lastWrite.Store(st.opened)
	resumed, err := s.subscribe(st, req)
	if err != nil {
		s.open.Add(-1)
		var le *engine.LimitError
		if errors.As(err, &le) {
			return 0, le.Limit
		}
		return 0, "request"
	}
	s.metrics.opened.Inc()
	if resumed != engine.ResumedNone {
		s.metrics.replays[resumed].Inc()
	}
	return resumed, ""
}

// subscribe makes st a subscriber. Resuming may cost a look at every event kept,
// some 10 µs for 1024 of them: so that a reconnect storm leaves processors to
// those who publish and deliver, only a few resume at a time.
func (s *Server) subscribe(st *stream, req request) (engine.Resumed, error) {
	if req.lastID != "" {
		s.resumes <- struct{}{}
		defer func() { <-s.resumes }()
	}
	return s.eng.Subscribe(&st.sub, req.keys, req.lastID, st)
}

// launch makes st known to the sweep and the hang-up watcher.
func (s *Server) launch(st *stream) {
	if st.raw == nil {
		st.gen = s.hangups.gen.Add(1)
	} else if err := s.hangups.add(st); err != nil {
		// The heartbeat will find out instead.
		s.settings.Load().Logger.Warn("cannot watch a connection for hang-up", "error", err)
	}
	s.streams.add(st)
}

// refuse answers a subscriber that is over a limit, and closes the connection.
func (s *Server) refuse(c net.Conn, o *settings, limit string, req request) {
	r := o.refusal(limit, req.origin)
	s.turnedAway(limit, r.status, req.remote)
	b := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", r.status, fasthttp.StatusMessage(r.status))
	for _, f := range r.fields {
		b = fmt.Appendf(b, "%s: %s\r\n", f[0], f[1])
	}
	b = append(appendDate(b), "Connection: close\r\n\r\n"...)
	b = append(b, r.body...)
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(b)
	if raw, fd := rawOf(c); raw != nil {
		discardInput(fd)
	}
	_ = c.Close()
}

// turnedAway counts and logs a subscriber that a limit refuses.
func (s *Server) turnedAway(limit string, status int, remote string) {
	s.metrics.refused[limit].Inc()
	s.logRefusal("limit "+limit, "streams", status, "GET", s.settings.Load().Path, limit+": no more streams for now; the client is told to come back as overLimit says", remote)
}

// refusal is the answer to a subscriber that cannot be served for now.
type refusal struct {
	status int
	fields [][2]string
	body   string
}

func (o *settings) refusal(limit, origin string) refusal {
	retry := o.jitter()
	how := o.OverLimit
	if limit == "drain" {
		how = RefuseRetry // the next server takes the client, if it comes back at all
	}
	switch how {
	case Refuse503:
		body := fmt.Sprintf("%s: the server takes no more streams for now\n", limit)
		return refusal{503, append([][2]string{
			{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Length", strconv.Itoa(len(body))},
			{"Retry-After", strconv.Itoa(int((retry + time.Second - 1) / time.Second))},
		}, o.cors(origin)...), body}
	case Refuse204:
		return refusal{204, o.cors(origin), ""}
	default:
		body := string(append(appendRetryLine(nil, retry), '\n'))
		fields := append([][2]string{{"Content-Length", strconv.Itoa(len(body))}}, o.fields...)
		fields = append(fields, o.originFields(origin)...)
		return refusal{200, fields, body}
	}
}

// watchByReading notices the client's end where there is no descriptor to
// watch: what it sends behind its request is discarded.
func (st *stream) watchByReading(c net.Conn) {
	buf := make([]byte, 512)
	for {
		if _, err := c.Read(buf); err != nil {
			st.abort(engine.ReasonGone)
			return
		}
	}
}
