package engine

// broadcasts remembers which calls of PublishAll a subscriber has had, by their
// numbers: all up to last but for those from lo to hi.
//
// A ring holds broadcasts in ascending order (I10), and all that were published
// while the subscriber was in the key. So a key whose broadcasts go from 7 to 10
// has lost 8 and 9 to a lap or to conflation: those are left to be found in
// another key of the subscriber, which may be behind.
type broadcasts struct {
	last   uint32 // 0: none
	lo, hi uint32 // lo 0: empty
}

// isNew reports whether the subscriber is to get broadcast n, and notes it.
// Where several keys have lost different ranges, one range covers them all: a
// repetition is better than a loss.
func (b *broadcasts) isNew(n uint32) bool {
	if b.lo != 0 && n-b.lo <= b.hi-b.lo { // also when the numbers have wrapped around
		if b.lo = following(n); n == b.hi {
			b.lo = 0
		}
		return true
	}
	if b.last != 0 && int32(n-b.last) <= 0 {
		return false
	}
	if n != following(b.last) {
		if b.lo == 0 {
			b.lo = following(b.last)
		}
		if b.hi = n - 1; b.hi == 0 {
			b.hi--
		}
	}
	b.last = n
	return true
}

// expect has a new subscriber of several keys get broadcast n, the newest event
// of one of them, although it came before: once, if it is that of several keys.
//
// If it is an older broadcast than the newest event of another key, that one was
// published between the two looks, and is behind this key's cursor too. So the
// range of both repeats nothing, and whichever is read first, the newer one comes.
func (b *broadcasts) expect(n uint32) {
	if b.lo == 0 {
		b.lo, b.hi = n, n
		return
	}
	if int32(n-b.lo) < 0 {
		b.lo = n
	}
	if int32(n-b.hi) > 0 {
		b.hi = n
	}
}

// following returns the number after n: 0 means none, and is left out.
func following(n uint32) uint32 {
	if n++; n == 0 {
		n = 1
	}
	return n
}

// seeBroadcasts notes which broadcasts a new subscriber of several keys has had
// or shall not get.
//
// A resumed one has had the last broadcast before any of its cursors, perhaps by
// that key alone, while another key's cursor still stands before it. One that
// begins gets those that begin after it: of one that is under way, a key may have
// the event before the cursor and the next key behind it, and then the positions
// would say at once that the client has had what it has not.
func (s *Subscriber) seeBroadcasts(e *Engine, resumed bool) {
	last := e.all.Load()
	if !resumed || last == 0 {
		s.seen.last = last
		return
	}
	for i := range s.cursors {
		c := &s.cursors[i]
		if n := c.lastBroadcast(); n != 0 && (s.seen.last == 0 || int32(n-s.seen.last) > 0) {
			s.seen.last = n
		}
	}
}

// lastBroadcast returns the number of the last broadcast kept before the
// cursor, 0 if there is none. Costs a look at each event kept before it.
func (c *cursor) lastBroadcast() uint32 {
	first := c.key.firstKept()
	for seq := c.next - 1; seq >= first && seq > 0; seq-- {
		if ev, _ := c.key.read(seq); ev != nil && ev.all != 0 {
			return ev.all
		}
	}
	return 0
}
