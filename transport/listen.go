package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// Listen opens a TCP listener for streams: keep-alive probes after 60 s, a
// limit on unsent bytes in the kernel (without it a client that stops reading
// costs up to 3.9 MB of kernel memory before the first short write, with it
// 127 kB); Serve adds a limit on the time that sent bytes may stay
// unacknowledged, Options.WriteTimeout. Connections inherit them, so that accepting costs no system call for them.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error { return setOptionsOf(c) }}
	lc.SetMultipathTCP(false) // an MPTCP listener's options are not inherited
	return lc.Listen(ctx, "tcp", addr)
}

func setOptionsOf(c syscall.RawConn) error {
	var err error
	if ctlErr := c.Control(func(fd uintptr) { err = setSocketOptions(int(fd)) }); ctlErr != nil {
		return ctlErr
	}
	return err
}

// Inherit makes a listener of a TCP socket that listens already, in another process
// as well: with systemd's socket activation nobody is refused while the server
// restarts. It gets the options of Listen. The caller closes f.
func Inherit(f *os.File) (net.Listener, error) {
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("it is no listening stream socket: %w", err)
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		_ = ln.Close()
		return nil, fmt.Errorf("it listens on %s %s: only TCP is served", ln.Addr().Network(), ln.Addr())
	}
	raw, err := tcp.SyscallConn()
	if err == nil {
		err = setOptionsOf(raw)
	}
	if errors.Is(err, syscall.ENOPROTOOPT) {
		err = fmt.Errorf("it is Multipath TCP's, whose connections don't inherit options: make it a plain TCP socket (%w)", err)
	}
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}

// acceptor serves the connections of a listener by fasthttp.
type acceptor struct {
	net.Listener
	srv     *Server
	http    *fasthttp.Server
	streams bool // not the admin listener
	// idle is where goroutines that have served a connection wait for another.
	idle    chan *conn
	waiting atomic.Int32 // of them

	mu    sync.Mutex
	conns map[*conn]struct{} // those that fasthttp has
}

// maxWaiting is how many goroutines are kept for connections to come: their
// stacks have grown already.
const maxWaiting = 256

// serve accepts connections until the listener is closed. It stands in for
// fasthttp.Server.Serve, which wants a goroutine more for every connection that
// is taken over (see errTaken), and ends on accept errors that pass.
func (a *acceptor) serve() error {
	a.idle = make(chan *conn)
	defer close(a.idle)
	for {
		c, err := a.accept()
		if c == nil {
			return err
		}
		select {
		case a.idle <- c:
		default:
			go a.work(c)
		}
	}
}

// work serves c, and then what else comes.
func (a *acceptor) work(c *conn) {
	for ok := true; ok; {
		a.serveConn(c)
		if a.waiting.Add(1) > maxWaiting {
			a.waiting.Add(-1)
			return
		}
		c, ok = <-a.idle
		a.waiting.Add(-1)
	}
}

func (a *acceptor) serveConn(c *conn) {
	defer a.srv.contain(func() { _ = c.Close() })
	if err := a.http.ServeConn(c); err != nil && !errors.Is(err, errTaken) {
		a.srv.settings.Load().Logger.Debug("a connection ended by an error", "error", err, "remote", c.RemoteAddr())
	}
}

const maxAcceptPause = time.Second

// accept waits for a connection, through errors that pass. It returns nil, nil
// when the listener is closed.
func (a *acceptor) accept() (*conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, maxAcceptPause) {
		c, err := a.Listener.Accept()
		switch {
		case err == nil:
			return a.track(c), nil
		case errors.Is(err, net.ErrClosed):
			return nil, nil
		case !passing(err):
			return nil, err
		}
		a.srv.metrics.acceptErrors.Inc()
		a.srv.settings.Load().Logger.Warn("cannot accept connections for now", "error", err, "retryIn", pause.String())
		select {
		case <-time.After(pause):
		case <-a.srv.stop:
			return nil, nil
		}
	}
}

// passing reports whether accepting may work again later: no descriptor or
// memory to be had, or a client that left before it was accepted.
func passing(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EPROTO, syscall.EPERM, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// track makes c one of the listener's.
func (a *acceptor) track(nc net.Conn) *conn {
	c := &conn{Conn: nc, from: a}
	a.mu.Lock()
	if a.conns == nil {
		a.conns = map[*conn]struct{}{}
	}
	a.conns[c] = struct{}{}
	a.mu.Unlock()
	select {
	case <-a.srv.stop: // then closeConns may have come before
		_ = nc.Close()
	default:
	}
	return c
}

func (a *acceptor) forget(c *conn) {
	a.mu.Lock()
	delete(a.conns, c)
	a.mu.Unlock()
}

// closeConns closes the connections that wait for a request or are at one:
// fasthttp does that only after they have been idle for 5 s.
func (a *acceptor) closeConns() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		_ = c.Conn.Close()
	}
}
