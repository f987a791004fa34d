package sse

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// What comes late is a reorder, what comes again a duplicate, and what doesn't come is lost; nothing is two of them.
func TestSequences(t *testing.T) {
	for name, c := range map[string]struct {
		order []int64
		want  counts
	}{
		"in order":                 {[]int64{4, 5, 6}, counts{}},
		"swapped":                  {[]int64{1, 3, 2, 4}, counts{reordered: 1}},
		"the first is late":        {[]int64{2, 1, 3}, counts{reordered: 1}},
		"the first is very late":   {[]int64{4, 1, 5}, counts{lost: 2, reordered: 1}},
		"one overtakes two":        {[]int64{1, 4, 2, 3, 5}, counts{reordered: 2}},
		"backwards":                {[]int64{5, 4, 3, 2, 1}, counts{reordered: 4}},
		"one is lost":              {[]int64{1, 3, 4}, counts{lost: 1}},
		"some are lost":            {[]int64{1, 5, 9}, counts{lost: 6}},
		"the newest again":         {[]int64{1, 2, 2}, counts{duplicate: 1}},
		"an old one again":         {[]int64{1, 2, 3, 1}, counts{duplicate: 1}},
		"all again":                {[]int64{1, 2, 3, 1, 2, 3}, counts{duplicate: 3}},
		"late, and again":          {[]int64{1, 3, 2, 2}, counts{reordered: 1, duplicate: 1}},
		"one of a hole":            {[]int64{1, 6, 4}, counts{lost: 3, reordered: 1}},
		"the ends of a hole":       {[]int64{1, 6, 2, 5}, counts{lost: 2, reordered: 2}},
		"the first again, late":    {[]int64{3, 1, 1}, counts{lost: 1, reordered: 1, duplicate: 1}},
		"negative numbers, too":    {[]int64{-2, 0, -1, 1}, counts{reordered: 1}},
		"two holes, each refilled": {[]int64{1, 3, 5, 4, 2}, counts{reordered: 2}},
	} {
		for _, key := range []string{"", "k"} {
			var s sequences
			var got counts
			now := time.Now()
			for _, seq := range c.order {
				got.add(s.next(key, seq, now))
			}
			got.lost += s.settle(now, true, nil)
			if got != c.want || s.pending != 0 {
				t.Errorf("%s, key %q: %+v, %d pending; want %+v", name, key, got, s.pending, c.want)
			}
		}
	}
}

// Any order with losses and repetitions is counted as a plain table of what has come counts it.
func TestSequencesAtRandom(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var s sequences
		var got, want counts
		now := time.Now()
		came := make(map[int64]bool)
		first, last := int64(0), int64(0)
		for n := range int64(200) {
			seq := n + r.Int64N(9)
			switch {
			case len(came) == 0:
				first, last = seq, seq
			case came[seq]:
				want.duplicate++
			case seq < last:
				want.reordered++
			}
			came[seq] = true
			first, last = min(first, seq), max(last, seq)
			got.add(s.next("", seq, now))
		}
		want.lost = last - first + 1 - int64(len(came))
		got.lost += s.settle(now, true, nil)
		if got != want {
			t.Fatalf("seed %d: %+v, want %+v", seed, got, want)
		}
	}
}

// A long run learns of a loss while it lasts, and remembers a bounded number of holes.
func TestSequencesSettle(t *testing.T) {
	var s sequences
	begin := time.Now()
	s.next("", 1, begin)
	s.next("", 3, begin)
	s.next("", 5, begin.Add(time.Second))
	for _, c := range []struct {
		after time.Duration
		lost  int64
	}{{reorderGrace - 1, 0}, {reorderGrace, 1}, {reorderGrace, 0}, {reorderGrace + time.Second, 1}} {
		if lost := s.settle(begin.Add(c.after), false, nil); lost != c.lost {
			t.Errorf("%v after the hole: %d are lost, want %d", c.after, lost, c.lost)
		}
	}
	if got := s.next("", 2, begin.Add(time.Hour)); got != (counts{reordered: 1}) {
		t.Errorf("what comes after it was charged: %+v, want a reorder, and no duplicate", got)
	}
	var many sequences
	var lost int64
	for i := range int64(3 * maxHoles) {
		lost += many.next("", 2*i, begin).lost
	}
	if n := len(many.one.holes); n != maxHoles {
		t.Errorf("%d holes are remembered, want %d", n, maxHoles)
	}
	if lost += many.settle(begin, true, nil); lost != 3*maxHoles-1 {
		t.Errorf("%d are lost, want %d", lost, 3*maxHoles-1)
	}
}

// TestExpectedEvents: who says which key a stream is for, hears of events that are another's, or are cut off.
func TestExpectedEvents(t *testing.T) {
	whole := func(key string, seq int) string { return fmt.Sprintf("data: {\"seq\":%d,\"key\":%q}\n\n", seq, key) }
	s := streaming(t, whole("a", 1)+whole("b", 7)+"data: {\"seq\":2,\"k\n\n"+"data: {\"key\":\"a\"}\n\n"+"data: {\"seq\":3}\n\n"+"data: text\n\n"+
		"event: note\ndata: text\n\n"+"event: message\ndata: {}\n\n"+whole("a", 3))
	v := newVU(t, map[string]any{"url": s.url})
	v.must(`
		const end = (es) => { es.onerror = () => note([es.stats.misrouted, es.stats.malformed, es.stats.lost].join()); };
		end(new EventSource(url, { reconnect: false, expect: { key: 'a' }, tags: { of: 'strict' } }));
		end(new EventSource(url, { reconnect: false, tags: { of: 'lax' } }));`)
	if notes := v.noted(); len(notes) != 2 || !slices.Contains(notes, "1,5,1") || !slices.Contains(notes, "0,0,3") {
		t.Errorf("misrouted, malformed, lost: %q; want 1,5,1 and 0,0,3", notes)
	}
	v.wantSum(1, "sse_misrouted", "of=strict")
	v.wantSum(5, "sse_malformed", "of=strict")
	v.wantSum(1, "sse_lost", "of=strict")
	v.wantCount(0, "sse_misrouted", "of=lax")
	v.wantCount(0, "sse_malformed", "of=lax")
	for options, want := range map[string]string{
		`{ expect: 'a' }`:                                 "must be an object",
		`{ expect: { ledger: 'x' } }`:                     "needs key: ",
		`{ expect: { key: 'x', Ledger: 'y' } }`:           `unknown member "Ledger"`,
		`{ expect: { key: 'x' }, measure: false }`:        "needs a sequence",
		`{ receiveBuffer: 0 }`:                            "must be a whole number from 1",
		`{ expect: { key: 'x' }, measure: { key: 'k' } }`: "needs a sequence",
	} {
		v.must(`try { new EventSource(url, ` + options + `); note('no error'); } catch (e) { note(e.message); }`)
		if notes := v.noted(); !strings.Contains(notes[len(notes)-1], want) {
			t.Errorf("%s: %q, want %q", options, notes[len(notes)-1], want)
		}
	}
}
