// Package sequence checks what one subscriber gets of one key: which events came twice, out of order, or not at all.
package sequence

import "math/bits"

// Window is how far behind the newest sequence an event may come and still be told from a duplicate.
const Window = 1024

// Verdict says what an event was.
type Verdict uint8

const (
	// New is an event that was not seen before, newer than all others.
	New Verdict = iota
	// OutOfOrder is an event that was not seen before, older than another one.
	OutOfOrder
	// Duplicate is an event that was seen before.
	Duplicate
	// Late is an event more than Window behind: it was counted as lost already, or is a duplicate; nobody remembers.
	Late
)

// Checker keeps what was seen of the newest Window sequences: 160 bytes, however long the stream is. The zero value
// takes the first event as it comes as the beginning, as for a subscriber that joins a running stream. It isn't safe for
// concurrent use.
type Checker struct {
	begun bool
	base  int64 // sequences up to it are not expected
	high  int64 // the newest one seen; base if there is none
	lost  int64 // those that left the window unseen
	seen  [Window / 64]uint64
}

// Begin expects every sequence after base: 0 for a subscriber that was there before the first event.
func (c *Checker) Begin(base int64) { *c = Checker{begun: true, base: base, high: base} }

// Begun tells whether the checker has a beginning: by Begin, or by its first event.
func (c *Checker) Begun() bool { return c.begun }

// High is the newest sequence seen; 0, or the base, if there is none.
func (c *Checker) High() int64 { return c.high }

// See takes an event's sequence, which is above 0.
func (c *Checker) See(seq int64) Verdict {
	if !c.begun {
		c.Begin(seq - 1)
	}
	switch {
	case seq > c.high:
		c.advance(seq)
		c.mark(seq)
		return New
	case seq <= c.base && seq > c.high-Window:
		// From before the beginning: a replay of what was not expected. It is neither lost nor new.
		if c.has(seq) {
			return Duplicate
		}
		c.mark(seq)
		return OutOfOrder
	case seq <= c.high-Window:
		return Late
	case c.has(seq):
		return Duplicate
	}
	c.mark(seq)
	return OutOfOrder
}

// Has tells whether a sequence was seen; unsure ones, which have left the window, were.
func (c *Checker) Has(seq int64) bool {
	return c.begun && seq <= c.high && (seq <= c.high-Window || c.has(seq))
}

// Lost is how many sequences after the base and up to last never came. last below the newest one seen counts as that one.
func (c *Checker) Lost(last int64) int64 {
	if !c.begun {
		return 0
	}
	lost := c.lost
	// Only sequences in the window that are expected at all can be missing.
	low := max(c.base, c.high-Window)
	inWindow := c.high - low
	lost += inWindow - c.seenAfter(low)
	return lost + max(0, last-c.high)
}

// Missing is Lost for the newest sequence seen.
func (c *Checker) Missing() int64 { return c.Lost(0) }

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

// advance moves the window so that seq is its newest, and counts what leaves it unseen.
func (c *Checker) advance(seq int64) {
	if seq-c.high >= Window {
		// Everything of the window leaves, and all between it and the new window has never come.
		low := max(c.base, c.high-Window)
		c.lost += c.high - low - c.seenAfter(low)
		c.lost += seq - Window - c.high
		c.seen = [Window / 64]uint64{}
		c.high = seq
		return
	}
	for s := c.high + 1; s <= seq; s++ {
		if old := s - Window; old > c.base && !c.has(old) {
			c.lost++
		}
		c.clear(s)
	}
	c.high = seq
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
