package main_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"fanfare/internal/test/proctest"
	"fanfare/internal/test/wiretest"
)

// cutter is a TCP proxy whose connections a test can cut at any byte.
type cutter struct {
	t        testing.TB
	url      string // "http://127.0.0.1:PORT"
	upstream string // "127.0.0.1:PORT"

	mu       sync.Mutex
	pairs    map[*pair]bool
	accepted []time.Time // when each stream was asked for
	ended    []time.Time // when the server ended one
}

// pair is a proxied connection.
type pair struct {
	client, server *net.TCPConn
	stream         bool // it carries a stream; under cutter.mu
}

func newCutter(t testing.TB, upstream string) *cutter {
	t.Helper()
	c := &cutter{t: t, upstream: proctest.Addr(upstream), pairs: make(map[*pair]bool)}
	ln := wiretest.Serve(t, func(_ int, conn *net.TCPConn) { c.serve(conn) })
	t.Cleanup(func() { c.cut(false) }) // before the one of Serve, which waits
	c.url = "http://" + ln.Addr().String()
	return c
}

func (c *cutter) serve(client *net.TCPConn) {
	p := &pair{client: client}
	buf := make([]byte, 16<<10)
	n, err := client.Read(buf)
	if err != nil {
		_ = client.Close()
		return
	}
	c.noteRequest(p, buf[:n])
	upstream, err := net.Dial("tcp", c.upstream)
	if err != nil {
		_ = client.Close()
		return
	}
	p.server = upstream.(*net.TCPConn)
	c.mu.Lock()
	c.pairs[p] = true
	c.mu.Unlock()
	go func() {
		for err == nil {
			c.noteRequest(p, buf[:n])
			if _, err = p.server.Write(buf[:n]); err == nil {
				n, err = client.Read(buf)
			}
		}
		_ = p.server.CloseWrite()
	}()
	_, _ = io.Copy(p.client, p.server)
	c.mu.Lock()
	if c.pairs[p] && p.stream {
		c.ended = append(c.ended, time.Now())
	}
	delete(c.pairs, p)
	c.mu.Unlock()
	_, _ = p.client.Close(), p.server.Close()
}

// noteRequest looks at what a client has sent: a browser sends a request's head in one piece, and may use a connection
// for others before it asks for a stream.
func (c *cutter) noteRequest(p *pair, data []byte) {
	if !bytes.HasPrefix(data, []byte("GET /stream")) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !p.stream {
		p.stream = true
		c.accepted = append(c.accepted, time.Now())
	}
}

// times returns copies of accepted and ended.
func (c *cutter) times() (accepted, ended []time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(accepted, c.accepted...), append(ended, c.ended...)
}

// streams is the number of open connections that carry a stream.
func (c *cutter) streams() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.pairs {
		if p.stream {
			n++
		}
	}
	return n
}

// cut ends all connections on both sides, by RST or by FIN, and returns how many of them carried a stream.
func (c *cutter) cut(reset bool) (streams int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.pairs {
		if p.stream {
			streams++
		}
		if reset {
			_, _ = p.client.SetLinger(0), p.server.SetLinger(0)
		}
		_, _ = p.client.Close(), p.server.Close()
		delete(c.pairs, p)
	}
	return streams
}
