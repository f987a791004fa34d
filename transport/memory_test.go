//go:build !race

package transport

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/codec"
	"fanfare/internal/test/certtest"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/wiretest"
)

func init() { children["subscribers"] = holdSubscribers }

const held = 2000 // streams of TestMemory

// holdSubscribers opens streams at args[0], with TLS if args[1] says so, and reads
// them, but for the time between the words "pause" and "go on" in its input. Its
// memory is its own.
func holdSubscribers(args []string) error {
	var gate sync.RWMutex
	failed := make(chan error, held)
	opened := make(chan struct{}, held)
	slots := make(chan struct{}, 20) // at once
	for range held {
		go func() {
			slots <- struct{}{}
			c, err := net.Dial("tcp", args[0])
			if err == nil && args[1] == "tls" {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			}
			if err == nil {
				_, err = io.WriteString(c, wiretest.Request("GET", "/stream?connectKey=k"))
			}
			b := make([]byte, 4<<10)
			if err == nil {
				_, err = c.Read(b)
			}
			<-slots
			if err != nil {
				failed <- err
				return
			}
			opened <- struct{}{}
			for err == nil {
				_, err = c.Read(b)
				pass(&gate)
			}
		}()
	}
	for range held {
		select {
		case err := <-failed:
			return err
		case <-opened:
		}
	}
	if _, err := fmt.Println("open"); err != nil {
		return err
	}
	words := bufio.NewScanner(os.Stdin)
	for words.Scan() {
		switch words.Text() {
		case "pause":
			gate.Lock()
		case "go on":
			gate.Unlock()
		}
	}
	return words.Err()
}

// pass waits while the gate is locked.
func pass(gate *sync.RWMutex) {
	gate.RLock()
	defer gate.RUnlock()
}

// goMemory returns what Go holds, after two collections, which empty the pools.
func goMemory() (heap, stack int64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse), int64(m.StackInuse)
}

// TestMemory holds the memory of idle streams to its limits, measures that a
// delivery allocates nothing, and that a stream that was blocked once is as
// small as before.
func TestMemory(t *testing.T) {
	plainOnly(t)
	testMemory(t, "plain", Options{}, 2560)
}

// TestMemoryTLS does the same for streams of TLS.
func TestMemoryTLS(t *testing.T) {
	cert := certtest.New(t, "localhost")
	testMemory(t, "tls", Options{TLS: &tls.Config{Certificates: []tls.Certificate{cert.TLS}}}, 6<<10)
}

// testMemory fails if an idle stream has maxStream bytes of Go memory.
func testMemory(t *testing.T, kind string, o Options, maxStream int64) {
	if !alone(t) {
		return
	}
	const maxStack = 1024 // bytes: no goroutine, which would have 2 kB at least; stacks of ended ones share pages with others
	o.PingInterval, o.WriteTimeout = time.Hour, time.Hour
	r := startRig(t, viaFast, rigOptions{Options: o})
	heap, stack := goMemory()
	clients := startChild(t, "subscribers", r.addr, kind)
	if got := clients.line(t); got != "open" {
		t.Fatal(got)
	}
	r.waitCount("k", held)
	check := func(when string) {
		t.Helper()
		var perStream, perStack int64
		ok := eventually.Within(30*time.Second, func() bool { // idle workers of fasthttp stay for 10 s
			h, s := goMemory()
			perStream, perStack = (h+s-heap-stack)/held, (s-stack)/held
			return perStream < maxStream && perStack <= maxStack
		})
		t.Logf("%s: %d bytes of Go memory per stream, of which stack %d", when, perStream, perStack)
		if !ok {
			t.Errorf("%s: %d bytes of Go memory per stream, of which stack %d; want less than %d and %d", when, perStream, perStack, maxStream, maxStack)
		}
	}
	check("idle")

	delivered := func(n int64) {
		t.Helper()
		eventually.True(t, fmt.Sprintf("%d deliveries", n), func() bool { return r.srv.metrics.Deliveries.Value() == n })
	}
	ev := codec.Event{Data: []byte(strings.Repeat("x", 200))}
	const warm, events = 5, 5
	for i := range int64(warm) {
		r.must("k", ev)
		delivered((i + 1) * held)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range int64(events) {
		r.must("k", ev)
		delivered((warm + i + 1) * held)
	}
	runtime.ReadMemStats(&after)
	allocs := after.Mallocs - before.Mallocs
	t.Logf("%d allocations for %d events to %d streams each", allocs, events, held)
	if allocs > events*held/50 { // publishing, waiting and the sweep allocate a little
		t.Errorf("%d allocations for %d deliveries", allocs, events*held)
	}
	check("after deliveries")

	if _, err := io.WriteString(clients.in, "pause\n"); err != nil {
		t.Fatal(err)
	}
	published := int64(warm + events)
	for r.srv.streams.Blocked() < held {
		r.must("k", codec.Event{Data: make([]byte, 32<<10)})
		published++
		eventually.Within(time.Second, func() bool {
			return r.srv.metrics.Deliveries.Value() >= published*held || r.srv.streams.Blocked() == held
		})
	}
	if _, err := io.WriteString(clients.in, "go on\n"); err != nil {
		t.Fatal(err)
	}
	delivered(published * held)
	eventually.True(t, "nothing is blocked", func() bool { return r.srv.streams.Blocked() == 0 })
	// The history's frames are not the streams'.
	kept := r.eng.Stats().HistoryBytes
	heap += kept
	t.Logf("%d bytes of history", kept)
	check("after a blocked write each")
}
