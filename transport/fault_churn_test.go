package transport

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/race"
)

// TestChurn: thousands of clients that come and leave in every way while events
// are published leave no goroutine, no descriptor and no memory. (startRig
// checks goroutines and descriptors once more after the end.)
func TestChurn(t *testing.T) {
	plainOnly(t)
	clients := 10_000
	if race.Enabled {
		clients = 2000
	}
	o := rigOptions{Engine: engine.Options{Key: engine.KeyOptions{History: 64}}} // full before the first look at the heap
	onBoth(t, o, func(t *testing.T, r *rig) {
		var stop atomic.Bool
		var publishing sync.WaitGroup
		publish := func() {
			stop.Store(false)
			publishing.Go(func() {
				for i := 0; !stop.Load(); i++ {
					r.must(fmt.Sprintf("k%d", i%10), numbered(i, 500))
					time.Sleep(200 * time.Microsecond)
				}
			})
		}
		publish()
		r.churn(t, clients/5) // pools and buffers have their size after that
		stop.Store(true)
		publishing.Wait()
		files, heap := openFiles(), heapAlloc()

		publish()
		start := time.Now()
		r.churn(t, clients)
		t.Logf("%d clients in %s", clients, time.Since(start))
		stop.Store(true)
		publishing.Wait()
		if n := r.eng.CountAll(); n != 0 {
			t.Errorf("countAll is %d", n)
		}
		eventually.Equal(t, "no goroutine is at a stream", 0, streamGoroutines)
		if !eventually.Within(30*time.Second, func() bool { return openFiles() <= files+3 }) {
			t.Errorf("%d descriptors, %d before", openFiles(), files)
		}
		grown := int64(0)
		if !eventually.Within(30*time.Second, func() bool { grown = heapAlloc() - heap; return grown < 2<<20 }) {
			t.Errorf("the heap has grown by %d bytes: %d per client", grown, grown/int64(clients))
		}
		t.Logf("the heap has grown by %d bytes", grown)
		if n := len(r.srv.streams.States()); n != 0 {
			t.Errorf("%d streams are registered", n)
		}
	})
}

// streamGoroutines counts the goroutines that run or start a stream.
func streamGoroutines() int {
	b := make([]byte, 1<<20)
	for n := len(b); n == len(b); b = make([]byte, 2*n) {
		if n = runtime.Stack(b, true); n < len(b) {
			b = b[:n]
			break
		}
	}
	return strings.Count(string(b), "stream.(*Stream).run(") + strings.Count(string(b), "transport.(*Server).start(")
}

func heapAlloc() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// churn connects n clients, 200 at once, which leave in different ways, and waits
// until all are gone.
func (r *rig) churn(t *testing.T, n int) {
	t.Helper()
	work := make(chan int)
	var clients sync.WaitGroup
	for range 200 {
		clients.Go(func() {
			for i := range work {
				if err := r.comeAndGo(i); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	clients.Wait()
	r.waitOpen(0)
}

// comeAndGo is one client.
func (r *rig) comeAndGo(i int) error {
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	request := r.get(fmt.Sprintf("connectKey=k%d&connectKey=k%d", i%10, (i+i/10)%10))
	if i%7 == 0 {
		request = request[:len(request)/2] // leaves in the middle of its request
	}
	if _, err := c.Write([]byte(request)); err != nil {
		return err
	}
	if i%7 != 0 && i%3 != 0 { // the others never read
		_ = c.SetReadDeadline(time.Now().Add(eventually.Patience))
		if _, err := c.Read(make([]byte, 1<<10)); err != nil {
			return err
		}
	}
	switch i % 4 {
	case 0:
		_ = c.(*net.TCPConn).SetLinger(0) // RST
	case 1:
		_ = c.(*net.TCPConn).CloseWrite()
		if i%7 != 0 {
			_, _ = drainBody(c)
		}
	}
	return nil
}
