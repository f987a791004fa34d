package sequence_test

import (
	"slices"
	"testing"

	"fanfare/cmd/fanload/sequence"
)

func TestTaken(t *testing.T) {
	p := sequence.Published{Failed: []sequence.Failed{{Key: 1, From: 20, To: 24, Due: 3}, {Key: 1, From: 5, To: 5, Due: 1}, {Key: 2, From: 7, To: 8, Due: 9}}}
	p.Index()
	for _, c := range []struct {
		key            int
		from, to, want int64
		due            []int64
	}{
		{1, 1, 4, 4, nil},
		{1, 1, 5, 4, []int64{1}},
		{1, 5, 21, 14, []int64{1, 3, 3}},
		{1, 24, 30, 6, []int64{3}},
		{1, 25, 30, 6, nil},
		{2, 7, 8, 0, []int64{9, 9}},
		{3, 7, 8, 2, nil},
	} {
		var due []int64
		if n := p.Taken(c.key, c.from, c.to, func(d int64) { due = append(due, d) }); n != c.want || !slices.Equal(due, c.due) {
			t.Errorf("key %d, %d to %d: %d taken, want %d; failed ones were due at %v, want %v", c.key, c.from, c.to, n, c.want, due, c.due)
		}
	}
}

// TestLanes: each slot is in one lane, by its key, and what is left of them is counted.
func TestLanes(t *testing.T) {
	for keys := 1; keys <= 7; keys++ {
		for lanes := 1; lanes <= keys; lanes++ {
			u := sequence.NewUnsent(lanes, keys)
			u.To, u.Start, u.Apart, u.Batch = 40, 100, 2.5, 10
			if u.Events() != 400 || u.Due(4) != 110 || u.First() != 0 {
				t.Errorf("%d events, slot 4 due at %d, first %d", u.Events(), u.Due(4), u.First())
			}
			sent := map[int64]bool{}
			for lane := range lanes {
				for u.Next[lane] < u.To {
					slot := u.Next[lane]
					if sent[slot] || u.Lane(slot) != lane || u.Lane(slot) != int(slot)%keys%lanes {
						t.Fatalf("%d keys, %d lanes: slot %d in lane %d", keys, lanes, slot, lane)
					}
					sent[slot] = true
					if u.Next[lane] = u.After(slot); u.Events() != int64(40-len(sent))*10 {
						t.Fatalf("%d keys, %d lanes: %d of %d slots are left", keys, lanes, u.Events()/10, 40-len(sent))
					}
				}
			}
			if len(sent) != 40 {
				t.Errorf("%d keys, %d lanes: %d slots", keys, lanes, len(sent))
			}
		}
	}
}
