package sse

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"go.k6.io/k6/lib"
	"golang.org/x/net/http/httpproxy"
)

const (
	readBuffer = 4096    // the only buffer of a stream, in bytes
	maxHead    = 1 << 20 // bytes of a response's head, and of the bodies of redirects
)

// errTooLarge is the error of a response whose head is longer than maxHead.
var errTooLarge = fmt.Errorf("the response's head has more than %d bytes", maxHead)

// errNoAnswer is the error of an attempt that had no response within connectTimeout.
var errNoAnswer = errors.New("no response")

// errUnanswered is the error of an attempt that was given up after a long wait.
var errUnanswered = errors.New("no response until the stream was closed")

// errEarly is the error of a connection that ended before the response's head.
var errEarly = errors.New("the connection ended before the response's head")

// responseError is the error of a response that is not an event stream. An EventSource does not reconnect after it (WHATWG HTML
// 9.2.3).
type responseError struct {
	status int
	kind   string // for the tag reason: status, type, encoding, redirect
	reason string
}

func (e *responseError) Error() string { return e.reason }

// connector makes connections for the streams of a VU, by the rules of k6: its hosts, blocked addresses, DNS and TLS, and the
// proxy of the environment.
type connector struct {
	dialer       lib.DialContexter
	tls          *tls.Config // nil: Go's defaults
	proxy        func(*url.URL) (*url.URL, error)
	maxRedirects int64
}

func newConnector(state *lib.State) connector {
	c := connector{dialer: state.Dialer, proxy: httpproxy.FromEnvironment().ProxyFunc(), maxRedirects: 10}
	if state.TLSConfig != nil {
		c.tls = state.TLSConfig.Clone()
	} else {
		c.tls = new(tls.Config)
	}
	c.tls.NextProtos = []string{"http/1.1"}
	if state.Options.MaxRedirects.Valid {
		c.maxRedirects = state.Options.MaxRedirects.Int64
	}
	return c
}

// connection is an open stream. It belongs to its reader. Others may only call close.
type connection struct {
	conn   net.Conn
	input  *bufio.Reader
	body   io.Reader
	head   headLimit
	sized  bool // the body's end is known from its length
	start  time.Time
	opened time.Time
	replay bool // the request had a Last-Event-ID
	first  bool // an event has arrived

	url    string
	origin string // of url, as a MessageEvent has it
	status int
	header http.Header // nil once an EventSource has opened the connection
}

// close ends the connection. It is safe for concurrent use, and wakes a read.
func (c *connection) close() { _ = c.conn.Close() }

// read waits for bytes of the stream and copies them to a buffer. It calls borrow for the buffer only when bytes have arrived, so
// a waiting stream needs none.
func (c *connection) read(borrow func() []byte) (int, error) {
	if !c.sized {
		if _, err := c.input.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				// The body knows whether this was its end, because the chunked coding marks it.
				return c.body.Read(borrow())
			}
			return 0, err
		}
	}
	return c.body.Read(borrow())
}

// connect requests the stream, follows redirects, and returns the stream when its head has arrived. The error is a *responseError
// if the response is not an event stream. The connection ends when ctx ends.
func (n connector) connect(ctx context.Context, o *options, lastEventID string) (*connection, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.connectTimeout, fmt.Errorf("%w within %v (connectTimeout)", errNoAnswer, o.connectTimeout))
	defer cancel()
	start := time.Now()
	req := o.request(lastEventID)
	for redirects := int64(0); ; redirects++ {
		c, res, err := n.roundTrip(ctx, req, o)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return nil, err
		}
		c.start, c.replay = start, lastEventID != ""
		if o.jar != nil {
			o.jar.SetCookies(req.URL, res.Cookies())
		}
		next, err := redirected(req, res)
		switch {
		case err != nil:
		case next != nil && redirects < n.maxRedirects:
			c.close()
			req = next
			continue
		case next != nil && n.maxRedirects > 0:
			err = &responseError{res.StatusCode, "redirect", fmt.Sprintf(
				"more than %d redirects (option maxRedirects), the last from %s to %s: is it a loop?", n.maxRedirects, req.URL.Redacted(), next.URL.Redacted())}
		default:
			err = c.checkStream(res)
		}
		c.url, c.origin, c.status, c.header = req.URL.String(), originOf(req.URL), res.StatusCode, res.Header
		if err != nil {
			c.close()
			return c, err
		}
		return c, nil
	}
}

// request makes the request of a stream.
func (o *options) request(lastEventID string) *http.Request {
	req := &http.Request{
		Method: o.method, URL: o.url, Host: o.host, Header: o.header.Clone(),
		ProtoMajor: 1, ProtoMinor: 1,
	}
	if lastEventID != "" {
		req.Header.Set("Last-Event-ID", lastEventID)
	}
	if o.body != "" {
		req.Body = io.NopCloser(strings.NewReader(o.body))
		req.ContentLength = int64(len(o.body))
	}
	if user := o.url.User; user != nil && req.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	return req
}

// roundTrip sends req on a new connection and reads the response's head. If it returns no error, the connection is still open.
func (n connector) roundTrip(ctx context.Context, req *http.Request, o *options) (c *connection, res *http.Response, err error) {
	via, err := n.proxyOf(req.URL)
	if err != nil {
		return nil, nil, err
	}
	raw, err := n.receiving(o.receiveBuffer).dial(ctx, req.URL, via)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = raw.Close()
		}
	}()
	// The end of ctx wakes everything that blocks below.
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
	}()
	conn, err := n.through(ctx, raw, via, req)
	if err != nil {
		return nil, nil, err
	}
	if req.URL.Scheme == "https" {
		if conn, err = n.handshake(ctx, conn, req.URL.Hostname()); err != nil {
			return nil, nil, err
		}
	}
	if o.jar != nil {
		for _, cookie := range o.jar.Cookies(req.URL) {
			req.AddCookie(cookie)
		}
	}
	var out bytes.Buffer
	if err = write(req, via, &out); err != nil {
		return nil, nil, err
	}
	if _, err = conn.Write(out.Bytes()); err != nil {
		return nil, nil, err
	}
	c = &connection{conn: conn, head: headLimit{conn: conn, left: maxHead}}
	c.input = bufio.NewReaderSize(&c.head, readBuffer)
	for {
		if res, err = http.ReadResponse(c.input, req); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				err = errEarly
			}
			return nil, nil, err
		}
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	c.opened, c.body, c.sized = time.Now(), res.Body, res.ContentLength >= 0
	c.head.left = -1
	return c, res, nil
}

func (n connector) handshake(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
	cfg := n.tls
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = host
	}
	secure := tls.Client(conn, cfg)
	err := secure.HandshakeContext(ctx)
	if err != nil && strings.Contains(err.Error(), noApplicationProtocol) {
		err = fmt.Errorf("the server refuses HTTP/1.1, the only version that k6/x/sse supports: %w", err)
	}
	return secure, err
}

// noApplicationProtocol is crypto/tls's text for the alert of a server that supports only HTTP/2 (RFC 7301, 3.2).
const noApplicationProtocol = "no application protocol"

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// redirected returns the request that a redirect asks for, or nil (RFC 9110, 15.4).
func redirected(req *http.Request, res *http.Response) (*http.Request, error) {
	switch res.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	location, err := res.Location()
	if err != nil {
		return nil, &responseError{res.StatusCode, "redirect", fmt.Sprintf("%s with a Location that is missing or no URL", res.Status)}
	}
	if location.Scheme != "http" && location.Scheme != "https" {
		return nil, &responseError{res.StatusCode, "redirect", fmt.Sprintf("%s to %q, which is neither http nor https", res.Status, location)}
	}
	next := &http.Request{Method: req.Method, URL: location, Header: req.Header.Clone(), ProtoMajor: 1, ProtoMinor: 1}
	next.Header.Del("Cookie") // the jar sets the cookies for the new URL
	if location.Host != req.URL.Host {
		next.Header.Del("Authorization")
	}
	if res.StatusCode < http.StatusTemporaryRedirect && req.Method != http.MethodHead {
		next.Method = http.MethodGet
	}
	if next.Method == req.Method && req.ContentLength > 0 {
		return nil, &responseError{res.StatusCode, "redirect", fmt.Sprintf("%s of a request with a body; give the new URL instead", res.Status)}
	}
	return next, nil
}

// originOf is a URL's origin (WHATWG URL 4.7), without the port if it is the scheme's default.
func originOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "" || port == defaultPorts[u.Scheme] {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host
}

// checkStream returns an error if the response is not an event stream (WHATWG HTML 9.2.3). Otherwise it sets up the decoding of
// the body.
func (c *connection) checkStream(res *http.Response) error {
	if res.StatusCode != http.StatusOK {
		return &responseError{res.StatusCode, "status", fmt.Sprintf("the response is %s, not 200", res.Status)}
	}
	// Everything after the semicolon is ignored, even if it is not a valid parameter.
	if kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
		return &responseError{res.StatusCode, "type", fmt.Sprintf("the response's Content-Type is %q, not text/event-stream", res.Header.Get("Content-Type"))}
	}
	return c.decode(res)
}

// headLimit bounds the bytes that are read before the head is complete.
type headLimit struct {
	conn io.Reader
	left int // -1: no limit
}

func (h *headLimit) Read(p []byte) (int, error) {
	if h.left == 0 {
		return 0, errTooLarge
	}
	if h.left > 0 && len(p) > h.left {
		p = p[:h.left]
	}
	n, err := h.conn.Read(p)
	if h.left > 0 {
		h.left -= n
	}
	return n, err
}

// failureOf returns the tag reason of an attempt that did not open a stream.
func failureOf(err error) string {
	var answer *responseError
	var dns *net.DNSError
	var invalid *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &answer):
		return answer.kind
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, errNoAnswer), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return "timeout"
	case errors.Is(err, errUnanswered):
		return "unanswered"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, errEarly),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "reset"
	case errors.As(err, &dns):
		return "dns"
	case errors.As(err, &invalid), errors.As(err, &alert), errors.As(err, &record):
		return "tls"
	default:
		return "error"
	}
}

// reasonOf returns the tag reason of a stream that ended.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "end"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "truncated"
	default:
		return "error"
	}
}
