package wiretest

import (
	"net"
	"sync"
	"testing"
)

// Serve is a server that decides about every byte: it accepts connections on loopback and gives each to handle, on a
// goroutine of its own; n counts them from 0. A connection is closed when handle returns. At the end of the test all
// connections are closed, and Serve waits for every handle.
func Serve(t testing.TB, handle func(n int, c *net.TCPConn)) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var handlers sync.WaitGroup
	var mu sync.Mutex
	ended, open := false, map[net.Conn]bool{}
	keep := func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		open[c] = true
		return !ended
	}
	drop := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		delete(open, c)
		_ = c.Close()
	}
	handlers.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			handlers.Go(func() {
				defer drop(c)
				if keep(c) {
					handle(n, c.(*net.TCPConn))
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		ended = true
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		handlers.Wait()
	})
	return ln
}
