package engine

import (
	"slices"
	"strings"
	"testing"
)

// TestStableIDs resumes in another life of the keys: in another engine with the same events.
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
				if _, err := e.Publish(key, withID(id)); err != nil {
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
		t.Errorf("after the last event: %s", position)
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
	// With the parts in another order, each key finds its part. It does not use the id in the other key's part,
	// although it has an event with that id.
	s = subscribe(t, second, "190-0"+tagB+",170-1"+tagA, "a", "b")
	if got := drain(s); !slices.Equal(got, []string{"id: 180-0\n\n", "id: 190-0\n\n"}) {
		t.Errorf("in another order: %q", got)
	}
	s = subscribe(t, second, "160-0"+tagA+",180-0"+tagB, "a", "b") // the history of a is too short
	if got := string(s.Positions(nil)); got != "160-0"+tagA+",180-0"+tagB {
		t.Errorf("before the gap is reported: %s", got)
	}
	if got := drain(s); len(got) != 5 {
		t.Errorf("%q", got)
	}
	// An id that could not be recognized among other parts is not used.
	if _, err := second.Publish("a", withID("x,y")); err != nil {
		t.Fatal(err)
	}
	s = subscribe(t, second, "", "a")
	if got := string(s.Positions(nil)); !strings.HasSuffix(got, "-4") || strings.Contains(got, ",") {
		t.Errorf("an id with a comma: %s", got)
	}
}
