package link

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestLink: bytes pass, wait while the link is stopped, and pass then; a cut ends the connection.
func TestLink(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	l, err := New("127.0.0.1:0", echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	get := func(c net.Conn, within time.Duration) string {
		_ = c.SetReadDeadline(time.Now().Add(within))
		b := make([]byte, 16)
		n, _ := c.Read(b)
		return string(b[:n])
	}
	c := dial()
	_, _ = io.WriteString(c, "one")
	if got := get(c, time.Minute); got != "one" {
		t.Fatalf("%q", got)
	}
	l.Stop()
	_, _ = io.WriteString(c, "two")
	d := dial()
	_, _ = io.WriteString(d, "new")
	if got := get(c, 200*time.Millisecond) + get(d, 50*time.Millisecond); got != "" {
		t.Fatalf("%q passed a link that is stopped", got)
	}
	l.Resume()
	if a, b := get(c, time.Minute), get(d, time.Minute); a != "two" || b != "new" {
		t.Fatalf("%q %q", a, b)
	}
	l.Cut()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("the connection survived")
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Fatal("the connection survived")
	}
}
