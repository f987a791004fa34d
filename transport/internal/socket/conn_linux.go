package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Owner is told what happens to its connection. The methods run on the poller's
// goroutine: they must not block.
type Owner interface {
	// Gone says that the client has gone.
	Gone()
	// Readable says that the client of a TLS connection has sent something. Only then
	// the owner must call TryRead.
	Readable()
}

// Conn is a stream socket, without Go's poller: reads and writes try at once, and
// only what has to wait needs the Poller.
//
// At any time one goroutine owns it, which may call its methods. Unblock and Abort
// are for others.
type Conn struct {
	poller *Poller
	fd     int32

	// Under poller.mu.
	gen        uint32 // tells the lives of a descriptor apart
	events     uint32 // what the epoll instance reports; 0: it does not know the socket
	junk       uint32 // bytes that the client of a watched socket has sent; with TLS the owner's
	closed     bool
	owner      Owner
	ready      chan struct{} // holds a token after an event; made by the first who waits
	idle       *Idle         // of the listener; nil for none
	prev, next *Conn         // in idle, if it is there

	secure                      *secure  // TLS; nil for none
	net                         net.Conn // has the socket after Net; nil before
	aborted                     atomic.Bool
	readDeadline, writeDeadline int64 // nanoseconds of the Unix time; 0: none
}

// errWouldBlock is what TryWrite returns when the socket is full.
var errWouldBlock error = syscall.EAGAIN

// WouldBlock reports whether an error of TryWrite says that the socket is full.
func WouldBlock(err error) bool { return err == errWouldBlock }

// TryWrite writes some of b, without waiting. With TLS it may take bytes that the
// socket has no room for yet, see Unsent.
func (c *Conn) TryWrite(b []byte) (int, error) {
	if c.secure != nil {
		return c.secure.tryWrite(c, b)
	}
	for {
		n, err := sendNow(int(c.fd), b)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// Watch tells owner when the client has gone, and discards what the client sends
// from now on. With TLS, the owner does that by TryRead, and does it once without
// being told: TLS may have read more than the request.
func (c *Conn) Watch(owner Owner) error {
	if c.secure != nil {
		c.secure.streaming = true
	}
	p := c.poller
	p.mu.Lock()
	defer p.mu.Unlock()
	c.idle.remove(c)
	c.owner = owner
	return p.armLocked(c, readable, true) // it may have hung up while it had no owner
}

// Requested says that the request is there: the connection is not one of those
// without a request (see Idle) until it waits for another.
func (c *Conn) Requested() { c.SetIdle(false) }

// SetIdle says whether the connection is one without a request.
func (c *Conn) SetIdle(idle bool) {
	if c.idle == nil {
		return
	}
	c.poller.mu.Lock()
	defer c.poller.mu.Unlock()
	if idle && !c.closed {
		c.idle.add(c)
	} else {
		c.idle.remove(c)
	}
}

// retryTime is how long WaitWritable waits for a socket that cannot be watched.
const retryTime = 20 * time.Millisecond

// WaitWritable waits until the socket may take bytes again, or Unblock. It may
// return early. If the kernel refuses to watch the socket (ENOMEM, or ENOSPC: the
// limit fs.epoll.max_user_watches), it returns after retryTime, so that the owner
// tries again without taking a whole processor.
func (c *Conn) WaitWritable() {
	if c.wait(writable, 0) == nil {
		return
	}
	timer := time.NewTimer(retryTime)
	defer timer.Stop()
	select {
	case <-c.ready: // wait has made it
	case <-timer.C:
	}
}

// Unblock ends a wait of the owner. Anyone may call it, at any time.
func (c *Conn) Unblock() {
	c.poller.mu.Lock()
	defer c.poller.mu.Unlock()
	if !c.closed {
		if c.ready == nil {
			c.ready = make(chan struct{}, 1)
		}
		c.wakeLocked()
	}
}

// Abort makes the owner's reads and writes fail. Anyone may call it, at any time.
func (c *Conn) Abort() {
	c.aborted.Store(true)
	c.Unblock()
}

func (c *Conn) wakeLocked() {
	if c.ready == nil {
		return
	}
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// wait waits for an event of the kind, Unblock, or the deadline. It may return
// early: try again.
func (c *Conn) wait(event uint32, deadline int64) error {
	p := c.poller
	p.mu.Lock()
	if c.ready == nil {
		c.ready = make(chan struct{}, 1)
	}
	if event == readable {
		c.idle.add(c)
	}
	err := p.armLocked(c, event, false)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if deadline == 0 {
		<-c.ready
		return nil
	}
	timer := time.NewTimer(time.Until(time.Unix(0, deadline)))
	defer timer.Stop()
	select {
	case <-c.ready:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// Read reads what is there, or waits for it.
func (c *Conn) Read(b []byte) (int, error) {
	if c.secure != nil {
		return c.secure.tls.Read(b)
	}
	return c.read(b)
}

// received is what a Read returns after a recv.
func received(n, size int, err error) (int, error) {
	switch {
	case err != nil:
		return 0, os.NewSyscallError("recv", err)
	case n == 0 && size > 0:
		return 0, io.EOF
	}
	return n, nil
}

func (c *Conn) read(b []byte) (int, error) {
	for {
		if c.aborted.Load() {
			return 0, net.ErrClosed
		}
		n, err := recvNow(int(c.fd), b)
		switch err {
		case syscall.EINTR:
		case syscall.EAGAIN:
			if err := c.wait(readable, c.readDeadline); err != nil {
				return 0, err
			}
		default:
			return received(n, len(b), err)
		}
	}
}

// Write writes all of b, and waits for room.
func (c *Conn) Write(b []byte) (written int, err error) {
	c.Requested() // it is being answered
	if c.secure != nil {
		return c.secure.tls.Write(b)
	}
	return c.write(b)
}

func (c *Conn) write(b []byte) (written int, err error) {
	for written < len(b) {
		if c.aborted.Load() {
			return written, net.ErrClosed
		}
		n, err := sendNow(int(c.fd), b[written:])
		written += max(n, 0)
		switch {
		case err == nil, err == syscall.EINTR:
		case err != syscall.EAGAIN:
			return written, os.NewSyscallError("send", err)
		default:
			if err := c.wait(writable, c.writeDeadline); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// Close closes the socket.
func (c *Conn) Close() error {
	p := c.poller
	if c.secure != nil && !c.aborted.Load() {
		p.mu.Lock()
		closed := c.closed // then the descriptor may be another's
		p.mu.Unlock()
		if !closed {
			c.secure.close()
		}
	}
	p.mu.Lock()
	if c.closed {
		p.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	if c.events != 0 {
		p.conns[c.fd] = nil // before the descriptor can be given out again
	}
	c.idle.remove(c)
	c.wakeLocked()
	p.mu.Unlock()
	return os.NewSyscallError("close", syscall.Close(int(c.fd)))
}

// CloseWrite tells the client that nothing more comes.
func (c *Conn) CloseWrite() error {
	if c.secure != nil {
		_ = c.secure.tls.CloseWrite()
	}
	return os.NewSyscallError("shutdown", syscall.Shutdown(int(c.fd), syscall.SHUT_WR))
}

// Discard reads what the client has sent, so that Close sends no RST because of
// it, see discardInput.
func (c *Conn) Discard() { discardInput(int(c.fd)) }

// Reset makes Close discard what the kernel still holds for the client.
func (c *Conn) Reset() {
	_ = unix.SetsockoptLinger(int(c.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr {
	sa, _ := unix.Getsockname(int(c.fd))
	return addr(sa)
}

// RemoteAddr returns the address of the client.
func (c *Conn) RemoteAddr() net.Addr {
	sa, _ := unix.Getpeername(int(c.fd))
	return addr(sa)
}

func addr(sa unix.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		a := &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
		if sa.ZoneId != 0 {
			if i, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
				a.Zone = i.Name
			}
		}
		return a
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Net: "unix", Name: sa.Name}
	}
	return &net.TCPAddr{}
}

// SetDeadline sets both deadlines; the zero time is none.
func (c *Conn) SetDeadline(t time.Time) error {
	c.readDeadline, c.writeDeadline = nanos(t), nanos(t)
	return nil
}

// SetReadDeadline sets the time after which a Read that waits fails.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readDeadline = nanos(t)
	return nil
}

// SetWriteDeadline sets the time after which a Write that waits fails.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline = nanos(t)
	return nil
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// discardInput reads what the client has sent after its request, up to 256 kB. If
// a socket is closed with unread input, the kernel sends RST, and the client may
// lose the end of the stream (RFC 9112, 9.6).
func discardInput(fd int) (total int) {
	var buf [4 << 10]byte
	for range 64 {
		n, err := syscall.Read(fd, buf[:])
		if n <= 0 && !errors.Is(err, syscall.EINTR) {
			break
		}
		total += max(n, 0)
	}
	return total
}
