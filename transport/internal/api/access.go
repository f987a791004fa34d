package api

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"fanfare/transport/internal/gate"
)

// authorized compares the bearer token (RFC 6750, 2.1) in constant time.
func authorized(ctx *fasthttp.RequestCtx, token string) bool {
	if token == "" {
		return true
	}
	scheme, given, _ := strings.Cut(string(ctx.Request.Header.Peek("Authorization")), " ")
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(strings.TrimSpace(given)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// checkOrigin keeps pages of other sites, in a browser that can reach this
// listener, from using it. The Origin of a request, if there is one, must be
// allowed. Without a token the Host must be an address or localhost, which
// defeats DNS rebinding, where a name of the attacker's points to this machine.
func (a *API) checkOrigin(ctx *fasthttp.RequestCtx, c *Config) bool {
	host, _, err := net.SplitHostPort(string(ctx.Host()))
	if err != nil {
		host = strings.Trim(string(ctx.Host()), "[]")
	}
	if c.PublishToken == "" && host != "" && host != "localhost" && net.ParseIP(host) == nil {
		fail(ctx, fasthttp.StatusForbidden, "Host", fmt.Sprintf("the host %q is neither an address nor localhost: use one of these, or set publishToken", host))
		return false
	}
	origin := string(ctx.Request.Header.Peek("Origin"))
	if origin == "" {
		return true
	}
	if !slices.Contains(c.AdminOrigins, origin) && !slices.Contains(c.AdminOrigins, gate.AnyOrigin) && !a.pageOrigin(origin, c) {
		fail(ctx, fasthttp.StatusForbidden, "Origin", fmt.Sprintf("pages of %s may not call this listener: add the origin to adminOrigins", origin))
		return false
	}
	h := &ctx.Response.Header
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Vary", "Origin")
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	return true
}

// pageOrigin reports whether origin is that of the built-in page on this machine.
func (a *API) pageOrigin(origin string, c *Config) bool {
	u, err := url.Parse(origin)
	if err != nil || c.NoPage || u.Scheme != "http" || u.Host == "" {
		return false
	}
	port := cmp.Or(u.Port(), "80")
	return port == strconv.Itoa(int(a.StreamPort.Load())) && gate.LoopbackName(u.Hostname())
}
