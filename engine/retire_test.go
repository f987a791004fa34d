package engine

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/internal/test/eventually"
)

func TestRetirement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Key: KeyOptions{HistoryTTL: time.Minute}})
		defer e.Close()
		last := publish(t, e, "used", 20)
		empty := subscribe(t, e, "", "empty")
		position := string(empty.Positions(nil))
		empty.Close(ReasonGone)
		busy := subscribe(t, e, "", "busy")
		defer busy.Close(ReasonGone)

		time.Sleep(50 * time.Second)
		synctest.Wait()
		if got := e.Stats().Keys; got != 2 {
			t.Errorf("%d keys after 50 s, want those with an event or a subscriber", got)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := e.Stats(); got.Keys != 1 || got.HistoryBytes != 0 {
			t.Errorf("%+v after 70 s, want the key with a subscriber", got)
		}
		for i := range e.shards {
			e.shards[i].Range(func(name string, _ *key) bool {
				if name != "busy" {
					t.Errorf("key %q is still in the map of keys", name)
				}
				return true
			})
		}

		again := publish(t, e, "used", 1)
		if again.Seq != 1 || again.Epoch <= last.Epoch {
			t.Errorf("a key that was created again is at %v after %v", again, last)
		}
		if got, want := drain(subscribe(t, e, last.String(), "used")), []string{"gap used epoch -1", "1"}; !slices.Equal(got, want) {
			t.Errorf("a resume in the next life of the key got %v, want %v", got, want)
		}
		if r, got := resumed(t, e, position, "empty"); r != ResumedExact || got != nil {
			t.Errorf("a resume of a key that never had an event: %v, %v", r, got)
		}
	})
}

func TestRetiredKeyRefuses(t *testing.T) {
	for _, events := range []int{0, 1, 30} {
		e, k := bareKey(KeyOptions{})
		for range events {
			put(e, k, text("x"))
		}
		if k.retire(e) != (events == 0) {
			t.Errorf("%d events: retire returned the wrong result", events)
		}
		k.expire(e, time.Now().UnixNano()+1, false)
		for range 2 {
			if !k.retire(e) {
				t.Errorf("%d events: the key is in use", events)
			}
		}
		if put(e, k, text("y")) != 0 {
			t.Errorf("%d events: a retired key accepts another event", events)
		}
		if ok, err := k.join(e, &cursor{key: k, index: -1}); ok || err != nil {
			t.Errorf("%d events: join is %v, %v", events, ok, err)
		}
		if got := k.tail(); got != uint64(events) {
			t.Errorf("%d events: tail %d", events, got)
		}
		if !k.expire(e, time.Now().UnixNano()+1, false) || k.firstKept() != uint64(events)+1 {
			t.Errorf("%d events: kept from %d", events, k.firstKept())
		}
		if got := drain(reader(k)); got != nil {
			t.Errorf("%d events: a reader got %v", events, got)
		}
		k.evict(e, k.tail()+1, func(*Event) bool { return true })
	}
}

// TestRetireUnderTraffic retires keys all the time while publishers and subscribers use them. Every subscriber gets the
// event for which it waits.
func TestRetireUnderTraffic(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{HistoryTTL: time.Microsecond}, SweepInterval: 100 * time.Microsecond})
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for n := range 1500 {
				name := fmt.Sprint(worker/2, n%7)
				ready := make(chanSink, 1)
				s := new(Subscriber)
				if _, err := e.Subscribe(s, []string{name}, "", ready); err != nil {
					t.Error(err)
					return
				}
				from := s.cursors[0].next
				p, err := e.Publish(name, text("x"))
				if err != nil || p.Epoch != s.cursors[0].key.epoch || p.Seq < from || p.Subscribers < 1 {
					t.Errorf("published as %+v (%v), but the subscriber reads epoch %d from %d on", p, err, s.cursors[0].key.epoch, from)
				}
				if got := drain(s); len(got) == 0 {
					t.Error("the subscriber got nothing")
				}
				s.Close(ReasonGone)
			}
		})
	}
	all.Wait()
	eventually.Equal(t, "keys", 0, func() int64 { return e.Stats().Keys })
	if got := e.Stats().HistoryBytes; got != 0 {
		t.Errorf("%d bytes are left", got)
	}
}

// TestReadAfterRetirement: a subscriber that is closing may still read a key that is retired. What the retire marker has
// displaced was published and is lost, like what was evicted.
func TestReadAfterRetirement(t *testing.T) {
	e, k := bareKey(KeyOptions{History: 8})
	for n := range 8 {
		put(e, k, text(fmt.Sprint(n)))
	}
	k.evict(e, 9, func(*Event) bool { return true })
	if !k.retire(e) {
		t.Fatal("not retired")
	}
	for seq := uint64(1); seq <= 9; seq++ {
		if ev, lapped := k.read(seq); ev != nil || lapped != (seq < 9) {
			t.Errorf("event %d: %v, lapped %v", seq, ev, lapped)
		}
	}
}
