package wiretest

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestProxyStops: bytes pass, wait while the proxy is stopped, and pass then; a reset ends the connection.
func TestProxyStops(t *testing.T) {
	echo := Serve(t, func(_ int, c *net.TCPConn) { _, _ = io.Copy(c, c) })
	p := NewProxy(t, echo.Addr().String())
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.Addr())
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
	p.Stop()
	_, _ = io.WriteString(c, "two")
	d := dial()
	_, _ = io.WriteString(d, "new")
	if got := get(c, 200*time.Millisecond) + get(d, 50*time.Millisecond); got != "" {
		t.Fatalf("%q passed a proxy that is stopped", got)
	}
	p.Resume()
	if a, b := get(c, time.Minute), get(d, time.Minute); a != "two" || b != "new" {
		t.Fatalf("%q %q", a, b)
	}
	p.Reset()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("the connection survived")
	} else if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Fatal("the connection survived")
	}
}
