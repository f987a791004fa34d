package transport

import (
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	notSentLowWater = 16 << 10 // bytes
	userTimeout     = 30_000   // milliseconds, until Serve knows WriteTimeout
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

// setUserTimeout limits the time that bytes sent on a connection of the listener,
// of those accepted from now on, may stay unacknowledged: a client that has
// vanished takes what the kernel has room for, and is gone after that time.
func setUserTimeout(ln net.Listener, d time.Duration) error {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil // one that wraps another: the kernel's own time applies
	}
	if _, ok := ln.(*net.TCPListener); !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}); err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt TCP_USER_TIMEOUT", optErr)
}
