package api

import (
	"fmt"

	"github.com/valyala/fasthttp"
)

// ServeHealth answers /healthz, which says that the process answers, and /readyz,
// which says that it takes streams: /readyz fails first when the server drains. On the admin listener (whole) they also
// say how this node stands to the log, which is not for everybody.
func (a *API) ServeHealth(ctx *fasthttp.RequestCtx, path string, whole bool) {
	ctx.SetContentType("text/plain; charset=utf-8")
	body := "ok\n"
	if path == "/readyz" {
		if reason := a.unready(); reason != "" {
			ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
			body = reason + "\n"
		}
	}
	if whole && a.Starting.Load() == nil {
		body += a.backplaneHealth()
	}
	ctx.SetBodyString(body)
}

// unready says why new streams should go to another server, or "". A server that has lost the broker goes on serving: its
// streams stay open, and a refused connection would end an EventSource for good.
func (a *API) unready() string {
	if !a.Ready.Load() {
		return "draining"
	}
	if reason := a.Starting.Load(); reason != nil {
		return *reason
	}
	if a.backplane == nil {
		return ""
	}
	switch status := a.backplane.Status(); {
	case !status.Settled:
		return "starting: the log is being read"
	case !status.Connected && a.config.Load().ReadyNeedsBroker:
		return "the broker cannot be reached (readyWithoutBroker is false)"
	}
	return ""
}

// backplaneHealth is the rest of a health answer: how this node stands to the log. It is empty without a backplane.
func (a *API) backplaneHealth() string {
	if a.backplane == nil {
		return ""
	}
	s := a.backplane.Status()
	connected := "connected"
	if !s.Connected {
		connected = "disconnected"
	}
	return fmt.Sprintf("node: %s\nbroker: %s\nbehind: %d\nqueued: %d\n", s.Name, connected, s.Behind, s.Queued)
}
