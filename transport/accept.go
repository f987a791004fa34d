package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"fanfare/transport/internal/clientlog"
	"fanfare/transport/internal/socket"
)

// acceptor serves the connections of a listener by fasthttp.
type acceptor struct {
	net.Listener
	from    net.Listener // accepts for Listener
	srv     *Server
	http    *fasthttp.Server
	streams bool         // not the admin listener
	idle    *socket.Idle // nil for no limit
	// workers hands connections to goroutines that have served one and wait for more.
	workers chan *conn
	waiting atomic.Int32 // those goroutines

	mu    sync.Mutex
	conns map[*conn]struct{} // those that fasthttp has
}

// Close closes the listener.
func (a *acceptor) Close() error { return a.from.Close() }

// maxWaiting is how many goroutines are kept for later connections, since their
// stacks have grown already.
const maxWaiting = 256

// serve accepts connections until the listener is closed. It replaces
// fasthttp.Server.Serve, which needs one more goroutine for every connection that
// is taken over (see errTaken), and ends on temporary accept errors.
func (a *acceptor) serve() error {
	a.workers = make(chan *conn)
	defer close(a.workers)
	for {
		c, err := a.accept()
		if c == nil {
			return err
		}
		select {
		case a.workers <- c:
		default:
			go a.work(c)
		}
	}
}

// work serves c, and then the connections that follow.
func (a *acceptor) work(c *conn) {
	for ok := true; ok; {
		a.serveConn(c)
		if a.waiting.Add(1) > maxWaiting {
			a.waiting.Add(-1)
			return
		}
		c, ok = <-a.workers
		a.waiting.Add(-1)
	}
}

func (a *acceptor) serveConn(c *conn) {
	defer a.srv.log.RecoverPanic(func() { _ = c.Close() })
	if !a.open(c) {
		return
	}
	remote := ""
	if a.srv.log.Enabled(context.Background(), slog.LevelDebug) {
		remote = c.RemoteAddr().String() // once the connection is closed, it has none
	}
	err := a.serverFor(c).ServeConn(c)
	switch {
	case c.prefaced:
		a.srv.serveHTTP2(c)
	case err != nil && !errors.Is(err, errTaken):
		a.srv.log.Debug("a connection ended by an error", "error", clientlog.ConnError(err), "remote", remote)
	}
}

const maxAcceptPause = time.Second

// accept waits for a connection, and tries again after temporary errors. It
// returns nil, nil when the listener is closed.
func (a *acceptor) accept() (*conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, maxAcceptPause) {
		c, err := a.from.Accept()
		switch {
		case err == nil:
			return a.track(c), nil
		case errors.Is(err, net.ErrClosed):
			return nil, nil
		case !temporary(err):
			return nil, err
		}
		a.srv.metrics.AcceptErrors.Inc()
		a.srv.log.Warn("cannot accept connections for now", "error", err, "retryIn", pause.String())
		select {
		case <-time.After(pause):
		case <-a.srv.stop:
			return nil, nil
		}
	}
}

// temporary reports whether accept may work again later: there was no descriptor
// or memory left, or the client went away before it was accepted.
func temporary(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPROTO, syscall.EPERM, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// track makes nc one of the listener's connections.
func (a *acceptor) track(nc net.Conn) *conn {
	if sock := socket.Take(nc, a.srv.streams.Poller(), a.idle); sock != nil {
		nc = sock
	} else if config := a.srv.settings.Load().tls; config != nil && a.streams {
		nc = tls.Server(nc, config)
	}
	c := &conn{Conn: nc, from: a}
	a.mu.Lock()
	if a.conns == nil {
		a.conns = map[*conn]struct{}{}
	}
	a.conns[c] = struct{}{}
	a.mu.Unlock()
	select {
	case <-a.srv.stop: // closeConns may have run already
		c.abort()
	default:
	}
	return c
}

func (a *acceptor) forget(c *conn) {
	a.mu.Lock()
	delete(a.conns, c)
	a.mu.Unlock()
}

// closeConns closes the connections that fasthttp has, whether they are idle or
// serve a request: fasthttp does that only after they have been idle for 5 s.
func (a *acceptor) closeConns() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		c.abort()
	}
}
