package api

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net"
	"strconv"
	"strings"

	"github.com/goccy/go-json"
	"github.com/valyala/fasthttp"

	"fanfare/transport/internal/gate"
)

//go:embed page.html
var pageHTML string

// page is pageHTML, made ready once.
var page = preparePage(pageHTML)

type preparedPage struct {
	head, tail string // around the place of the configuration
	policy     string // Content-Security-Policy, without connect-src
}

// preparePage allows the page its own script and its own style sheet, by their
// hashes, and nothing else: no element or attribute that event data might bring
// into the page could run or load anything, and no code can make markup of text.
func preparePage(html string) preparedPage {
	head, tail, _ := strings.Cut(html, "{{config}}")
	policy := "default-src 'none'; script-src " + hashSource(html, "<script>", "</script>") +
		"; style-src " + hashSource(html, "<style>", "</style>") +
		"; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" +
		"; require-trusted-types-for 'script'; trusted-types 'none'"
	return preparedPage{head, tail, policy}
}

// hashSource is the source expression (CSP Level 3, 2.3.1) of the element
// between the two tags.
func hashSource(html, open, end string) string {
	_, rest, _ := strings.Cut(html, open)
	text, _, _ := strings.Cut(rest, end)
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// pageConfig is what the page needs to know about the server.
type pageConfig struct {
	Path      string `json:"path"`
	AdminPort int32  `json:"adminPort"`
	AdminTLS  bool   `json:"adminTLS"`
	Token     bool   `json:"token"` // one is needed to publish
}

// ServePage serves the built-in page: it subscribes to a key, shows what
// arrives, and publishes where it can reach the admin listener: on this machine.
func (a *API) ServePage(ctx *fasthttp.RequestCtx) {
	switch string(ctx.Method()) {
	case fasthttp.MethodGet, fasthttp.MethodHead:
	default:
		ctx.Error("the page is read by GET\n", fasthttp.StatusMethodNotAllowed)
		ctx.Response.Header.Set("Allow", "GET, HEAD")
		return
	}
	c := a.config.Load()
	adminPort := a.AdminPort.Load()
	config, err := json.Marshal(pageConfig{c.Path, adminPort, c.AdminTLS, c.PublishToken != "" || c.Identify != nil})
	if err != nil { // never for these types
		config = []byte("{}")
	}
	ctx.SetContentType("text/html; charset=utf-8")
	h := &ctx.Response.Header
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", page.policy+"; connect-src 'self'"+adminSource(string(ctx.Host()), int(adminPort), c.AdminTLS))
	ctx.SetBodyString(page.head + string(config) + page.tail)
}

// adminSource is the source expression for the admin listener, which the page
// calls only where it was itself asked for by a loopback name. A policy cannot
// name an IPv6 address: its grammar has no brackets (CSP Level 3, 2.3.1).
func adminSource(authority string, port int, secure bool) string {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = strings.Trim(authority, "[]")
	}
	switch {
	case port == 0 || !gate.LoopbackName(host):
		return ""
	case strings.Contains(host, ":"):
		host = "*"
	}
	scheme := " http://"
	if secure {
		scheme = " https://"
	}
	return scheme + host + ":" + strconv.Itoa(port)
}
