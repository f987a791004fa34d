//go:build linux

package publish

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fanfare/cmd/fanload/measure"
	"fanfare/cmd/fanload/plan"
	"fanfare/cmd/fanload/wire"
)

// conn is a persistent connection. The publisher's goroutine dials and writes. Each dialed connection has a goroutine that reads
// the answers, in the order of the requests (RFC 9112 9.3.2).
type conn struct {
	addr    string
	trust   *tls.Config // nil: http
	depth   int
	timeout time.Duration
	answers func(answer)
	live    *link // nil: none
}

// link is one dialed connection.
type link struct {
	net    net.Conn
	socket net.Conn      // the connection below TLS; without TLS, the same
	slots  chan struct{} // one for each request that may be unanswered
	sent   chan request  // unanswered requests, in order
	ended  chan struct{} // closed when the reader has ended
	broken atomic.Bool   // set by the reader: no more requests will be answered
}

type request struct {
	at       int64 // when it was written
	due      int64 // when it was scheduled
	key      int
	from, to int64 // the sequences in it
}

func (q request) events() int64 { return q.to - q.from + 1 }

// answer is the answer to a request, or the reason why there is none.
type answer struct {
	request
	took   int64 // microseconds
	status int
	text   string // the beginning of the body of a refusal
	err    error
}

// write sends a request. It first waits while depth requests are unanswered.
func (c *conn) write(b []byte, q request) error {
	if c.live != nil && (c.live.broken.Load() || len(c.live.sent) == 0 && hungUp(c.live.socket)) {
		c.close()
	}
	for try := 0; ; try++ {
		if c.live == nil {
			if err := c.dial(); err != nil {
				return err
			}
		}
		l := c.live
		l.slots <- struct{}{} // the reader makes room, even after an error
		if l.broken.Load() && try == 0 {
			c.close()
			continue
		}
		q.at = measure.Now()
		l.sent <- q // never blocks: it has as much room as slots
		_ = l.net.SetWriteDeadline(time.Now().Add(c.timeout))
		_, err := l.net.Write(b)
		if err != nil {
			c.close() // the reader reports the request with its own error
		}
		return nil
	}
}

func (c *conn) dial() error {
	socket, err := net.DialTimeout("tcp", c.addr, c.timeout)
	if err != nil {
		return err
	}
	n := socket
	if c.trust != nil {
		t := tls.Client(socket, c.trust)
		_ = t.SetDeadline(time.Now().Add(c.timeout))
		if err := t.Handshake(); err != nil {
			_ = socket.Close()
			return plan.ExplainTLS(err)
		}
		_ = t.SetDeadline(time.Time{})
		n = t
	}
	c.live = &link{net: n, socket: socket, slots: make(chan struct{}, c.depth), sent: make(chan request, c.depth+1), ended: make(chan struct{})}
	go c.live.read(c.timeout, c.answers)
	return nil
}

// close ends the connection. Unanswered requests get an error.
func (c *conn) close() {
	if c.live == nil {
		return
	}
	close(c.live.sent)
	if len(c.live.sent) > 0 || c.live.broken.Load() {
		_ = c.live.net.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // answers that have already arrived still count
	}
	<-c.live.ended
	_ = c.live.net.Close()
	c.live = nil
}

// flush waits until all requests are answered.
func (c *conn) flush() { c.close() }

func (l *link) read(timeout time.Duration, answers func(answer)) {
	defer close(l.ended)
	r := bufio.NewReader(l.net)
	var failed error
	for q := range l.sent {
		if failed != nil {
			answers(answer{request: q, err: failed})
			<-l.slots
			continue
		}
		_ = l.net.SetReadDeadline(time.Now().Add(timeout))
		a, end, err := readAnswer(r)
		if err != nil {
			failed = fmt.Errorf("no answer: %w", err)
			a = answer{err: failed}
		} else if end {
			failed = errors.New("no answer: the server ended the connection")
		}
		if failed != nil {
			l.broken.Store(true)
		}
		a.request, a.took = q, measure.Now()-q.at
		answers(a)
		<-l.slots
	}
}

// readAnswer reads one answer. end says that the server ends the connection after it.
func readAnswer(r *bufio.Reader) (a answer, end bool, err error) {
	var h wire.Head
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return a, true, err
		}
		if _, done, err := h.Feed(line); err != nil {
			return a, true, err
		} else if done {
			break
		}
	}
	var b wire.Body
	b.Begin(&h)
	var text []byte
	keep := func(c []byte) {
		if h.Status >= 300 {
			text = append(text, c[:min(len(c), 200-len(text))]...)
		}
	}
	for !b.Done() {
		if r.Buffered() == 0 {
			if _, err := r.Peek(1); err == io.EOF && b.UntilEnd() {
				break
			} else if err != nil {
				return a, true, err
			}
		}
		piece, _ := r.Peek(r.Buffered())
		rest, err := b.Feed(piece, keep)
		if err != nil {
			return a, true, err
		}
		_, _ = r.Discard(len(piece) - len(rest))
	}
	said := strings.TrimSpace(string(text))
	if h.Location != "" && h.Status >= 300 && h.Status < 400 {
		said = strings.TrimSpace("to " + h.Location + " (redirects are not followed) " + said)
	}
	return answer{status: h.Status, text: said}, h.Close || b.UntilEnd(), nil
}

// hungUp reports whether the server has ended an idle connection; an event written to it would be lost. It looks past data that
// the server sent before, such as the alert at the end of TLS.
func hungUp(c net.Conn) bool {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	hung := false
	err = raw.Control(func(fd uintptr) {
		about := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(about, 0)
		hung = n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
	return err != nil || hung
}
