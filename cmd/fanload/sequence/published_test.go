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
	u := sequence.Unsent{From: 3, To: 7, Start: 100, Apart: 2.5, Batch: 10}
	if u.Events() != 40 || u.Due(4) != 110 {
		t.Errorf("%d events, slot 4 due at %d", u.Events(), u.Due(4))
	}
}
