package engine

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pullSink reads all that there is when it is called, as a connection does.
type pullSink struct {
	s          Subscriber
	ready, got atomic.Int64 // how often it was called, and how many events it read
}

func (p *pullSink) Ready() {
	p.ready.Add(1)
	for {
		p.got.Add(int64(len(drain(&p.s))))
		if p.s.Release() {
			return
		}
	}
}

// TestFlushInterval: the first event leaves at once, those of an interval together at its end, and after a quiet
// interval an event leaves at once again.
func TestFlushInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 20 * time.Millisecond
		e := New(Options{Key: KeyOptions{FlushInterval: interval}})
		defer e.Close()
		p := new(pullSink)
		if _, err := e.Subscribe(&p.s, []string{"k"}, "", p); err != nil {
			t.Fatal(err)
		}
		p.s.Release()
		check := func(when string, ready, got int64) {
			t.Helper()
			synctest.Wait()
			if p.ready.Load() != ready || p.got.Load() != got {
				t.Errorf("%s: woken %d times for %d events, want %d for %d", when, p.ready.Load(), p.got.Load(), ready, got)
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

		// Off, with the window open: the timer goes its way, and no event waits for it.
		publish(t, e, "k", 1)
		e.Reconfigure(Options{})
		publish(t, e, "k", 1)
		check("off", 5, 18)
		time.Sleep(time.Minute)
		check("long after", 6, 18) // for the event that left before
	})
}
