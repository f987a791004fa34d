package wiretest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// Conn is a connection to a server. It is for one goroutine, but Close, Reset and Send may be called during a read.
type Conn struct {
	T  testing.TB
	In *bufio.Reader // what comes, with the head and the chunked framing

	// Set by ReadHead and TryHead.
	Status int
	Header textproto.MIMEHeader
	Body   io.Reader // without the chunked framing, if there is one

	conn net.Conn
	tls  *tls.Conn // over conn; nil without TLS
}

// DialTLS connects to host:port by TLS. The connection is closed at the end of the test.
func DialTLS(t testing.TB, addr string, config *tls.Config) *Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(eventually.Patience))
	secure := tls.Client(c, config)
	if err := secure.Handshake(); err != nil {
		_ = c.Close()
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Time{})
	w := New(t, c)
	w.tls, w.In = secure, bufio.NewReader(secure)
	return w
}

// Dial connects to host:port. The connection is closed at the end of the test.
func Dial(t testing.TB, addr string) *Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return New(t, c)
}

// New makes a client of a connection, which is closed at the end of the test.
func New(t testing.TB, c net.Conn) *Conn {
	w := &Conn{T: t, conn: c, In: bufio.NewReader(c)}
	t.Cleanup(w.Close)
	return w
}

// Open opens a stream, which must succeed, and reads its head.
func Open(t testing.TB, addr, target string, header ...string) *Conn {
	t.Helper()
	return Dial(t, addr).Open(target, header...)
}

// Open opens a stream on the connection, which must succeed, and reads its head.
func (w *Conn) Open(target string, header ...string) *Conn {
	t := w.T
	t.Helper()
	w.Send(Request("GET", target, header...))
	if head := w.ReadHead(); w.Status != 200 || w.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s%s", target, head, w.Rest())
	}
	return w
}

// Request is a request of HTTP/1.1 without a body. The header holds "Name: value" lines.
func Request(method, target string, header ...string) string {
	text := method + " " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
	for _, h := range header {
		text += h + "\r\n"
	}
	return text + "\r\n"
}

// NetConn is the connection below, also below TLS.
func (w *Conn) NetConn() net.Conn { return w.conn }

// Close ends the connection by FIN.
func (w *Conn) Close() { _ = w.conn.Close() }

// CloseWrite ends what the client sends, by FIN or by TLS's close_notify, and leaves the other direction open.
func (w *Conn) CloseWrite() {
	if w.tls != nil {
		_ = w.tls.CloseWrite() // close_notify, and no FIN
		return
	}
	if c, ok := w.conn.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}

// Reset ends the connection by RST.
func (w *Conn) Reset() {
	if c, ok := w.conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = w.conn.Close()
}

// Send writes bytes as they are.
func (w *Conn) Send(text string) {
	w.T.Helper()
	if err := w.TrySend(text); err != nil {
		w.T.Fatalf("send: %v", err)
	}
}

// TrySend writes bytes as they are, to a server that may close the connection meanwhile.
func (w *Conn) TrySend(text string) error {
	_ = w.conn.SetWriteDeadline(time.Now().Add(eventually.Patience))
	var to io.Writer = w.conn
	if w.tls != nil {
		to = w.tls
	}
	_, err := io.WriteString(to, text)
	return err
}

// wait gives the next read eventually.Patience.
func (w *Conn) wait() { _ = w.conn.SetReadDeadline(time.Now().Add(eventually.Patience)) }

// ReadHead reads the status line and the header fields, and returns them as they came, without the empty line.
func (w *Conn) ReadHead() string {
	w.T.Helper()
	text, err := w.TryHead()
	if err != nil {
		w.T.Fatalf("reading the head: %v, after %q", err, text)
	}
	return text
}

// TryHead is ReadHead for a server that may close the connection instead.
func (w *Conn) TryHead() (string, error) {
	w.wait()
	var text strings.Builder
	for {
		line, err := w.In.ReadString('\n')
		if err != nil {
			return text.String() + line, err
		}
		if line == "\r\n" {
			break
		}
		text.WriteString(line)
	}
	status, fields, _ := strings.Cut(text.String(), "\r\n")
	parts := strings.SplitN(status, " ", 3)
	if len(parts) < 2 {
		return text.String(), fmt.Errorf("status line %q", status)
	}
	var err error
	if w.Status, err = strconv.Atoi(parts[1]); err != nil {
		return text.String(), err
	}
	w.Header, err = textproto.NewReader(bufio.NewReader(strings.NewReader(fields + "\r\n"))).ReadMIMEHeader()
	w.Body = w.In
	switch {
	case w.Header.Get("Transfer-Encoding") == "chunked":
		w.Body = httputil.NewChunkedReader(w.In)
	case w.Header.Get("Content-Length") != "":
		n, err := strconv.ParseInt(w.Header.Get("Content-Length"), 10, 64)
		if err != nil {
			return text.String(), err
		}
		w.Body = io.LimitReader(w.In, n)
	}
	return text.String(), err
}

// Read returns the next n bytes of the body, or what there was before it ended.
func (w *Conn) Read(n int) string {
	w.T.Helper()
	w.wait()
	b := make([]byte, n)
	got, err := io.ReadFull(w.Body, b)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		w.T.Errorf("reading the body: %v, after %q", err, Clip(string(b[:got])))
	}
	return string(b[:got])
}

// Expect reads as much as want has and fails the test if it is anything else.
func (w *Conn) Expect(want string) {
	w.T.Helper()
	if got := w.Read(len(want)); got != want {
		w.T.Fatalf("read  %q\nwant  %q", Clip(got), Clip(want))
	}
}

// Rest returns the body to its end, which must come.
func (w *Conn) Rest() string {
	w.T.Helper()
	w.wait()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		w.T.Errorf("reading to the end: %v, after %q", err, Clip(string(b)))
	}
	return string(b)
}

// Discard reads whatever comes until the connection ends.
func (w *Conn) Discard() {
	w.wait()
	_, _ = io.Copy(io.Discard, w.In)
}

// Ended fails the test unless the server closes the connection and sends nothing before.
func (w *Conn) Ended() {
	w.T.Helper()
	w.wait()
	if b, err := io.ReadAll(w.In); err != nil || len(b) > 0 {
		w.T.Fatalf("want the end of the connection, got %q, %v", Clip(string(b)), err)
	}
}

// Quiet fails the test if anything arrives within d.
func (w *Conn) Quiet(d time.Duration) {
	w.T.Helper()
	_ = w.conn.SetReadDeadline(time.Now().Add(d))
	_, err := w.In.Peek(1)
	if err == nil {
		b, _ := w.In.Peek(w.In.Buffered())
		w.T.Fatalf("want silence, got %q", b)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		w.T.Fatalf("want silence, got %v", err)
	}
}

// Clip shortens what a message quotes to 2,000 bytes.
func Clip(s string) string {
	if len(s) > 2000 {
		return s[:1000] + "…" + s[len(s)-1000:]
	}
	return s
}
