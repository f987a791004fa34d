package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// resumed subscribes with lastID, and returns the result and the items.
func resumed(t *testing.T, e *Engine, lastID string, keys ...string) (Resumed, []string) {
	t.Helper()
	s := new(Subscriber)
	r, err := e.Subscribe(s, keys, lastID, new(countSink))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(ReasonGone)
	return r, drain(s)
}

func TestResumeByPosition(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{History: 8}})
	last := publish(t, e, "k", 20)
	at := func(epoch, seq uint64) string { return Position{epoch, seq}.String() }
	all := numbers(13, 20)
	for _, c := range []struct {
		name, id string
		result   Resumed
		want     []string
	}{
		{"none", "", ResumedNone, nil},
		{"newest", at(last.Epoch, 20), ResumedExact, nil},
		{"one before the newest", at(last.Epoch, 19), ResumedExact, numbers(20, 20)},
		{"just kept", at(last.Epoch, 12), ResumedExact, all},
		{"one lost", at(last.Epoch, 11), ResumedGap, append([]string{"gap k history 1"}, all...)},
		{"before the first", at(last.Epoch, 0), ResumedGap, append([]string{"gap k history 12"}, all...)},
		{"older epoch", at(last.Epoch-1, 15), ResumedGap, append([]string{"gap k epoch -1"}, all...)},
		{"newer epoch", at(last.Epoch+1, 15), ResumedGap, append([]string{"gap k epoch -1"}, all...)},
		{"of another engine", at(1<<61+12345, 15), ResumedGap, append([]string{"gap k epoch -1"}, all...)},
		{"far epoch", at(1<<64-1, 15), ResumedGap, append([]string{"gap k epoch -1"}, all...)},
		{"future", at(last.Epoch, 21), ResumedGap, append([]string{"gap k unknown -1"}, all...)},
		{"far future", at(last.Epoch, 1<<64-1), ResumedGap, append([]string{"gap k unknown -1"}, all...)},
		{"garbage", "\x00;DROP", ResumedGap, append([]string{"gap k unknown -1"}, all...)},
		{"with a space", at(last.Epoch, 15) + " ", ResumedGap, append([]string{"gap k unknown -1"}, all...)},
		{"too long", strings.Repeat("x", 70000), ResumedGap, append([]string{"gap k unknown -1"}, all...)},
	} {
		if r, got := resumed(t, e, c.id, "k"); r != c.result || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v with %v, want %v with %v", c.name, r, got, c.result, c.want)
		}
	}

	s := subscribe(t, e, at(last.Epoch, 5), "k")
	it, _ := s.Next(true)
	want := Gap{Key: "k", Reason: GapHistory, Missed: 7, After: at(last.Epoch, 5), Next: Position{last.Epoch, 12}}
	if it.Gap == nil || *it.Gap != want {
		t.Errorf("gap %+v, want %+v", it.Gap, want)
	}
	s = subscribe(t, e, "what", "k")
	it, _ = s.Next(true)
	want = Gap{Key: "k", Reason: GapUnknown, Missed: -1, After: "what", Next: Position{last.Epoch, 12}}
	if it.Gap == nil || *it.Gap != want {
		t.Errorf("gap %+v, want %+v", it.Gap, want)
	}
}

func TestResumeByOwnID(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{History: 8}})
	ids := []string{"lost", "a", "b", "a", "", "c", "10-5", "c", "d"}
	for i, id := range ids {
		f := withID(id)
		if id == "" {
			f = text("no id")
		}
		if p, err := e.Publish("k", f); err != nil || p.Seq != uint64(i+1) {
			t.Fatal(p, err)
		}
	}
	frames := func(from int) (fs []string) {
		for _, id := range ids[from:] {
			if id == "" {
				fs = append(fs, "no id")
			} else {
				fs = append(fs, "id: "+id+"\n\n")
			}
		}
		return fs
	}
	for _, c := range []struct {
		id   string
		from int // index of the first event that follows
		want Resumed
	}{
		{"d", 9, ResumedExact},
		{"b", 3, ResumedExact},
		{"a", 2, ResumedExact}, // two events have it: the first counts, so that nothing is skipped
		{"c", 6, ResumedExact},
		{"10-5", 7, ResumedExact}, // looks like a position
		{"lost", 1, ResumedGap},
		{"no", 1, ResumedGap},
		{"D", 1, ResumedGap},
	} {
		r, got := resumed(t, e, c.id, "k")
		want := frames(c.from)
		if c.want == ResumedGap {
			want = append([]string{"gap k unknown -1"}, want...)
		}
		if r != c.want || !slices.Equal(got, want) {
			t.Errorf("after %q: %v with %q, want %v with %q", c.id, r, got, c.want, want)
		}
	}
}

func TestResumeBeforeTheFirstEvent(t *testing.T) {
	e := start(t, Options{})
	s := subscribe(t, e, "", "k")
	id := string(s.Positions(nil))
	s.Close(ReasonGone)
	publish(t, e, "k", 3)
	if r, got := resumed(t, e, id, "k"); r != ResumedExact || !slices.Equal(got, numbers(1, 3)) {
		t.Errorf("%v with %v", r, got)
	}
}

func TestResumeSeveralKeys(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{History: 8}})
	a, b, c := publish(t, e, "a", 5), publish(t, e, "b", 20), publish(t, e, "c", 2)
	other := publish(t, e, "other", 1)
	at := func(p Position, seq uint64) string { return Position{p.Epoch, seq}.String() }
	for _, x := range []struct {
		name, id string
		result   Resumed
		want     []string
	}{
		{"exact", at(a, 4) + "," + at(b, 19) + "," + at(c, 2), ResumedExact, []string{"5", "20"}},
		{"one lost", at(a, 5) + "," + at(b, 10) + "," + at(c, 2), ResumedGap,
			append([]string{"gap b history 2"}, numbers(13, 20)...)},
		{"one of an older epoch", at(a, 4) + "," + at(b, 20) + "," + at(Position{1, 0}, 2), ResumedGap,
			[]string{"5", "gap c epoch -1", "1", "2"}},
		{"another order", at(c, 1) + "," + at(a, 4) + "," + at(b, 19), ResumedExact, []string{"5", "20", "2"}},
		{"one more key", at(a, 4) + "," + at(b, 20), ResumedExact, []string{"5"}},
		{"only one before", at(b, 19), ResumedExact, []string{"20"}},
		{"one key less", at(a, 4) + "," + at(b, 20) + "," + at(c, 2) + "," + at(other, 1), ResumedExact, []string{"5"}},
		{"one twice", at(a, 5) + "," + at(b, 20) + "," + at(c, 1) + "," + at(c, 1), ResumedExact, []string{"2"}},
		{"another set", at(other, 1) + "," + at(a, 4) + "," + at(b, 20), ResumedGap, []string{"5", "gap c epoch -1", "1", "2"}},
		{"none for one", "0-0," + at(b, 20) + "," + at(c, 1), ResumedGap, append([]string{"gap a epoch -1", "2"}, numbers(1, 5)...)},
		{"one is not a position", at(a, 5) + ",x," + at(c, 2), ResumedGap, append([]string{"gap b unknown -1"}, numbers(13, 20)...)},
		{"of another server", at(Position{1<<61 + 5, 0}, 5) + "," + at(Position{1<<61 + 6, 0}, 20), ResumedGap, nil},
		{"empty parts", ",,", ResumedGap, nil},
		{"publisher's own, with commas", "x,y,z", ResumedGap, nil},
	} {
		r, got := resumed(t, e, x.id, "a", "b", "c")
		if r != x.result {
			t.Errorf("%s: %v, want %v", x.name, r, x.result)
		}
		if x.want != nil && !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(x.want))) {
			t.Errorf("%s: got %v, want %v", x.name, got, x.want)
		}
		if gaps := strings.Count(fmt.Sprint(got), " -1"); x.want == nil && (gaps != 3 || len(got) != 3+5+8+2) {
			t.Errorf("%s: got %v, want a gap and everything that is kept for each key", x.name, got)
		}
	}

	// A publisher gave the same id to events of two keys.
	for _, key := range []string{"a", "c"} {
		for _, id := range []string{"same", "more"} {
			if _, err := e.Publish(key, withID(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r, got := resumed(t, e, "same", "a", "c"); r != ResumedExact || len(got) != 2 {
		t.Errorf("%v with %v", r, got)
	}
}

func TestPositionsResume(t *testing.T) {
	e := start(t, Options{})
	keys := []string{"a", "b", "c"}
	publish(t, e, "b", 3)
	s := subscribe(t, e, "", keys...)
	for i, key := range []string{"a", "b", "a", "c", "b"} {
		if _, err := e.Publish(key, text(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	// Disconnect after each item: what arrived before and after the resume is complete.
	var received []string
	for {
		_, rest := resumed(t, e, string(s.Positions(nil)), keys...)
		whole := slices.Sorted(slices.Values(append(slices.Clone(received), rest...)))
		if !slices.Equal(whole, numbers(0, 4)) {
			t.Errorf("after %v the rest is %v", received, rest)
		}
		it, ok := s.Next(true)
		if !ok {
			break
		}
		received = append(received, string(it.Event.Bytes()))
	}
}
