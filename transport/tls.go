package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"slices"
	"strings"
	"time"

	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/socket"
)

// Protocols of ALPN (RFC 7301).
const (
	protoHTTP1 = "http/1.1"
	protoHTTP2 = "h2"
	protoACME  = "acme-tls/1" // RFC 8737: the handshake is all there is
)

// serverTLS is the configuration of a listener: c, with what is the server's.
func serverTLS(c *tls.Config, http2 bool) *tls.Config {
	if c == nil {
		return nil
	}
	acme := slices.Contains(c.NextProtos, protoACME)
	c = c.Clone()
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	// With it, the first records of a stream would be small.
	c.DynamicRecordSizingDisabled = true
	c.NextProtos = []string{protoHTTP1}
	if http2 {
		c.NextProtos = []string{protoHTTP2, protoHTTP1}
	}
	if acme {
		c.NextProtos = append(c.NextProtos, protoACME)
	}
	return c
}

// newTurns lets handshakes use half of the processors.
func newTurns() socket.Turns { return make(socket.Turns, max(runtime.GOMAXPROCS(0)/2, 1)) }

// Results of handshakes, the label of fanfare_tls_handshakes_total.
const (
	handshakeDone    = "ok"
	handshakeFailed  = "failed"
	handshakeTimeout = "timeout"
)

// handshake makes c one of TLS, if that is set. It returns false if the connection
// has no requests of HTTP/1.1.
func (a *acceptor) handshake(c *conn) bool {
	if !a.streams {
		return true // adminListener has wrapped the connection
	}
	config := a.srv.settings.Load().tls
	if config == nil {
		return true
	}
	_ = c.Conn.SetDeadline(time.Now().Add(a.srv.requestTimeout))
	protocol, err := secure(c.Conn, config, a.srv.turns)
	if err != nil {
		a.refuseHandshake(c, err)
		return false
	}
	a.srv.metrics.Handshakes.WithLabelValues(handshakeDone).Inc()
	_ = c.Conn.SetDeadline(time.Time{})
	switch protocol {
	case protoACME:
		_ = c.Close()
		return false
	case protoHTTP2:
		a.srv.serveHTTP2(c)
		return false
	}
	return true
}

// secure makes c one of TLS. On a connection that is not one of our sockets,
// track has done that, but for the handshake.
func secure(c net.Conn, config *tls.Config, turns socket.Turns) (protocol string, err error) {
	switch c := c.(type) {
	case *socket.Conn:
		if err := c.Handshake(config, turns); err != nil {
			return "", err
		}
		return c.TLS().NegotiatedProtocol, nil
	case *tls.Conn:
		if err := c.Handshake(); err != nil {
			return "", err
		}
		return c.ConnectionState().NegotiatedProtocol, nil
	}
	return "", nil
}

// refuseHandshake ends a connection whose handshake has failed.
func (a *acceptor) refuseHandshake(c *conn, err error) {
	result := handshakeFailed
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		result = handshakeTimeout
	}
	a.srv.metrics.Handshakes.WithLabelValues(result).Inc()
	a.srv.log.Debug("a TLS handshake failed", "error", clientlog.ConnError(err), "remote", c.RemoteAddr().String())
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil && looksLikeHTTP(record.RecordHeader) {
		_, _ = record.Conn.Write([]byte("HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
			"this listener speaks TLS: use https://\n"))
	}
	_ = c.Close()
}

// looksLikeHTTP reports whether the first bytes of a client are those of a request.
func looksLikeHTTP(first [5]byte) bool {
	text := string(first[:])
	for _, method := range []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PRI *"} {
		if strings.HasPrefix(text, method) {
			return true
		}
	}
	return false
}
