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

// proxyOf is the proxy that the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) names for a URL, or nil. As for k6's own
// requests, loopback addresses have none.
func (n connector) proxyOf(u *url.URL) (*url.URL, error) {
	via, err := n.proxy(u)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the proxy of the environment: %w", err)
	case via == nil:
		return nil, nil
	case via.Scheme != "http" && via.Scheme != "https":
		return nil, fmt.Errorf("the proxy %s of the environment is not supported: k6/x/sse supports only http and https proxies", via.Redacted())
	}
	return via, nil
}

// dial connects to the server, or to the proxy on the way to it.
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

// through returns the connection to a server that is reached through a proxy. For an encrypted connection it opens a tunnel (RFC
// 9110, 9.3.6). The proxy forwards other requests.
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
	// Bytes that the reader has buffered can only be the proxy's, because the server waits for the client's first message.
	res, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxHead)), ask)
	if err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", via.Redacted(), err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the proxy %s answered %s", via.Redacted(), res.Status)
	}
	return conn, nil
}

// write writes the request in the form that its recipient, the server or a proxy, expects (RFC 9112, 3.2).
func write(req *http.Request, via *url.URL, out io.Writer) error {
	if via == nil || req.URL.Scheme == "https" {
		return req.Write(out)
	}
	forward := *req
	forward.Header = req.Header.Clone() // a redirect copies the headers, and the server must not get the proxy's password
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
