// Package sequence checks the events of one key that one subscriber gets: which of them arrived twice, out of order, or not at
// all.
//
//	var c sequence.Checker
//	c.Begin(0)                        // expect every sequence after 0
//	verdict := c.See(7)               // sequence.New
//	lost := c.Lost(7)                 // 6
package sequence

import "math/bits"

// Window is how far behind the newest sequence an event may be and still be distinguished from a duplicate without more memory.
const Window = 1024

// Verdict classifies an event.
type Verdict uint8

const (
	// New is an event that was not seen before, newer than all others.
	New Verdict = iota
	// Reordered is an event that was not seen before, older than another one.
	Reordered
	// Duplicate is an event that was seen before.
	Duplicate
	// Late is an event far behind the newest one, at a subscriber that misses so many that it is unknown whether it was seen.
	Late
)

// Checker records which of the newest Window sequences were seen, and which are missing before them. If none is missing, it
// takes 168 bytes for a stream of any length. The zero value begins with the first event that arrives, like a subscriber that
// joins a running stream. It is not safe for concurrent use.
type Checker struct {
	begun bool
	base  int64 // sequences up to it are not expected
	high  int64 // the newest one seen; base if none was seen
	first int64 // the oldest one seen that was expected; 0 if none was seen
	past  *past // the sequences that left the window unseen; nil: none
	seen  [Window / 64]uint64
}

// Begin expects every sequence after base. base is 0 for a subscriber that joined before the first event. If the first event that
// arrives is not after base, it was already on its way, and every event after it is expected.
func (c *Checker) Begin(base int64) { *c = Checker{begun: true, base: base, high: base} }

// Begun reports whether the checker has begun: by Begin, or by its first event.
func (c *Checker) Begun() bool { return c.begun }

// Expected is how many sequences up to last were expected.
func (c *Checker) Expected(last int64) int64 {
	if !c.begun {
		return 0
	}
	return max(0, last-c.base)
}

// High is the newest sequence seen. If none was seen, it is the base, or 0.
func (c *Checker) High() int64 { return c.high }

// Between reports whether both an older and a newer sequence than a missing one were seen.
func (c *Checker) Between(seq int64) bool { return c.first != 0 && seq > c.first && seq < c.high }

// See records an event's sequence, which must be positive, and classifies the event.
func (c *Checker) See(seq int64) Verdict {
	if !c.begun {
		c.Begin(seq - 1)
	}
	switch {
	case seq > c.high:
		c.advance(seq)
		c.mark(seq)
		if c.first == 0 {
			c.first = seq
		}
		return New
	case c.first == 0:
		c.base, c.high, c.first = seq-1, seq, seq
		c.mark(seq)
		return New
	case seq <= c.base && seq > c.high-Window:
		// An event before the beginning is a replay that was not expected. It is neither lost nor new.
		if c.has(seq) {
			return Duplicate
		}
		c.mark(seq)
		return Reordered
	case seq <= c.high-Window:
		return c.behind(seq)
	case c.has(seq):
		return Duplicate
	}
	c.mark(seq)
	c.first = min(c.first, seq)
	return Reordered
}

// behind classifies a sequence that has left the window.
func (c *Checker) behind(seq int64) Verdict {
	switch {
	case seq <= c.base:
		return Late
	case c.past != nil && c.past.fill(seq):
		c.first = min(c.first, seq)
		return Reordered
	case c.past != nil && c.past.unlisted > 0:
		return Late
	}
	return Duplicate
}

// Has reports whether a sequence was seen. It reports true if that is unknown.
func (c *Checker) Has(seq int64) bool {
	switch {
	case !c.begun || seq > c.high:
		return false
	case seq <= c.high-Window:
		return c.past == nil || !c.past.lacks(seq)
	}
	return c.has(seq)
}

// Missing calls each with the ranges of sequences after the base and up to last that never arrived, in ascending order. It
// returns how many more are missing whose sequences are unknown. A last below the newest sequence seen counts as that one.
func (c *Checker) Missing(last int64, each func(from, to int64)) (unlisted int64) {
	if !c.begun {
		return 0
	}
	if c.past != nil {
		unlisted = c.past.unlisted
		for _, h := range c.past.holes {
			each(h.from, h.to)
		}
	}
	// In the window, only expected sequences can be missing.
	low := max(c.base, c.high-Window)
	whole := c.seenAfter(low) == c.high-low
	for s := low + 1; s <= c.high && !whole; s++ {
		if c.has(s) {
			continue
		}
		from := s
		for s < c.high && !c.has(s+1) {
			s++
		}
		each(from, s)
	}
	if last > c.high {
		each(c.high+1, last)
	}
	return unlisted
}

// Lost is how many sequences after the base and up to last never arrived.
func (c *Checker) Lost(last int64) (n int64) {
	unlisted := c.Missing(last, func(from, to int64) { n += to - from + 1 })
	return n + unlisted
}

// seenAfter counts the sequences in (low, high] that were seen. low is at least high-Window.
func (c *Checker) seenAfter(low int64) int64 {
	if low == c.high-Window {
		n := 0
		for _, w := range c.seen {
			n += bits.OnesCount64(w)
		}
		return int64(n)
	}
	var n int64
	for s := low + 1; s <= c.high; s++ {
		if c.has(s) {
			n++
		}
	}
	return n
}

// advance moves the window so that seq is its newest sequence, and records the sequences that leave it unseen.
func (c *Checker) advance(seq int64) {
	if seq-c.high >= Window {
		// All sequences of the window leave it, and those between it and the new window never arrived.
		for s := max(c.base, c.high-Window) + 1; s <= c.high; s++ {
			if !c.has(s) {
				c.miss(s, s)
			}
		}
		c.miss(c.high+1, seq-Window)
		c.seen = [Window / 64]uint64{}
		c.high = seq
		return
	}
	for s := c.high + 1; s <= seq; s++ {
		if old := s - Window; old > c.base && !c.has(old) {
			c.miss(old, old)
		}
		c.clear(s)
	}
	c.high = seq
}

// miss records a range that has left the window unseen.
func (c *Checker) miss(from, to int64) {
	if from > to {
		return
	}
	if c.past == nil {
		c.past = new(past)
	}
	c.past.add(hole{from, to})
}

func (c *Checker) has(seq int64) bool {
	at := uint64(seq) % Window
	return c.seen[at/64]&(1<<(at%64)) != 0
}

func (c *Checker) mark(seq int64) {
	at := uint64(seq) % Window
	c.seen[at/64] |= 1 << (at % 64)
}

func (c *Checker) clear(seq int64) {
	at := uint64(seq) % Window
	c.seen[at/64] &^= 1 << (at % 64)
}
