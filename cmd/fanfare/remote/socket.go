package remote

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
)

// scheme is that of a URL which names a Unix socket, and after a colon the path and query of a request:
//
//	unix:/run/fanfare/stream.sock
//	unix:/run/fanfare/stream.sock:/stream?connectKey=news
const scheme = "unix"

// parseSocket reads such a URL. In its Path the socket is followed by the colon in any case, so that the path of a request can
// be appended to the text of the URL, as to "http://host".
func parseSocket(setting, text string) (*url.URL, error) {
	rest, query, _ := strings.Cut(strings.TrimPrefix(text, scheme+":"), "?")
	socket, path := splitSocket(rest)
	if !filepath.IsAbs(socket) || strings.ContainsAny(rest, "#\x00") {
		return nil, Usage("%s %q is not a valid Unix socket: write its absolute path, as in unix:/run/fanfare/stream.sock", setting, withoutSecrets(text))
	}
	return &url.URL{Scheme: scheme, OmitHost: true, Path: socket + ":" + path, RawQuery: query}, nil
}

// splitSocket splits the path of a socket from that of the request, which begins after ":" with a slash.
func splitSocket(text string) (socket, path string) {
	if at := strings.Index(text, ":/"); at >= 0 {
		return text[:at], text[at+1:]
	}
	return strings.TrimSuffix(text, ":"), ""
}

// DefaultPath gives the URL of a Unix socket a path, if it has none.
func DefaultPath(u *url.URL, path string) {
	if u.Scheme == scheme && strings.HasSuffix(u.Path, ":") {
		u.Path += path
	}
}

// UseSocket makes t serve u if it is the URL of a Unix socket. The other settings of t apply to it, too, so set them before.
// Other sockets are not served: a server must not redirect a request to one.
func UseSocket(t *http.Transport, u *url.URL) {
	if u.Scheme != scheme {
		return
	}
	socket, _ := splitSocket(u.Path)
	inner := t.Clone()
	inner.Proxy = nil
	inner.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	t.RegisterProtocol(scheme, viaSocket{inner, socket})
}

// viaSocket sends requests to a socket.
type viaSocket struct {
	*http.Transport
	socket string
}

func (v viaSocket) RoundTrip(r *http.Request) (*http.Response, error) {
	socket, path := splitSocket(r.URL.Path)
	if socket != v.socket {
		return nil, fmt.Errorf("a request for the socket %q is not sent: only %q was given", socket, v.socket)
	}
	sent := r.Clone(r.Context())
	sent.URL = &url.URL{Scheme: "http", Host: "localhost", Path: path, RawQuery: r.URL.RawQuery}
	sent.Host = "localhost"
	return v.Transport.RoundTrip(sent)
}
