package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

const testEpoch = 1<<epochBits | 77

// startLog creates an engine in log mode with one epoch, testEpoch+p, in each partition p.
func startLog(t testing.TB, o Options, partitions int, of func(string) int) *Engine {
	o.Log = &LogOptions{Partitions: partitions, PartitionOf: of}
	e := start(t, o)
	for p := range partitions {
		e.SetEpoch(p, testEpoch+uint64(p), 0, Frame{})
	}
	return e
}

// apply applies the text of an event with this sequence in partition 0; a key of "*" means all keys.
func apply(t testing.TB, e *Engine, seq uint64, key string) {
	t.Helper()
	applyTo(t, e, 0, seq, key)
}

func applyTo(t testing.TB, e *Engine, partition int, seq uint64, key string) {
	t.Helper()
	if err := e.Apply(logEntry(partition, seq, key)); err != nil {
		t.Fatal(err)
	}
}

func logEntry(partition int, seq uint64, key string) LogEntry {
	entry := LogEntry{Partition: partition, Seq: seq, At: int64(seq), Key: key, Frame: text(fmt.Sprint(key, seq))}
	if key == "*" {
		entry.All, entry.Key = true, ""
	}
	return entry
}

func logID(p int, seq uint64) string { return Position{testEpoch + uint64(p), seq}.String() }

func positions(s *Subscriber) string { return string(s.Positions(nil)) }

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestLogOrder(t *testing.T) {
	e := startLog(t, Options{}, 1, nil)
	s := subscribe(t, e, "", "a", "b")
	for seq, key := range []string{"a", "b", "*", "a", "c", "b", "*", "*", "b"} {
		apply(t, e, uint64(seq)+1, key)
	}
	apply(t, e, 9, "b") // again
	want(t, "begin", positions(s), logID(0, 0))
	want(t, "events", drain(s), []string{"a1", "b2", "*3", "a4", "b6", "*7", "*8", "b9"})
	want(t, "end", positions(s), logID(0, 9))
	e.Advance(0, 20)
	want(t, "after Advance", len(drain(s)), 0)
	want(t, "after Advance", positions(s), logID(0, 20))
	want(t, "applied", e.Applied(0), Position{testEpoch, 20})
	want(t, "a new one", positions(subscribe(t, e, "", "new")), logID(0, 20))
	want(t, "keys", slices.Sorted(e.Keys()), []string{"a", "b", "c", "new"})
	if _, err := e.Publish("a", text("x")); !errors.Is(err, ErrLog) {
		t.Error(err)
	}
	if _, _, err := e.PublishAll(text("x")); !errors.Is(err, ErrLog) {
		t.Error(err)
	}
}

func TestLogResume(t *testing.T) {
	e := startLog(t, Options{}, 1, nil)
	for seq, key := range []string{"a", "b", "*", "a", "c", "b", "*", "*", "b"} {
		apply(t, e, uint64(seq)+1, key)
	}
	all := []string{"a1", "b2", "*3", "a4", "b6", "*7", "*8", "b9"}
	for i, seq := range []uint64{0, 1, 2, 3, 4, 6, 7, 8, 9} {
		r, got := resumed(t, e, logID(0, seq), "a", "b")
		want(t, fmt.Sprint("after ", seq), got, all[i:])
		want(t, fmt.Sprint("after ", seq), r, ResumedExact)
	}
	// A client of an engine that is ahead.
	s := subscribe(t, e, logID(0, 12), "a", "b")
	for seq := uint64(10); seq < 15; seq++ {
		apply(t, e, seq, "a")
	}
	want(t, "ahead", drain(s), []string{"a13", "a14"})
	r, got := resumed(t, e, "0-0", "a", "b")
	want(t, "0-0", r, ResumedGap)
	want(t, "0-0", got[:2], []string{"gap a epoch -1", "gap b epoch -1"})
}

func TestLogMissing(t *testing.T) {
	e := startLog(t, Options{Key: KeyOptions{History: 8}}, 1, nil)
	for seq := uint64(1); seq <= 40; seq++ {
		apply(t, e, seq, []string{"a", "b"}[seq%2])
	}
	s := subscribe(t, e, logID(0, 20), "a", "b")
	m := s.Missing()
	want(t, "missing", m, []Missing{{Key: "a", Epoch: testEpoch, After: 20, Through: 25}, {Key: "b", Epoch: testEpoch, After: 20, Through: 24}})
	for i, m := range m {
		var events []*Event
		for seq := m.After + 1; seq <= m.Through; seq++ {
			if key := []string{"a", "b"}[seq%2]; key == m.Key {
				events = append(events, e.NewLogEvent(logEntry(0, seq, key)))
			}
		}
		s.Fill(i, events, nil)
	}
	var all []string
	for seq := 21; seq <= 40; seq++ {
		all = append(all, fmt.Sprint([]string{"a", "b"}[seq%2], seq))
	}
	want(t, "filled", drain(s), all)
	s = subscribe(t, e, logID(0, 20), "a", "b")
	want(t, "not filled", drain(s)[:2], []string{"gap a history -1", "gap b history -1"})
}

// TestLogMissingOfOneKey: what the rings of the other keys have comes between the events that were fetched.
func TestLogMissingOfOneKey(t *testing.T) {
	e := startLog(t, Options{Key: KeyOptions{History: 8}}, 1, nil)
	key := func(seq uint64) string {
		switch seq {
		case 22, 24:
			return "b"
		case 23, 26:
			return "*"
		}
		return "a"
	}
	var all []string
	for seq := uint64(1); seq <= 40; seq++ {
		apply(t, e, seq, key(seq))
		if seq > 20 {
			all = append(all, fmt.Sprint(key(seq), seq))
		}
	}
	s := subscribe(t, e, logID(0, 20), "a", "b")
	m := s.Missing()
	want(t, "missing", m, []Missing{{Key: "a", Epoch: testEpoch, After: 20, Through: 32}})
	var events []*Event
	for seq := m[0].After + 1; seq <= m[0].Through; seq++ {
		if key(seq) == "a" {
			events = append(events, e.NewLogEvent(logEntry(0, seq, "a")))
		}
	}
	s.Fill(0, events, nil)
	want(t, "filled", drain(s), all)
}

// TestLogCloseBeforeEvent: a subscriber that is closing has left its keys, so a key without events is retired, and the
// next event goes to another key. The position must not pass that event.
func TestLogCloseBeforeEvent(t *testing.T) {
	e := startLog(t, Options{}, 1, nil)
	apply(t, e, 1, "a")
	s := subscribe(t, e, "", "quiet", "a")
	apply(t, e, 2, "a")
	s.Close(ReasonAge)
	apply(t, e, 3, "quiet")
	apply(t, e, 4, "a")
	want(t, "events", drain(s), []string{"a2"})
	want(t, "position", positions(s), logID(0, 2))
}

// TestLogWakes: an event of one of the keys, a broadcast and the notice of an epoch each wake the subscriber.
func TestLogWakes(t *testing.T) {
	e := startLog(t, Options{}, 2, byFirstByte)
	ready := make(chanSink, 1)
	s := new(Subscriber)
	if _, err := e.Subscribe(s, []string{"b", "a"}, "", ready); err != nil {
		t.Fatal(err)
	}
	for i, act := range []func(){
		func() { applyTo(t, e, 0, 1, "a") },
		func() { applyTo(t, e, 1, 1, "b") },
		func() { applyTo(t, e, 0, 2, "*") },
		func() { e.SetEpoch(0, testEpoch+5, 0, Frame{Bytes: []byte("epoch"), IDAt: -1, Notice: true}) },
		func() { e.SetEpoch(1, testEpoch+6, 0, Frame{Bytes: []byte("epoch"), IDAt: -1, Notice: true}) },
	} {
		for drain(s); !s.Release(); drain(s) {
		}
		act()
		select {
		case <-ready:
		case <-time.After(time.Minute):
			t.Fatalf("step %d did not wake the subscriber", i)
		}
		want(t, fmt.Sprint("step ", i), len(drain(s)), 1)
	}
}
