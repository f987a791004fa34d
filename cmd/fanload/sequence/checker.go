// Package sequence checks what one subscriber gets of one key: which events came twice, out of order, or not at all.
package sequence

import "math/bits"

// Window is how far behind the newest sequence an event may come and still be told from a duplicate without further memory.
const Window = 1024

// Verdict says what an event was.
type Verdict uint8

const (
	// New is an event that was not seen before, newer than all others.
	New Verdict = iota
	// Reordered is an event that was not seen before, older than another one.
	Reordered
	// Duplicate is an event that was seen before.
	Duplicate
	// Late is an event far behind, at a subscriber that misses so much that nobody remembers whether it was seen.
	Late
)

// Checker keeps what was seen of the newest Window sequences, and what is missing before them: 168 bytes, however long the
// stream is, where nothing is missing. The zero value takes the first event as it comes as the beginning, as for a
// subscriber that joins a running stream. It isn't safe for concurrent use.
type Checker struct {
	begun bool
	base  int64 // sequences up to it are not expected
	high  int64 // the newest one seen; base if there is none
	first int64 // the oldest one seen that was expected; 0 if there is none
	past  *past // what left the window unseen; nil: nothing
	seen  [Window / 64]uint64
}

// Begin expects every sequence after base: 0 for a subscriber that was there before the first event. An event up to base that comes
// first nevertheless was on its way: then every one after that is expected.
func (c *Checker) Begin(base int64) { *c = Checker{begun: true, base: base, high: base} }

// Begun tells whether the checker has a beginning: by Begin, or by its first event.
func (c *Checker) Begun() bool { return c.begun }

// Expected is how many sequences up to one had to come.
func (c *Checker) Expected(last int64) int64 {
	if !c.begun {
		return 0
	}
	return max(0, last-c.base)
}

// High is the newest sequence seen; 0, or the base, if there is none.
func (c *Checker) High() int64 { return c.high }

// Between tells whether something that came before a missing sequence was seen, and something that came after it.
func (c *Checker) Between(seq int64) bool { return c.first != 0 && seq > c.first && seq < c.high }

// See takes an event's sequence, which is above 0.
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
		// From before the beginning: a replay of what was not expected. It is neither lost nor new.
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

// behind takes a sequence that has left the window.
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

// Has tells whether a sequence was seen; unsure ones were.
func (c *Checker) Has(seq int64) bool {
	switch {
	case !c.begun || seq > c.high:
		return false
	case seq <= c.high-Window:
		return c.past == nil || !c.past.lacks(seq)
	}
	return c.has(seq)
}

// Missing calls each with the ranges of sequences after the base and up to last that never came, in rising order, and returns how
// many more there are of which it is not known which ones. last below the newest one seen counts as that one.
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
	// Only sequences in the window that are expected at all can be missing.
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

// Lost is how many sequences after the base and up to last never came.
func (c *Checker) Lost(last int64) (n int64) {
	unlisted := c.Missing(last, func(from, to int64) { n += to - from + 1 })
	return n + unlisted
}

// seenAfter counts the sequences of (low, high] that were seen. low is at least high-Window.
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

// advance moves the window so that seq is its newest, and notes what leaves it unseen.
func (c *Checker) advance(seq int64) {
	if seq-c.high >= Window {
		// Everything of the window leaves, and all between it and the new window has never come.
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

// miss notes a range that has left the window unseen.
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
