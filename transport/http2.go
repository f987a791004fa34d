package transport

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/transport/internal/gate"
	"fanfare/transport/internal/socket"
)

// multiplexer serves the connections of HTTP/2 (RFC 9113): those that agree on it
// by ALPN, and those without TLS that begin with its preface. net/http speaks the
// protocol; a stream costs its goroutine and its buffers (docs/performance.md).
type multiplexer struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	http  *http.Server
}

// preface is how a connection of HTTP/2 begins (RFC 9113, 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// What HTTP/2 clients may send: requests have no bodies worth a buffer.
const (
	http2ReadFrame      = 16 << 10
	http2ReceiveBuffer  = 64 << 10
	http2HeaderTable    = 4 << 10
	http2ShutdownPeriod = time.Second
	// http2NoTable keeps the dynamic table of answers empty: an entry has 32 bytes or more. net/http's server changes the size of the
	// table at each SETTINGS_HEADER_TABLE_SIZE, while another goroutine may encode a head with it. With entries in the table, as Go
	// 1.26 is, a client that sends such settings and requests ends the process within seconds ("panic: id <= evictCount"). An empty
	// table costs about 150 bytes for each stream. 0 would be net/http's default.
	http2NoTable = 1
)

// newMultiplexer returns a multiplexer with the settings that count now.
func (s *Server) newMultiplexer() *multiplexer {
	o := s.settings.Load()
	m := &multiplexer{conns: make(chan net.Conn), done: make(chan struct{})}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	m.http = &http.Server{
		Handler:        http.HandlerFunc(s.serveMultiplexed),
		Protocols:      protocols,
		MaxHeaderBytes: o.maxHead(true),
		IdleTimeout:    o.IdleTimeout,
		ErrorLog:       log.New(http2Log{s}, "", 0),
		ConnState:      s.http2State,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          o.MaxStreamsPerConnection,
			MaxReadFrameSize:              http2ReadFrame,
			MaxReceiveBufferPerConnection: http2ReceiveBuffer,
			MaxReceiveBufferPerStream:     http2ReadFrame,
			MaxDecoderHeaderTableSize:     http2HeaderTable,
			MaxEncoderHeaderTableSize:     http2NoTable,
			// A client that does not answer pings has gone; TCP notices only what is sent.
			SendPingTimeout:  o.WriteTimeout,
			PingTimeout:      o.WriteTimeout,
			WriteByteTimeout: o.WriteTimeout,
			CountError:       func(kind string) { s.metrics.HTTP2Errors.WithLabelValues(kind).Inc() },
		},
	}
	go func() { _ = m.http.Serve(m) }()
	return m
}

// Accept implements net.Listener: the connections are those of the stream listeners.
func (m *multiplexer) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (m *multiplexer) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

// Addr implements net.Listener.
func (m *multiplexer) Addr() net.Addr { return &net.TCPAddr{} }

// multiplexer returns the server's multiplexer, nil after Close.
func (s *Server) multiplexer() *multiplexer {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stop:
		return nil
	default:
	}
	if s.http2 == nil {
		s.http2 = s.newMultiplexer()
	}
	return s.http2
}

// serveHTTP2 hands c over to the multiplexer.
func (s *Server) serveHTTP2(c *conn) {
	remote := c.RemoteAddr()
	nc := c.take()
	m := s.multiplexer()
	if m == nil {
		_ = nc.Close()
		return
	}
	sock, _ := nc.(*socket.Conn)
	if sock != nil {
		var err error
		if nc, err = sock.Net(remote); err != nil {
			s.log.Warn("a connection of HTTP/2 cannot be served", "error", err)
			_ = sock.Close()
			return
		}
	}
	if c.prefaced || sock == nil && c.client != nil {
		nc = &prefacedConn{Conn: nc, unread: c.early, remote: remote}
	}
	select {
	case m.conns <- nc:
	case <-m.done:
		_ = nc.Close()
	}
}

// prefacedConn is a connection whose preface has been read, or one whose address
// a PROXY header may have told.
type prefacedConn struct {
	net.Conn
	unread []byte
	remote net.Addr
}

func (c *prefacedConn) RemoteAddr() net.Addr { return c.remote }

func (c *prefacedConn) Read(b []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(b, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// http2State counts connections that have no stream as those without a request.
func (s *Server) http2State(c net.Conn, state http.ConnState) {
	if p, ok := c.(*prefacedConn); ok {
		c = p.Conn
	}
	if sock := socket.Of(c); sock != nil {
		sock.SetIdle(state == http.StateIdle)
	}
}

// shutdownHTTP2 ends the connections that have no stream, by GOAWAY (RFC 9113, 6.8).
func (s *Server) shutdownHTTP2(ctx context.Context) {
	s.mu.Lock()
	m := s.http2
	s.mu.Unlock()
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, http2ShutdownPeriod)
	defer cancel()
	_ = m.http.Shutdown(ctx)
}

// closeHTTP2 ends the connections at once.
func (s *Server) closeHTTP2() {
	s.mu.Lock()
	m := s.http2
	s.mu.Unlock()
	if m != nil {
		_ = m.http.Close()
	}
}

// serveMultiplexed answers a request of HTTP/2. What is not a stream gets the answer
// that HTTP/1.1 gets.
func (s *Server) serveMultiplexed(w http.ResponseWriter, r *http.Request) {
	if s.forStreams(r) {
		s.serveHTTP(w, r)
		return
	}
	s.answerMultiplexed(w, r)
}

// forStreams reports whether the target of a request is the stream's.
func (s *Server) forStreams(r *http.Request) bool {
	var h fasthttp.RequestHeader
	h.SetRequestURI(r.RequestURI)
	h.SetHost(r.Host)
	target, valid := gate.TargetOf(&h)
	return valid && target.Path == s.settings.Load().Path
}

// answerMultiplexed answers a request that is not for a stream.
func (s *Server) answerMultiplexed(w http.ResponseWriter, r *http.Request) {
	var ctx fasthttp.RequestCtx
	var head fasthttp.Request
	head.Header.SetMethod(r.Method)
	head.Header.SetRequestURI(r.RequestURI)
	head.Header.SetHost(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			head.Header.Add(name, v)
		}
	}
	ctx.Init(&head, textAddr(r.RemoteAddr), nil)
	s.handle(&ctx)
	header := w.Header()
	for name, value := range ctx.Response.Header.All() {
		switch n := string(name); n {
		case "Connection", "Content-Length", "Server":
		default:
			header.Add(n, string(value))
		}
	}
	w.WriteHeader(ctx.Response.StatusCode())
	if r.Method != http.MethodHead {
		_, _ = w.Write(ctx.Response.Body())
	}
}

// http2Log logs what net/http has to say of a connection. It is the client's doing.
type http2Log struct{ s *Server }

func (l http2Log) Write(b []byte) (int, error) {
	l.s.log.Debug("a connection of HTTP/2 ended by an error", "error", strings.TrimSpace(string(b)))
	return len(b), nil
}

// errPreface is the error that fasthttp gets from a connection of HTTP/2.
var errPreface = errors.New("the connection is one of HTTP/2")

// readPreface reads the rest of a preface of which the client has sent a part. It
// keeps what it has read. If that is not a preface, fasthttp gets it; after an error
// its next read finds the error again.
func (c *conn) readPreface(begun []byte) (found bool) {
	c.early = append(c.early, begun...)
	var buf [len(preface)]byte
	for len(c.early) < len(preface) && strings.HasPrefix(preface, string(c.early)) {
		n, err := c.Conn.Read(buf[:len(preface)-len(c.early)])
		c.early = append(c.early, buf[:n]...)
		if err != nil {
			return false
		}
	}
	return strings.HasPrefix(string(c.early), preface)
}

// mayBeHTTP2 reports whether a connection may begin with the preface: with TLS, ALPN
// decides.
func (c *conn) mayBeHTTP2() bool {
	if c.from.srv.settings.Load().NoHTTP2 {
		return false
	}
	return !c.secure()
}
