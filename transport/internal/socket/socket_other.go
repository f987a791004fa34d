//go:build !linux

package socket

import (
	"crypto/tls"
	"net"
	"time"
)

// Without epoll every stream is written to by its goroutine, through net.Conn.

// Owner is told what happens to its connection.
type Owner interface {
	Gone()
	Readable()
}

// Turns is not enforced here.
type Turns chan struct{}

// Poller does nothing here.
type Poller struct{}

// NewPoller returns a poller.
func NewPoller() (*Poller, error) { return &Poller{}, nil }

// Close does nothing.
func (*Poller) Close() {}

// Conn is never made here.
type Conn struct{ net.Conn }

// WouldBlock is never asked here.
func WouldBlock(error) bool { return false }

func (*Conn) TryWrite([]byte) (int, error) { panic("socket: not on this system") }
func (*Conn) Watch(Owner) error            { return nil }
func (*Conn) WaitWritable()                {}
func (*Conn) Requested()                   {}
func (*Conn) Unblock()                     {}
func (*Conn) Abort()                       {}
func (*Conn) Discard()                     {}
func (*Conn) Reset()                       {}
func (*Conn) SetIdle(bool)                 {}

func (*Conn) Secure() bool           { return false }
func (*Conn) Unsent() bool           { return false }
func (*Conn) TryFlush() (int, error) { return 0, nil }
func (*Conn) TryRead() error         { return nil }

func (*Conn) Handshake(*tls.Config, Turns) error { return nil }
func (*Conn) TLS() *tls.ConnectionState          { return nil }
func (c *Conn) Net(net.Addr) (net.Conn, error)   { return c.Conn, nil }

// Acknowledged is not known here.
func (*Conn) Acknowledged() (n uint64, more, ok bool) { return 0, false, false }

// SetUserTimeout does nothing here.
func (*Conn) SetUserTimeout(time.Duration) {}

// MaxJunk is not enforced here.
const MaxJunk = 64 << 10

// Idle is not enforced here.
type Idle struct {
	Max     func() int
	Evicted func()
}

// Len returns 0.
func (*Idle) Len(*Poller) int { return 0 }

// Listen returns ln.
func Listen(ln net.Listener, _ *Poller, _ *Idle) (net.Listener, error) { return ln, nil }

// Take returns nil.
func Take(net.Conn, *Poller, *Idle) *Conn { return nil }

// Of returns nil.
func Of(net.Conn) *Conn { return nil }
