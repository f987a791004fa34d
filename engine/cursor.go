package engine

// cursor is a subscriber's place in one key.
type cursor struct {
	key   *key
	sub   *Subscriber
	next  uint64 // the sequence to read next; owner only
	limit uint64 // the last sequence to deliver during a graceful close; owner only
	gap   *Gap   // to be reported before anything else; owner only
	index int32  // the place in the key's segments, or -1; protected by key.mu
	// skipped is how many events from next on are broadcasts that the client got by another key. The cursor has passed
	// them, unless Unread takes them back; owner only.
	skipped uint32
}

// at returns the sequence that the cursor reads next.
func (c *cursor) at() uint64 { return c.next + uint64(c.skipped) }

// newest returns the sequence of the newest event that the subscriber is to get.
func (c *cursor) newest(limitsSet bool) uint64 {
	if limitsSet {
		return c.limit
	}
	return c.key.tail()
}

// Item is what Next returns: an event or a gap.
type Item struct {
	Event *Event
	Gap   *Gap
	Key   int // the index of the key in the keys that Subscribe was given; 0 for a broadcast in log mode

	// For Unread: the state of the subscriber and its cursor before the event. In log mode nextCursor is the cursor itself,
	// and skipped is the partition that Next read first.
	nextCursor    int32
	skipped       uint32
	lastBroadcast uint32
}

// Next returns what the subscriber sends next, or false if there is nothing to send now. With gaps false it also
// returns false where a gap comes next, so that the caller can end a batch there. A gap is returned once; an event can
// be taken back by Unread. Next reads the keys in turn, so that a busy key does not starve the others.
//
// After Close with a graceful reason, Next goes on to the events that were the newest ones at its first call after
// Close; in log mode, to those that were applied before Close. After Close with another reason it returns false. Owner only.
func (s *Subscriber) Next(gaps bool) (it Item, ok bool) {
	if s.log != nil {
		return s.nextInLog(gaps)
	}
	if r := Reason(s.reason.Load()); r != 0 {
		if !r.Graceful() {
			return Item{}, false
		}
		if !s.limitsSet {
			s.limitsSet, s.earlierCursor = true, 0
			for i := range s.cursors {
				s.cursors[i].limit = s.cursors[i].key.tail()
			}
		}
	}
	for range s.cursors {
		switch it, found := s.read(int(s.nextCursor), gaps); found {
		case foundItem:
			s.rotate()
			return it, true
		case foundGap:
			return it, it.Gap != nil
		}
		s.rotate()
	}
	return Item{}, false
}

// rotate makes the following cursor the one that Next reads first.
func (s *Subscriber) rotate() {
	if s.nextCursor++; int(s.nextCursor) == len(s.cursors) {
		s.nextCursor = 0
	}
}

// readResult says what read has found.
type readResult uint8

const (
	foundNothing readResult = iota
	foundItem
	foundGap // an Item without a Gap if gaps was false
)

// read reads the next item of cursor i, or of another cursor that has to be read first (see Subscriber.decide).
func (s *Subscriber) read(i int, gaps bool) (Item, readResult) {
	c, last := &s.cursors[i], s.lastBroadcast
	for {
		// A gap that was noted comes first.
		if c.gap != nil {
			if !gaps {
				return Item{}, foundGap
			}
			it := Item{Gap: c.gap, Key: i}
			c.gap = nil
			return it, foundGap
		}

		// Read the ring.
		at := c.at()
		if s.limitsSet && at > c.limit {
			return Item{}, foundNothing
		}
		ev, lapped := c.key.read(at)
		switch {
		case ev != nil:
			if ev.broadcast != 0 && (s.lastBroadcast != 0 || len(s.cursors) > 1) {
				what, j := s.decide(ev.broadcast, i)
				if what == skipCopy {
					c.skipped++
					continue
				}
				if what == readOtherFirst {
					i, c = j, &s.cursors[j]
					continue
				}
			}
			it := Item{Event: ev, Key: i, nextCursor: s.nextCursor, skipped: c.skipped, lastBroadcast: last}
			c.next, c.skipped = at+1, 0
			return it, foundItem
		case !lapped:
			return Item{}, foundNothing
		case !gaps:
			return Item{}, foundGap
		default:
			s.handleLap(c)
		}
	}
}

// handleLap moves the cursor to where its key's policy says, and notes the gap. Events after the limit were never meant
// for the subscriber, so they do not count as missed.
func (s *Subscriber) handleLap(c *cursor) {
	policy := c.key.opts.Load().Slow
	at := c.at()
	next := c.key.firstKeptFrom(at)
	if policy == Latest {
		next = s.conflateTarget(c, next)
	}
	if s.limitsSet {
		next = min(next, c.limit+1)
	}
	if next <= at {
		return // the evicted event can be read after all: the caller looks again
	}
	c.next, c.skipped = next, 0
	c.noteGap(Gap{Reason: GapLag, Missed: int64(next - at), Policy: policy, After: Position{c.key.epoch, at - 1}.String()})
}

// Unread takes items back: Next will return them again. They must be the last items that Next returned, in the same
// order. Only events can be taken back, and only those since the last Settle or Release. Owner only.
func (s *Subscriber) Unread(items []Item) {
	if len(items) == 0 {
		return
	}
	if s.log != nil {
		s.unreadInLog(items)
		return
	}
	for i := len(items) - 1; i >= 0; i-- {
		it := &items[i]
		s.cursors[it.Key].next = it.Event.seq - uint64(it.skipped)
		s.lastBroadcast, s.nextCursor = it.lastBroadcast, it.nextCursor
	}
	for i := range s.cursors { // copies of broadcasts that may be among the items, see I11
		s.cursors[i].skipped = 0
	}
}

// Settle says that everything that Next has returned is sent, or will be sent before anything else. Release includes
// it. Owner only.
func (s *Subscriber) Settle() {
	if s.log != nil {
		s.log.settleInLog()
		return
	}
	if len(s.cursors) == 1 && s.lastBroadcast == 0 {
		return
	}
	for i := range s.cursors {
		c := &s.cursors[i]
		c.next, c.skipped = c.at(), 0
	}
}

// Conflate skips to the newest event of each key with the policy Latest, and returns how many events it skipped. With
// several keys it stops before a broadcast that the client does not have. It is for a sink whose connection accepted
// nothing for a while; call Settle before. Owner only.
func (s *Subscriber) Conflate() (skipped uint64) {
	if s.log != nil {
		return s.conflateInLog()
	}
	for i := range s.cursors {
		c := &s.cursors[i]
		if c.key.opts.Load().Slow != Latest || c.gap != nil {
			continue
		}
		at := c.at()
		if newest := s.conflateTarget(c, at); newest > at {
			skipped += newest - at
			c.next, c.skipped = newest, 0
		}
	}
	return skipped
}

// Lag returns the number of pending events. Owner only.
func (s *Subscriber) Lag() (events uint64) {
	if s.log != nil {
		return s.lagInLog()
	}
	for i := range s.cursors {
		c := &s.cursors[i]
		if newest, at := c.newest(s.limitsSet), c.at(); newest >= at {
			events += newest - at + 1
		}
	}
	return events
}
