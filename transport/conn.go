package transport

import (
	"errors"
	"io"
	"net"
	"time"
)

// errTaken is what fasthttp gets of a connection that a stream has taken over.
// After a handler it sets the deadline of the response, and on an error leaves
// the connection and takes its buffers back, in the same goroutine. Its own way
// to hand over a connection is a goroutine for each (HijackHandler), which costs
// 9 % of the processor time of opening a stream, and with
// fasthttp.Server.KeepHijackedConns a read buffer for as long as it lasts.
var errTaken = errors.New("a stream has taken the connection")

// conn is a connection as fasthttp sees it. Once a stream has taken over the
// connection inside, fasthttp can neither close it nor write to it.
type conn struct {
	net.Conn
	from  *acceptor
	taken bool // set in the request's handler; fasthttp looks after that
	// unread is set if the request was refused before all of it was read; written
	// and read by the goroutine that serves the connection.
	unread bool
}

// Read reads from the connection. On a stream listener it replaces the control bytes
// that no field value may hold (RFC 9110, 5.5) by one that is no UTF-8: a browser
// that was once given such an id, by whichever server, would send it with every
// reconnect, and be refused with all of them. As it is, lastEventID takes the
// value for an id that nobody knows. CR, LF and NUL, which frame or smuggle
// messages, stay, and are refused. Bodies, which the publish API has, stay as they are.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.from.streams {
		for i, v := range b[:n] {
			if notText(rune(v)) && v != '\r' && v != '\n' && v != 0 {
				b[i] = noByte
			}
		}
	}
	return n, err
}

// noByte is in no UTF-8 text.
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

// What a client may send behind an answer that came before its request's end.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// linger reads what the client still sends, and discards it: closing at once
// makes the kernel send RST, and the client may lose the answer by it (RFC 9112,
// 9.6).
func (c *conn) linger() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	if c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
}

// take gives the connection to the caller, without deadlines.
func (c *conn) take() net.Conn {
	_ = c.Conn.SetDeadline(time.Time{})
	c.taken = true
	c.from.forget(c)
	return c.Conn
}
