package engine

import (
	"slices"
	"strings"
	"testing"
)

// TestStableIDs resumes in another life of the keys: in another engine, which has the same events again.
func TestStableIDs(t *testing.T) {
	o := Options{Key: KeyOptions{StableIDs: true}, KeyRule: func(name string) *KeyOptions {
		if name == "plain" {
			return &KeyOptions{}
		}
		return nil
	}}
	fill := func(e *Engine, ids ...string) {
		for _, key := range []string{"a", "b", "plain"} {
			for _, id := range ids {
				if _, err := e.Publish(key, own(id)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	first := start(t, o)
	fill(first, "170-0", "170-1")
	s := subscribe(t, first, "", "a", "b")
	tagA, tagB := "~"+keyTag("a"), "~"+keyTag("b")
	if got := string(s.Positions(nil)); got != "170-1"+tagA+",170-1"+tagB {
		t.Errorf("before the first event: %s", got)
	}
	fill(first, "180-0")
	if got := drain(s); len(got) != 2 {
		t.Errorf("%q", got)
	}
	position := string(s.Positions(nil))
	if position != "180-0"+tagA+",180-0"+tagB {
		t.Errorf("behind the last: %s", position)
	}
	plain := subscribe(t, first, "", "plain")
	if got := string(plain.Positions(nil)); got == "180-0" || !strings.HasSuffix(got, "-3") {
		t.Errorf("without StableIDs: %s", got)
	}
	empty := subscribe(t, first, "", "c")
	if got := string(empty.Positions(nil)); !strings.HasSuffix(got, "-0") {
		t.Errorf("without events: %s", got)
	}

	second := start(t, o)
	fill(second, "170-1", "180-0", "190-0")
	s = subscribe(t, second, position, "a", "b")
	if got := drain(s); !slices.Equal(got, []string{"id: 190-0\n\n", "id: 190-0\n\n"}) {
		t.Errorf("after a restart: %q", got)
	}
	// In another order, each key finds its own; the other's own id, which it has as well, is not taken for its.
	s = subscribe(t, second, "190-0"+tagB+",170-1"+tagA, "a", "b")
	if got := drain(s); !slices.Equal(got, []string{"id: 180-0\n\n", "id: 190-0\n\n"}) {
		t.Errorf("in another order: %q", got)
	}
	s = subscribe(t, second, "160-0"+tagA+",180-0"+tagB, "a", "b") // a's history is too short
	if got := string(s.Positions(nil)); got != "160-0"+tagA+",180-0"+tagB {
		t.Errorf("before the gap is told: %s", got)
	}
	if got := drain(s); len(got) != 5 {
		t.Errorf("%q", got)
	}
	// An id that can't be told apart among others is not used.
	if _, err := second.Publish("a", own("x,y")); err != nil {
		t.Fatal(err)
	}
	s = subscribe(t, second, "", "a")
	if got := string(s.Positions(nil)); !strings.HasSuffix(got, "-4") || strings.Contains(got, ",") {
		t.Errorf("an id with a comma: %s", got)
	}
}

func TestKeysRange(t *testing.T) {
	e := start(t, Options{})
	publish(t, e, "a", 1)
	subscribe(t, e, "", "b")
	var names []string
	for name := range e.Keys() {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("%q", names)
	}
	for range e.Keys() {
		break
	}
}
