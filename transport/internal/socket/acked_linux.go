package socket

import (
	"time"

	"golang.org/x/sys/unix"
)

// Acknowledged returns how many bytes the client has acknowledged so far, and whether the
// kernel holds more for it. Anyone may call it; ok is false once the connection is closed,
// and for sockets that are not TCP's.
func (c *Conn) Acknowledged() (n uint64, more, ok bool) {
	c.poller.mu.Lock() // Close needs it before the descriptor can be another's
	defer c.poller.mu.Unlock()
	if c.closed {
		return 0, false, false
	}
	info, err := unix.GetsockoptTCPInfo(int(c.fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, false, false
	}
	return info.Bytes_acked, info.Unacked > 0 || info.Notsent_bytes > 0, true
}

// SetUserTimeout sets for how long bytes may stay unacknowledged, or the window of the
// client closed, until the kernel gives up the connection; 0 is the kernel's own time, in
// which a client that answers is kept. Anyone may call it.
func (c *Conn) SetUserTimeout(d time.Duration) {
	c.poller.mu.Lock()
	defer c.poller.mu.Unlock()
	if !c.closed {
		// A Unix socket has no such option.
		_ = unix.SetsockoptInt(int(c.fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}
}
