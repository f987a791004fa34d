package transport

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	notSentLowWater = 16 << 10 // bytes
	userTimeout     = 60_000   // milliseconds
	keepAliveIdle   = 60       // seconds
	keepAliveEvery  = 15       // seconds
	keepAliveCount  = 4
)

func setSocketOptions(fd int) error {
	for _, o := range [...]struct {
		level, name, value int
		what               string
	}{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, "SO_KEEPALIVE"},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveIdle, "TCP_KEEPIDLE"},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveEvery, "TCP_KEEPINTVL"},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount, "TCP_KEEPCNT"},
		{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowWater, "TCP_NOTSENT_LOWAT"},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout, "TCP_USER_TIMEOUT"},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt "+o.what, err)
		}
	}
	return nil
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
