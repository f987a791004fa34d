package engine

import (
	"fmt"
	"slices"
	"testing"
)

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		want   []string
	}{
		{Skip, append([]string{"gap k lag 12"}, numbers(13, 20)...)},
		{Latest, []string{"gap k lag 19", "20"}},
		{Disconnect, append([]string{"gap k lag 12"}, numbers(13, 20)...)},
	} {
		e := start(t, Options{Key: KeyOptions{History: 8, Slow: c.policy}})
		s := subscribe(t, e, "", "k")
		last := publish(t, e, "k", 20)
		if it, ok := s.Next(false); ok {
			t.Errorf("%v: Next(false) returned %+v before the gap", c.policy, it)
		}
		if got := s.Lag(); got != 20 {
			t.Errorf("%v: lag %d", c.policy, got)
		}
		peek := subscribe(t, e, Position{last.Epoch, 12}.String(), "k")
		publish(t, e, "k", 20)
		it, ok := peek.Next(true)
		if !ok || it.Gap == nil || it.Gap.Policy != c.policy || it.Gap.After != (Position{last.Epoch, 12}).String() ||
			it.Gap.Next != (Position{last.Epoch, 12 + uint64(it.Gap.Missed)}) {
			t.Errorf("%v: %+v", c.policy, it.Gap)
		}
		if got, want := drain(s), slices.Clone(c.want); got[0] == want[0] || len(got) != len(want) || !slices.Equal(got[1:], want[1:]) {
			t.Errorf("%v: got %v, want %v with 20 more missed", c.policy, got, want)
		}
		if s.Lag() != 0 {
			t.Errorf("%v: lag %d at the end", c.policy, s.Lag())
		}
	}
}

func TestConflate(t *testing.T) {
	e := start(t, Options{KeyRule: func(name string) *KeyOptions {
		if name == "latest" {
			return &KeyOptions{Slow: Latest}
		}
		return nil
	}})
	s := subscribe(t, e, "", "latest", "skip")
	if n := s.Conflate(); n != 0 {
		t.Errorf("%d events skipped, want none", n)
	}
	publish(t, e, "latest", 5)
	publish(t, e, "skip", 2)
	if n := s.Conflate(); n != 4 {
		t.Errorf("%d skipped, want 4", n)
	}
	if n := s.Conflate(); n != 0 {
		t.Errorf("%d skipped again", n)
	}
	if got, want := drain(s), []string{"5", "1", "2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	// A pending gap stays, and no event after it is skipped.
	r := subscribe(t, e, "unknown", "latest")
	if n := r.Conflate(); n != 0 || len(drain(r)) != 6 {
		t.Errorf("%d skipped after a gap", n)
	}
}

func TestUnread(t *testing.T) {
	e := start(t, Options{})
	s := subscribe(t, e, "", "a", "b")
	for i := range 6 {
		publish(t, e, []string{"a", "b"}[i%2], 1)
		publishAll(t, e, fmt.Sprint("all ", i))
	}
	positions := string(s.Positions(nil))
	var items []Item
	var first []string
	for {
		it, ok := s.Next(true)
		if !ok {
			break
		}
		items = append(items, it)
		first = append(first, string(it.Event.Bytes()))
	}
	if len(first) != 12 {
		t.Fatalf("got %v", first)
	}
	slices.Sort(first)
	for keep := range items {
		s.Unread(items[keep:])
		again := items[:keep:keep]
		for {
			it, ok := s.Next(true)
			if !ok {
				break
			}
			again = append(again, it)
		}
		var got []string
		for _, it := range again {
			got = append(got, string(it.Event.Bytes()))
		}
		slices.Sort(got)
		if !slices.Equal(got, first) {
			t.Errorf("keep %d: %v", keep, got)
		}
		items = again
	}
	s.Unread(items)
	if got := string(s.Positions(nil)); got != positions {
		t.Errorf("positions %s after Unread of all, want %s", got, positions)
	}
}

// TestKeysTakeTurns: a key that always has events must not starve another key.
func TestKeysTakeTurns(t *testing.T) {
	e := start(t, Options{})
	s := subscribe(t, e, "", "busy", "quiet")
	publish(t, e, "busy", 10)
	publish(t, e, "quiet", 1)
	for i := range 4 {
		it, _ := s.Next(true)
		if it.Key == 1 {
			return
		}
		publish(t, e, "busy", i)
	}
	t.Error("the event of the quiet key is starved")
}

func TestNextAfterClose(t *testing.T) {
	for _, c := range []struct {
		reason Reason
		events int
		want   []string
	}{
		{ReasonClosed, 3, numbers(1, 3)},
		{ReasonDrain, 3, numbers(1, 3)},
		{ReasonGone, 3, nil},
		{ReasonStalled, 3, nil},
		{ReasonLagged, 3, nil},
		{ReasonError, 3, nil},
		{ReasonClosed, 0, nil},
		{ReasonClosed, 20, append([]string{"gap k lag 12"}, numbers(13, 20)...)},
	} {
		for _, later := range []int{0, 1, 5} {
			e := start(t, Options{Key: KeyOptions{History: 8}})
			s := subscribe(t, e, "", "k")
			publish(t, e, "k", c.events)
			if !s.Close(c.reason) || s.Closing() != c.reason {
				t.Error("not closed")
			}
			// The owner calls Next, and takes the item back: events that follow are not included.
			if it, ok := s.Next(false); ok {
				s.Unread([]Item{it})
			}
			if c.events == 20 {
				later = 0 // more events would lap the subscriber further
			}
			publish(t, e, "k", later)
			if got := drain(s); !slices.Equal(got, c.want) {
				t.Errorf("%v after %d events, %d later: got %v, want %v", c.reason, c.events, later, got, c.want)
			}
		}
	}
}

// TestClosedAndLapped: events that are published after the close do not count as missed.
func TestClosedAndLapped(t *testing.T) {
	for _, policy := range []Policy{Skip, Latest} {
		e := start(t, Options{Key: KeyOptions{History: 8, Slow: policy}})
		s := subscribe(t, e, "", "k")
		last := publish(t, e, "k", 5)
		s.Close(ReasonClosed)
		it, _ := s.Next(true)
		s.Unread([]Item{it})
		publish(t, e, "k", 100)
		if n := s.Conflate(); policy == Latest && (n != 4 || s.Lag() != 1) {
			t.Errorf("%d skipped, lag %d", n, s.Lag())
		}
		it, ok := s.Next(true)
		want := int64(5)
		if policy == Latest {
			want = 1
		}
		if !ok || it.Gap == nil || it.Gap.Missed != want || it.Gap.Next != last {
			t.Errorf("%v: %+v, want a gap of %d up to %v", policy, it.Gap, want, last)
		}
		if got := drain(s); got != nil {
			t.Errorf("%v: got %v after the end", policy, got)
		}
	}
}
