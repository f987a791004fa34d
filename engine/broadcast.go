package engine

// PublishAll publishes an event, a broadcast, by putting a copy of it into the ring of each key. A subscriber of
// several keys gets each broadcast once, in the order of their numbers. This file alone decides which copy is sent.
//
// # Invariant
//
// I11. A cursor passes a copy of broadcast n only if n <= Subscriber.lastBroadcast, or if the ring has lost the copy.
// And n <= lastBroadcast only if Next has returned n and Unread has not taken it back, or if n began before the
// subscriber did, or if no ring has n ahead of any of the subscriber's cursors any more.
//
// # Why it holds
//
// When Next meets a copy of broadcast n, there are three cases (see Subscriber.decide).
//
//   - n <= lastBroadcast: the client has n. The cursor counts the copy in cursor.skipped.
//   - n is the successor of lastBroadcast: Next returns n, and lastBroadcast becomes n.
//   - There are numbers between lastBroadcast and n, because the ring of this cursor has lost their copies. Another
//     cursor may still have one of them ahead, and then Next reads that cursor first. If no cursor has, these numbers
//     are lost in every key. Each key reports its own gap, and Next returns n.
//
// The search for an earlier copy finds all there are. PublishAll n begins only when PublishAll n-1 has ended. So when
// anyone sees a copy of n, every earlier copy is in its ring already; from then on copies can only vanish. The search
// terminates: each step goes to a smaller number, and the cursor that it names has something to read, namely its copy
// or what comes before it.
//
// A cursor moves in three other ways. Each keeps the first sentence of the invariant:
//
//   - A lap moves it to the first event that the ring still has.
//   - Conflate and the policy Latest move it on from there, but stop at the first copy that the client does not have
//     (Subscriber.conflateTarget).
//   - Unread moves it back.
//
// Unread must take skipped copies back too. When broadcast n goes back to key a, the copies of n that other keys have
// skipped meanwhile must be met again. Otherwise an event of key b, whose id says "b is past n", would reach the client
// before n does, and a client that is disconnected at this point would never get n. So Unread restores lastBroadcast
// and forgets the skipped copies of all cursors: the place of a cursor is next+skipped, and only next is kept. The
// copies that were skipped before an event are part of that event's Item. Settle makes the skipped copies part of next.
// It is called when nothing can be taken back any more.
//
// A composite id contains lastBroadcast beside the positions (Positions). So a client that resumes has exactly the
// broadcasts up to lastBroadcast and lacks those after it, whatever the rings have lost meanwhile. Nothing is guessed
// from what the rings keep.
//
// # Rejected
//
// Ids without lastBroadcast, which was guessed from the newest copy before any cursor. A broadcast was repeated when
// the ring through which it came had lost it. A broadcast was lost when a lap or conflation had passed a copy that
// another key had yet to send.

// after reports whether broadcast n came after broadcast m. Numbers wrap around. 0 means none, and comes before all.
func after(n, m uint32) bool { return n != 0 && (m == 0 || int32(n-m) > 0) }

// successor returns the number after n. It leaves out 0, which means none.
func successor(n uint32) uint32 {
	if n++; n == 0 {
		n = 1
	}
	return n
}

// predecessor returns the number before n.
func predecessor(n uint32) uint32 {
	if n--; n == 0 {
		n--
	}
	return n
}

// decision says what to do with a copy.
type decision uint8

const (
	sendCopy       decision = iota
	skipCopy                // the client has the broadcast
	readOtherFirst          // another cursor has an earlier broadcast
)

// decide says what to do with the copy of broadcast n that cursor i has reached. With readOtherFirst it also returns
// the cursor to read instead.
func (s *Subscriber) decide(n uint32, i int) (decision, int) {
	if !after(n, s.lastBroadcast) {
		return skipCopy, i
	}
	if len(s.cursors) > 1 && n != successor(s.lastBroadcast) {
		if j := s.cursorWithEarlier(n, i); j >= 0 {
			return readOtherFirst, j
		}
	}
	s.lastBroadcast = n
	return sendCopy, i
}

// cursorWithEarlier returns a cursor other than i with a broadcast ahead of it that comes before n and after
// lastBroadcast, or -1 if there is none. It remembers the cursor that it found until that cursor has passed the
// broadcast, so that a lagging key is not searched again for each event before the broadcast.
func (s *Subscriber) cursorWithEarlier(n uint32, i int) int {
	// Fast path: the cursor that an earlier call has found.
	if j := int(s.earlierCursor) - 1; j >= 0 && j != i && s.cursors[j].at() <= s.earlierSeq &&
		(!s.limitsSet || s.earlierSeq <= s.cursors[j].limit) &&
		after(s.earlierNumber, s.lastBroadcast) && after(n, s.earlierNumber) {
		return j
	}

	// Slow path: search the other cursors.
	found := -1
	for j := range s.cursors {
		if j == i {
			continue
		}
		c := &s.cursors[j]
		if seq, m := c.firstBroadcast(c.key.firstKeptFrom(c.at()), c.newest(s.limitsSet), s.lastBroadcast); m != 0 && after(n, m) {
			found, n = j, m
			s.earlierCursor, s.earlierSeq, s.earlierNumber = int32(j)+1, seq, m
		}
	}
	return found
}

// firstBroadcast returns the sequence and the number of the first copy from sequence seq to end that comes after
// broadcast last; zeros if there is none. It looks at each event before that copy.
func (c *cursor) firstBroadcast(seq, end uint64, last uint32) (at uint64, n uint32) {
	for ; seq <= end; seq++ {
		if ev, _ := c.key.read(seq); ev != nil && after(ev.broadcast, last) {
			return seq, ev.broadcast
		}
	}
	return 0, 0
}

// conflateTarget returns where a cursor with the policy Latest continues if it need not read the events from seq on.
// This is the newest event, or a broadcast before it that the client does not have and that perhaps only this key still
// keeps. A subscriber of a single key skips broadcasts like all other events.
func (s *Subscriber) conflateTarget(c *cursor, seq uint64) uint64 {
	newest := max(seq, c.newest(s.limitsSet))
	if len(s.cursors) == 1 {
		return newest
	}
	if at, n := c.firstBroadcast(seq, newest, s.lastBroadcast); n != 0 {
		return at
	}
	return newest
}

// rewindBefore makes a new subscriber of several keys get broadcast n, which is the newest value of one of them,
// although n began before the subscriber did. If the newest value of another key is an older broadcast, PublishAll was
// in progress between the two looks. Then the subscriber gets only the newer one.
func (s *Subscriber) rewindBefore(n uint32) {
	if before := predecessor(n); !s.rewound || after(before, s.lastBroadcast) {
		s.lastBroadcast, s.rewound = before, true
	}
}
