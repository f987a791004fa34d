package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHistoryBytes(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{HistoryBytes: 100}})
	s := subscribe(t, e, "", "k")
	for n := range 50 {
		if _, err := e.Publish("k", text(strings.Repeat(fmt.Sprint(n%10), 30))); err != nil {
			t.Fatal(err)
		}
		if got := e.Stats().HistoryBytes; got > 100 {
			t.Fatalf("%d bytes are kept", got)
		}
	}
	if got := drain(s); len(got) != 4 || got[0] != "gap k lag 47" {
		t.Errorf("got %v", got)
	}
	// The newest event stays whatever its size, and the others do not.
	if _, err := e.Publish("k", text(strings.Repeat("x", 500))); err != nil {
		t.Fatal(err)
	}
	if got := drain(s); len(got) != 1 || e.Stats().HistoryBytes != 500 {
		t.Errorf("got %d items, %d bytes are kept", len(got), e.Stats().HistoryBytes)
	}
}

func TestMaxHistoryBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{MaxHistoryBytes: 1000})
		defer e.Close()
		for round := range 20 {
			for key := range 10 {
				if _, err := e.Publish(fmt.Sprint(key), text(strings.Repeat("x", 30))); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if got := e.Stats().HistoryBytes; got > 1000 {
					t.Fatalf("round %d: %d bytes are kept", round, got)
				}
			}
		}
		// The newest events of all keys are kept, not only those of the last key.
		for key := range 10 {
			k := mustKey(t, e, fmt.Sprint(key))
			if k.bytes.Load() < 30 || k.bytes.Load() > 300 {
				t.Errorf("key %d keeps %d bytes", key, k.bytes.Load())
			}
		}
	})
}

// TestEnforceBudgetBacksOff: the newest events of many keys can exceed the budget, and no pass over the keys can change
// that.
func TestEnforceBudgetBacksOff(t *testing.T) {
	e := start(t, Options{MaxHistoryBytes: 10, SweepInterval: time.Hour})
	stopWakers(e) // the test does the work of the sweep
	for key := range 100 {
		publish(t, e, fmt.Sprint(key), 3)
	}
	notBefore := e.enforceBudget(false, time.Time{})
	kept := e.Stats().HistoryBytes
	if kept < 100 || kept > 105 {
		t.Errorf("%d bytes are kept, want the newest event of each key and half of the limit", kept)
	}
	if !notBefore.After(time.Now().Add(time.Minute)) {
		t.Error("no pause after a pass that could not help")
	}
	if again := e.enforceBudget(false, notBefore); again != notBefore {
		t.Error("another pass during the pause")
	}
	o := Options{MaxHistoryBytes: 1000}
	e.Reconfigure(o)
	if again := e.enforceBudget(false, notBefore); again != notBefore || e.Stats().HistoryBytes != kept {
		t.Error("evicted within the budget")
	}
}

func TestHistoryTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Key: KeyOptions{HistoryTTL: time.Minute}, SweepInterval: time.Second})
		defer e.Close()
		s := subscribe(t, e, "", "k")
		first := publish(t, e, "k", 3)
		time.Sleep(40 * time.Second)
		publish(t, e, "k", 2)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := drain(subscribe(t, e, Position{first.Epoch, 0}.String(), "k")); len(got) != 5 {
			t.Errorf("after 50 s: %v", got)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		got, want := drain(subscribe(t, e, Position{first.Epoch, 0}.String(), "k")), []string{"gap k history 3", "1", "2"}
		if !slices.Equal(got, want) {
			t.Errorf("after 70 s: %v, want %v", got, want)
		}
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if got := e.Stats(); got.HistoryBytes != 0 || got.Keys != 1 {
			t.Errorf("after 110 s: %+v; the key has a subscriber", got)
		}
		if got, want := drain(s), []string{"gap k lag 5"}; !slices.Equal(got, want) {
			t.Errorf("the subscriber that never read got %v, want %v", got, want)
		}
	})
}

// TestSweepUnderPressure: enforcing the byte budget must not use up parts of the sweep, or some keys never expire.
func TestSweepUnderPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Key: KeyOptions{HistoryTTL: time.Minute}, SweepInterval: time.Second})
		defer e.Close()
		for key := range 1000 {
			publish(t, e, fmt.Sprint(key), 1)
		}
		// One request after each tick. An earlier version skipped every second part of the shards then.
		for range 100 {
			time.Sleep(time.Second)
			synctest.Wait()
			e.requestEviction()
			synctest.Wait()
		}
		if got := e.Stats().Keys; got != 0 {
			t.Errorf("%d keys are left", got)
		}
	})
}

func TestRingBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Key: KeyOptions{History: 64, HistoryTTL: time.Minute}})
		defer e.Close()
		subscribe(t, e, "", "grown")
		subscribe(t, e, "", "small")
		publish(t, e, "grown", 100)
		publish(t, e, "small", 1)
		time.Sleep(10 * time.Second) // more than one pass
		synctest.Wait()
		if got := e.Stats().RingBytes; got != slotBytes*(64+minSlots) {
			t.Errorf("%d bytes of slots, want those of 64 slots and %d slots", got, minSlots)
		}
		time.Sleep(2 * time.Minute) // the events have expired, and their slots are freed
		synctest.Wait()
		if got := e.Stats().RingBytes; got != slotBytes*2*minSlots {
			t.Errorf("%d bytes of slots after expiry, want those of two rings of %d", got, minSlots)
		}
	})
}
