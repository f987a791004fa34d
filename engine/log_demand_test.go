package engine

import (
	"fmt"
	"testing"
	"time"

	"fanfare/internal/test/eventually"
)

// TestLogOnDemand: the rings have only events of keys that have subscribers, or had some not long ago. The log has the others.
func TestLogOnDemand(t *testing.T) {
	o := KeyOptions{HistoryTTL: time.Hour, OnDemand: true}
	e := startLog(t, Options{Key: o, SweepInterval: time.Millisecond}, 1, nil)
	apply(t, e, 1, "a")
	apply(t, e, 2, "b")
	want(t, "keys", fmt.Sprint(e.Stats().Keys, e.Stats().Unwanted, e.Stats().HistoryBytes), "0 2 0")

	s := subscribe(t, e, "", "a")
	apply(t, e, 3, "a")
	apply(t, e, 4, "b")
	apply(t, e, 5, "*")
	want(t, "events", drain(s), []string{"a3", "*5"})
	want(t, "unwanted", e.Stats().Unwanted, 3)

	// Who comes back gets from the log what is not here, and no more than that.
	want(t, "before", subscribe(t, e, logID(0, 0), "a").Missing(), []Missing{{Key: "a", Epoch: testEpoch, Through: 2}})
	want(t, "after the unwanted event", len(subscribe(t, e, logID(0, 1), "a").Missing()), 0)
	want(t, "another key", subscribe(t, e, logID(0, 3), "b").Missing(), []Missing{{Key: "b", Epoch: testEpoch, After: 3, Through: 5}})
	want(t, "its newest", len(subscribe(t, e, logID(0, 4), "b").Missing()), 0)

	// When nobody is left, the key is kept for HistoryTTL, and no longer, however many events come.
	e = startLog(t, Options{Key: o, SweepInterval: time.Millisecond}, 1, nil)
	s = subscribe(t, e, "", "a")
	apply(t, e, 1, "a")
	s.Close(ReasonGone)
	apply(t, e, 2, "a")
	want(t, "kept", len(drain(subscribe(t, e, logID(0, 0), "a"))), 2)
	e = startLog(t, Options{Key: KeyOptions{HistoryTTL: time.Second, OnDemand: true, SendLast: true}, SweepInterval: time.Millisecond}, 1, nil)
	s = subscribe(t, e, "", "a")
	apply(t, e, 1, "a")
	s.Close(ReasonGone)
	seq := uint64(1)
	eventually.True(t, "the key is gone", func() bool {
		seq++
		if err := e.Apply(LogEntry{Seq: seq, At: time.Now().UnixNano(), Key: "a", Frame: text("x")}); err != nil {
			t.Fatal(err)
		}
		return e.Stats().Keys == 0
	})
	want(t, "and what it kept", e.Stats().HistoryBytes, 0)

	// Without a log it says nothing.
	e = start(t, Options{Key: o})
	if _, err := e.Publish("a", text("x")); err != nil {
		t.Fatal(err)
	}
	want(t, "without a log", e.Stats().Keys, 1)
}

// TestLogSendLastMissing: the newest value of a key whose events the rings have lost comes from the log.
func TestLogSendLastMissing(t *testing.T) {
	e := startLog(t, Options{Key: KeyOptions{OnDemand: true, SendLast: true}}, 1, nil)
	want(t, "never published", len(subscribe(t, e, "", "a").Missing()), 0)
	comment := Frame{Bytes: []byte(": c\n\n"), IDAt: -1, Silent: true}
	for _, c := range []struct {
		what   string
		frames []Frame
		want   []string
	}{
		{"the newest", []Frame{text("k19"), text("k20")}, []string{"k20", "k22"}},
		{"a comment after it", []Frame{text("k19"), comment}, []string{"k19", "k22"}},
		{"only comments", []Frame{comment}, []string{"k22"}},
		{"nothing", nil, []string{"k22"}},
	} {
		e := startLog(t, Options{Key: KeyOptions{OnDemand: true, SendLast: true}}, 1, nil)
		apply(t, e, 20, "k")
		apply(t, e, 21, "other")
		s := subscribe(t, e, "", "k")
		want(t, c.what, s.Missing(), []Missing{{Key: "k", Epoch: testEpoch, Through: 21, Newest: sendLastScan}})
		var events []*Event
		for i, f := range c.frames {
			events = append(events, e.NewLogEvent(LogEntry{Seq: 19 + uint64(i), Key: "k", Frame: f}))
		}
		s.Fill(0, events, nil)
		apply(t, e, 22, "k")
		want(t, c.what, drain(s), c.want)
	}
}
