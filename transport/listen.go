package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Listen opens a TCP listener for streams: keep-alive probes after 60 s, a
// limit on unsent bytes in the kernel (without it a client that stops reading
// costs up to 3.9 MB of kernel memory before the first short write, with it
// 127 kB); Serve adds a limit on the time that sent bytes may stay
// unacknowledged, Options.WriteTimeout, which a stream that must wait for its client
// switches off. Connections inherit these options, so
// accepting costs no system call for them.
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

// Inherit makes a listener of a socket that listens already, in another process as
// well: with systemd's socket activation nobody is refused while the server restarts.
// A TCP socket gets the options of Listen. The file of a Unix socket stays when the
// listener is closed. The caller closes f.
func Inherit(f *os.File) (net.Listener, error) {
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("it is not a listening stream socket: %w", err)
	}
	if _, ok := ln.(*net.UnixListener); ok && ln.Addr().Network() == "unix" {
		return ln, nil
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		_ = ln.Close()
		return nil, fmt.Errorf("it listens on %s %s: only TCP and Unix stream sockets are served", ln.Addr().Network(), ln.Addr())
	}
	raw, err := tcp.SyscallConn()
	if err == nil {
		err = setOptionsOf(raw)
	}
	if errors.Is(err, syscall.ENOPROTOOPT) {
		err = fmt.Errorf("it is Multipath TCP's, whose connections do not inherit options: make it a plain TCP socket (%w)", err)
	}
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}
