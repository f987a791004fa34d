package sse

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// proxyOf is the proxy that the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) names for a URL, or nil. As with k6's own
// requests, loopback has none.
func (n connector) proxyOf(u *url.URL) (*url.URL, error) {
	via, err := n.proxy(u)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the proxy of the environment: %w", err)
	case via == nil:
		return nil, nil
	case via.Scheme != "http" && via.Scheme != "https":
		return nil, fmt.Errorf("the proxy %s of the environment: k6/x/sse knows http and https proxies only", via.Redacted())
	}
	return via, nil
}

// dial connects to the server, or to the proxy on the way there.
func (n connector) dial(ctx context.Context, to, via *url.URL) (net.Conn, error) {
	if via == nil {
		return n.dialer.DialContext(ctx, "tcp", hostPort(to))
	}
	conn, err := n.dialer.DialContext(ctx, "tcp", hostPort(via))
	if err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", via.Redacted(), err)
	}
	return conn, nil
}

// through gives the connection on which the server listens, if it is on the other side of a proxy: what is to be encrypted
// goes through a tunnel (RFC 9110, 9.3.6), anything else is for the proxy to forward.
func (n connector) through(ctx context.Context, conn net.Conn, via *url.URL, req *http.Request) (net.Conn, error) {
	if via == nil {
		return conn, nil
	}
	if via.Scheme == "https" {
		var err error
		if conn, err = n.handshake(ctx, conn, via.Hostname()); err != nil {
			return nil, fmt.Errorf("the proxy %s: %w", via.Redacted(), err)
		}
	}
	if req.URL.Scheme != "https" {
		return conn, nil
	}
	target := hostPort(req.URL)
	ask := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: make(http.Header, 2)}
	ask.Header.Set("User-Agent", req.UserAgent())
	authorize(ask, via)
	if err := ask.Write(conn); err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", via.Redacted(), err)
	}
	// What the reader reads too much can only be the proxy's: the server behind it waits to be greeted.
	res, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxHead)), ask)
	if err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", via.Redacted(), err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the proxy %s answers %s", via.Redacted(), res.Status)
	}
	return conn, nil
}

// write writes the request in the form that the one who reads it expects (RFC 9112, 3.2).
func write(req *http.Request, via *url.URL, out io.Writer) error {
	if via == nil || req.URL.Scheme == "https" {
		return req.Write(out)
	}
	forward := *req
	forward.Header = req.Header.Clone() // a redirect takes the headers along, and the server isn't to know the proxy's password
	authorize(&forward, via)
	return forward.WriteProxy(out)
}

func authorize(req *http.Request, via *url.URL) {
	if via.User == nil {
		return
	}
	password, _ := via.User.Password()
	secret := base64.StdEncoding.EncodeToString([]byte(via.User.Username() + ":" + password))
	req.Header.Set("Proxy-Authorization", "Basic "+secret)
}
