package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"fanfare/transport/internal/socket"
)

// errTaken is the error that fasthttp gets from a connection which a stream has
// taken over. After a handler, fasthttp sets the deadline of the response; if that
// fails it leaves the connection and takes its buffers back, in the same
// goroutine. Its own way to hand over a connection, HijackHandler, takes a
// goroutine for each, which costs 9 % of the processor time of opening a stream,
// and with fasthttp.Server.KeepHijackedConns a read buffer for as long as the
// stream lasts.
var errTaken = errors.New("a stream has taken the connection")

// conn is a connection as fasthttp sees it. Once a stream has taken over the
// connection inside, fasthttp can neither close it nor write to it.
type conn struct {
	net.Conn
	from  *acceptor
	taken bool // set in the request's handler; fasthttp looks after that
	// unread is set if the request was refused before all of it was read. It belongs
	// to the goroutine that serves the connection.
	unread bool
	// begun is set when the first bytes have been read. prefaced says that they are the
	// preface of HTTP/2; early holds them until somebody else reads them.
	begun, prefaced bool
	early           []byte
	trust           trust    // in the client's certificate
	client          net.Addr // of the PROXY header, see RemoteAddr; nil for none
}

// Read reads from the connection. On a stream listener it replaces the control
// bytes that a field value must not have (RFC 9110, 5.5) by noByte. A browser that
// once got such an id, from any server, sends it with every reconnect, and fasthttp
// would refuse each of them. With noByte in it, lastEventID takes the value for an
// id that nobody knows. CR, LF and NUL, which delimit or smuggle messages, stay,
// and are refused. The publish API's listener, where requests have bodies, is left
// alone.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.read(b)
	if c.from.streams {
		for i, v := range b[:n] {
			if notText(rune(v)) && v != '\r' && v != '\n' && v != 0 {
				b[i] = noByte
			}
		}
	}
	return n, err
}

// read reads from the connection, and takes it from fasthttp if it is one of HTTP/2.
func (c *conn) read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	n, err := c.Conn.Read(b)
	if c.begun || err != nil {
		return n, err
	}
	c.begun = true
	if n == 0 || b[0] != preface[0] || !c.from.streams || !c.mayBeHTTP2() {
		return n, nil
	}
	if c.prefaced = c.readPreface(b[:n]); c.prefaced {
		c.taken = true
		return 0, errPreface
	}
	c.early = c.early[n:]
	return n, nil // the next read finds the error again
}

// noByte does not occur in UTF-8 text.
const noByte = 0xff

func (c *conn) Close() error {
	if c.taken {
		return nil
	}
	if c.unread {
		c.linger()
	}
	c.from.forget(c)
	return c.Conn.Close()
}

func (c *conn) Write(b []byte) (int, error) {
	if c.taken {
		return 0, errTaken
	}
	return c.Conn.Write(b)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.taken {
		return errTaken
	}
	return c.Conn.SetWriteDeadline(t)
}

// Bounds on what a client may still send after an early answer.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// linger reads and discards what the client still sends. If the connection were
// closed at once, the kernel would send RST, and the client might lose the answer
// (RFC 9112, 9.6).
func (c *conn) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	if c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
}

// requested says that the request has been read, before something that may take long.
func (c *conn) requested() {
	if sock, ok := c.Conn.(*socket.Conn); ok {
		sock.Requested()
	}
}

// secure reports whether the connection is one of TLS.
func (c *conn) secure() bool {
	nc := c.Conn
	if counted, ok := nc.(*adminConn); ok {
		nc = counted.Conn
	}
	if sock, ok := nc.(*socket.Conn); ok {
		return sock.Secure()
	}
	_, ok := nc.(interface{ ConnectionState() tls.ConnectionState })
	return ok
}

// abort makes who serves the connection give it up. Anyone may call it.
func (c *conn) abort() {
	if sock, ok := c.Conn.(*socket.Conn); ok {
		sock.Abort()
		return
	}
	_ = c.Conn.Close()
}

// take gives the connection to the caller, without deadlines.
func (c *conn) take() net.Conn {
	_ = c.Conn.SetDeadline(time.Time{})
	c.taken = true
	c.from.forget(c)
	return c.Conn
}
