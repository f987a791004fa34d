// Package link forwards TCP connections and can stop doing so, as a network does that is partitioned: the connections
// stay open, and nothing arrives.
package link

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Link listens on an address of its own and forwards each connection to another.
type Link struct {
	ln     net.Listener
	target string
	mu     sync.Mutex
	open   chan struct{} // closed while bytes may pass
	conns  map[net.Conn]struct{}
	closed bool
	done   sync.WaitGroup
}

// New listens on addr and forwards to target. Call Close in the end.
func New(addr, target string) (*Link, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	l := &Link{ln: ln, target: target, open: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(l.open)
	l.done.Go(l.accept)
	return l, nil
}

// Addr is the address that the link listens on.
func (l *Link) Addr() string { return l.ln.Addr().String() }

// Stop lets nothing pass any more, in both directions. New connections are accepted, and are silent.
func (l *Link) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		l.open = make(chan struct{})
	default:
	}
}

// Resume lets everything pass again, what was held back first.
func (l *Link) Resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}

// Cut closes all connections, by a reset.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// Close ends the link and its connections.
func (l *Link) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	_ = l.ln.Close()
	l.Resume()
	l.Cut()
	l.done.Wait()
}

// gate is closed while bytes may pass.
func (l *Link) gate() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

func (l *Link) accept() {
	for {
		c, err := l.ln.Accept()
		if err != nil {
			return
		}
		l.done.Go(func() { l.serve(c) })
	}
}

func (l *Link) serve(c net.Conn) {
	defer c.Close()
	if !l.keep(c) {
		return
	}
	defer l.drop(c)
	<-l.gate()
	out, err := net.DialTimeout("tcp", l.target, 5*time.Second)
	if err != nil {
		_ = c.(*net.TCPConn).SetLinger(0)
		return
	}
	defer out.Close()
	if !l.keep(out) {
		return
	}
	defer l.drop(out)
	var both sync.WaitGroup
	both.Go(func() { l.copy(out, c) })
	both.Go(func() { l.copy(c, out) })
	both.Wait()
}

// copy forwards one direction. It looks at the gate after each read, so what has arrived meanwhile waits there.
func (l *Link) copy(dst, src net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		<-l.gate()
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				err = errors.Join(err, werr)
			}
		}
		if err != nil { // the other direction ends too: no protocol here uses half-closed connections
			_ = dst.Close()
			_ = src.Close()
			return
		}
	}
}

func (l *Link) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns[c] = struct{}{}
	}
	return !l.closed
}

func (l *Link) drop(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}
