package engine

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func TestPublishAllCounts(t *testing.T) {
	e := start(t, Options{})
	if keys, subs, err := e.PublishAll(text("x")); keys != 0 || subs != 0 || err != nil {
		t.Error(keys, subs, err)
	}
	for i := range 100 {
		subscribe(t, e, "", fmt.Sprint(i), "both")
	}
	if keys, subs, err := e.PublishAll(text("x")); keys != 101 || subs != 200 || err != nil {
		t.Error(keys, subs, err)
	}
}

func TestPublishAllOnce(t *testing.T) {
	e := start(t, Options{})
	keys := []string{"a", "b", "c"}
	s, one := subscribe(t, e, "", keys...), subscribe(t, e, "", "b")
	publish(t, e, "b", 2)
	publishAll(t, e, "all 1")
	publish(t, e, "c", 1)
	publishAll(t, e, "all 2")
	got := drain(s)
	slices.Sort(got)
	if want := []string{"1", "1", "2", "all 1", "all 2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := drain(one), []string{"1", "2", "all 1", "all 2"}; !slices.Equal(got, want) {
		t.Errorf("the subscriber of one key got %v, want %v", got, want)
	}
}

// TestPublishAllAcrossResume disconnects after each item: every broadcast arrives once, before or after the resume.
func TestPublishAllAcrossResume(t *testing.T) {
	e := start(t, Options{})
	keys := []string{"a", "b", "c"}
	publishAll(t, e, "before")
	for _, key := range keys {
		publish(t, e, key, 1)
	}
	s := subscribe(t, e, "", keys...)
	for n := range 4 {
		publish(t, e, keys[n%3], n)
		publishAll(t, e, fmt.Sprint("all ", n))
	}
	broadcasts := func(items []string) (bs []string) {
		for _, it := range items {
			if len(it) > 1 {
				bs = append(bs, it)
			}
		}
		return bs
	}
	var received []string
	for {
		_, rest := resumed(t, e, string(s.Positions(nil)), keys...)
		got := broadcasts(append(slices.Clone(received), rest...))
		if want := []string{"all 0", "all 1", "all 2", "all 3"}; !slices.Equal(got, want) {
			t.Errorf("after %v the rest is %v", received, rest)
		}
		it, ok := s.Next(true)
		if !ok {
			break
		}
		received = append(received, string(it.Event.Bytes()))
	}
}

// TestSubscribeDuringPublishAll: a subscriber joins two keys when a broadcast has reached key b and not yet key a. It
// may get the broadcast or not. But if it does not, its first positions must not claim that it did.
func TestSubscribeDuringPublishAll(t *testing.T) {
	e := start(t, Options{})
	publish(t, e, "a", 1)
	publish(t, e, "b", 1)
	n := e.lastBroadcast.Add(1)
	publishCopy(t, e, "b", "all", n)
	s := subscribe(t, e, "", "a", "b")
	id := string(s.Positions(nil))
	publishCopy(t, e, "a", "all", n)
	live := drain(s)
	_, again := resumed(t, e, id, "a", "b")
	if len(live) != len(again) || len(live) > 1 {
		t.Errorf("the live subscriber got %v; a subscriber that resumes from its first id %q got %v", live, id, again)
	}
	// The next broadcast arrives once in any case.
	publishAll(t, e, "next")
	if got := drain(s); !slices.Equal(got, []string{"next"}) {
		t.Errorf("got %v", got)
	}
}

// TestBroadcastLostInOneKey: a lap in key a loses a broadcast that key b still has ahead of its cursor.
func TestBroadcastLostInOneKey(t *testing.T) {
	for _, keys := range [][]string{{"a", "b"}, {"b", "a"}} {
		for _, resume := range []bool{false, true} {
			e := start(t, Options{KeyRule: func(name string) *KeyOptions {
				if name == "a" {
					return &KeyOptions{History: 8}
				}
				return nil
			}})
			s := subscribe(t, e, "", keys...)
			publishAll(t, e, "all 1")
			publish(t, e, "a", 7)
			publishAll(t, e, "all 2")
			if resume {
				s = subscribe(t, e, string(s.Positions(nil)), keys...)
			}
			got := drain(s)
			for _, want := range []string{"all 1", "all 2"} {
				if n := countOf(got, want); n != 1 {
					t.Errorf("keys %v, resume %v: %q arrived %d times: %v", keys, resume, want, n, got)
				}
			}
		}
	}
}

func countOf(items []string, item string) (n int) {
	for _, it := range items {
		if it == item {
			n++
		}
	}
	return n
}

func TestBroadcastNumbers(t *testing.T) {
	const top = math.MaxUint32
	for _, c := range []struct {
		n, m  uint32
		after bool
	}{
		{1, 0, true}, {top, 0, true}, {0, 0, false}, {0, 5, false}, {5, 5, false}, {6, 5, true}, {5, 6, false},
		{1, top, true}, {top, 1, false}, {2, top - 1, true},
	} {
		if got := after(c.n, c.m); got != c.after {
			t.Errorf("%d after %d: %v", c.n, c.m, got)
		}
	}
	for _, n := range []uint32{1, 2, 7, top - 1, top} {
		if predecessor(successor(n)) != n || successor(predecessor(n)) != n || successor(n) == 0 || predecessor(n) == 0 {
			t.Errorf("around %d: %d, %d", n, predecessor(n), successor(n))
		}
	}
}

func TestPublishAllNumberSkipsZero(t *testing.T) {
	e := start(t, Options{})
	e.lastBroadcast.Store(math.MaxUint32 - 1)
	s := subscribe(t, e, "", "a", "b")
	want := []string{"1", "2", "3"}
	for _, data := range want {
		publishAll(t, e, data)
	}
	if got := drain(s); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestPublishAllSharesBytes(t *testing.T) {
	e := start(t, Options{})
	events := func(f Frame) (evs []*Event) {
		s, u := subscribe(t, e, "", "a"), subscribe(t, e, "", "b")
		defer s.Close(ReasonGone)
		defer u.Close(ReasonGone)
		if _, _, err := e.PublishAll(f); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Subscriber{s, u} {
			it, ok := s.Next(true)
			if !ok {
				t.Fatal("no event")
			}
			evs = append(evs, it.Event)
		}
		return evs
	}
	for _, f := range []Frame{text("shared"), withID("mine")} {
		if evs := events(f); unsafe.SliceData(evs[0].Bytes()) != unsafe.SliceData(evs[1].Bytes()) {
			t.Errorf("%q: two copies of the frame", f.Bytes)
		}
	}
	f := withIDRoom("id: ", "\n\n")
	for i, ev := range events(f) {
		k := mustKey(t, e, string(rune('a'+i)))
		if want := "id: " + (Position{k.epoch, ev.Seq()}).String() + "\n\n"; string(ev.Bytes()) != want {
			t.Errorf("got %q, want %q", ev.Bytes(), want)
		}
	}
}

// TestUnreadTakesSkippedCopiesBack: key b skips its copy of a broadcast that key a has returned, and then Unread takes
// a's copy back. An event of b that is sent first must not say that b is past its copy, and the broadcast still
// arrives.
func TestUnreadTakesSkippedCopiesBack(t *testing.T) {
	for _, atOnce := range []bool{false, true} {
		for _, reads := range []int{1, 2, 3} {
			for _, rereads := range []int{0, 1, 2, 3} {
				e := start(t, Options{})
				s := subscribe(t, e, "", "a", "b")
				publishAll(t, e, "all")
				publish(t, e, "b", 1)
				publish(t, e, "a", 1)
				var items []Item
				for range reads {
					it, ok := s.Next(len(items) == 0)
					if !ok {
						t.Fatal("too few events")
					}
					items = append(items, it)
				}
				if it, ok := s.Next(false); ok { // may find only a copy to skip
					items = append(items, it)
				}
				if atOnce || len(items) < 3 {
					s.Unread(items)
				} else {
					s.Unread(items[2:])
					s.Unread(items[:2])
				}
				var received []string
				for range rereads {
					if it, ok := s.Next(true); ok {
						received = append(received, string(it.Event.Bytes()))
					}
				}
				_, rest := resumed(t, e, string(s.Positions(nil)), "a", "b")
				got := append(received, rest...)
				slices.Sort(got)
				if want := []string{"1", "1", "all"}; !slices.Equal(got, want) {
					t.Errorf("%d read and taken back, %d read again: %q arrived, and %q after a resume", reads, rereads, received, rest)
				}
			}
		}
	}
}

// TestConflationKeepsBroadcasts: the key latest skips what it need not send while the key skip has yet to send a
// broadcast.
func TestConflationKeepsBroadcasts(t *testing.T) {
	for _, lap := range []bool{false, true} {
		e := start(t, Options{KeyRule: func(name string) *KeyOptions {
			if name == "latest" {
				return &KeyOptions{Slow: Latest, History: 8}
			}
			return nil
		}})
		keys := []string{"latest", "skip"}
		s := subscribe(t, e, "", keys...)
		publish(t, e, "skip", 3)
		publish(t, e, "latest", 2)
		publishAll(t, e, "all")
		n := 3
		if lap {
			n = 20
		}
		publish(t, e, "latest", n)
		s.Conflate()
		var received []string
		for {
			_, rest := resumed(t, e, string(s.Positions(nil)), keys...)
			if got := countOf(append(slices.Clone(received), rest...), "all"); got != 1 {
				t.Errorf("lapped %v: after %q the rest is %q: the broadcast arrives %d times", lap, received, rest, got)
			}
			it, ok := s.Next(true)
			if !ok {
				break
			}
			if it.Gap == nil {
				received = append(received, string(it.Event.Bytes()))
			}
		}
		if last := strings.Join(received, " "); !strings.Contains(last, fmt.Sprint(n)) {
			t.Errorf("the newest value is not among %q", received)
		}
	}
}
