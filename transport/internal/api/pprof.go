package api

import (
	"os"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/pprofhandler"

	"fanfare/auth"
)

var pprofRoute = route{method: fasthttp.MethodGet, serve: (*API).servePprof, rights: one(auth.RightRead), scope: ofAll, param: anyParam, seconds: true}

// servePprof answers /debug/pprof/NAME. Of the command line it shows only the program:
// secrets can be given by flags, and profiles must not make them readable.
func (a *API) servePprof(ctx *fasthttp.RequestCtx, _ auth.Publisher) {
	if string(ctx.Path()) == "/debug/pprof/cmdline" {
		ctx.SetContentType("text/plain; charset=utf-8")
		ctx.SetBodyString(os.Args[0])
		return
	}
	pprofhandler.PprofHandler(ctx)
}
