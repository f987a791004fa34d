package wiretest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP proxy that can delay, fall silent, cut, and change what the server sends.
type Proxy struct {
	target string
	ln     net.Listener

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	down    bool          // refuse
	delay   time.Duration // of each chunk
	silent  chan struct{} // closed when bytes may flow again; nil while they do
	rewrite func([]byte) []byte
}

// NewProxy starts a proxy in front of the address target. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{target: target, conns: map[net.Conn]struct{}{}}
	p.ln = Serve(t, func(_ int, c *net.TCPConn) { p.serve(c) })
	t.Cleanup(func() { // before the one of Serve, which waits
		p.Speak()
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
	back, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.drop(back)
	if !p.keep(back) {
		return
	}
	forward.Go(func() {
		_, _ = io.Copy(back, conn)
		_ = back.Close()
	})
	buf := make([]byte, 4096)
	for {
		n, err := back.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		delay, silent, rewrite := p.delay, p.silent, p.rewrite
		p.mu.Unlock()
		time.Sleep(delay)
		if silent != nil {
			<-silent
		}
		answer := buf[:n]
		if rewrite != nil {
			answer = rewrite(answer)
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
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
