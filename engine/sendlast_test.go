package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSendLast(t *testing.T) {
	e := start(t, Options{KeyRule: func(name string) *KeyOptions {
		if name == "plain" {
			return nil
		}
		return &KeyOptions{SendLast: true}
	}})
	last := publish(t, e, "k", 3)
	publish(t, e, "plain", 3)
	publish(t, e, "other", 2)
	resumed := func(after uint64) string { return Position{last.Epoch, after}.String() }
	for _, test := range []struct {
		lastID string
		keys   []string
		want   []string
	}{
		{"", []string{"k"}, []string{"3"}},
		{"", []string{"plain"}, nil},
		{"", []string{"nothing yet"}, nil},
		{"", []string{"k", "plain", "other"}, []string{"3", "2"}},
		{resumed(3), []string{"k"}, nil},
		{resumed(2), []string{"k"}, []string{"3"}},
		{resumed(1), []string{"k"}, []string{"2", "3"}},
		{"unknown id", []string{"k"}, []string{"gap k unknown -1", "1", "2", "3"}},
	} {
		s := subscribe(t, e, test.lastID, test.keys...)
		before := string(s.Positions(nil))
		if got := drain(s); !slices.Equal(got, test.want) {
			t.Errorf("%v after %q got %q, want %q", test.keys, test.lastID, got, test.want)
		}
		// A client that disconnects before its first event resumes at that event.
		if test.lastID == "" {
			if got := drain(subscribe(t, e, before, test.keys...)); !slices.Equal(got, test.want) {
				t.Errorf("%v after its first position %q got %q, want %q", test.keys, before, got, test.want)
			}
		}
		s.Close(ReasonGone)
	}
}

// TestSendLastOfBroadcasts: the newest value may be a broadcast, which a subscriber of several keys gets once.
func TestSendLastOfBroadcasts(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{SendLast: true}})
	publish(t, e, "a", 1)
	publish(t, e, "b", 1)
	publishAll(t, e, "old")
	publishAll(t, e, "both")
	if got, want := drain(subscribe(t, e, "", "a", "b")), []string{"both"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := drain(subscribe(t, e, "", "a")), []string{"both"}; !slices.Equal(got, want) {
		t.Errorf("one key got %q, want %q", got, want)
	}
	publish(t, e, "a", 1)
	s := subscribe(t, e, "", "a", "b")
	if got, want := drain(s), []string{"1", "both"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	publishAll(t, e, "next")
	if got, want := drain(s), []string{"next"}; !slices.Equal(got, want) {
		t.Errorf("then it got %q, want %q", got, want)
	}
}

// TestSendLastDuringPublishAll: PublishAll has reached one key and not yet the other, whose newest value is the
// previous broadcast. With either order of the keys, the subscriber gets the newer broadcast, once, and not the older
// one after it.
func TestSendLastDuringPublishAll(t *testing.T) {
	for _, start32 := range []uint32{0, 6, 1<<32 - 2} {
		for _, keys := range [][]string{{"a", "b"}, {"b", "a"}} {
			e := start(t, Options{Key: KeyOptions{SendLast: true}})
			publish(t, e, "a", 1)
			publish(t, e, "b", 1)
			e.lastBroadcast.Store(start32)
			publishAll(t, e, "older")
			n := successor(e.lastBroadcast.Load())
			e.lastBroadcast.Store(n)
			publishCopy(t, e, "a", "newer", n)
			s := subscribe(t, e, "", keys...)
			got := drain(s)
			publishCopy(t, e, "b", "newer", n)
			got = append(got, drain(s)...)
			if !slices.Equal(got, []string{"newer"}) {
				t.Errorf("from %d, keys %v: got %q", start32, keys, got)
			}
		}
	}
}

// TestSendLastSkipsNonValues: an event that clients do not dispatch is not a value, and neither is a notice about the
// stream itself. Such events come after the value, in the order in which connected subscribers got them. Neither time
// nor bytes evict the value.
func TestSendLastSkipsNonValues(t *testing.T) {
	silent := func(s string) Frame { return Frame{Bytes: []byte(s), IDAt: -1, Silent: true} }
	notice := func(s string) Frame { return Frame{Bytes: []byte(s), IDAt: -1, Notice: true} }
	for _, c := range []struct {
		name   string
		frames []Frame
		want   []string
	}{
		{"then a comment", []Frame{text("v"), silent("c")}, []string{"v", "c"}},
		{"then a notice", []Frame{text("u"), text("v"), notice("gap")}, []string{"v", "gap"}},
		{"then many of both", []Frame{text("v"), silent("1"), notice("2"), silent("3"), notice("4"), silent("5")}, []string{"v", "1", "2", "3", "4", "5"}},
		{"only comments and notices", []Frame{silent("1"), notice("2")}, nil},
		{"the value is the newest", []Frame{silent("1"), notice("2"), text("v")}, []string{"v"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := New(Options{Key: KeyOptions{HistoryTTL: time.Minute, HistoryBytes: 3, SendLast: true}})
				defer e.Close()
				for _, f := range c.frames {
					if _, err := e.Publish("k", f); err != nil {
						t.Fatal(err)
					}
				}
				for range 2 {
					s := subscribe(t, e, "", "k")
					if got := drain(s); !slices.Equal(got, c.want) {
						t.Errorf("got %q, want %q", got, c.want)
					}
					s.Close(ReasonGone)
					time.Sleep(time.Hour)
				}
			})
		})
	}
	// A broadcast is a value too, but a silent broadcast is not.
	e := start(t, Options{Key: KeyOptions{SendLast: true}})
	publish(t, e, "a", 1)
	publish(t, e, "b", 1)
	publishAll(t, e, "both")
	if _, _, err := e.PublishAll(silent("c")); err != nil {
		t.Fatal(err)
	}
	publish(t, e, "b", 1)
	got := drain(subscribe(t, e, "", "a", "b"))
	if countOf(got, "both") != 1 || countOf(got, "1") != 1 || countOf(got, "c") > 1 {
		t.Errorf("got %q", got)
	}
}

func TestSendLastOutlivesHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Key: KeyOptions{HistoryTTL: time.Minute, SendLast: true}})
		defer e.Close()
		publish(t, e, "k", 100)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := e.Stats(); got.Keys != 1 || got.HistoryBytes != int64(len("100")) || got.RingBytes != minSlots*slotBytes {
			t.Errorf("%+v after an hour, want one key, one event and the smallest ring", got)
		}
		s := subscribe(t, e, "", "k")
		if got, want := drain(s), []string{"100"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		s.Close(ReasonGone)
		publish(t, e, "k", 1)
		if got, want := drain(subscribe(t, e, "", "k")), []string{"1"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		e.CloseAll()

		e.Reconfigure(Options{Key: KeyOptions{HistoryTTL: time.Minute}})
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := e.Stats(); got.Keys != 0 || got.HistoryBytes != 0 {
			t.Errorf("%+v an hour after SendLast was disabled", got)
		}
	})
}

// TestSendLastHammer lets subscribers join while publishers run, in keys whose rings grow, wrap around and lose events
// to a byte limit. Each subscriber gets the event that was the newest when it joined, or a newer one if it was lapped
// before it read. After that it gets every sequence once, or a gap that counts it.
func TestSendLastHammer(t *testing.T) {
	const joins = 1500
	e := start(t, Options{
		Key:           KeyOptions{History: 256, HistoryBytes: 1500, HistoryTTL: 3 * time.Millisecond, SendLast: true},
		SweepInterval: time.Millisecond,
	})
	stop := make(chan struct{})
	keys := []string{"a", "b", "c"}
	for _, key := range keys {
		publish(t, e, key, 1)
	}
	var pubs, subs sync.WaitGroup
	for p := range 2 {
		pubs.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(p), 5))
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := e.Publish(keys[rng.IntN(len(keys))], numberFrame(n)); err != nil {
					t.Error(err)
					return
				}
				if n%64 == 0 {
					time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond) // meanwhile history expires, except for the newest event
				}
			}
		})
	}
	for worker := range 3 {
		subs.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 6))
			waits, lapped := 0, 0
			for range joins {
				key := keys[rng.IntN(len(keys))]
				k, err := e.lookup(key, forPublisher)
				if err != nil {
					t.Error(err)
					return
				}
				before := k.tail()
				s, ready := new(Subscriber), make(chanSink, 1)
				if _, err := e.Subscribe(s, []string{key}, "", ready); err != nil {
					t.Error(err)
					return
				}
				if k.epoch != s.cursors[0].key.epoch {
					t.Errorf("key %s was retired although it kept an event", key)
				}
				last := uint64(0)
				for want := 1 + rng.IntN(20); want > 0; {
					it, ok := s.Next(true)
					switch {
					case !ok && last == 0:
						t.Errorf("a new subscriber got nothing from a key with %d events", before)
						want = 0
					case !ok:
						waits++
						want = 0
					case it.Gap != nil:
						lapped++
						if last == 0 {
							last = it.Gap.Next.Seq - uint64(it.Gap.Missed) // where it began
							if last+1 < before {
								t.Errorf("began at %d after %d were published", last+1, before)
							}
						}
						if got := int64(it.Gap.Next.Seq - last); it.Gap.Missed != got || got <= 0 {
							t.Errorf("a gap of %d where %d are missing", it.Gap.Missed, got)
						}
						last = it.Gap.Next.Seq
					default:
						if seq := it.Event.Seq(); last == 0 && seq < before || last != 0 && seq != last+1 {
							t.Errorf("event %d after %d; %d were published before", seq, last, before)
						}
						last = it.Event.Seq()
						want--
					}
				}
				s.Close(ReasonGone)
			}
			if waits == 0 {
				t.Error("no subscriber ever caught up: adjust the test")
			}
			t.Logf("worker %d: caught up %d times, lapped %d times", worker, waits, lapped)
		})
	}
	subs.Wait()
	close(stop)
	pubs.Wait()
	if n := e.CountAll(); n != 0 {
		t.Errorf("%d subscribers are left", n)
	}
	for _, key := range keys {
		if s := subscribe(t, e, "", key); len(drain(s)) != 1 {
			t.Errorf("key %s: a new subscriber does not get exactly the newest event", key)
		}
	}
	if testing.Verbose() {
		t.Log(fmt.Sprint(e.Stats()))
	}
}
