package transport

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/engine"
)

const (
	requestTimeout = 10 * time.Second // to send a request, and to take its answer
	idleTimeout    = 60 * time.Second // between requests on a kept connection
	maxRequestHead = 16 << 10
	maxStreamBody  = 64 << 10 // of a request that should have none
)

// handle answers a request on the stream listener.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	o := s.settings.Load()
	switch path := string(ctx.Path()); path {
	case o.Path:
		s.handleStream(ctx, o)
	case "/healthz", "/readyz":
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
		for _, f := range o.preflight(string(ctx.Request.Header.Peek("Access-Control-Request-Headers"))) {
			ctx.Response.Header.Set(f[0], f[1])
		}
		ctx.SetStatusCode(fasthttp.StatusNoContent)
		return
	default:
		ctx.Error(methodProblem(string(ctx.Method())), fasthttp.StatusMethodNotAllowed)
		ctx.Response.Header.Set("Allow", allowedMethods)
		return
	}
	req, problem := o.parse(ctx.QueryArgs(), string(ctx.Request.Header.Peek("Last-Event-ID")))
	if problem != "" {
		s.metrics.refused["request"].Inc()
		ctx.Error(problem+"\n", fasthttp.StatusBadRequest)
		return
	}
	req.close = ctx.Request.Header.ConnectionClose()
	if o.AccessLog {
		req.remote = ctx.RemoteAddr().String()
	}
	c, ok := ctx.Conn().(*conn)
	if !ok { // fasthttp wrapped it: no option that we set makes it do so
		ctx.Error("this server cannot stream here", fasthttp.StatusInternalServerError)
		return
	}
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(net.Conn) { s.start(c.take(), req) })
}

func methodProblem(method string) string {
	return fmt.Sprintf("method %s: a stream is opened by GET\n", method)
}

// preflight is the answer to a CORS preflight (Fetch, 3.2): polyfills send
// Last-Event-ID as a header that is not safelisted.
func (o *settings) preflight(requested string) [][2]string {
	if requested == "" {
		requested = "Last-Event-ID, Cache-Control"
	}
	fields := [][2]string{
		{"Allow", allowedMethods},
		{"Access-Control-Allow-Methods", allowedMethods},
		{"Access-Control-Allow-Headers", requested},
		{"Access-Control-Max-Age", "86400"},
	}
	for _, f := range o.fields {
		if strings.HasPrefix(f[0], "Access-Control-") {
			fields = append(fields, f)
		}
	}
	return fields
}

// start makes a stream of a connection whose request has been read.
func (s *Server) start(c net.Conn, req request) {
	o := s.settings.Load()
	st := &stream{srv: s, out: c, wake: make(chan struct{}, 1)}
	st.raw, st.fd = rawOf(c)
	if limit := s.admit(st, req); limit != "" {
		s.refuse(c, o, limit)
		return
	}
	head := append(make([]byte, 0, len(o.head)+256), o.head...)
	connection := o.connection
	if req.close {
		connection = "close"
	}
	head = appendDate(head)
	if connection != "" {
		head = append(append(append(head, "Connection: "...), connection...), "\r\n"...)
	}
	head = append(head, "\r\n"...)
	st.rest = appendOpening(head, o, &st.sub)
	if st.raw == nil {
		go st.watchByReading(c)
	}
	s.launch(st)
	go st.run()
}

func appendDate(dst []byte) []byte {
	dst = append(dst, "Date: "...)
	dst = fasthttp.AppendHTTPDate(dst, time.Now())
	return append(dst, "\r\n"...)
}

// admit makes st a subscriber, or returns the name of the limit that forbids it.
func (s *Server) admit(st *stream, req request) (limit string) {
	o := s.settings.Load()
	if s.draining.Load() {
		return "drain"
	}
	if s.open.Add(1) > int64(o.MaxConnections) {
		s.open.Add(-1)
		return "maxConnections"
	}
	st.multi = len(req.keys) > 1 && !o.PlainIDs
	st.remote = req.remote
	st.opened = s.clock.Load()
	st.lastWrite.Store(st.opened)
	resumed, err := s.eng.Subscribe(&st.sub, req.keys, req.lastID, st)
	if err != nil {
		s.open.Add(-1)
		var le *engine.LimitError
		if errors.As(err, &le) {
			return le.Limit
		}
		return "request"
	}
	s.metrics.opened.Inc()
	if resumed != engine.ResumedNone {
		s.metrics.replays[resumed].Inc()
	}
	return ""
}

// launch makes st known to the sweep and the hang-up watcher, just before its
// goroutine starts.
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
func (s *Server) refuse(c net.Conn, o *settings, limit string) {
	r := o.refusal(limit)
	s.metrics.refused[limit].Inc()
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

// refusal is the answer to a subscriber that cannot be served for now.
type refusal struct {
	status int
	fields [][2]string
	body   string
}

func (o *settings) refusal(limit string) refusal {
	retry := o.jitter()
	switch o.OverLimit {
	case Refuse503:
		body := fmt.Sprintf("%s: the server takes no more streams for now\n", limit)
		return refusal{503, [][2]string{
			{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Length", strconv.Itoa(len(body))},
			{"Access-Control-Allow-Origin", "*"},
			{"Retry-After", strconv.Itoa(int((retry + time.Second - 1) / time.Second))},
		}, body}
	case Refuse204:
		return refusal{204, nil, ""}
	default:
		body := string(append(appendRetryLine(nil, retry), '\n'))
		fields := append([][2]string{{"Content-Length", strconv.Itoa(len(body))}}, o.fields...)
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
