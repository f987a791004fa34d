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

	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/gate"
)

// hasToken reports whether a request brings PublishToken as its bearer token (RFC
// 6750, 2.1). It compares in constant time.
func (c *Config) hasToken(h *fasthttp.RequestHeader) bool {
	scheme, given, _ := strings.Cut(string(h.Peek("Authorization")), " ")
	want, got := sha256.Sum256([]byte(c.PublishToken)), sha256.Sum256([]byte(strings.TrimSpace(given)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// checkOrigin keeps pages of other sites, in a browser that can reach this
// listener, from using it. Without a credential the host must be an address or
// localhost, which defeats DNS rebinding, where a name of the attacker's points to this
// machine. A client that has a certificate checks the server's name by TLS.
// The Origin of a request, if there is one, must be allowed. A page also makes
// requests without an Origin: an image, a script, a frame, a link. Browsers mark
// them by Sec-Fetch-Site (Fetch Metadata, 2.3), at least where they consider this
// listener trustworthy, as they do with loopback.
func (a *API) checkOrigin(h *fasthttp.RequestHeader, authority string, c *Config) *problem {
	host, ok := gate.HostName(authority)
	if !c.guarded() && (!ok || host != "" && host != "localhost" && net.ParseIP(host) == nil) {
		return &problem{status: fasthttp.StatusForbidden, field: "Host", text: fmt.Sprintf("the host %q is neither an address nor localhost: use one of these, or set publishToken", clientlog.CutTo(authority, maxEcho))}
	}
	// Of a field that is repeated every value counts.
	origins := h.PeekAll("Origin")
	for _, origin := range origins {
		if len(origin) > 0 && !a.allows(string(origin), c) {
			return &problem{status: fasthttp.StatusForbidden, field: "Origin", text: fmt.Sprintf("pages of %q may not call this listener: add the origin to adminOrigins", clientlog.CutTo(string(origin), maxEcho))}
		}
	}
	if len(origins) > 0 && len(origins[0]) > 0 {
		return nil
	}
	for _, site := range h.PeekAll("Sec-Fetch-Site") {
		switch string(site) {
		case "", "none", "same-origin":
		default:
			return &problem{status: fasthttp.StatusForbidden, field: "Sec-Fetch-Site", text: "another site's page may not send a browser here: open the address itself, or call it by fetch from an origin of adminOrigins"}
		}
	}
	return nil
}

func (a *API) allows(origin string, c *Config) bool {
	return slices.Contains(c.AdminOrigins, origin) || slices.Contains(c.AdminOrigins, gate.AnyOrigin) || a.pageOrigin(origin, c)
}

// setCORS lets an allowed page see the answer.
func (a *API) setCORS(ctx *fasthttp.RequestCtx, c *Config) {
	origin := string(ctx.Request.Header.Peek("Origin"))
	if origin == "" || !a.allows(origin, c) {
		return
	}
	h := &ctx.Response.Header
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Vary", "Origin")
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, "+fieldRepeat)
}

// pageOrigin reports whether origin is that of the built-in page on this machine.
func (a *API) pageOrigin(origin string, c *Config) bool {
	scheme, defaultPort := "http", "80"
	if c.StreamTLS {
		scheme, defaultPort = "https", "443"
	}
	u, err := url.Parse(origin)
	if err != nil || c.NoPage || u.Scheme != scheme || u.Host == "" {
		return false
	}
	port := cmp.Or(u.Port(), defaultPort)
	return port == strconv.Itoa(int(a.StreamPort.Load())) && gate.LoopbackName(u.Hostname())
}
