package transport

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-json"
	"github.com/valyala/fasthttp"
)

// fasthttpLog passes on what fasthttp says: broken requests, mostly, so as
// debugging information.
type fasthttpLog struct{ s *Server }

func (l fasthttpLog) Printf(format string, args ...any) {
	l.s.settings.Load().Logger.Debug(fmt.Sprintf(format, args...), "from", "fasthttp")
}

// refusals logs what clients are refused, one line of each kind a second: a flood
// of them must not fill the disk, and a single one must not pass unseen.
type refusals struct {
	mu   sync.Mutex
	last map[string]refusalCount
}

type refusalCount struct {
	at      time.Time
	dropped int
}

const (
	refusalsEvery = time.Second
	maxReasonText = 256 // bytes
	maxKinds      = 256 // kinds come from our own texts; the bound is for those that are forgotten
)

// due reports whether a line of the kind is to be logged now, and how many were
// not since the last one.
func (r *refusals) due(kind string) (dropped int, due bool) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.last[kind]
	if !last.at.IsZero() && now.Sub(last.at) < refusalsEvery {
		last.dropped++
		r.last[kind] = last
		return 0, false
	}
	if r.last == nil || len(r.last) >= maxKinds {
		r.last = map[string]refusalCount{}
	}
	r.last[kind] = refusalCount{at: now}
	return last.dropped, true
}

// logRefusal logs a refusal of the kind. what says what is wrong and what to do; it must
// hold nothing of a credential, and nothing of a query but what is cut.
func (s *Server) logRefusal(kind, listener string, status int, method, path, what, remote string) {
	dropped, due := s.refusals.due(kind)
	if !due {
		return
	}
	args := []any{"listener", listener, "status", status, "method", cutText(method), "path", cutText(path), "reason", what, "remote", remote}
	if dropped > 0 {
		args = append(args, "alikeSinceLastTime", dropped)
	}
	s.settings.Load().Logger.Info("a request was refused", args...)
}

// noteStrange tells of a parameter that egg-sse's rule passes over: without a
// connectKey the stream is that of the pool, which may not be what was meant.
func (s *Server) noteStrange(req request) {
	if req.strange == "" {
		return
	}
	s.metrics.strange.Inc()
	o := s.settings.Load()
	if _, due := s.refusals.due("strange"); due { // not by its name, which a flood would change
		o.Logger.Warn("a stream was asked for with a parameter that is not understood: keys are given by connectKey",
			"parameter", req.strange, "keys", cutKeys(req.keys), "remote", req.remote)
	}
}

// noteAnswer logs an answer that refuses something: its body says what. The kind
// is the status and what the text begins with, which names the field.
func (s *Server) noteAnswer(ctx *fasthttp.RequestCtx, listener string) {
	status := ctx.Response.StatusCode()
	if status < 400 {
		return
	}
	what := strings.TrimSpace(string(ctx.Response.Body()))
	var f failure
	if json.Unmarshal(ctx.Response.Body(), &f) == nil && f.Error != "" {
		what = f.Error
	}
	what = cut(what, maxReasonText)
	first, _, _ := strings.Cut(what, " ")
	s.logRefusal(fmt.Sprint(listener, status, cutText(first)), listener, status, string(ctx.Method()), string(ctx.Path()), what, s.settings.Load().clientOf(ctx))
}
