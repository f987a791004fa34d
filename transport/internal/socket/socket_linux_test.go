package socket

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// pair opens a connection: server's end is a Conn of the poller.
func pair(t testing.TB, p *Poller, l net.Listener) (server *Conn, client *net.TCPConn) {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server = s.(*Conn)
	t.Cleanup(func() { _ = server.Close() })
	return server, c.(*net.TCPConn)
}

func listen(t testing.TB) (*Poller, net.Listener) {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(tcp, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return p, l
}

// owner counts what it is told.
type owner struct{ gone, readable atomic.Int32 }

func (o *owner) Gone()     { o.gone.Add(1) }
func (o *owner) Readable() { o.readable.Add(1) }

// TestConnIsANetConn: a Conn reads, writes, times out and ends as a connection of package net does.
func TestConnIsANetConn(t *testing.T) {
	p, l := listen(t)
	server, client := pair(t, p, l)
	if server.RemoteAddr().String() != client.LocalAddr().String() || server.LocalAddr().String() != client.RemoteAddr().String() {
		t.Errorf("addresses %v, %v", server.LocalAddr(), server.RemoteAddr())
	}
	go func() {
		time.Sleep(20 * time.Millisecond) // so that the server most likely waits
		_, _ = client.Write([]byte("hello"))
	}()
	buf := make([]byte, 100)
	if n, err := server.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	_ = server.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	var timeout net.Error
	if _, err := server.Read(buf); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a read after its deadline: %v", err)
	}
	_ = server.SetReadDeadline(time.Time{})

	// More than the kernel takes at once arrives whole.
	text := strings.Repeat("0123456789", 2<<20)
	got := make(chan int)
	go func() {
		b, _ := io.ReadAll(client)
		if string(b) != text {
			got <- -1
		} else {
			got <- len(b)
		}
	}()
	if n, err := server.Write([]byte(text)); n != len(text) || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := server.CloseWrite(); err != nil {
		t.Error(err)
	}
	if n := <-got; n != len(text) {
		t.Errorf("the client got %d bytes of %d", n, len(text))
	}
	_ = client.Close()
	if n, err := server.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("after the client's end: %d, %v", n, err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := server.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
}

// TestWriteDeadline: a client that does not read does not hold a writer.
func TestWriteDeadline(t *testing.T) {
	p, l := listen(t)
	server, _ := pair(t, p, l)
	_ = server.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := server.Write(make([]byte, 64<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestAbort: whoever reads or writes a connection gives it up when another goroutine aborts it, at whatever moment.
func TestAbort(t *testing.T) {
	p, l := listen(t)
	for range 200 {
		server, _ := pair(t, p, l)
		done := make(chan error)
		go func() {
			_, err := server.Read(make([]byte, 1))
			_ = server.Close()
			done <- err
		}()
		time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
		server.Abort()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	}
}

// TestWatch: the owner hears of a client that goes away, whether that was before Watch or after it, whether the connection
// had to wait for its request or not, and whatever the client has sent.
func TestWatch(t *testing.T) {
	for name, test := range map[string]struct{ waited, early, junk bool }{
		"later": {}, "before": {early: true}, "waited, later": {waited: true}, "waited, before": {waited: true, early: true},
		"with junk": {junk: true}, "waited, with junk": {waited: true, junk: true}, "waited, junk before": {waited: true, junk: true, early: true},
	} {
		t.Run(name, func(t *testing.T) {
			p, l := listen(t)
			server, client := pair(t, p, l)
			if test.waited {
				go func() { time.Sleep(20 * time.Millisecond); _, _ = client.Write([]byte("r")) }()
				if _, err := server.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
			}
			leave := func() {
				if test.junk {
					_ = client.SetWriteDeadline(time.Now().Add(time.Second))
					_, _ = client.Write(make([]byte, 100<<10))
				}
				_ = client.CloseWrite()
			}
			var o owner
			if test.early {
				leave()
				time.Sleep(20 * time.Millisecond)
			}
			if err := server.Watch(&o); err != nil {
				t.Fatal(err)
			}
			if !test.early {
				time.Sleep(20 * time.Millisecond)
				if o.gone.Load() != 0 {
					t.Fatal("gone too early")
				}
				leave()
			}
			eventually.Holds(t, "the owner hears of it", func() (bool, string) { return o.gone.Load() > 0, "" })
		})
	}
}

// TestWaitWritable: a wait ends when the client has read, and by Unblock.
func TestWaitWritable(t *testing.T) {
	p, l := listen(t)
	server, client := pair(t, p, l)
	var o owner
	if err := server.Watch(&o); err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 256<<10)
	for range 20 { // full and empty again, many times
		sent := 0
		for {
			n, err := server.TryWrite(chunk)
			sent += max(n, 0)
			if WouldBlock(err) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		go func(n int) { _, _ = io.CopyN(io.Discard, client, int64(n)) }(sent)
		for {
			server.WaitWritable()
			if n, err := server.TryWrite(chunk[:1]); err == nil {
				sent += n
				break
			}
		}
		if _, err := io.CopyN(io.Discard, client, 1); err != nil {
			t.Fatal(err)
		}
	}
	for {
		if _, err := server.TryWrite(chunk); err != nil {
			break
		}
	}
	go func() { time.Sleep(10 * time.Millisecond); server.Unblock() }()
	server.WaitWritable()
	_ = client
}

// TestDescriptorsAreReused: connections come and go on the same descriptors while others are unblocked, aborted and hang up;
// nobody hears of another's client, and nothing stays in the poller.
func TestDescriptorsAreReused(t *testing.T) {
	p, l := listen(t)
	stop := time.Now().Add(2 * time.Second)
	var lives atomic.Int64
	var all sync.WaitGroup
	accepted := make(chan *Conn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c.(*Conn)
		}
	}()
	for range 8 {
		all.Go(func() { // clients: some hang up, some wait for the server's end
			for time.Now().Before(stop) {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				hangsUp := rand.IntN(2) == 0
				first := byte('s')
				if hangsUp {
					first = 'h'
				}
				_, _ = c.Write([]byte{first})
				if hangsUp {
					_ = c.Close()
					continue
				}
				if n, err := io.ReadAll(c); err != nil || string(n) != "end" {
					t.Errorf("%q, %v", n, err)
				}
				_ = c.Close()
			}
		})
	}
	var servers sync.WaitGroup
	for range 8 {
		servers.Go(func() {
			for c := range accepted {
				b := make([]byte, 1)
				if _, err := c.Read(b); err != nil {
					t.Errorf("read: %v", err)
				}
				o := &owner{}
				if err := c.Watch(o); err != nil {
					t.Errorf("watch: %v", err)
				}
				if b[0] == 'h' {
					eventually.Holds(t, "gone", func() (bool, string) { return o.gone.Load() > 0, "" })
				} else {
					go c.Unblock() // perhaps after Close
					time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
					if o.gone.Load() != 0 {
						t.Error("the end of another's client")
					}
					_, _ = c.Write([]byte("end"))
				}
				_ = c.Close()
				lives.Add(1)
			}
		})
	}
	all.Wait()
	_ = l.Close()
	servers.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for fd, c := range p.conns {
		if c != nil {
			t.Errorf("descriptor %d is still there", fd)
		}
	}
	if lives.Load() < 100 {
		t.Errorf("only %d connections", lives.Load())
	}
	t.Logf("%d connections", lives.Load())
}

// TestWaitAfterClose: after Close the number of the epoll descriptor may be another file's, so no wait may use it.
func TestWaitAfterClose(t *testing.T) {
	p, l := listen(t)
	c, _ := pair(t, p, l)
	p.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a Read that has to wait: %v, want %v", err, os.ErrClosed)
	}
}

// TestSocketThatCannotBeWatched: the kernel refuses to watch a socket, as it does at fs.epoll.max_user_watches. Its owner
// must neither wait indefinitely nor take a whole processor, and is woken by events once the kernel agrees.
func TestSocketThatCannotBeWatched(t *testing.T) {
	p, l := listen(t)
	c, client := pair(t, p, l)
	p.mu.Lock()
	epoll := p.fd
	p.fd = -1 // epoll_ctl fails by EBADF
	p.mu.Unlock()
	for range 2 { // the first failure must not look like success to the second wait
		start := time.Now()
		c.WaitWritable()
		if took := time.Since(start); took < retryTime {
			t.Errorf("WaitWritable returned after %v: its caller would take a whole processor", took)
		}
	}
	if err := c.Watch(&owner{}); err == nil {
		t.Error("Watch: no error")
	}
	if p.conns[c.fd] != nil {
		t.Error("the poller keeps a socket that it does not watch")
	}

	p.mu.Lock()
	p.fd = epoll
	p.mu.Unlock()
	o := &owner{}
	if err := c.Watch(o); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	eventually.True(t, "the owner is told that the client has gone", func() bool { return o.gone.Load() > 0 })
}
