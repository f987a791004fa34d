package transport

import (
	"errors"
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

// discardInput reads what the client has sent behind its request, up to 256 kB:
// closing a socket with unread input makes the kernel send RST, and the client
// may lose the end of the stream by it (RFC 9112, 9.6).
func discardInput(fd int) {
	var buf [4 << 10]byte
	for range 64 {
		if n, err := syscall.Read(fd, buf[:]); n <= 0 && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}
