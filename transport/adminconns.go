package transport

import (
	"container/list"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/transport/internal/gate"
)

// adminListener bounds the connections of the admin listener (Options.
// MaxAdminConnections). A connection over the limit takes the place of one that
// waits: of those without an admitted request, the one that has done nothing for the
// longest. So silent connections, and those whose requests are refused, do not shut
// out publishers. If all of them serve a request, the new one is refused.
//
// A request may be admitted between the look at its connection's state and the end of
// the connection. It is then carried out, and its answer is lost. This is the case of
// any server that closes an idle connection just as a request arrives (RFC 9112, 9.5);
// a lock from the look until the answer would let one slow handler stop the accepting.
type adminListener struct {
	net.Listener
	srv *Server
}

// adminConns are the connections of all admin listeners of a server.
type adminConns struct {
	mu    sync.Mutex
	conns list.List // of *adminConn; the one that has done nothing for the longest is first
	// refusing are the goroutines that wait for a refused client to read why.
	refusing atomic.Int32
	// draining says that each connection is closed after its answer, see DrainAdmin.
	draining atomic.Bool
}

// What a connection does.
const (
	waiting   int32 = iota // for a request, or for its head
	handling               // an admitted request, up to the end of its handler
	answering              // after that, until it is read from again
)

// adminConn is a connection of an admin listener.
type adminConn struct {
	net.Conn
	all   *adminConns
	at    *list.Element // guarded by all.mu; nil once it does not count any more
	state atomic.Int32
}

func (a *adminConns) open() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.conns.Len()
}

// add counts c, and returns the connections to close in its place: as many as the limit
// needs, which are several after it was lowered by Reconfigure. ok is false if there is no
// room: too many connections serve a request.
func (a *adminConns) add(c *adminConn, limit int) (evicted []*adminConn, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	evicted = a.removeWaiting(func() bool { return a.conns.Len() >= limit })
	if a.conns.Len() >= limit {
		return evicted, false
	}
	c.at = a.conns.PushBack(c)
	return evicted, true
}

// removeWaiting ends the counting of connections without an admitted request, the oldest first, as long as more returns
// true. The caller holds mu, and closes them.
func (a *adminConns) removeWaiting(more func() bool) (removed []*adminConn) {
	for e := a.conns.Front(); e != nil && more(); {
		c, _ := e.Value.(*adminConn)
		e = e.Next()
		if c.state.Load() == waiting {
			a.remove(c)
			removed = append(removed, c)
		}
	}
	return removed
}

// remove ends the counting of c. The caller holds mu.
func (a *adminConns) remove(c *adminConn) {
	if c.at != nil {
		a.conns.Remove(c.at)
		c.at = nil
	}
}

func (l *adminListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		s := l.srv
		if config := s.settings.Load().adminTLS; config != nil {
			nc = tls.Server(nc, config) // the first Read does the handshake, in the connection's goroutine
		}
		c := &adminConn{Conn: nc, all: &s.adminConns}
		limit := s.settings.Load().MaxAdminConnections
		evicted, ok := c.all.add(c, limit)
		for _, e := range evicted {
			s.metrics.Refused["maxAdminConnections"].Inc()
			remote := gate.PeerAddr(e.RemoteAddr()).String()
			closeNow(e.Conn)
			s.log.Limited(slog.LevelInfo, "admin evicted", "an idle connection of the admin listener was closed for a new one: there are maxAdminConnections of them",
				"limit", limit, "remote", remote)
		}
		if ok {
			return c, nil
		}
		s.metrics.Refused["maxAdminConnections"].Inc()
		s.log.Limited(slog.LevelWarn, "admin refused", "a connection to the admin listener was refused: maxAdminConnections of them serve a request; raise the limit, or send less at once",
			"limit", limit, "remote", gate.PeerAddr(nc.RemoteAddr()).String())
		c.all.refuse(nc)
	}
}

// maxRefusing bounds the goroutines that wait for refused clients.
const maxRefusing = 16

// refuse answers 503. A client that has sent something would lose the answer if the
// connection were closed at once, see conn.linger.
func (a *adminConns) refuse(c net.Conn) {
	if _, secure := c.(*tls.Conn); secure { // a handshake takes too much of a busy server
		closeNow(c)
		return
	}
	const body = `{"error":"maxAdminConnections: the server takes no more connections here for now","field":"maxAdminConnections"}` + "\n"
	answer := fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\nRetry-After: 1\r\nConnection: close\r\n", len(body))
	answer = append(appendDate(answer), "\r\n"+body...)
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(answer)
	if half, ok := c.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		_ = c.Close()
		return
	}
	if a.refusing.Add(1) > maxRefusing {
		a.refusing.Add(-1)
		_ = c.Close()
		return
	}
	go func() {
		defer a.refusing.Add(-1)
		_, _ = io.CopyN(io.Discard, c, 1<<20)
		_ = c.Close()
	}()
}

// closeNow closes c. TLS would wait for up to 5 s to send its alert.
func closeNow(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	_ = c.Close()
}

// Read reads from the connection: after an answer, it waits for another request.
func (c *adminConn) Read(b []byte) (int, error) {
	if c.state.CompareAndSwap(answering, waiting) {
		c.all.mu.Lock()
		if c.at != nil {
			c.all.conns.MoveToBack(c.at)
		}
		c.all.mu.Unlock()
	}
	return c.Conn.Read(b)
}

func (c *adminConn) Close() error {
	c.all.mu.Lock()
	c.all.remove(c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite is for conn.linger.
func (c *adminConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}
