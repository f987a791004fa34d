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

// secure is TLS over a subscriber's non-blocking socket. crypto/tls wants a connection whose reads wait, and gets two, one
// after the other:
//
//  1. The handshake runs in a goroutine of its own, as many as connects are in flight. The loop reads the socket and pushes
//     what has come; Read waits for it.
//  2. From join on all belongs to the loop. Read gives what the loop has just read, and then os.ErrDeadlineExceeded: to
//     crypto/tls a read deadline has passed, so it keeps a record that came in part and goes on with the next call.
//
// So a stream costs no goroutine, and one that stalls is one that epoll isn't asked about, as without TLS.
type secure struct {
	tls   *tls.Conn
	began int64 // the handshake; the loop's

	mu    sync.Mutex // guards the rest; from join on there is nobody to contend with
	came  sync.Cond  // in, end or fd has changed
	fd    int        // -1: closed, and the number may be another socket's
	in    []byte     // read from the socket, not yet taken
	end   error      // what comes behind in
	out   []byte     // that the socket had no room for
	joins bool       // Read doesn't wait any more
}

func newSecure(fd int, config *tls.Config, now int64) *secure {
	c := &secure{fd: fd, began: now}
	c.came.L = &c.mu
	c.tls = tls.Client(c, config)
	return c
}

// push hands over what the loop has read, or why nothing more comes.
func (c *secure) push(b []byte, end error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.in) == 0 && c.joins {
		c.in = b // read to its end before the loop's buffer is used again
	} else {
		c.in = append(c.in, b...)
	}
	c.end = end
	c.came.Signal()
}

// join makes the connection the loop's own, behind the handshake.
func (c *secure) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joins = true
}

// flush writes what the socket had no room for. done says that nothing is left.
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

// Read is for crypto/tls.
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
		case c.joins:
			return 0, os.ErrDeadlineExceeded
		}
		c.came.Wait()
	}
}

// Write is for crypto/tls, which takes a short write for the end: what the socket has no room for is kept.
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

// Close ends a handshake that is under way. It comes before the socket is closed, which is the loop's to do.
func (c *secure) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fd = -1
	c.came.Signal()
	return nil
}

// What else a net.Conn has; crypto/tls asks for none of it here.

func (c *secure) LocalAddr() net.Addr              { return nil }
func (c *secure) RemoteAddr() net.Addr             { return nil }
func (c *secure) SetDeadline(time.Time) error      { return nil }
func (c *secure) SetReadDeadline(time.Time) error  { return nil }
func (c *secure) SetWriteDeadline(time.Time) error { return nil }

// handshake begins TLS on a socket that is connected.
func (l *loop) handshake(s *subscriber) error {
	// Edge-triggered: both directions are watched at once, and room to write is there nearly always.
	if err := l.watch(unix.EPOLL_CTL_MOD, s, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLET); err != nil {
		return err
	}
	c := newSecure(s.fd, l.trust, l.now)
	s.state, s.secure = securing, c
	generation := s.generation
	l.handshakes.Go(func() {
		err := c.tls.Handshake()
		l.send(func() { l.secured(s, generation, err) }) // false: the loop has ended, and the socket is closed
	})
	return nil
}

// feedHandshake takes all that the socket has: it is not told of it again.
func (l *loop) feedHandshake(s *subscriber) {
	if _, err := s.secure.flush(); err != nil {
		l.lose(s, err)
		return
	}
	for {
		n, err := unix.Read(s.fd, l.buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			s.secure.push(nil, fmt.Errorf("read: %w", err))
			return
		case n == 0:
			s.secure.push(nil, io.EOF)
			return
		}
		l.counts.Bytes += int64(n)
		s.secure.push(l.buf[:n], nil)
	}
}

// secured takes the end of a handshake.
func (l *loop) secured(s *subscriber, generation uint32, err error) {
	if s.generation != generation || s.state != securing {
		return // it was given up meanwhile
	}
	if err != nil {
		l.lose(s, plan.ExplainTLS(err))
		return
	}
	l.result.TLS.Record(l.nowAgain() - s.secure.began)
	about := s.secure.tls.ConnectionState()
	measure.Tally(l.result.Ciphers, tls.VersionName(about.Version)+", "+tls.CipherSuiteName(about.CipherSuite))
	s.secure.join()
	s.state = sending
	if err = l.sendRequest(s); err == nil {
		err = l.decrypt(s) // what has come behind the handshake, such as tickets
	}
	if err != nil {
		l.lose(s, err)
	}
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

// readSecure takes what the socket has given, n bytes in the loop's buffer.
func (l *loop) readSecure(s *subscriber, n int) error {
	if _, err := s.secure.flush(); err != nil { // an answer to a change of keys, say
		return err
	}
	if n == 0 {
		s.secure.push(nil, io.EOF)
	} else {
		s.secure.push(l.buf[:n], nil)
	}
	return l.decrypt(s)
}

// decrypt consumes all whole records.
func (l *loop) decrypt(s *subscriber) error {
	for {
		n, err := s.secure.tls.Read(l.plain)
		if n > 0 {
			if err := l.consume(s, l.plain[:n]); err != nil {
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
