package engine

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// drainSink reads everything when it is notified, like a connection.
type drainSink struct {
	s          Subscriber
	ready, got atomic.Int64 // calls of Ready, and events that it has read
}

func (p *drainSink) Ready() {
	p.ready.Add(1)
	for {
		p.got.Add(int64(len(drain(&p.s))))
		if p.s.Release() {
			return
		}
	}
}

// TestFlushInterval: the first event is sent at once. The events of an interval are sent together at its end. After an
// interval without events, the next event is sent at once.
func TestFlushInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 20 * time.Millisecond
		e := New(Options{Key: KeyOptions{FlushInterval: interval}})
		defer e.Close()
		p := new(drainSink)
		if _, err := e.Subscribe(&p.s, []string{"k"}, "", p); err != nil {
			t.Fatal(err)
		}
		p.s.Release()
		check := func(when string, ready, got int64) {
			t.Helper()
			synctest.Wait()
			if p.ready.Load() != ready || p.got.Load() != got {
				t.Errorf("%s: notified %d times for %d events, want %d for %d", when, p.ready.Load(), p.got.Load(), ready, got)
			}
		}
		publish(t, e, "k", 1)
		check("at once", 1, 1)
		publish(t, e, "k", 9)
		time.Sleep(interval - 1)
		check("within the interval", 1, 1)
		time.Sleep(time.Nanosecond)
		check("at its end", 2, 10)
		publish(t, e, "k", 5)
		check("within the next", 2, 10)
		time.Sleep(interval)
		check("at the end of the next", 3, 15)
		time.Sleep(interval)
		check("after a quiet one", 3, 15)
		publish(t, e, "k", 1)
		check("at once again", 4, 16)

		// Turn it off while the window is open: the timer still runs, and no event waits for it.
		publish(t, e, "k", 1)
		e.Reconfigure(Options{})
		publish(t, e, "k", 1)
		check("off", 5, 18)
		time.Sleep(time.Minute)
		check("long after", 6, 18) // the timer notifies for an event that was sent before
	})
}
