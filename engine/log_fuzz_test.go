package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// FuzzLogResume resumes by arbitrary ids. Whatever the id, the subscriber gets events in order and once, is told of a gap
// exactly if Subscribe says so, and ends at the newest position.
func FuzzLogResume(f *testing.F) {
	for _, id := range []string{
		"", "0-0", logID(0, 3), logID(0, 3) + "," + logID(1, 2), logID(1, 2), logID(0, 1<<40), logID(0, 3) + ",x", "own3", "5-5",
		logID(7, 3), logID(0, 3) + "~*", logID(0, 3) + "," + logID(0, 5), "," + logID(0, 3), logID(0, 1<<63), "1y2p0ij32e8e7-18446744073709551615",
	} {
		f.Add(id, false)
		f.Add(id, true)
	}
	f.Fuzz(func(t *testing.T, id string, partitions bool) {
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
		if result == ResumedExact && id != "" && !strings.Contains(id, ",") && e.IssuedID(id, n) && n == 1 && positions(s) != id {
			t.Errorf("position %s", positions(s))
		}
		if (result == ResumedNone) != (id == "") {
			t.Errorf("result %v", result)
		}
		for i, m := range s.Missing() {
			if m.Through <= m.After || m.Through > 12 {
				t.Errorf("%+v", m)
			}
			s.Fill(i, nil, true)
		}
		ahead := slices.ContainsFunc(parsePositions(positions(s)), func(p Position) bool { return p.Seq > 12 })
		gap := false
		last := map[int]uint64{}
		for it, ok := s.Next(true); ok; it, ok = s.Next(true) {
			if it.Gap != nil {
				gap = true
				continue
			}
			if pos := it.Event.pos(); pos <= last[it.Key] {
				t.Errorf("%d after %d", pos, last[it.Key])
			} else {
				last[it.Key] = pos
			}
		}
		if gap != (result == ResumedGap) {
			t.Errorf("gap %v, result %v", gap, result)
		}
		for i, p := range parsePositions(positions(s)) {
			if p.Seq != 12 && !ahead {
				t.Errorf("partition %d ends at %v", i, p)
			}
		}
	})
}
