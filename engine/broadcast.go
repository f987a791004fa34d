package engine

// A PublishAll puts a copy of its event, a broadcast, into the ring of each key.
// A subscriber of several keys gets each broadcast once, in the order of their
// numbers. This file is the only place that decides which copy is sent.
//
// # Invariant
//
// I11. A cursor passes a copy of broadcast n only if n <= Subscriber.last, or if
// the ring has lost the copy. And n <= last only if n has been returned by Next
// and not taken back, or began before the subscriber did, or is in no ring ahead
// of any of its cursors any more.
//
// # Why it holds
//
// Next meets copies in three ways (see Subscriber.copy).
//
//   - n <= last: the client has n. The cursor counts the copy in cursor.skipped.
//   - n follows last: n is returned, and last becomes n.
//   - n leaves numbers out, since this cursor's ring was lapped over their
//     copies. Then another cursor may still have one of them ahead, and is read
//     first. If none has, those numbers are lost in every key, each of which
//     reports its own gap, and n is returned.
//
// The search for an earlier copy finds all there are. PublishAll n begins only
// when PublishAll n-1 has ended, so that whoever sees a copy of n finds every
// earlier copy already in its ring; from then on they can only vanish. The
// search ends, since each step goes to a smaller number, and the cursor that it
// names has something to read: its copy, or what stands before it.
//
// A cursor moves in three other ways, and each keeps to the first sentence:
// a lap goes to the first event that the ring still has; Conflate and the policy
// Latest go on from there, but stop at the first copy that the client does not
// have (cursor.newestFrom); Unread moves back.
//
// Unread has to take skipped copies back too. When broadcast n goes back to key a,
// copies of n that other keys have skipped meanwhile must be met again. Otherwise
// an event of key b, whose id says "b is past n", would reach the client before n
// does, and a client that is cut off there would never get n. So Unread restores
// last, and forgets the skipped copies of all cursors: a cursor's place is
// next+skipped, and only next is kept. Copies skipped before an event are part of
// that event's Item. Settle, called when nothing can be taken back any more, makes
// the skipped copies part of next.
//
// A composite id has last beside the positions (Positions). So a client that
// resumes has exactly the broadcasts up to last and lacks those after it,
// whatever the rings have lost meanwhile: nothing is guessed from what they keep.
//
// # Rejected
//
// Ids without last, which was guessed from the newest copy before any cursor: a
// broadcast was repeated when the ring through which it came had lost it, and lost
// when a lap or conflation had passed a copy that another key was yet to send.

// after reports whether broadcast n came after m. Numbers wrap around; 0, which
// is none, comes before all.
func after(n, m uint32) bool { return n != 0 && (m == 0 || int32(n-m) > 0) }

// following returns the number after n: 0 means none, and is left out.
func following(n uint32) uint32 {
	if n++; n == 0 {
		n = 1
	}
	return n
}

// preceding returns the number before n.
func preceding(n uint32) uint32 {
	if n--; n == 0 {
		n--
	}
	return n
}

// verdict is what becomes of a copy.
type verdict uint8

const (
	sendCopy    verdict = iota
	skipCopy            // the client has the broadcast
	otherBefore         // another cursor has an earlier broadcast
)

// copy decides on the copy of broadcast n that cursor i has reached. With
// otherBefore, the cursor to read instead is returned too.
func (s *Subscriber) copy(n uint32, i int) (verdict, int) {
	if !after(n, s.last) {
		return skipCopy, i
	}
	if len(s.cursors) > 1 && n != following(s.last) {
		if j := s.earlier(n, i); j >= 0 {
			return otherBefore, j
		}
	}
	s.last = n
	return sendCopy, i
}

// earlier returns a cursor other than i that has a broadcast before n, and after
// last, ahead of it; -1 if there is none. What it finds is remembered until that
// cursor is past it: a lagging key is not searched again for each event before it.
func (s *Subscriber) earlier(n uint32, i int) int {
	if j := int(s.heldBy) - 1; j >= 0 && j != i && s.cursors[j].at() <= s.heldAt && (!s.limited || s.heldAt <= s.cursors[j].limit) &&
		after(s.heldN, s.last) && after(n, s.heldN) {
		return j
	}
	found := -1
	for j := range s.cursors {
		if j == i {
			continue
		}
		c := &s.cursors[j]
		if seq, m := c.firstCopy(c.key.firstFrom(c.at()), c.newest(s.limited), s.last); m != 0 && after(n, m) {
			found, n = j, m
			s.heldBy, s.heldAt, s.heldN = int32(j)+1, seq, m
		}
	}
	return found
}

// firstCopy returns the first copy from sequence seq to end that comes after
// broadcast last, and its sequence; 0 if there is none. Costs a look at each event
// before it.
func (c *cursor) firstCopy(seq, end uint64, last uint32) (at uint64, n uint32) {
	for ; seq <= end; seq++ {
		if ev, _ := c.key.read(seq); ev != nil && after(ev.all, last) {
			return seq, ev.all
		}
	}
	return 0, 0
}

// newestFrom returns where a cursor of policy Latest goes on that need not read
// what stands from seq on: the newest event, or a broadcast before it that the
// client does not have and that this key may be the last to keep. A subscriber of
// a single key skips those as it does all others.
func (s *Subscriber) newestFrom(c *cursor, seq uint64) uint64 {
	newest := max(seq, c.newest(s.limited))
	if len(s.cursors) == 1 {
		return newest
	}
	if at, n := c.firstCopy(seq, newest, s.last); n != 0 {
		return at
	}
	return newest
}

// expect has a new subscriber of several keys get broadcast n, the newest value of
// one of them, although it began before. If another key's is an older one, PublishAll
// was under way between the two looks: then only the newer one comes.
func (s *Subscriber) expect(n uint32) {
	if before := preceding(n); !s.expected || after(before, s.last) {
		s.last, s.expected = before, true
	}
}
