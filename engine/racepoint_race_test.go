//go:build race

package engine

import (
	"fmt"
	"slices"
	"testing"
)

// atRacePoint has f run in the n-th racePoint from now on, once.
func atRacePoint(t *testing.T, n int, f func()) {
	racePoint = func() {
		if n--; n == 0 {
			f()
		}
	}
	t.Cleanup(func() { racePoint = yieldSometimes })
}

// TestTailIsNotStale: between tail's load of the ring's tail, which a stalled publisher has left one behind, and its
// load of the slot, the ring goes round. An event that was published before the call must be included.
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

// TestFirstKeptDuringGrowth: the ring grows between the two loads of firstFrom. The old ring's size says nothing of the
// new one.
func TestFirstKeptDuringGrowth(t *testing.T) {
	e, k := bareKey(KeyOptions{History: 64})
	for n := range 7 {
		put(e, k, text(fmt.Sprint(n)))
	}
	for at := 1; at <= 3; at++ {
		t.Run(fmt.Sprint("racePoint ", at), func(t *testing.T) {
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

// TestEvictionDuringMove evicts in the old ring at each step of a move: whatever the new ring has of it, no byte is
// counted twice, and what is over the limit goes with the next eviction.
func TestEvictionDuringMove(t *testing.T) {
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
			t.Fatalf("racePoint %d was not reached", at)
		}
		k.evict(e, 5, func(*Event) bool { return true })
		if k.bytes.Load() != 4 || e.historyBytes.Load() != 4 {
			t.Errorf("racePoint %d: %d and %d bytes are counted, want 4", at, k.bytes.Load(), e.historyBytes.Load())
		}
		if got, want := drain(s), append([]string{"gap k lag 4"}, numbers(5, 8)...); !slices.Equal(got, want) {
			t.Errorf("racePoint %d: got %v, want %v", at, got, want)
		}
	}
}

// TestRetireMeetsPublish has a key retire in each racePoint of a publish: either the publish fails, and is repeated
// with another key, or the key lives.
func TestRetireMeetsPublish(t *testing.T) {
	for _, used := range []bool{false, true} {
		for at := 1; at <= 4; at++ {
			e, k := bareKey(KeyOptions{})
			if used {
				put(e, k, text("old"))
				k.evict(e, 2, func(*Event) bool { return true })
			}
			retired := false
			atRacePoint(t, at, func() { retired = k.retire() })
			seq := put(e, k, text("new"))
			racePoint = yieldSometimes
			if retired == (seq != 0) {
				t.Errorf("used %v, racePoint %d: retired %v, published as %d", used, at, retired, seq)
			}
		}
	}
}

// TestHalfPublishedEventIsEvicted evicts an event before its publisher has counted it: the sums end at zero, and Stats
// never shows less.
func TestHalfPublishedEventIsEvicted(t *testing.T) {
	e, k := bareKey(KeyOptions{})
	put(e, k, text("old"))
	least := int64(0)
	// Windows of publish: before the stamp, before the slot, before the tail.
	atRacePoint(t, 3, func() {
		k.evict(e, k.tail()+1, func(*Event) bool { return true })
		least = e.Stats().HistoryBytes
		if e.historyBytes.Load() >= 0 {
			t.Errorf("%d bytes are counted: not the moment that was meant", e.historyBytes.Load())
		}
	})
	put(e, k, text("new"))
	if least < 0 || e.Stats().HistoryBytes != 0 || k.bytes.Load() != 0 {
		t.Errorf("%d bytes then, %d at last", least, e.Stats().HistoryBytes)
	}
}
