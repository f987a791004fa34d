package sse

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"

	"go.k6.io/k6/lib/netext"
)

// receiving returns a connector whose sockets have a receive buffer with this number of bytes; 0 is the system's default. The
// buffer is set before the handshake, because a window that was offered to the server is not withdrawn.
func (n connector) receiving(buffer int) connector {
	if k6, ok := n.dialer.(*netext.Dialer); ok && buffer > 0 {
		n.dialer = &smallDialer{k6, buffer}
	}
	return n
}

// smallDialer is k6's dialer with a receive buffer of a given size.
type smallDialer struct {
	*netext.Dialer
	buffer int
}

func (d *smallDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	ip, port, err := d.ResolveAddr(addr) // by k6's rules: hosts, blocked addresses
	if err != nil {
		return nil, err
	}
	dialer := d.Dialer.Dialer
	dialer.ControlContext = nil
	dialer.Control = func(_, _ string, socket syscall.RawConn) error {
		var failure error
		err := socket.Control(func(fd uintptr) { failure = setReceiveBuffer(fd, d.buffer) })
		return errors.Join(err, failure)
	}
	conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(ip.String(), strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	return &netext.Conn{Conn: conn, BytesRead: &d.BytesRead, BytesWritten: &d.BytesWritten}, nil
}
