//go:build linux

package measure_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"fanfare/cmd/fanload/measure"
)

// TestSendQueues: what a client doesn't read is the kernel's, at last on the server's side.
func TestSendQueues(t *testing.T) {
	for _, host := range []string{"127.0.0.1:0", "[::]:0"} {
		l, err := net.Listen("tcp", host)
		if err != nil {
			t.Skip(err) // a machine without IPv6
		}
		port := l.Addr().(*net.TCPAddr).AddrPort().Port()
		server := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
		client, err := net.Dial("tcp", server.String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		me := client.LocalAddr().(*net.TCPAddr).AddrPort()
		if n, ok := measure.SendQueues(server)[me]; !ok || n != 0 {
			t.Errorf("%s: %d bytes, known %v, before any was sent", host, n, ok)
		}
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		sent := 0
		for {
			n, err := c.Write(make([]byte, 64<<10))
			if sent += n; err != nil {
				break
			}
		}
		if n := measure.SendQueues(server)[me]; n == 0 || n > int64(sent) {
			t.Errorf("%s: %d bytes of %d", host, n, sent)
		}
		for _, c := range []interface{ Close() error }{client, c, l} {
			_ = c.Close()
		}
	}
}
