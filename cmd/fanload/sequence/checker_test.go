package sequence_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"fanfare/cmd/fanload/sequence"
)

// model remembers everything.
type model struct {
	begun      bool
	base, high int64
	seen       map[int64]bool
}

func (m *model) begin(base int64) {
	*m = model{begun: true, base: base, high: base, seen: map[int64]bool{}}
}

func (m *model) see(seq int64) sequence.Verdict {
	if !m.begun || len(m.seen) == 0 && seq <= m.base {
		m.begin(seq - 1)
	}
	if seq > m.high {
		m.high = seq
		m.seen[seq] = true
		return sequence.New
	}
	if seq <= m.high-sequence.Window && seq <= m.base {
		return sequence.Late
	}
	if m.seen[seq] {
		return sequence.Duplicate
	}
	m.seen[seq] = true
	return sequence.Reordered
}

func (m *model) lost(last int64) (n int64) {
	for s := m.base + 1; m.begun && s <= max(last, m.high); s++ {
		if !m.seen[s] {
			n++
		}
	}
	return n
}

// compare feeds steps relative to the newest sequence to both.
func compare(t *testing.T, begin bool, steps []int64) {
	t.Helper()
	var c sequence.Checker
	var m model
	if begin {
		c.Begin(0)
		m.begin(0)
	}
	for i, step := range steps {
		seq := max(1, m.high+step)
		before := m.seen[seq]
		got, want := c.See(seq), m.see(seq)
		if unlisted := c.Missing(0, func(int64, int64) {}); unlisted > 0 && got == sequence.Late && seq <= m.high-sequence.Window {
			m.seen[seq] = before // it can't know
			continue
		}
		if got != want {
			t.Fatalf("step %d, sequence %d: verdict %d, the model says %d", i, seq, got, want)
		}
		if c.High() != m.high {
			t.Fatalf("step %d: newest %d, the model says %d", i, c.High(), m.high)
		}
	}
	for _, last := range []int64{0, m.high, m.high + 17} {
		if got, want := c.Lost(last), m.lost(last); got != want {
			t.Fatalf("lost up to %d: %d, the model says %d (%d steps)", last, got, want, len(steps))
		}
	}
	unlisted := c.Missing(0, func(int64, int64) {})
	for s := max(1, m.base+1); s <= m.high+1; s++ {
		if s <= m.high-sequence.Window && unlisted > 0 {
			continue
		}
		if c.Has(s) != m.seen[s] {
			t.Fatalf("Has(%d) = %v, the model says %v", s, c.Has(s), m.seen[s])
		}
	}
}

func TestCheckerAgreesWithModel(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		steps := make([]int64, 400)
		for i := range steps {
			switch r.IntN(10) {
			case 0:
				steps[i] = -r.Int64N(2 * sequence.Window)
			case 1:
				steps[i] = r.Int64N(3 * sequence.Window)
			case 2, 3:
				steps[i] = -r.Int64N(5)
			default:
				steps[i] = 1
			}
		}
		compare(t, seed%2 == 0, steps)
	}
}

func FuzzChecker(f *testing.F) {
	f.Add(true, []byte{1, 1, 3, 0xFE, 0xFE, 1})
	f.Add(false, []byte{0x80, 0x7F, 0x7F, 0x7F, 0x81, 1})
	f.Fuzz(func(t *testing.T, begin bool, raw []byte) {
		steps := make([]int64, min(len(raw), 500))
		for i := range steps {
			steps[i] = int64(int8(raw[i]))
			if steps[i] > 100 || steps[i] < -100 {
				steps[i] *= 20 // beyond the window
			}
		}
		compare(t, begin, steps)
	})
}

func TestNothingSeen(t *testing.T) {
	var c sequence.Checker
	if c.Lost(10) != 0 {
		t.Error("a checker without a beginning knows of nothing to lose")
	}
	if c.Begin(0); c.Lost(10) != 10 {
		t.Errorf("lost %d of 10", c.Lost(10))
	}
}

// TestMissingByRange: which ones are missing is known in the window, before it and after it.
func TestMissingByRange(t *testing.T) {
	var c sequence.Checker
	c.Begin(5)
	for s := int64(8); s < 3000; s++ {
		if s != 20 && s != 21 && s != 2990 {
			c.See(s)
		}
	}
	var got [][2]int64
	unlisted := c.Missing(3005, func(from, to int64) { got = append(got, [2]int64{from, to}) })
	if want := [][2]int64{{6, 7}, {20, 21}, {2990, 2990}, {3000, 3005}}; !slices.Equal(got, want) || unlisted != 0 {
		t.Errorf("missing %v, want %v; %d unlisted", got, want, unlisted)
	}
	for seq, want := range map[int64]bool{7: false, 20: true, 2990: true, 3000: false} {
		if c.Between(seq) != want {
			t.Errorf("%d between two that came: %v", seq, !want)
		}
	}
	if v := c.See(21); v != sequence.Reordered || c.Lost(0) != 4 {
		t.Errorf("an event 3,000 late: verdict %d, %d lost", v, c.Lost(0))
	}
	if v := c.See(21); v != sequence.Duplicate {
		t.Errorf("a duplicate 3,000 late: verdict %d", v)
	}
}

// TestOnItsWay: an event up to the base that comes first is the beginning.
func TestOnItsWay(t *testing.T) {
	var c sequence.Checker
	c.Begin(7)
	for _, s := range []int64{6, 7, 9} {
		if v := c.See(s); v != sequence.New {
			t.Errorf("%d: verdict %d", s, v)
		}
	}
	if c.Lost(9) != 1 || c.Has(8) || !c.Between(8) {
		t.Errorf("%d lost", c.Lost(9))
	}
}

func TestSize(t *testing.T) {
	if n := unsafe.Sizeof(sequence.Checker{}); n > 168 {
		t.Errorf("a checker takes %d bytes", n)
	}
}
