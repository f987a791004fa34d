package socket

import (
	"crypto/tls"
	"net"
	"os"
	"syscall"
)

// Net gives the socket to Go's poller, for servers of HTTP/2: they read and write
// from several goroutines at once. It returns the *tls.Conn of a TLS connection,
// and a connection of package net otherwise, whose
// remote address is client. What Idle should know of it, SetIdle
// says. c has no other use from now on; after an error, close it.
func (c *Conn) Net(client net.Addr) (net.Conn, error) {
	f := os.NewFile(uintptr(c.fd), "connection")
	plain, err := net.FileConn(f) // a duplicate
	p := c.poller
	p.mu.Lock()
	if c.events != 0 {
		// The duplicate keeps the socket open, so closing c.fd does not take it out.
		_ = syscall.EpollCtl(p.fd, syscall.EPOLL_CTL_DEL, int(c.fd), nil)
		p.conns[c.fd] = nil // before the descriptor can be given out again
		c.events = 0
	}
	closed := f.Close()
	if c.fd = -1; err == nil {
		err = closed
	}
	n := &netConn{Conn: plain, c: c, client: client}
	if err == nil {
		c.net = n
	}
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if c.secure != nil {
		c.secure.wire.net = n
		return c.secure.tls, nil
	}
	return n, nil
}

// netConn is the socket of a Conn after Net.
type netConn struct {
	net.Conn
	c      *Conn
	client net.Addr
}

// RemoteAddr returns the address of the client, which a proxy may have told.
func (n *netConn) RemoteAddr() net.Addr { return n.client }

// Close closes the socket.
func (n *netConn) Close() error {
	p := n.c.poller
	p.mu.Lock()
	n.c.closed = true
	n.c.idle.remove(n.c)
	p.mu.Unlock()
	return n.Conn.Close()
}

// Of returns the Conn whose Net returned c, or nil.
func Of(c net.Conn) *Conn {
	switch c := c.(type) {
	case *netConn:
		return c.c
	case *tls.Conn:
		if w, ok := c.NetConn().(*wire); ok {
			return w.c
		}
	}
	return nil
}
