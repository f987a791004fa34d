//go:build linux

package swarm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/plan"
)

// carrier is an HTTP/2 connection, on which several subscribers have a stream each. It connects when the first of them opens, and
// again when one opens after its end. It belongs to its loop, as the subscribers do. This file has the socket, http2.go the frames.
type carrier struct {
	number     int    // its place in the loop's carriers
	index      int    // of its first subscriber, of the plan
	fd         int    // -1: none
	generation uint32 // of the socket, as in subscriber
	state      carrierState
	began      int64   // when the connect began
	secure     *secure // nil: http
	blocked    bool    // the socket has no room, and epoll watches for it

	waiting []*subscriber          // to be opened when the connection is up
	streams map[uint32]*subscriber // open, by their number on the connection
	next    uint32                 // number of the next stream
	limit   uint32                 // of streams at the same time, by the server
	closing bool                   // the server has sent GOAWAY

	in      []byte       // the beginning of a frame that is not complete
	out     bytes.Buffer // frames to be written
	source  bytes.Reader // a complete frame, for framer
	framer  *http2.Framer
	encoder *hpack.Encoder // writes to block
	block   bytes.Buffer
	decoder *hpack.Decoder
	answer  *response // the header that is being decoded
	taken   uint32    // bytes of DATA since the connection's last window update
}

type carrierState uint8

const (
	down carrierState = iota
	dialing
	shaking  // the TLS handshake
	greeting // waiting for the server's SETTINGS
	up
)

// opening reports whether streams wait for the connection.
func (c *carrier) opening() bool { return c.state != down && c.state != up }

// makeCarriers makes the connections of the loop's subscribers. Each opens later.
func (l *loop) makeCarriers() {
	for i := range l.subs {
		s := &l.subs[i]
		number := s.index / l.plan.Group()
		if n := len(l.carriers); n == 0 || l.carriers[n-1].index/l.plan.Group() != number {
			l.carriers = append(l.carriers, &carrier{number: n, index: s.index, fd: -1})
		}
		s.carrier = l.carriers[len(l.carriers)-1]
	}
}

// attach opens a stream for a subscriber, now or when the connection is up.
func (l *loop) attach(s *subscriber) {
	c := s.carrier
	s.state = sending
	if c.state == up && !c.closing {
		if err := l.openStream(c, s); err != nil {
			l.lose(s, err)
		}
		return
	}
	c.waiting = append(c.waiting, s)
	if c.state == down {
		l.dialCarrier(c)
	}
}

func (l *loop) dialCarrier(c *carrier) {
	c.began, c.next, c.limit, c.taken, c.closing, c.blocked = l.now, 1, maxStreams, 0, false, false
	c.streams, c.in = map[uint32]*subscriber{}, nil
	c.out.Reset()
	c.block.Reset()
	c.framer = http2.NewFramer(&c.out, &c.source)
	c.framer.SetReuseFrames()
	c.encoder, c.decoder, c.answer = hpack.NewEncoder(&c.block), hpack.NewDecoder(headerTable, nil), nil
	c.decoder.SetMaxStringLength(fieldBytes)
	fd, err := l.socket(c.index / l.plan.Group())
	if err == nil {
		c.fd, c.state = fd, dialing
		c.generation++
		if err = l.connect(fd); err == nil {
			err = l.watchCarrier(unix.EPOLL_CTL_ADD, c, unix.EPOLLOUT)
		}
	}
	if err != nil {
		l.breakCarrier(c, err)
	}
}

func (l *loop) watchCarrier(op int, c *carrier, events uint32) error {
	return unix.EpollCtl(l.epoll, op, c.fd, &unix.EpollEvent{Events: events, Fd: int32(carrierSlot - c.number), Pad: int32(c.generation)})
}

// readyCarrier handles what epoll reports about a carrier's socket.
func (l *loop) readyCarrier(c *carrier, generation uint32, events uint32) {
	if c.generation != generation || c.fd < 0 {
		return // the socket was closed earlier in this batch
	}
	var err error
	switch c.state {
	case dialing:
		err = l.dialed(c)
	case shaking:
		err = l.feedHandshake(c.fd, c.secure)
	default:
		if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR|unix.EPOLLRDHUP) != 0 {
			err = l.readCarrier(c)
		}
		if err == nil && c.fd >= 0 { // the frames may have ended the connection
			err = l.flushCarrier(c)
		}
	}
	if err != nil {
		l.breakCarrier(c, err)
	}
}

// dialed handles the end of the connect.
func (l *loop) dialed(c *carrier) error {
	if code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
		return fmt.Errorf("connect: %w", errors.Join(err, syscall.Errno(code)))
	}
	l.result.Connect.Record(l.now - c.began)
	if l.trust == nil {
		return l.greet(c)
	}
	// Edge-triggered, as for a subscriber.
	if err := l.watchCarrier(unix.EPOLL_CTL_MOD, c, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLET); err != nil {
		return err
	}
	generation := c.generation
	c.state, c.secure = shaking, l.startHandshake(c.fd, func(err error) {
		if c.generation != generation || c.state != shaking {
			return // the connection was given up meanwhile
		}
		if err == nil {
			err = l.shaken(c)
		} else {
			err = plan.ExplainTLS(err)
		}
		if err != nil {
			l.breakCarrier(c, err)
		}
	})
	return nil
}

// shaken handles the end of the TLS handshake.
func (l *loop) shaken(c *carrier) error {
	if protocol := l.recordHandshake(c.secure); protocol != plan.HTTP2 {
		return fmt.Errorf("TLS: the server chose the protocol %q, not HTTP/2 (h2): leave out --http2", protocol)
	}
	c.secure.join()
	if err := l.greet(c); err != nil {
		return err
	}
	return l.decrypt(c.secure, func(b []byte) error { return l.frames(c, b) })
}

// readCarrier reads from the socket once. epoll reports if there is more.
func (l *loop) readCarrier(c *carrier) error {
	n, err := unix.Read(c.fd, l.buf)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n == 0 && c.secure == nil:
		return errEnded
	}
	l.counts.Bytes += int64(n)
	if c.secure == nil {
		return l.frames(c, l.buf[:n])
	}
	return l.readSecure(c.secure, n, func(b []byte) error { return l.frames(c, b) })
}

// flushCarrier writes the frames in out. What the socket has no room for is written when epoll reports room.
func (l *loop) flushCarrier(c *carrier) error {
	full := false
	switch {
	case c.secure != nil:
		if c.out.Len() > 0 {
			if _, err := c.secure.tls.Write(c.out.Bytes()); err != nil {
				return fmt.Errorf("TLS: %w", err)
			}
			c.out.Reset()
		}
		done, err := c.secure.flush()
		if err != nil {
			return err
		}
		full = !done
	case c.out.Len() > 0:
		n, err := unix.Write(c.fd, c.out.Bytes())
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("write: %w", err)
		}
		c.out.Next(max(0, n))
		full = c.out.Len() > 0
	}
	if full == c.blocked {
		return nil
	}
	events := uint32(unix.EPOLLIN)
	if full {
		events |= unix.EPOLLOUT
	}
	c.blocked = full
	return l.watchCarrier(unix.EPOLL_CTL_MOD, c, events)
}

// breakCarrier ends a connection and all its streams. Their subscribers reconnect or are finished.
func (l *loop) breakCarrier(c *carrier, why error) {
	if errors.Is(why, io.EOF) {
		why = errEnded
	}
	subs := c.waiting
	for _, s := range subs {
		if c.state == shaking {
			s.state = securing // for the reason
		}
	}
	for _, s := range c.streams {
		subs = append(subs, s)
	}
	l.closeCarrier(c)
	for _, s := range subs {
		l.lose(s, why)
	}
}

// closeCarrier closes the socket, if there is one. The streams on it no longer exist.
func (l *loop) closeCarrier(c *carrier) {
	for _, s := range c.streams {
		s.stream = 0
	}
	c.streams, c.waiting, c.state = nil, nil, down
	if c.secure != nil {
		_ = c.secure.Close() // before another socket can get the same descriptor
		c.secure = nil
	}
	if c.fd >= 0 {
		_ = unix.Close(c.fd)
		c.fd = -1
		c.generation++
	}
}

func (l *loop) closeCarriers() {
	for _, c := range l.carriers {
		l.closeCarrier(c)
	}
}
