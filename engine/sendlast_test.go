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
		{"nobody knows", []string{"k"}, []string{"gap k unknown -1", "1", "2", "3"}},
	} {
		s := subscribe(t, e, test.lastID, test.keys...)
		before := string(s.Positions(nil))
		if got := drain(s); !slices.Equal(got, test.want) {
			t.Errorf("%v behind %q got %q, want %q", test.keys, test.lastID, got, test.want)
		}
		// Whoever is cut off before the first event comes back to it.
		if test.lastID == "" {
			if got := drain(subscribe(t, e, before, test.keys...)); !slices.Equal(got, test.want) {
				t.Errorf("%v behind its first position %q got %q, want %q", test.keys, before, got, test.want)
			}
		}
		s.Close(ReasonGone)
	}
}

// TestSendLastOfBroadcasts: the newest event may have come from PublishAll, which a subscriber of several keys gets
// once.
func TestSendLastOfBroadcasts(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{SendLast: true}})
	all := func(data string) {
		t.Helper()
		if _, _, err := e.PublishAll(text(data)); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, e, "a", 1)
	publish(t, e, "b", 1)
	all("old")
	all("both")
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
	all("next")
	if got, want := drain(s), []string{"next"}; !slices.Equal(got, want) {
		t.Errorf("behind it came %q, want %q", got, want)
	}
}

// TestSendLastBetweenTwoLooks: PublishAll has reached one key and not yet the other, whose newest event is the
// broadcast before it. Either order of the keys gives the newer one, once, and not the older one behind it.
func TestSendLastBetweenTwoLooks(t *testing.T) {
	for _, start32 := range []uint32{0, 6, 1<<32 - 2} {
		for _, keys := range [][]string{{"a", "b"}, {"b", "a"}} {
			e := start(t, Options{Key: KeyOptions{SendLast: true}})
			publish(t, e, "a", 1)
			publish(t, e, "b", 1)
			e.lastBroadcast.Store(start32)
			all(t, e, "older")
			n := successor(e.lastBroadcast.Load())
			e.lastBroadcast.Store(n)
			reach := func(name string) {
				d := newDraft(text("newer"), 1, n)
				theKey(t, e, name).publish(e, &d)
			}
			reach("a")
			s := subscribe(t, e, "", keys...)
			got := drain(s)
			reach("b")
			got = append(got, drain(s)...)
			if !slices.Equal(got, []string{"newer"}) {
				t.Errorf("from %d, keys %v: got %q", start32, keys, got)
			}
		}
	}
}

// TestSendLastSendsAValue: what a client does not dispatch, and what is about the stream itself, is no value. It comes
// behind the value, as it did to those who were there. Neither time nor bytes evict the value.
func TestSendLastSendsAValue(t *testing.T) {
	silent := func(s string) Frame { return Frame{Bytes: []byte(s), IDAt: -1, Silent: true} }
	notice := func(s string) Frame { return Frame{Bytes: []byte(s), IDAt: -1, Notice: true} }
	for _, c := range []struct {
		name   string
		frames []Frame
		want   []string
	}{
		{"a comment behind it", []Frame{text("v"), silent("c")}, []string{"v", "c"}},
		{"a notice behind it", []Frame{text("u"), text("v"), notice("gap")}, []string{"v", "gap"}},
		{"many of both", []Frame{text("v"), silent("1"), notice("2"), silent("3"), notice("4"), silent("5")}, []string{"v", "1", "2", "3", "4", "5"}},
		{"only those", []Frame{silent("1"), notice("2")}, nil},
		{"none behind it", []Frame{silent("1"), notice("2"), text("v")}, []string{"v"}},
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
	// A broadcast is a value, too, and a silent one is not.
	e := start(t, Options{Key: KeyOptions{SendLast: true}})
	publish(t, e, "a", 1)
	publish(t, e, "b", 1)
	all(t, e, "both")
	if _, _, err := e.PublishAll(silent("c")); err != nil {
		t.Fatal(err)
	}
	publish(t, e, "b", 1)
	got := drain(subscribe(t, e, "", "a", "b"))
	if countOf(got, "both") != 1 || countOf(got, "1") != 1 || countOf(got, "c") > 1 {
		t.Errorf("got %q", got)
	}
}

func TestLastOutlivesHistory(t *testing.T) {
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
			t.Errorf("%+v an hour after SendLast was taken back", got)
		}
	})
}

// TestSendLastHammer lets subscribers join while publishers run, in keys whose rings grow, lap and lose events to a
// limit of bytes. Each gets the newest event of the moment in which it joined, or a newer one if it was lapped before
// it had looked, and behind it every sequence once, or a gap that counts it.
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
				if _, err := e.Publish(keys[rng.IntN(len(keys))], number(n)); err != nil {
					t.Error(err)
					return
				}
				if n%64 == 0 {
					time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond) // history expires meanwhile, but for the newest
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
				k, err := e.lookup(key)
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
					t.Errorf("key %s was retired with an event in it", key)
				}
				last := uint64(0)
				for want := 1 + rng.IntN(20); want > 0; {
					it, ok := s.Next(true)
					switch {
					case !ok && last == 0:
						t.Errorf("the key has had %d events, and a new subscriber gets none", before)
						want = 0
					case !ok:
						waits++
						want = 0
					case it.Gap != nil:
						lapped++
						if last == 0 {
							last = it.Gap.Next.Seq - uint64(it.Gap.Missed) // the place where it began
							if last+1 < before {
								t.Errorf("began at %d, with %d published", last+1, before)
							}
						}
						if got := int64(it.Gap.Next.Seq - last); it.Gap.Missed != got || got <= 0 {
							t.Errorf("a gap of %d where %d are missing", it.Gap.Missed, got)
						}
						last = it.Gap.Next.Seq
					default:
						if seq := it.Event.Seq(); last == 0 && seq < before || last != 0 && seq != last+1 {
							t.Errorf("event %d behind %d, %d were published before", seq, last, before)
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
			t.Errorf("key %s: the newest event alone is not what a new subscriber gets", key)
		}
	}
	if testing.Verbose() {
		t.Log(fmt.Sprint(e.Stats()))
	}
}
