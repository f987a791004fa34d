//go:build race

package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// atRacePoint makes the n-th call of racePoint from now on run f, once.
func atRacePoint(t *testing.T, n int, f func()) {
	racePoint = func() {
		if n--; n == 0 {
			f()
		}
	}
	t.Cleanup(func() { racePoint = yieldSometimes })
}

// TestTailIsNotStale: a stalled publisher has left the ring's tail one too low. The ring wraps around between
// key.tail's load of this value and its load of the slot. The result must include every event that was published before
// the call.
func TestTailIsNotStale(t *testing.T) {
	e, k := bareKey(KeyOptions{History: 8})
	for n := range 8 {
		put(e, k, text(fmt.Sprint(n)))
	}
	r := k.ring.Load()
	r.slot(9).Store(&Event{seq: 9, idAt: -1})
	atRacePoint(t, 1, func() {
		for n := range 8 {
			put(e, k, text(fmt.Sprint(n)))
		}
	})
	if got := k.tail(); got < 9 {
		t.Errorf("tail is %d after event 9", got)
	}
}

// TestFirstKeptDuringGrowth: the ring grows between the two loads of firstKeptFrom. The size of the old ring says
// nothing about the new one.
func TestFirstKeptDuringGrowth(t *testing.T) {
	e, k := bareKey(KeyOptions{History: 64})
	for n := range 7 {
		put(e, k, text(fmt.Sprint(n)))
	}
	for at := 1; at <= 3; at++ {
		t.Run(fmt.Sprint("race point ", at), func(t *testing.T) {
			atRacePoint(t, at, func() {
				for n := range 12 {
					put(e, k, text(fmt.Sprint(n)))
				}
			})
			if got := k.firstKept(); got != 1 {
				t.Errorf("kept from %d", got)
			}
		})
	}
}

// TestEvictionDuringResize evicts events in the old ring at each step of a resize. Whichever of them the new ring has,
// no byte is counted twice, and the next eviction removes them.
func TestEvictionDuringResize(t *testing.T) {
	for at := 1; at <= 4; at++ {
		e, k := bareKey(KeyOptions{History: 64})
		s := reader(k)
		for n := 1; n <= 7; n++ {
			put(e, k, text(fmt.Sprint(n)))
		}
		evicted := false
		atRacePoint(t, at, func() {
			evicted = true
			k.evict(e, 5, func(*Event) bool { return true })
		})
		put(e, k, text("8")) // grows
		racePoint = yieldSometimes
		if !evicted {
			t.Fatalf("race point %d was not reached", at)
		}
		k.evict(e, 5, func(*Event) bool { return true })
		if k.bytes.Load() != 4 || e.historyBytes.Load() != 4 {
			t.Errorf("race point %d: %d and %d bytes are counted, want 4", at, k.bytes.Load(), e.historyBytes.Load())
		}
		if got, want := drain(s), append([]string{"gap k lag 4"}, numbers(5, 8)...); !slices.Equal(got, want) {
			t.Errorf("race point %d: got %v, want %v", at, got, want)
		}
	}
}

// TestRetireDuringPublish retires a key at each race point of a publish. Either the publish fails, and its caller looks
// the key up again, or the key is not retired.
func TestRetireDuringPublish(t *testing.T) {
	for _, used := range []bool{false, true} {
		for at := 1; at <= 4; at++ {
			e, k := bareKey(KeyOptions{})
			if used {
				put(e, k, text("old"))
				k.evict(e, 2, func(*Event) bool { return true })
			}
			retired := false
			atRacePoint(t, at, func() { retired = k.retire(e) })
			seq := put(e, k, text("new"))
			racePoint = yieldSometimes
			if retired == (seq != 0) {
				t.Errorf("used %v, race point %d: retired %v, published as %d", used, at, retired, seq)
			}
		}
	}
}

// TestHalfPublishedEventIsEvicted evicts an event before its publisher has counted it. The counts are zero at the end,
// and Stats is never negative.
func TestHalfPublishedEventIsEvicted(t *testing.T) {
	e, k := bareKey(KeyOptions{})
	put(e, k, text("old"))
	least := int64(0)
	// The race points of publish: after loading the slot, before the CAS on the slot, before the CAS on tail.
	atRacePoint(t, 3, func() {
		k.evict(e, k.tail()+1, func(*Event) bool { return true })
		least = e.Stats().HistoryBytes
		if e.historyBytes.Load() >= 0 {
			t.Errorf("%d bytes are counted: this is not the intended race point", e.historyBytes.Load())
		}
	})
	put(e, k, text("new"))
	if least < 0 || e.Stats().HistoryBytes != 0 || k.bytes.Load() != 0 {
		t.Errorf("%d bytes during the publish, %d at the end", least, e.Stats().HistoryBytes)
	}
}

// TestRetireIsRecordedFirst has a publisher begin the next life of a key at each race point of retire. A client that has
// been there before the life that ends gets a gap.
func TestRetireIsRecordedFirst(t *testing.T) {
	lives := 0
	for at := 1; at <= 10; at++ {
		e := start(t, Options{})
		id := open(t, e, "k")
		publish(t, e, "k", 1)
		k := mustKey(t, e, "k")
		k.expire(e, time.Now().UnixNano()+1, false)
		atRacePoint(t, at, func() {
			p, err := e.Publish("k", text("next"))
			if err != nil || p.Epoch == k.epoch {
				return
			}
			lives++
			if result, got := resumed(t, e, id, "k"); result != ResumedGap || !slices.Equal(got, []string{"gap k epoch -1", "next"}) {
				t.Errorf("race point %d: %v, %v", at, result, got)
			}
		})
		k.retire(e)
		racePoint = yieldSometimes
	}
	if lives == 0 {
		t.Error("no race point is after the end of the life")
	}
}
