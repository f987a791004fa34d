package transport

import (
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/socket"
	"fanfare/transport/internal/stream"
)

// refusal is the answer to a subscriber that cannot be served for now.
type refusal struct {
	status int
	fields [][2]string
	body   string
}

// refusal is what Options.OverLimit says about a subscriber that a limit refuses.
func (o *settings) refusal(limit, origin string) refusal {
	retry := o.stream.Jitter()
	how := o.OverLimit
	if limit == stream.LimitDrain {
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
		body := string(append(stream.AppendRetry(nil, retry), '\n'))
		fields := append([][2]string{{"Content-Length", strconv.Itoa(len(body))}}, o.fields...)
		fields = append(fields, o.origins.Fields(origin)...)
		return refusal{200, fields, body}
	}
}

// refuse answers a subscriber that a limit refuses, and closes the connection.
func (s *Server) refuse(c net.Conn, o *settings, limit string, req request) {
	r := o.refusal(limit, req.origin)
	s.countRefusal(limit, r.status, req.Remote)
	b := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", r.status, fasthttp.StatusMessage(r.status))
	for _, f := range r.fields {
		b = fmt.Appendf(b, "%s: %s\r\n", f[0], f[1])
	}
	b = append(appendDate(b), "Connection: close\r\n\r\n"...)
	b = append(b, r.body...)
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(b)
	if sock, ok := c.(*socket.Conn); ok {
		sock.Discard()
	}
	_ = c.Close()
}

// countRefusal counts and logs a subscriber that a limit refuses.
func (s *Server) countRefusal(limit string, status int, remote string) {
	s.metrics.Refused[limit].Inc()
	s.log.Refused(clientlog.Refusal{
		Kind: "limit " + limit, Listener: "streams", Status: status, Method: fasthttp.MethodGet, Path: s.settings.Load().Path,
		Reason: limit + ": no more streams for now; the client is told to come back as overLimit says", Remote: remote,
	})
}

// logFailure logs an answer on the stream listener that refuses something: its
// body says what.
func (s *Server) logFailure(ctx *fasthttp.RequestCtx) {
	if status := ctx.Response.StatusCode(); status >= 400 {
		s.log.Refused(clientlog.Refusal{
			Listener: "streams", Status: status, Method: string(ctx.Method()), Path: string(ctx.Path()),
			Reason: strings.TrimSpace(string(ctx.Response.Body())), Remote: s.settings.Load().proxies.ClientOf(ctx),
		})
	}
}

// warnUnknown warns of a parameter that egg-sse's rule ignores: without a
// connectKey the stream is that of the pool, which may not be what was meant.
func (s *Server) warnUnknown(req request) {
	if req.unknown == "" {
		return
	}
	s.metrics.Strange.Inc()
	// One kind for all names, since a flood would change them.
	s.log.Limited(slog.LevelWarn, "unknown parameter", "a stream was asked for with a parameter that is not understood: keys are given by connectKey",
		"parameter", req.unknown, "keys", clientlog.Keys(req.Keys), "remote", req.Remote)
}

// fasthttpLog passes on what fasthttp logs: broken requests, mostly, and so at
// the debug level.
type fasthttpLog struct{ log *clientlog.Log }

func (l fasthttpLog) Printf(format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...), "from", "fasthttp")
}
