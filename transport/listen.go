package transport

import (
	"context"
	"errors"
	"io"
	"net"
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
}

const maxAcceptPause = time.Second

// Accept waits for a connection, through errors that pass.
func (a *acceptor) Accept() (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, maxAcceptPause) {
		c, err := a.Listener.Accept()
		switch {
		case err == nil:
			return &conn{Conn: c}, nil
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

// conn is a connection as fasthttp sees it. Once a stream has taken over the
// connection inside, fasthttp's Close does nothing; so its request context and
// read buffer go back to their pools, which they would not with
// fasthttp.Server.KeepHijackedConns.
type conn struct {
	net.Conn
	taken bool // written and read by the goroutine that runs the hijack handler
}

func (c *conn) Close() error {
	if c.taken {
		return nil
	}
	return c.Conn.Close()
}

// take gives the connection to the caller.
func (c *conn) take() net.Conn {
	c.taken = true
	return c.Conn
}
