//go:build linux

package swarm

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
)

// secure is TLS over a subscriber's non-blocking socket. crypto/tls needs a connection whose reads block. It gets one in two
// phases:
//
//  1. The handshake runs in its own goroutine; there are as many as connects in flight. The loop reads the socket and pushes the
//     bytes, and Read waits for them.
//  2. From join on everything belongs to the loop. Read returns the bytes that the loop has just read, and then
//     os.ErrDeadlineExceeded. To crypto/tls a read deadline has passed, so it keeps an incomplete record and continues with the
//     next call.
//
// So a stream needs no goroutine, and a subscriber stalls as without TLS, by not being watched by epoll.
type secure struct {
	tls   *tls.Conn
	began int64 // the handshake; the loop's

	mu      sync.Mutex // guards the rest; from join on it is never contended
	changed sync.Cond  // signals a change of in, end or fd
	fd      int        // -1: closed; another socket may have the same descriptor
	in      []byte     // read from the socket, not yet consumed
	end     error      // the error after in
	out     []byte     // for which the socket had no room
	joined  bool       // Read no longer waits
}

func newSecure(fd int, config *tls.Config, now int64) *secure {
	c := &secure{fd: fd, began: now}
	c.changed.L = &c.mu
	c.tls = tls.Client(c, config)
	return c
}

// push adds bytes that the loop has read, or the error that ends the connection.
func (c *secure) push(b []byte, end error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.in) == 0 && c.joined {
		c.in = b // consumed completely before the loop reuses its buffer
	} else {
		c.in = append(c.in, b...)
	}
	c.end = end
	c.changed.Signal()
}

// join passes the connection to the loop, after the handshake.
func (c *secure) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joined = true
}

// flush writes the bytes for which the socket had no room. done says that none are left.
func (c *secure) flush() (done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flushLocked()
}

func (c *secure) flushLocked() (done bool, err error) {
	for len(c.out) > 0 {
		n, err := unix.Write(c.fd, c.out)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false, fmt.Errorf("write: %w", err)
		}
		c.out = c.out[max(0, n):]
	}
	c.out = nil
	return true, nil
}

// Read implements net.Conn for crypto/tls.
func (c *secure) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.fd < 0:
			return 0, net.ErrClosed
		case len(c.in) > 0:
			n := copy(b, c.in)
			c.in = c.in[n:]
			return n, nil
		case c.end != nil:
			return 0, c.end
		case c.joined:
			return 0, os.ErrDeadlineExceeded
		}
		c.changed.Wait()
	}
}

// Write implements net.Conn for crypto/tls. To crypto/tls a short write is the end, so Write keeps the bytes for which the socket
// has no room.
func (c *secure) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return 0, net.ErrClosed
	}
	c.out = append(c.out, b...)
	if _, err := c.flushLocked(); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close ends a handshake that is under way. Call it before the loop closes the socket.
func (c *secure) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fd = -1
	c.changed.Signal()
	return nil
}

// The other methods of net.Conn. crypto/tls does not use them here.

func (c *secure) LocalAddr() net.Addr              { return nil }
func (c *secure) RemoteAddr() net.Addr             { return nil }
func (c *secure) SetDeadline(time.Time) error      { return nil }
func (c *secure) SetReadDeadline(time.Time) error  { return nil }
func (c *secure) SetWriteDeadline(time.Time) error { return nil }

// handshake begins TLS on a socket that is connected.
func (l *loop) handshake(s *subscriber) error {
	// Edge-triggered, because both directions are watched, and there is nearly always room to write.
	if err := l.watch(unix.EPOLL_CTL_MOD, s, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLET); err != nil {
		return err
	}
	generation := s.generation
	s.state, s.secure = securing, l.startHandshake(s.fd, func(err error) { l.secured(s, generation, err) })
	return nil
}

// startHandshake makes the handshake in a goroutine, and then calls done in the loop's.
func (l *loop) startHandshake(fd int, done func(error)) *secure {
	c := newSecure(fd, l.trust, l.now)
	l.handshakes.Go(func() {
		err := c.tls.Handshake()
		l.send(func() { done(err) }) // if it returns false, the loop has ended and the socket is closed
	})
	return c
}

// feedHandshake reads all that the socket has. epoll does not report it again.
func (l *loop) feedHandshake(fd int, c *secure) error {
	if _, err := c.flush(); err != nil {
		return err
	}
	for {
		n, err := unix.Read(fd, l.buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return nil
		case err != nil:
			c.push(nil, fmt.Errorf("read: %w", err))
			return nil
		case n == 0:
			c.push(nil, io.EOF)
			return nil
		}
		l.counts.Bytes += int64(n)
		c.push(l.buf[:n], nil)
	}
}

// secured handles the end of a handshake.
func (l *loop) secured(s *subscriber, generation uint32, err error) {
	if s.generation != generation || s.state != securing {
		return // the connection was given up meanwhile
	}
	if err != nil {
		l.lose(s, plan.ExplainTLS(err))
		return
	}
	l.recordHandshake(s.secure)
	s.secure.join()
	s.state = sending
	if err = l.sendRequest(s); err == nil {
		// the records after the handshake, such as session tickets
		err = l.decrypt(s.secure, func(b []byte) error { return l.consume(s, b) })
	}
	if err != nil {
		l.lose(s, err)
	}
}

// recordHandshake counts a handshake and what it agreed on. It returns the protocol of ALPN.
func (l *loop) recordHandshake(c *secure) string {
	l.result.TLS.Record(l.nowAgain() - c.began)
	about := c.tls.ConnectionState()
	text := tls.VersionName(about.Version) + ", " + tls.CipherSuiteName(about.CipherSuite)
	if about.DidResume {
		text += ", resumed"
	}
	measure.Tally(l.result.Ciphers, text)
	return about.NegotiatedProtocol
}

// sendSecure encrypts the request, once, and writes it.
func (l *loop) sendSecure(s *subscriber) (done bool, err error) {
	if len(s.out) > 0 {
		if _, err := s.secure.tls.Write(s.out); err != nil {
			return false, fmt.Errorf("TLS: %w", err)
		}
		s.out = nil
	}
	done, err = s.secure.flush()
	if err == nil && !done {
		err = l.watch(unix.EPOLL_CTL_MOD, s, unix.EPOLLOUT)
	}
	return done, err
}

// readSecure decrypts n bytes that were read from the socket into the loop's buffer.
func (l *loop) readSecure(c *secure, n int, consume func([]byte) error) error {
	if _, err := c.flush(); err != nil { // such as the answer to a key update
		return err
	}
	if n == 0 {
		c.push(nil, io.EOF)
	} else {
		c.push(l.buf[:n], nil)
	}
	return l.decrypt(c, consume)
}

// decrypt consumes all complete records.
func (l *loop) decrypt(c *secure, consume func([]byte) error) error {
	for {
		n, err := c.tls.Read(l.plain)
		if n > 0 {
			if err := consume(l.plain[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, io.EOF):
			return errEnded
		default:
			return fmt.Errorf("TLS: %w", err)
		}
	}
}
