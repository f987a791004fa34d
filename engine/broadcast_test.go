package engine

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"unsafe"
)

func all(t testing.TB, e *Engine, data string) {
	t.Helper()
	if _, _, err := e.PublishAll(text(data)); err != nil {
		t.Fatal(err)
	}
}

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
	all(t, e, "all 1")
	publish(t, e, "c", 1)
	all(t, e, "all 2")
	got := drain(s)
	slices.Sort(got)
	if want := []string{"1", "1", "2", "all 1", "all 2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := drain(one), []string{"1", "2", "all 1", "all 2"}; !slices.Equal(got, want) {
		t.Errorf("the subscriber of one key got %v, want %v", got, want)
	}
}

// TestPublishAllAcrossResume cuts the stream after each item: every broadcast comes once, before the cut or behind it.
func TestPublishAllAcrossResume(t *testing.T) {
	e := start(t, Options{})
	keys := []string{"a", "b", "c"}
	all(t, e, "before")
	for _, key := range keys {
		publish(t, e, key, 1)
	}
	s := subscribe(t, e, "", keys...)
	for n := range 4 {
		publish(t, e, keys[n%3], n)
		all(t, e, fmt.Sprint("all ", n))
	}
	broadcasts := func(items []string) (bs []string) {
		for _, it := range items {
			if len(it) > 1 {
				bs = append(bs, it)
			}
		}
		return bs
	}
	var came []string
	for {
		_, rest := resumed(t, e, string(s.Positions(nil)), keys...)
		got := broadcasts(append(slices.Clone(came), rest...))
		if want := []string{"all 0", "all 1", "all 2", "all 3"}; !slices.Equal(got, want) {
			t.Errorf("after %v the rest is %v", came, rest)
		}
		it, ok := s.Next(true)
		if !ok {
			break
		}
		came = append(came, string(it.Event.Bytes()))
	}
}

// TestSubscribeDuringPublishAll: a broadcast has reached key b and not yet key a when a subscriber joins both. It may
// get the broadcast or not, but its first positions must not claim that it did when it will not.
func TestSubscribeDuringPublishAll(t *testing.T) {
	e := start(t, Options{})
	publish(t, e, "a", 1)
	publish(t, e, "b", 1)
	n := e.lastBroadcast.Add(1)
	reach := func(name string) {
		d := newDraft(text("all"), 1, n)
		theKey(t, e, name).publish(e, &d)
	}
	reach("b")
	s := subscribe(t, e, "", "a", "b")
	id := string(s.Positions(nil))
	reach("a")
	live := drain(s)
	_, again := resumed(t, e, id, "a", "b")
	if len(live) != len(again) || len(live) > 1 {
		t.Errorf("the live subscriber got %v, one that resumes from its first id %q %v", live, id, again)
	}
	// The next one comes once in any case.
	all(t, e, "next")
	if got := drain(s); !slices.Equal(got, []string{"next"}) {
		t.Errorf("got %v", got)
	}
}

// TestBroadcastLostInOneKey: key a is lapped over a broadcast that key b, which is behind, still has.
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
			all(t, e, "all 1")
			publish(t, e, "a", 7)
			all(t, e, "all 2")
			if resume {
				s = subscribe(t, e, string(s.Positions(nil)), keys...)
			}
			got := drain(s)
			for _, want := range []string{"all 1", "all 2"} {
				if n := countOf(got, want); n != 1 {
					t.Errorf("keys %v, resume %v: %q came %d times: %v", keys, resume, want, n, got)
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
		all(t, e, data)
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
	for _, f := range []Frame{text("shared"), own("mine")} {
		if evs := events(f); unsafe.SliceData(evs[0].Bytes()) != unsafe.SliceData(evs[1].Bytes()) {
			t.Errorf("%q: two copies of the frame", f.Bytes)
		}
	}
	f := stamped("id: ", "\n\n")
	for i, ev := range events(f) {
		k := theKey(t, e, string(rune('a'+i)))
		if want := "id: " + (Position{k.epoch, ev.Seq()}).String() + "\n\n"; string(ev.Bytes()) != want {
			t.Errorf("stamped %q, want %q", ev.Bytes(), want)
		}
	}
}
