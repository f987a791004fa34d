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
	"fanfare/transport/internal/gate"
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
func (o *settings) refusal(limit string, req *request) refusal {
	retry, origin := o.stream.Jitter()+req.wait, req.origin
	how := o.OverLimit
	switch limit {
	case stream.LimitDrain, limitAuthLater, limitAuthorizing:
		how = RefuseRetry // the client can do nothing about it; the next server takes the client, if it comes back at all
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
	r := o.refusal(limit, &req)
	s.countRefusal(limit, r.status, req.Remote)
	send(c, r)
}

// send sends the answer to a refused subscriber, and closes the connection.
func send(c net.Conn, r refusal) {
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
	if limit == limitAuthLater {
		return // authorize has done it, and logged more
	}
	s.metrics.Refused[limit].Inc()
	s.log.Refused(clientlog.Refusal{
		Kind: "limit " + limit, Listener: "streams", Status: status, Method: fasthttp.MethodGet, Path: s.settings.Load().Path,
		Reason: limit + ": no more streams for now; the client is told to come back as overLimit says", Remote: remote,
	})
}

// logFailure logs an answer on the stream listener that refuses something: its
// body says what.
func (s *Server) logFailure(ctx *fasthttp.RequestCtx) {
	switch status := ctx.Response.StatusCode(); {
	case status == fasthttp.StatusUnauthorized, status == fasthttp.StatusForbidden: // authorize has logged more
	case status >= 400:
		target, _ := gate.TargetOf(&ctx.Request.Header)
		s.log.Refused(clientlog.Refusal{
			Listener: "streams", Status: status, Method: string(ctx.Method()), Path: target.Path,
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
		"parameter", clientlog.Word(req.unknown), "keys", clientlog.Keys(req.Keys), "remote", req.Remote)
}

// fasthttpLog passes on that fasthttp logs something: broken requests, mostly, and
// so at the debug level. The arguments would have what clients sent in them.
type fasthttpLog struct{ log *clientlog.Log }

func (l fasthttpLog) Printf(format string, _ ...any) {
	l.log.Debug(format, "from", "fasthttp")
}
