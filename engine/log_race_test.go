//go:build race

package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// logOutcome is what became of the events after a client's position: it receives them, or they are missing, or in a gap.
func logOutcome(t *testing.T, e *Engine, s *Subscriber, through uint64) (lost []uint64) {
	t.Helper()
	got := map[uint64]bool{}
	after, _ := ParsePosition(positions(s))
	cover := func(from, to uint64) {
		for seq := from + 1; seq <= to; seq++ {
			got[seq] = true
		}
	}
	for i, m := range s.Missing() {
		cover(m.After, m.Through)
		s.Fill(i, nil, nil)
	}
	last := uint64(0)
	for {
		it, ok := s.Next(true)
		if !ok {
			break
		}
		if it.Gap != nil {
			from, _ := ParsePosition(it.Gap.After)
			cover(from.Seq, it.Gap.Next.Seq)
			continue
		}
		seq := s.log.parts[0].p.position(it.Event.pos()).Seq
		if seq <= last || seq <= after.Seq {
			t.Errorf("event %d after %d, resumed after %v", seq, last, after)
		}
		last, got[seq] = seq, true
	}
	for seq := after.Seq + 1; seq <= through; seq++ {
		if !got[seq] {
			lost = append(lost, seq)
		}
	}
	return lost
}

// TestLogResumeDuringApply resumes a client at each race point of an Apply that overwrites or evicts the next event of the
// client. The floor is raised before the event is gone.
func TestLogResumeDuringApply(t *testing.T) {
	for what, o := range map[string]KeyOptions{"overwrite": {History: 8}, "evict": {History: 64, HistoryBytes: 8}} {
		reached := 0
		for at := 1; at <= 12; at++ {
			e := startLog(t, Options{Key: o}, 1, nil)
			stopWakers(e)
			for seq := uint64(1); seq <= 20; seq++ {
				if err := e.Apply(LogEntry{Seq: seq, Key: "k", Frame: text("x")}); err != nil {
					t.Fatal(err)
				}
			}
			var subs []*Subscriber
			atRacePoint(t, at, func() {
				for seq := uint64(10); seq <= 20; seq++ {
					subs = append(subs, subscribe(t, e, logID(0, seq), "k"))
				}
			})
			if err := e.Apply(LogEntry{Seq: 21, Key: "k", Frame: text("x")}); err != nil {
				t.Fatal(err)
			}
			racePoint = yieldSometimes
			for _, s := range subs {
				reached++
				if lost := logOutcome(t, e, s, 21); lost != nil {
					t.Errorf("%s, race point %d: lost %v", what, at, lost)
				}
			}
		}
		if reached == 0 {
			t.Errorf("%s: no race point was reached", what)
		}
	}
}

// TestLogResumeDuringRetire resumes a client at each race point of the end of a key's life, after which the key exists
// anew.
func TestLogResumeDuringRetire(t *testing.T) {
	reached := 0
	for at := 1; at <= 12; at++ {
		e := startLog(t, Options{}, 1, nil)
		stopWakers(e)
		apply(t, e, 1, "k")
		apply(t, e, 2, "k")
		apply(t, e, 3, "other")
		k := mustKey(t, e, "k")
		k.expire(e, time.Now().UnixNano()+1, false)
		var s *Subscriber
		atRacePoint(t, at, func() {
			apply(t, e, 4, "k")
			reached++
		})
		if k.retire(e) {
			e.remove(k)
		}
		racePoint = yieldSometimes
		apply(t, e, 5, "k")
		s = subscribe(t, e, logID(0, 1), "k")
		if lost := logOutcome(t, e, s, 5); lost != nil {
			t.Errorf("race point %d: lost %v", at, lost)
		}
	}
	if reached == 0 {
		t.Error("no race point was reached")
	}
}

// TestLogResumeDuringSetEpoch resumes clients at each race point of SetEpoch. Each gets the events of the new epoch once,
// and is told of the epoch or has an id of it.
func TestLogResumeDuringSetEpoch(t *testing.T) {
	for at := 1; at <= 12; at++ {
		e := startLog(t, Options{}, 1, nil)
		stopWakers(e)
		for seq := uint64(1); seq <= 5; seq++ {
			apply(t, e, seq, "k")
		}
		var subs []*Subscriber
		ids := []string{"", logID(0, 5), logID(0, 9)}
		atRacePoint(t, at, func() {
			for _, id := range ids {
				subs = append(subs, subscribe(t, e, id, "k"))
			}
		})
		next := uint64(testEpoch + 9)
		e.SetEpoch(0, next, 2, Frame{Bytes: []byte("epoch"), IDAt: -1, Notice: true})
		racePoint = yieldSometimes
		for seq := uint64(3); seq <= 6; seq++ {
			apply(t, e, seq, "k")
		}
		for i, s := range subs {
			begin := positions(s)
			got := drain(s)
			told := len(got) > 4 && (got[0] == "epoch" || got[0] == "gap k epoch -1")
			if p, _ := ParsePosition(begin); len(got) < 4 || !told && p.Epoch != next || !slices.Equal(got[len(got)-4:], []string{"k3", "k4", "k5", "k6"}) {
				t.Errorf("race point %d, resumed at %q, position %s: %v", at, ids[i], begin, got)
			}
			want(t, "end", positions(s), Position{next, 6})
		}
		if at < 4 && len(subs) == 0 {
			t.Errorf("race point %d was not reached", at)
		}
	}
}

// TestLogCloseDuringNext closes a subscriber at each race point of Next, and applies an event to a key that is retired
// because of that. The position does not pass the event.
func TestLogCloseDuringNext(t *testing.T) {
	for at := 1; at <= 6; at++ {
		for _, reason := range []Reason{ReasonAge, ReasonGone} {
			e := startLog(t, Options{}, 1, nil)
			stopWakers(e)
			s := subscribe(t, e, "", "quiet")
			e.Advance(0, 4)
			closed := false
			atRacePoint(t, at, func() {
				closed = true
				s.Close(reason)
				apply(t, e, 5, "quiet")
			})
			got := drain(s)
			racePoint = yieldSometimes
			if !closed {
				apply(t, e, 5, "quiet")
				got = append(got, drain(s)...)
			}
			p, _ := ParsePosition(positions(s))
			if has := slices.Contains(got, "quiet5"); has != (p.Seq >= 5) {
				t.Errorf("race point %d, %v: %v at %v", at, reason, got, fmt.Sprint(p))
			}
		}
	}
}
