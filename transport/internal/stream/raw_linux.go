package stream

import (
	"errors"
	"net"
	"syscall"
)

// errWouldBlock is what rawWrite returns when the socket is full.
var errWouldBlock error = syscall.EAGAIN

// rawWrite writes some of b to the non-blocking socket fd.
func rawWrite(fd int, b []byte) (int, error) {
	for {
		n, err := sendNow(fd, b)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// discardInput reads what the client has sent after its request, up to 256 kB. If
// a socket is closed with unread input, the kernel sends RST, and the client may
// lose the end of the stream (RFC 9112, 9.6).
func discardInput(fd int) {
	var buf [4 << 10]byte
	for range 64 {
		if n, err := syscall.Read(fd, buf[:]); n <= 0 && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// rawOf returns the descriptor of a socket, for writes without blocking.
func rawOf(c net.Conn) (raw syscall.RawConn, fd int) {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil, -1 // TLS, for example: the bytes are not the socket's
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil || raw.Control(func(d uintptr) { fd = int(d) }) != nil {
		return nil, -1
	}
	return raw, fd
}
