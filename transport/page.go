package transport

import (
	_ "embed"
	"strings"

	"github.com/valyala/fasthttp"
)

//go:embed page.html
var pageHTML string

// handlePage serves the built-in page: it subscribes to a key, shows what
// arrives, and publishes where the admin listener can be reached: on this
// machine.
func (s *Server) handlePage(ctx *fasthttp.RequestCtx) {
	switch string(ctx.Method()) {
	case fasthttp.MethodGet, fasthttp.MethodHead:
	default:
		ctx.Error("the page is read by GET\n", fasthttp.StatusMethodNotAllowed)
		ctx.Response.Header.Set("Allow", "GET, HEAD")
		return
	}
	o := s.settings.Load()
	config := appendJSON([]byte(`{"path":`), o.Path)
	config = append(config, `,"adminPort":`...)
	config = fasthttp.AppendUint(config, int(s.adminPort.Load()))
	config = append(config, '}')
	ctx.SetContentType("text/html; charset=utf-8")
	h := &ctx.Response.Header
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src *; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	ctx.SetBodyString(strings.Replace(pageHTML, "{{config}}", string(config), 1))
}
