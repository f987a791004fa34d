package engine

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// TestStallHammer runs publishers that stall indefinitely at each step of a publish or a resize, among others that do
// not. Nobody waits for the stalled ones, sequences have no holes, and every reader gets all events.
func TestStallHammer(t *testing.T) {
	const events = 6000
	e := start(t, Options{Key: KeyOptions{History: 4096}})
	if _, err := e.Publish("k", text("first")); err != nil {
		t.Fatal(err)
	}
	k := mustKey(t, e, "k")
	stall := func(rng *rand.Rand) (published bool) {
		r := k.ring.Load()
		s := r.tail.Load() + 1
		cur := r.slot(s).Load()
		if cur != nil && cur.seq >= s {
			return false // another stalled publisher has this slot, and the others must help it
		}
		limit := k.opts.Load().slots()
		switch grow := r.shouldGrow(s, cur, limit); {
		case grow:
			r.slot(s).CompareAndSwap(cur, &Event{seq: s, at: int64(2 * len(r.slots)), kind: kindResized})
			return false
		case rng.IntN(2) == 0:
			return false // it stalls before its CAS
		default:
			return r.slot(s).CompareAndSwap(cur, &Event{seq: s, idAt: -1})
		}
	}
	var published atomic.Int64
	published.Store(1)
	var pubs, subs sync.WaitGroup
	readers := make([]*Subscriber, 3)
	for i := range readers {
		s, ready := new(Subscriber), make(chanSink, 1)
		if _, err := e.Subscribe(s, []string{"k"}, Position{k.epoch, 0}.String(), ready); err != nil {
			t.Fatal(err)
		}
		readers[i] = s
		subs.Go(func() {
			h := follow(t, s, ready, func() {})["k"]
			if h.got+h.missed != published.Load() || h.first != 1 {
				t.Errorf("%d got and %d missed of %d events", h.got, h.missed, published.Load())
			}
		})
	}
	for p := range 3 {
		pubs.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(p), 9))
			for published.Load() < events {
				if rng.IntN(3) == 0 {
					if stall(rng) {
						published.Add(1)
					}
					continue
				}
				if _, err := e.Publish("k", text(fmt.Sprint(p))); err != nil {
					t.Error(err)
					return
				}
				published.Add(1)
			}
		})
	}
	done := make(chan struct{})
	go func() { pubs.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(eventually.Patience):
		t.Fatal("publishers wait for the stalled ones")
	}
	if got := k.tail(); got != uint64(published.Load()) {
		t.Errorf("tail %d after %d events", got, published.Load())
	}
	for _, s := range readers {
		s.Close(ReasonClosed)
	}
	subs.Wait()
}
