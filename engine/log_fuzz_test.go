package engine

import (
	"fmt"
	"slices"
	"testing"
)

// FuzzLogResume resumes by arbitrary ids, at engines whose log has lost the events up to any sequence. Whatever the id, the subscriber gets events in order and once, is told of a gap
// exactly if Subscribe says so or the log has lost some, and ends at the newest position.
func FuzzLogResume(f *testing.F) {
	for _, id := range []string{
		"", "0-0", logID(0, 3), logID(0, 3) + "," + logID(1, 2), logID(1, 2), logID(0, 1<<40), logID(0, 3) + ",x", "own3", "5-5",
		logID(7, 3), logID(0, 3) + "~*", logID(0, 3) + "~", logID(0, 3) + "," + logID(0, 5), "," + logID(0, 3), logID(0, 1<<63), "1y2p0ij32e8e7-18446744073709551615",
	} {
		for lost := range uint64(6) {
			f.Add(id, false, lost)
			f.Add(id, true, lost)
		}
	}
	f.Fuzz(func(t *testing.T, id string, partitions bool, lost uint64) {
		n := 1
		if partitions {
			n = 2
		}
		e := startLog(t, Options{Key: KeyOptions{History: 8}, Wakers: 1}, n, func(key string) int { return byFirstByte(key) % n })
		for seq := uint64(1); seq <= 12; seq++ {
			for p := range n {
				entry := logEntry(p, seq, []string{"a", "b"}[p])
				entry.Frame = withID(fmt.Sprint("own", seq))
				if err := e.Apply(entry); err != nil {
					t.Fatal(err)
				}
			}
		}
		keys := []string{"a", "b"}[:n]
		s := new(Subscriber)
		result, err := e.Subscribe(s, keys, id, new(countSink))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(ReasonGone)
		if _, ok := ParsePosition(id); ok && result == ResumedExact && e.IssuedID(id, n) && n == 1 && positions(s) != id {
			t.Errorf("position %s", positions(s))
		}
		if (result == ResumedNone) != (id == "") {
			t.Errorf("result %v", result)
		}
		var wanted []*Event
		partial := false
		for i, m := range s.Missing() {
			if m.Through <= m.After || m.Through > 12 {
				t.Errorf("%+v", m)
			}
			// The log has the events up to 4, which the rings do not have, or lost of them.
			var events []*Event
			through := max(lost, m.After)
			for seq := through + 1; seq != 0 && seq <= m.Through && !m.All; seq++ {
				events = append(events, e.NewLogEvent(logEntry(m.Partition, seq, m.Key)))
			}
			s.Fill(i, events, &LostError{Through: lost})
			// Then the events above arrive, after a gap if there is anything below.
			wanted = append(wanted, events...)
			partial = partial || lost > m.After
		}
		ahead := slices.ContainsFunc(parsePositions(positions(s)), func(p Position) bool { return p.Seq > 12 })
		gap := false
		last := map[int]uint64{}
		for it, ok := s.Next(true); ok; it, ok = s.Next(true) {
			if it.Gap != nil {
				gap = true
				if after, _ := ParsePosition(it.Gap.After); after == it.Gap.Next {
					t.Errorf("a gap of nothing: %+v", it.Gap)
				}
				continue
			}
			wanted = slices.DeleteFunc(wanted, func(ev *Event) bool { return ev == it.Event })
			if pos := it.Event.pos(); pos <= last[it.Key] {
				t.Errorf("%d after %d", pos, last[it.Key])
			} else {
				last[it.Key] = pos
			}
		}
		if gap != (result == ResumedGap || partial) {
			t.Errorf("gap %v, result %v, partial %v", gap, result, partial)
		}
		if len(wanted) > 0 {
			t.Errorf("%d events of the log did not arrive", len(wanted))
		}
		for i, p := range parsePositions(positions(s)) {
			if p.Seq != 12 && !ahead {
				t.Errorf("partition %d ends at %v", i, p)
			}
		}
	})
}
