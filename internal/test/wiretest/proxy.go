package wiretest

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP proxy that can delay, fall silent, cut, and change what the server sends. It can stop as a network does
// that is partitioned: the connections stay open, and nothing arrives.
type Proxy struct {
	target string
	ln     net.Listener

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	down    bool          // refuse
	delay   time.Duration // of each chunk
	silent  chan struct{} // closed when bytes of the server may pass again; nil while they do
	stopped chan struct{} // the same for all bytes, and for new connections
	rewrite func([]byte) []byte
}

// NewProxy starts a proxy in front of the address target. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{target: target, conns: map[net.Conn]struct{}{}}
	p.ln = Serve(t, func(_ int, c *net.TCPConn) { p.serve(c) })
	t.Cleanup(func() { // before the one of Serve, which waits
		p.Speak()
		p.Resume()
		p.Cut()
	})
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

func (p *Proxy) serve(conn net.Conn) {
	var forward sync.WaitGroup
	defer forward.Wait() // after both connections are closed
	defer p.drop(conn)
	if !p.keep(conn) {
		return
	}
	p.await(false)
	back, err := net.DialTimeout("tcp", p.target, dialTimeout)
	if err != nil {
		reset(conn)
		return
	}
	defer p.drop(back)
	if !p.keep(back) {
		return
	}
	forward.Go(func() {
		p.forward(back, conn, false)
		_ = back.Close()
	})
	p.forward(conn, back, true)
}

// dialTimeout bounds how long the target may take to accept a connection.
const dialTimeout = 5 * time.Second

// forward passes one direction on. It looks at the proxy's state after each read, so what has arrived meanwhile waits there.
func (p *Proxy) forward(dst, src net.Conn, fromServer bool) {
	buf := make([]byte, 4096)
	for {
		n, err := src.Read(buf)
		p.await(fromServer)
		if chunk := buf[:n]; n > 0 {
			if fromServer {
				chunk = p.answer(chunk)
			}
			if _, werr := dst.Write(chunk); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// answer delays and changes what the server sends.
func (p *Proxy) answer(chunk []byte) []byte {
	p.mu.Lock()
	delay, rewrite := p.delay, p.rewrite
	p.mu.Unlock()
	time.Sleep(delay)
	if rewrite != nil {
		return rewrite(chunk)
	}
	return chunk
}

// await returns when bytes may pass.
func (p *Proxy) await(fromServer bool) {
	p.mu.Lock()
	silent, stopped := p.silent, p.stopped
	p.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
	if fromServer && silent != nil {
		<-silent
	}
}

// keep notes a connection, unless all are cut.
func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = struct{}{}
	return !p.down
}

func (p *Proxy) drop(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = conn.Close()
	delete(p.conns, conn)
}

// Cut ends all connections, and those that come.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for conn := range p.conns {
		_ = conn.Close()
	}
	clear(p.conns)
}

// Reset ends all connections by a reset. New ones may come.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		reset(conn)
	}
}

func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// Mend ends Cut.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// Slow delays each chunk that the server sends.
func (p *Proxy) Slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// Hush keeps all connections open and lets nothing through from the server, until Speak.
func (p *Proxy) Hush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = make(chan struct{})
}

// Speak ends Hush.
func (p *Proxy) Speak() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent != nil {
		close(p.silent)
		p.silent = nil
	}
}

// Stop lets nothing pass any more, in both directions, until Resume. New connections are accepted, and are silent.
func (p *Proxy) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped == nil {
		p.stopped = make(chan struct{})
	}
}

// Resume ends Stop. What was held back comes first.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped != nil {
		close(p.stopped)
		p.stopped = nil
	}
}

// Rewrite makes change get every chunk that the server sends, and sends what it returns.
func (p *Proxy) Rewrite(change func([]byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rewrite = change
}

// Conns is how many connections are open, on both sides.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}
