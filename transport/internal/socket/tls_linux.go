package socket

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
)

// secure is the TLS of a Conn. crypto/tls encrypts and decrypts; what it reads and
// writes passes through a wire.
type secure struct {
	tls  *tls.Conn
	wire wire
	// out is ciphertext that the kernel has not taken yet: at most a record, and
	// what TLS itself had to say. The owner's.
	out []byte
	// streaming: reads and writes of the wire do not wait any more, see wire.
	streaming bool
	turns     Turns // during the handshake, else nil
}

// maxPlaintext is how many bytes a record holds (RFC 8446, 5.1). No more is
// encrypted before the ciphertext of the last record has gone, so a slow client
// holds no more than that.
const maxPlaintext = 16 << 10

// Turns bounds the handshakes that use a processor at once. One that waits for its
// client has no turn. Clients that all reconnect at once, and floods, then leave
// processors to those who publish and deliver.
type Turns chan struct{}

// Handshake makes c a TLS connection, as the server. The caller sets a deadline.
// After an error, close c.
func (c *Conn) Handshake(config *tls.Config, turns Turns) error {
	s := &secure{turns: turns}
	s.wire.c = c
	s.tls = tls.Server(&s.wire, config)
	c.secure = s
	s.begin()
	defer s.finish()
	if deadline := c.readDeadline; deadline != 0 && time.Now().UnixNano() > deadline {
		return errTooLate
	}
	return s.tls.Handshake()
}

// errTooLate is the end of a handshake that has waited for its turn for too long.
var errTooLate = errors.New("the server was too busy with other handshakes")

func (s *secure) begin() {
	if s.turns != nil {
		s.turns <- struct{}{}
	}
}

func (s *secure) pause() {
	if s.turns != nil {
		<-s.turns
	}
}

func (s *secure) finish() {
	s.pause()
	s.turns = nil
}

// Secure reports whether the connection is one of TLS.
func (c *Conn) Secure() bool { return c.secure != nil }

// TLS returns the state of the TLS connection, nil if there is none.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.secure == nil {
		return nil
	}
	state := c.secure.tls.ConnectionState()
	return &state
}

// tryWrite encrypts and sends some of b, a record at a time, for as long as the
// kernel takes all of it.
func (s *secure) tryWrite(c *Conn, b []byte) (written int, err error) {
	for {
		if _, err = s.tryFlush(c); err != nil || len(b) == 0 {
			break
		}
		record := b[:min(len(b), maxPlaintext)]
		if _, err = s.tls.Write(record); err != nil {
			break
		}
		written, b = written+len(record), b[len(record):]
		if len(b) == 0 {
			break
		}
	}
	if written > 0 && WouldBlock(err) {
		return written, nil
	}
	return written, err
}

// tryFlush sends what the kernel takes of the ciphertext that waits for it.
func (s *secure) tryFlush(c *Conn) (sent int, err error) {
	for len(s.out) > 0 {
		n, err := sendNow(int(c.fd), s.out)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return sent, err
		}
		sent, s.out = sent+n, s.out[n:]
	}
	s.out = nil // also its memory: an idle stream needs none
	return sent, nil
}

// Unsent reports whether bytes that TryWrite has taken wait for room in the socket.
func (c *Conn) Unsent() bool { return c.secure != nil && len(c.secure.out) > 0 }

// TryFlush sends of these bytes what the socket takes, without waiting.
func (c *Conn) TryFlush() (int, error) { return c.secure.tryFlush(c) }

// TryRead takes in what the client of a watched TLS connection has sent, without
// waiting, and discards it. TLS itself may have to answer, which is why only the
// owner reads. An error says that the client has gone, or breaks the protocol.
func (c *Conn) TryRead() error {
	s := c.secure
	if s == nil {
		return nil
	}
	var buf [512]byte
	for {
		n, err := s.tls.Read(buf[:])
		if err == errNotNow {
			shrink(s.tls)
			return nil
		}
		if err != nil {
			return err
		}
		if c.junk += uint32(n); c.junk > MaxJunk { // the poller counts none for TLS
			return errJunk
		}
	}
}

var errJunk = errors.New("the client sends data on a stream")

// close tells the client that the end is an intended one (RFC 8446, 6.1), if
// the socket takes it at once.
func (s *secure) close() {
	s.streaming = true
	if len(s.out) == 0 {
		_ = s.tls.CloseWrite()
	}
}

// wire is the socket as crypto/tls sees it. Before Watch, its reads and writes wait
// like those of a Conn. After it, they do not: a Read without data fails by an
// error that crypto/tls takes for temporary, and a Write always takes all, because
// crypto/tls never writes again after an error.
type wire struct {
	c   *Conn
	net net.Conn // in place of c, after Net
}

// notNow is a temporary error: crypto/tls keeps what it has read so far, and goes on
// with the next Read.
type notNow struct{}

func (notNow) Error() string   { return "no data yet" }
func (notNow) Timeout() bool   { return true }
func (notNow) Temporary() bool { return true }

var errNotNow error = notNow{}

func (w *wire) Read(b []byte) (int, error) {
	if w.net != nil {
		return w.net.Read(b)
	}
	s := w.c.secure
	switch {
	case s.streaming:
		n, err := recvNow(int(w.c.fd), b)
		switch {
		case err == syscall.EAGAIN, err == syscall.EINTR:
			return 0, errNotNow
		default:
			return received(n, len(b), err)
		}
	case s.turns != nil:
		n, err := recvNow(int(w.c.fd), b)
		if err != syscall.EAGAIN && err != syscall.EINTR {
			return received(n, len(b), err)
		}
		s.pause()
		n, err = w.c.read(b)
		w.c.Requested() // it waits for the server now
		s.begin()
		return n, err
	}
	return w.c.read(b)
}

func (w *wire) Write(b []byte) (int, error) {
	if w.net != nil {
		return w.net.Write(b)
	}
	s := w.c.secure
	switch {
	case s.streaming:
		sent := 0
		for len(s.out) == 0 && sent < len(b) {
			n, err := sendNow(int(w.c.fd), b[sent:])
			if err == syscall.EINTR {
				continue
			}
			if err == syscall.EAGAIN {
				break
			}
			if err != nil {
				return sent, err // the client has gone
			}
			sent += n
		}
		s.out = append(s.out, b[sent:]...)
		return len(b), nil
	case s.turns != nil:
		n, err := sendNow(int(w.c.fd), b)
		if err == nil && n == len(b) {
			return n, nil
		}
		s.pause()
		defer s.begin()
		n = max(n, 0)
		more, err := w.c.write(b[n:])
		return n + more, err
	}
	return w.c.write(b)
}

// conn is the connection that has the socket.
func (w *wire) conn() net.Conn {
	if w.net != nil {
		return w.net
	}
	return w.c
}

func (w *wire) Close() error                       { return w.conn().Close() }
func (w *wire) LocalAddr() net.Addr                { return w.conn().LocalAddr() }
func (w *wire) RemoteAddr() net.Addr               { return w.conn().RemoteAddr() }
func (w *wire) SetDeadline(t time.Time) error      { return w.conn().SetDeadline(t) }
func (w *wire) SetReadDeadline(t time.Time) error  { return w.conn().SetReadDeadline(t) }
func (w *wire) SetWriteDeadline(t time.Time) error { return w.conn().SetWriteDeadline(t) }
