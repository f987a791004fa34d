package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Listen opens a TCP listener for streams: keep-alive probes after 60 s, a
// limit on unsent bytes in the kernel (without it a client that stops reading
// costs up to 3.9 MB of kernel memory before the first short write, with it
// 127 kB), and a limit on the time that sent bytes may stay unacknowledged.
// Connections inherit them, so that accepting costs no system call for them.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctlErr := c.Control(func(fd uintptr) { err = setSocketOptions(int(fd)) }); ctlErr != nil {
			return ctlErr
		}
		return err
	}}
	lc.SetMultipathTCP(false) // an MPTCP listener's options are not inherited
	return lc.Listen(ctx, "tcp", addr)
}

// acceptor wraps a listener for fasthttp, which ends its server on any accept
// error but a timeout.
type acceptor struct {
	net.Listener
	srv     *Server
	streams bool // not the admin listener

	mu    sync.Mutex
	conns map[*conn]struct{} // those that fasthttp has
}

const maxAcceptPause = time.Second

// Accept waits for a connection, through errors that pass.
func (a *acceptor) Accept() (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, maxAcceptPause) {
		c, err := a.Listener.Accept()
		switch {
		case err == nil:
			return a.track(c), nil
		case errors.Is(err, net.ErrClosed):
			return nil, io.EOF // what fasthttp takes for the end
		case !passing(err):
			return nil, err
		}
		a.srv.metrics.acceptErrors.Inc()
		a.srv.settings.Load().Logger.Warn("cannot accept connections for now", "error", err, "retryIn", pause.String())
		select {
		case <-time.After(pause):
		case <-a.srv.stop:
			return nil, io.EOF
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

// conn is a connection as fasthttp sees it. Once a stream has taken over the
// connection inside, fasthttp's Close does nothing; so its request context and
// read buffer go back to their pools, which they would not with
// fasthttp.Server.KeepHijackedConns. Nor does it set deadlines then: the
// stream's are its own.
type conn struct {
	net.Conn
	from  *acceptor
	taken bool // set in the request's handler; fasthttp looks after that
	// unread is set if the request was refused before all of it was read; written
	// and read by the goroutine that serves the connection.
	unread bool
}

func (c *conn) Close() error {
	if c.taken {
		return nil
	}
	if c.unread {
		c.linger()
	}
	c.from.forget(c)
	return c.Conn.Close()
}

func (c *conn) SetDeadline(t time.Time) error {
	if c.taken {
		return nil
	}
	return c.Conn.SetDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if c.taken {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.taken {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// What a client may send behind an answer that came before its request's end.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// linger reads what the client still sends, and discards it: closing at once
// makes the kernel send RST, and the client may lose the answer by it (RFC 9112,
// 9.6).
func (c *conn) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	if c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
}

// take gives the connection to the caller, without deadlines.
func (c *conn) take() net.Conn {
	_ = c.Conn.SetDeadline(time.Time{})
	c.taken = true
	c.from.forget(c)
	return c.Conn
}
