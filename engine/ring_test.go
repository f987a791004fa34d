package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

func TestGrowthLosesNothing(t *testing.T) {
	for _, history := range []int{8, 9, 16, 100, 1024} {
		o := KeyOptions{History: history}
		size := o.slots()
		// Lags below the size: a reader that always lags this much.
		for _, lag := range []int{0, 1, 6, 7, 8, size/2 - 1, size / 2, size - 2, size - 1} {
			if lag < 0 || lag >= size {
				continue
			}
			e, k := bareKey(o)
			s := reader(k)
			read := 0
			for n := 1; n <= 3*size; n++ {
				if seq := put(e, k, text(fmt.Sprint(n))); seq != uint64(n) {
					t.Fatalf("event %d has sequence %d", n, seq)
				}
				for n-read > lag {
					it, ok := s.Next(true)
					read++
					if !ok || it.Gap != nil || string(it.Event.Bytes()) != fmt.Sprint(read) {
						t.Fatalf("history %d, lag %d: event %d is missing after %d: %+v %v", history, lag, read, n, it, ok)
					}
				}
			}
			if got := len(k.ring.Load().slots); got != size {
				t.Errorf("history %d: the ring has %d slots, want %d", history, got, size)
			}
			if k.bytes.Load() != e.historyBytes.Load() || k.bytes.Load() != bytesKept(k) {
				t.Errorf("history %d: %d bytes counted, %d in the engine, %d kept",
					history, k.bytes.Load(), e.historyBytes.Load(), bytesKept(k))
			}
		}
	}
}

func bytesKept(k *key) (n int64) {
	r := k.ring.Load()
	for i := range r.slots {
		if ev := r.slots[i].Load(); ev != nil {
			n += int64(len(ev.bytes))
		}
	}
	return n
}

func TestLapsAreCounted(t *testing.T) {
	for published := range 60 {
		e, k := bareKey(KeyOptions{History: 16})
		s := reader(k)
		for n := range published {
			put(e, k, text(fmt.Sprint(n+1)))
		}
		want := numbers(1, published)
		if missed := published - 16; missed > 0 {
			want = append([]string{fmt.Sprintf("gap k lag %d", missed)}, numbers(missed+1, published)...)
		}
		if got := drain(s); !slices.Equal(got, want) {
			t.Errorf("after %d events: %v, want %v", published, got, want)
		}
	}
}

// TestStalledPublisher has publishers that stall indefinitely at each step of a publish. The others continue (I2, I4).
func TestStalledPublisher(t *testing.T) {
	stalled := func(seq uint64) *Event { return &Event{seq: seq, idAt: -1, bytes: []byte("stalled")} }
	t.Run("before the slot", func(t *testing.T) {
		e, k := bareKey(KeyOptions{History: 8})
		put(e, k, text("1"))
		r, cur := k.ring.Load(), k.ring.Load().slot(2).Load()
		for n := 2; n <= 20; n++ {
			put(e, k, text(fmt.Sprint(n)))
		}
		if r.slot(2).CompareAndSwap(cur, stalled(2)) {
			t.Error("a publisher that stalled while the ring wrapped around twice found its slot unchanged")
		}
	})
	t.Run("after the slot", func(t *testing.T) {
		e, k := bareKey(KeyOptions{History: 8})
		s := reader(k)
		for n := 1; n <= 30; n++ {
			if n%3 != 0 {
				put(e, k, text(fmt.Sprint(n)))
			} else if seq := k.tail() + 1; !k.ring.Load().slot(seq).CompareAndSwap(k.ring.Load().slot(seq).Load(), stalled(seq)) {
				t.Fatal("the stalled publisher could not publish")
			}
			if got := drain(s); len(got) != 1 {
				t.Fatalf("event %d: the reader got %v", n, got)
			}
		}
		if k.tail() != 30 {
			t.Errorf("tail %d", k.tail())
		}
	})
	t.Run("in a resize", func(t *testing.T) {
		e, k := bareKey(KeyOptions{History: 64})
		s := reader(k)
		want := 0
		for n := 1; n <= 100; n++ {
			r := k.ring.Load()
			// The publisher that grows the ring sets the marker and stalls.
			if r != nil && r.shouldGrow(k.tail()+1, r.slot(k.tail()+1).Load(), 64) {
				r.slot(k.tail() + 1).Store(&Event{seq: k.tail() + 1, at: int64(2 * len(r.slots)), kind: kindResized})
				switch want++; want { // who finds the marker
				case 1:
					k.read(uint64(n))
				case 2:
					k.tail()
				default:
					k.evict(e, k.tail(), func(*Event) bool { return false })
				}
			}
			if seq := put(e, k, text(fmt.Sprint(n))); seq != uint64(n) {
				t.Fatalf("event %d has sequence %d", n, seq)
			}
			if got := drain(s); len(got) != 1 || got[0] != fmt.Sprint(n) {
				t.Fatalf("event %d: the reader got %v", n, got)
			}
		}
		if want != 3 || len(k.ring.Load().slots) != 64 {
			t.Errorf("%d resizes, %d slots", want, len(k.ring.Load().slots))
		}
	})
	t.Run("in an eviction", func(t *testing.T) {
		e, k := bareKey(KeyOptions{History: 8})
		for n := range 8 {
			put(e, k, text(fmt.Sprint(n)))
		}
		r := k.ring.Load()
		r.slot(1).Store(&Event{seq: 1, kind: kindEvicted}) // before oldest is advanced and the event is released
		k.evict(e, 5, func(*Event) bool { return true })
		if first := k.firstKept(); first != 5 {
			t.Errorf("kept from %d, want 5", first)
		}
	})
}

// TestReaderPassesAHole: an eviction removes events 1 and 2 from a ring when a resize has copied event 1 and not yet
// event 2 to the next ring. There event 1 is still readable, and event 2 is a tombstone. A reader at 2 must not wait
// for the eviction of event 1.
func TestReaderPassesAHole(t *testing.T) {
	e, k := bareKey(KeyOptions{})
	s := reader(k)
	for n := 1; n <= 5; n++ {
		put(e, k, text(fmt.Sprint(n)))
	}
	r := k.ring.Load()
	k.release(e, r.slot(1).Load()) // as the eviction did in the old ring
	k.release(e, r.slot(2).Load())
	r.slot(2).Store(&Event{seq: 2, kind: kindEvicted})

	done := make(chan []string, 1)
	go func() { done <- drain(s) }()
	select {
	case got := <-done:
		if want := []string{"1", "gap k lag 1", "3", "4", "5"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	case <-time.After(eventually.Patience):
		put(e, k, text("6")) // this may end the loop; if not, goleak reports the goroutine
		t.Fatal("the reader loops indefinitely")
	}

	c := cursor{key: k}
	if c.resume(e, "7-1") || c.next != 3 || c.gap.Reason != GapHistory || c.gap.Missed != 1 {
		t.Errorf("a resume after 1 continues at %d with gap %+v", c.next, c.gap)
	}
	// The event is not counted any more: eviction removes it whatever the limit.
	k.evict(e, k.tail(), func(*Event) bool { return false })
	if first := k.firstKept(); first != 3 {
		t.Errorf("kept from %d, want 3", first)
	}
	if k.bytes.Load() != 3 || e.historyBytes.Load() != 3 {
		t.Errorf("%d and %d bytes counted, want 3", k.bytes.Load(), e.historyBytes.Load())
	}
}

func TestFullRingGrowsAfterReconfigure(t *testing.T) {
	e, k := bareKey(KeyOptions{History: 8})
	for n := 1; n <= 20; n++ {
		put(e, k, text(fmt.Sprint(n)))
	}
	s := reader(k)
	s.cursors[0].next = 14 // the oldest event that event 21 does not displace
	k.opts.Store((&KeyOptions{History: 32}).withDefaults())
	for n := 21; n <= 44; n++ {
		put(e, k, text(fmt.Sprint(n)))
	}
	if got := drain(s); !slices.Equal(got, numbers(14, 44)) {
		t.Errorf("got %v", got)
	}
	if got := k.bytes.Load(); got != bytesKept(k) || got != e.historyBytes.Load() {
		t.Errorf("%d bytes counted, %d kept", got, bytesKept(k))
	}
}

func TestShrinksWhenEmpty(t *testing.T) {
	e, k := bareKey(KeyOptions{History: 256})
	for n := 1; n <= 300; n++ {
		put(e, k, text(fmt.Sprint(n)))
	}
	s := reader(k)
	if !k.expire(e, time.Now().UnixNano()+1, false) {
		t.Fatal("something is left")
	}
	if got := len(k.ring.Load().slots); got != minSlots {
		t.Errorf("%d slots are left", got)
	}
	if k.bytes.Load() != 0 || e.historyBytes.Load() != 0 || k.tail() != 300 {
		t.Errorf("%d bytes are left, tail %d", k.bytes.Load(), k.tail())
	}
	for n := 301; n <= 400; n++ {
		put(e, k, text(fmt.Sprint(n)))
	}
	if got := drain(s); !slices.Equal(got, numbers(301, 400)) {
		t.Errorf("got %v", got)
	}
}
