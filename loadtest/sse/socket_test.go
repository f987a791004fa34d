//go:build linux

package sse

import (
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// Who doesn't read is noticed soon: without a small receive buffer, and with loopback's segments, the kernels between take
// megabytes first.
func TestSlowConsumerReachesTheServer(t *testing.T) {
	const limit = 1 << 20
	for name, options := range map[string]string{
		"readDelay": "readDelay: '1h'", "readRate": "readRate: 1", "receiveBuffer": "readDelay: '1h', receiveBuffer: 20000",
	} {
		t.Run(name, func(t *testing.T) {
			stalled := make(chan struct{})
			s := serve(t, func(_ int, c *net.TCPConn, _ *http.Request) {
				defer close(stalled)
				send(c, streamHead)
				chunk := []byte(": " + strings.Repeat("x", 4093) + "\n")
				n, err := 0, error(nil)
				for err == nil && n < 16*limit {
					_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
					var wrote int
					wrote, err = c.Write(chunk)
					n += wrote
				}
				t.Logf("%d bytes were taken", n)
				if !errors.Is(err, os.ErrDeadlineExceeded) || n > limit {
					t.Errorf("the server could write %d bytes to a client that doesn't read, then %v; want at most %d until it must wait", n, err, limit)
				}
			})
			v := newVU(t, map[string]any{"url": s.url, "stalled": func() bool {
				select {
				case <-stalled:
					return true
				default:
					return false
				}
			}})
			v.must(`
				const es = new EventSource(url, { ` + options + ` });
				const look = () => stalled() ? es.close() : setTimeout(look, 5);
				look();`)
		})
	}
}
