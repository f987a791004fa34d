package engine

import (
	"testing"
	"time"
)

// busySink has news again each time that it is ready.
type busySink struct{ s Subscriber }

func (b *busySink) Ready() {
	b.s.Release()
	b.s.cursors[0].key.wake()
}

// TestCloseUnderTraffic: Close returns although the waker's queue never runs
// dry, a second time too, and Publish goes on for those who have not noticed.
func TestCloseUnderTraffic(t *testing.T) {
	e, b := New(Options{Wakers: 1}), new(busySink)
	if _, err := e.Subscribe(&b.s, []string{"k"}, "", b); err != nil {
		t.Fatal(err)
	}
	b.s.Release()
	publish(t, e, "k", 1)
	closed := make(chan struct{})
	go func() {
		e.Close()
		e.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not return")
	}
	publish(t, e, "k", 1)
}
