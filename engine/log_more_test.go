package engine

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// byFirstByte puts the keys b… into partition 1, c… into 2, and the others into 0.
func byFirstByte(key string) int {
	if n := strings.IndexByte("abc", key[0]); n > 0 {
		return n
	}
	return 0
}

func TestLogPartitions(t *testing.T) {
	e := startLog(t, Options{}, 3, byFirstByte)
	s := subscribe(t, e, "", "b", "a", "c", "b2")
	want(t, "begin", positions(s), logID(0, 0)+","+logID(1, 0)+","+logID(2, 0))
	want(t, "shared ids", s.SharedIDs(), false)
	want(t, "shared ids of partition 0", subscribe(t, e, "", "a", "a2").SharedIDs(), true)
	want(t, "shared ids of partition 1", subscribe(t, e, "", "b").SharedIDs(), false)
	applyTo(t, e, 1, 7, "b")
	applyTo(t, e, 0, 3, "*")
	applyTo(t, e, 0, 4, "a")
	applyTo(t, e, 1, 9, "b2")
	applyTo(t, e, 0, 5, "*")
	got := drain(s)
	want(t, "all of them", len(got), 5)
	var zero, one []string
	for _, text := range got {
		if text[0] == 'b' {
			one = append(one, text)
		} else {
			zero = append(zero, text)
		}
	}
	want(t, "partition 0", zero, []string{"*3", "a4", "*5"})
	want(t, "partition 1", one, []string{"b7", "b29"})
	id := positions(s)
	want(t, "end", id, logID(0, 5)+","+logID(1, 9)+","+logID(2, 0))
	applyTo(t, e, 2, 1, "c")
	applyTo(t, e, 1, 10, "b")
	r, got := resumed(t, e, id, "c", "b")
	want(t, "resumed", fmt.Sprint(r, len(got), positions(subscribe(t, e, id, "c", "b"))), fmt.Sprint(ResumedExact, 2, id))
	if err := e.Apply(logEntry(1, 11, "a")); !errors.Is(err, ErrPartition) {
		t.Error(err)
	}

	// A notice in partition 1 reaches those who come back to a key that exists, and is missing for others.
	before := positions(subscribe(t, e, "", "b"))
	hole := logEntry(1, 20, "*")
	hole.Frame.Notice = true
	if err := e.Apply(hole); err != nil {
		t.Fatal(err)
	}
	applyTo(t, e, 1, 21, "b")
	_, got = resumed(t, e, before, "b")
	want(t, "a notice", got, []string{"*20", "b21"})
	want(t, "a notice for a new key", len(subscribe(t, e, before, "b-new").Missing()), 1)
	id = positions(subscribe(t, e, "", "b", "c"))

	// An epoch of partition 1: its notice comes once for both keys.
	s = subscribe(t, e, id, "b", "b2", "a")
	drain(s)
	e.SetEpoch(1, testEpoch+50, 3, Frame{Bytes: []byte("epoch"), IDAt: -1, Notice: true})
	applyTo(t, e, 1, 4, "b2")
	want(t, "epoch", drain(s), []string{"epoch", "b24"})
	want(t, "epoch", positions(s), logID(0, 5)+","+logID(50, 4))
	r, got = resumed(t, e, id, "b", "a")
	want(t, "old epoch", fmt.Sprint(r, got), fmt.Sprint(ResumedGap, []string{"gap b epoch -1"}))
}

func TestLogEpoch(t *testing.T) {
	e := startLog(t, Options{}, 1, nil)
	s := subscribe(t, e, "", "k")
	apply(t, e, 100, "k")
	e.SetEpoch(0, testEpoch+1, 40, Frame{Bytes: []byte("epoch"), IDAt: -1, Notice: true})
	apply(t, e, 41, "k")
	it, _ := s.Next(true)
	want(t, "id in the old epoch", positions(s), logID(0, 100))
	notice, _ := s.Next(true)
	want(t, "id in the new epoch", positions(s), logID(1, 40))
	s.Unread([]Item{notice})
	want(t, "id before the notice", positions(s), logID(0, 100))
	want(t, "events", append([]string{string(it.Event.Bytes())}, drain(s)...), []string{"k100", "epoch", "k41"})
	r, got := resumed(t, e, logID(0, 100), "k")
	want(t, "resumed", fmt.Sprint(r, got), fmt.Sprint(ResumedGap, []string{"gap k epoch -1", "k41"}))
	want(t, "applied", e.Applied(0), Position{testEpoch + 1, 41})
	for i := range uint64(2 * keptGenerations) {
		e.SetEpoch(0, testEpoch+2+i, 0, Frame{})
	}
	want(t, "a forgotten epoch", positions(s), "0-0")
}

func TestLogStartAt(t *testing.T) {
	e := startLog(t, Options{}, 1, nil)
	e.StartAt(0, 1000)
	apply(t, e, 999, "k") // not above
	apply(t, e, 1005, "k")
	s := subscribe(t, e, logID(0, 900), "k")
	want(t, "missing", s.Missing(), []Missing{
		{Key: "k", Epoch: testEpoch, After: 900, Through: 1004}, {All: true, Epoch: testEpoch, After: 900, Through: 1005},
	})
	want(t, "nothing is missing", len(subscribe(t, e, logID(0, 1000), "k", "new").Missing()), 0)
}

func TestLogOwnID(t *testing.T) {
	e := startLog(t, Options{}, 1, nil)
	put := func(seq uint64, key string, f Frame) {
		if err := e.Apply(LogEntry{Seq: seq, Key: key, All: key == "", Frame: f}); err != nil {
			t.Fatal(err)
		}
	}
	put(1, "a", withID("one"))
	put(2, "b", withIDRoom("id: ", "\n\n"))
	put(3, "a", withID("three"))
	put(4, "", withID("four"))
	put(5, "b", withID(logID(0, 2))) // a position of this log gets lost
	s := subscribe(t, e, "one", "a", "b")
	var own []bool
	for it, ok := s.Next(true); ok; it, ok = s.Next(true) {
		own = append(own, it.Event.OwnID())
		at, n := it.Event.ID()
		if id := string(it.Event.Bytes()[at : at+n]); !it.Event.OwnID() && id != positions(s) {
			t.Errorf("id %s at %s", id, positions(s))
		}
	}
	want(t, "own", own, []bool{false, true, true, false})
	_, got := resumed(t, e, "four", "a", "b")
	want(t, "after a broadcast", len(got), 1)
	r, got := resumed(t, e, "five", "b")
	want(t, "unknown", fmt.Sprint(r, got[0], len(got)), fmt.Sprint(ResumedGap, "gap b unknown -1", 4))
	if err := e.Check(withID(logID(0, 2))); !errors.Is(err, ErrPosition) {
		t.Error(err)
	}
	if !e.IssuedID(logID(0, 2), 1) || e.IssuedID("one", 1) || e.IssuedID("1700000000000-0", 1) {
		t.Error("IssuedID")
	}
	r, _ = resumed(t, e, logID(0, 1<<40), "a")
	want(t, "far ahead", r, ResumedGap)
}

func TestLogSendLast(t *testing.T) {
	o := &KeyOptions{History: 8, HistoryBytes: 1 << 20, HistoryTTL: time.Minute, MaxSubscribers: 10, SendLast: true}
	e := startLog(t, Options{KeyRule: func(name string) *KeyOptions {
		if name == "plain" {
			return nil
		}
		return o
	}}, 1, nil)
	apply(t, e, 1, "a")
	apply(t, e, 2, "plain")
	apply(t, e, 3, "b")
	e.Advance(0, 10)
	s := subscribe(t, e, "", "b", "a", "plain")
	want(t, "position", positions(s), logID(0, 0))
	want(t, "values", drain(s), []string{"a1", "b3"})
	want(t, "position", positions(s), logID(0, 10))
	apply(t, e, 11, "*")
	apply(t, e, 12, "b")
	want(t, "a broadcast is the newest", drain(subscribe(t, e, "", "a", "b")), []string{"*11", "b12"})
	want(t, "not for others", len(drain(subscribe(t, e, "", "plain"))), 0)
}

func TestLogConflateAndLag(t *testing.T) {
	e := startLog(t, Options{Key: KeyOptions{History: 8, Slow: Latest}}, 1, nil)
	s := subscribe(t, e, "", "k")
	for seq := uint64(1); seq <= 5; seq++ {
		apply(t, e, seq, "k")
	}
	apply(t, e, 6, "*")
	want(t, "lag", s.Lag(), 6)
	want(t, "conflated", s.Conflate(), 4)
	want(t, "events", drain(s), []string{"k5", "*6"})
	for seq := uint64(7); seq <= 30; seq++ {
		apply(t, e, seq, "k")
	}
	if _, ok := s.Next(false); ok {
		t.Error("an event came before the gap")
	}
	want(t, "lapped", drain(s), []string{"gap k lag 23", "k30"})

	// A graceful close.
	apply(t, e, 31, "k")
	s.Close(ReasonDrain)
	apply(t, e, 32, "k")
	want(t, "lag", s.Lag(), 1)
	want(t, "closed", drain(s), []string{"k31"})
	want(t, "closed", positions(s), logID(0, 31))
}

func TestLogAllKeyIsHidden(t *testing.T) {
	e := startLog(t, Options{Key: KeyOptions{MaxSubscribers: 1}}, 1, nil)
	a, b := subscribe(t, e, "", "a", "b"), subscribe(t, e, "", "c")
	apply(t, e, 1, "*")
	want(t, "counts", fmt.Sprint(e.CountAll(), e.Stats().Keys, len(e.Top(10)), e.Count("")), "3 3 3 0")
	a.Close(ReasonGone)
	b.Close(ReasonGone)
	want(t, "counts", fmt.Sprint(e.CountAll(), e.Stats().Keys), "0 0")
	apply(t, e, 2, "*")
	want(t, "after the last one left", drain(subscribe(t, e, logID(0, 0), "a")), []string{"*1", "*2"})
}

// TestLogMaxKeys: an event for whose key there is no room is missing for those who come back to the key.
func TestLogMaxKeys(t *testing.T) {
	e := startLog(t, Options{MaxKeys: 1}, 1, nil)
	s := subscribe(t, e, "", "a")
	var l *LimitError
	if err := e.Apply(logEntry(0, 1, "b")); !errors.As(err, &l) {
		t.Error(err)
	}
	s.Close(ReasonGone)
	m := subscribe(t, e, logID(0, 0), "b").Missing()
	want(t, "missing", m, []Missing{{Key: "b", Epoch: testEpoch, Through: 1}})
}

func TestLogRewind(t *testing.T) {
	e := startLog(t, Options{Key: KeyOptions{History: 8}}, 1, nil)
	for seq := uint64(1); seq <= 20; seq++ {
		apply(t, e, seq, "k")
	}
	apply(t, e, 21, "*")
	rewound := func(r Rewind) (*Subscriber, []Missing) {
		s := new(Subscriber)
		if _, err := e.SubscribeFrom(s, []string{"k"}, "", r, new(countSink)); err != nil {
			t.Fatal(err)
		}
		return s, s.Missing()
	}
	s, m := rewound(Rewind{Events: 3})
	want(t, "3 events", fmt.Sprint(positions(s), m, drain(s)), fmt.Sprint(logID(0, 17), []Missing{}, []string{"k18", "k19", "k20", "*21"}))
	s, m = rewound(Rewind{Events: 10})
	want(t, "10 events", m, []Missing{{Key: "k", Epoch: testEpoch, Through: 12, Newest: 2}})
	s.Fill(0, []*Event{e.NewLogEvent(logEntry(0, 11, "k")), e.NewLogEvent(logEntry(0, 12, "k"))}, nil)
	want(t, "filled", positions(s), logID(0, 10))
	items := []Item{}
	for range 3 {
		it, _ := s.Next(false)
		items = append(items, it)
	}
	s.Unread(items)
	want(t, "unread", positions(s), logID(0, 10))
	want(t, "filled", fmt.Sprint(drain(s)), "[k11 k12 k13 k14 k15 k16 k17 k18 k19 k20 *21]")
	s, m = rewound(Rewind{Earliest: true})
	want(t, "earliest", m, []Missing{{Key: "k", Epoch: testEpoch, Through: 12, Newest: math.MaxInt}})
	// The log gives a part: a gap comes before it.
	s.Fill(0, []*Event{e.NewLogEvent(logEntry(0, 11, "k")), e.NewLogEvent(logEntry(0, 12, "k"))}, &LostError{Through: 10})
	it, ok := s.Next(true)
	if !ok || it.Gap == nil || it.Gap.Reason != GapHistory || it.Gap.Missed != -1 || it.Gap.Next != (Position{testEpoch, 10}) {
		t.Errorf("%+v, want a gap up to 10", it)
	}
	want(t, "after the gap", positions(s), logID(0, 10))
	want(t, "a part", fmt.Sprint(drain(s)), "[k11 k12 k13 k14 k15 k16 k17 k18 k19 k20 *21]")
	s, m = rewound(Rewind{Since: time.Unix(0, 15)})
	want(t, "since", fmt.Sprint(m, drain(s)), fmt.Sprint([]Missing{}, []string{"k15", "k16", "k17", "k18", "k19", "k20", "*21"}))
	_, m = rewound(Rewind{Since: time.Unix(0, 5)})
	want(t, "since long", m, []Missing{{Key: "k", Epoch: testEpoch, Through: 12, Since: time.Unix(0, 5)}})
}

// TestRewind is for an engine without a log.
func TestRewind(t *testing.T) {
	e := start(t, Options{Key: KeyOptions{History: 8}})
	publish(t, e, "a", 10)
	publishAll(t, e, "all")
	publish(t, e, "b", 2)
	rewound := func(r Rewind, lastID string, keys ...string) []string {
		s := new(Subscriber)
		if _, err := e.SubscribeFrom(s, keys, lastID, r, new(countSink)); err != nil {
			t.Fatal(err)
		}
		return drain(s)
	}
	want(t, "none", len(rewound(Rewind{}, "", "a")), 0)
	want(t, "3 events", rewound(Rewind{Events: 3}, "", "a"), []string{"9", "10", "all"})
	want(t, "all", len(rewound(Rewind{Earliest: true}, "", "a")), 8)
	want(t, "more than there are", len(rewound(Rewind{Events: 100}, "", "a")), 8)
	want(t, "since long ago", len(rewound(Rewind{Since: time.Unix(0, 1)}, "", "a")), 8)
	want(t, "since the future", len(rewound(Rewind{Since: time.Now().Add(time.Hour)}, "", "a")), 0)
	want(t, "a new key", len(rewound(Rewind{Events: 3}, "", "new")), 0)
	want(t, "with an id", len(rewound(Rewind{Events: 3}, Position{mustKey(t, e, "a").epoch, 11}.String(), "a")), 0)
	got := rewound(Rewind{Earliest: true}, "", "b", "a")
	want(t, "several keys", fmt.Sprint(len(got), strings.Count(fmt.Sprint(got), "all")), "10 1")
}
