package transport

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"time"

	"fanfare/transport/internal/gate"
)

// open makes an accepted connection ready for HTTP, in the goroutine that serves it,
// and reports whether it is. It may wait for the client: the read deadline and
// MaxIdleConnections bound that.
func (a *acceptor) open(c *conn) bool {
	return a.readProxyHeader(c) && a.handshake(c)
}

// readProxyHeader reads the header of the PROXY protocol if the connection must
// begin with one, and closes the connection if the header is missing or not valid:
// the specification forbids to guess.
func (a *acceptor) readProxyHeader(c *conn) bool {
	o := a.srv.settings.Load()
	if !a.streams || !o.ProxyProtocol {
		return true
	}
	peer := c.RemoteAddr()
	if !o.proxies.Trusts(peer.String()) {
		return true // what it sends is a request, or refused as one
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(a.srv.requestTimeout))
	// From the connection inside: c.Read changes bytes.
	from := c.Conn
	if secure, ok := from.(*tls.Conn); ok {
		from = secure.NetConn() // it comes before TLS
	}
	client, err := gate.ReadProxyHeader(from)
	if err != nil {
		if !errors.Is(err, gate.ErrNoHeader) && !errors.Is(err, net.ErrClosed) { // ErrClosed: the server has closed it
			a.srv.metrics.Refused["proxyProtocol"].Inc()
			a.srv.log.Limited(slog.LevelWarn, "proxy header", "a connection from a trusted proxy was closed, since it has no valid PROXY header: "+
				"make the proxy send one (HAProxy: send-proxy-v2), or set proxyProtocol to false", "error", err, "remote", peer.String())
		}
		_ = c.Close()
		return false
	}
	_ = c.Conn.SetReadDeadline(time.Time{})
	if client == nil {
		client = gate.OwnAddr(peer)
	}
	c.client = client
	return true
}

// RemoteAddr returns the address of the client: that of a PROXY header, if there was
// one, or that of the peer.
func (c *conn) RemoteAddr() net.Addr {
	if c.client != nil {
		return c.client
	}
	return gate.PeerAddr(c.Conn.RemoteAddr())
}

// textAddr is an address of which only the text is known.
type textAddr string

func (a textAddr) Network() string { return "tcp" }
func (a textAddr) String() string  { return string(a) }
