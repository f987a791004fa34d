package engine

import "sync/atomic"

// Sink is what a subscriber's owner does when there is something to do.
type Sink interface {
	// Ready hands the subscriber over: from this call until Release returns
	// true the sink, and nobody else, may call the methods of Subscriber that
	// ask for the owner. Ready runs on a waker, or on whoever called Notify, or
	// Close of this or another subscriber: it must not block, and must not call
	// Close (hand the subscriber to another goroutine for that).
	Ready()
}

// Subscriber follows one key or several. Make one with Engine.Subscribe.
//
// Its methods are of two kinds. Notify, Close, Closing and KeyName may be called
// by anyone at any time. Next, Unread, Settle, Conflate, Positions, Lag and
// Release belong to the owner: the caller of Subscribe at first, then whoever
// Ready was called on, until Release returns true.
type Subscriber struct {
	state  atomic.Uint32 // idle, busy, again
	reason atomic.Uint32 // Reason; 0 while open
	sink   Sink

	cursors []cursor
	one     [1]cursor // memory of cursors for the usual single key
	// joined is how many of the cursors are in their keys, or were. Only these
	// may others look at: CloseKey can find the subscriber in its first key while
	// Subscribe is still at work on the next one.
	joined atomic.Int32

	// The rest is the owner's only.

	turn     int32  // the cursor that Next looks at first
	last     uint32 // the last broadcast that the client has, see I11; 0: none
	heldBy   int32  // the cursor that earlier found, from 1; it has broadcast heldN
	heldAt   uint64 // at this sequence
	heldN    uint32
	limited  bool // the cursors' limits are set
	expected bool // last was lowered by expect
}

// The states of a subscriber's state word. Whoever moves it away from idle
// becomes the owner, and only the owner moves it back:
//
//	idle  -> busy   somebody has news: becomes the owner, calls Ready
//	busy  -> again  somebody has news while the owner works
//	again -> busy   the owner, in Release: looks once more
//	busy  -> idle   the owner, in Release: found nothing more
//
// No wake-up is lost (I8): the publisher stores its event, then loads the state. If
// it sees again, or makes it so, the owner's CAS busy->idle fails afterwards
// and the owner reads the ring once more, after the store. If it sees idle, it
// takes over.
const (
	stateIdle uint32 = iota
	stateBusy
	stateAgain
)

// cursor is a subscriber's place in one key.
type cursor struct {
	key   *key
	sub   *Subscriber
	next  uint64 // the sequence to read next; owner only
	limit uint64 // the last sequence to deliver once closing gracefully; owner only
	gap   *Gap   // to be reported before anything else; owner only
	pos   int32  // the place in the key's segments, -1 if not there; under key.mu
	// skipped is how many events from next on are broadcasts that came by another
	// key: they are behind the cursor unless Unread takes them back; owner only.
	skipped uint32
}

// at returns the sequence that the cursor reads next.
func (c *cursor) at() uint64 { return c.next + uint64(c.skipped) }

// Gap says what a subscriber does not get.
type Gap struct {
	Key    string
	Reason GapReason
	// Missed is the number of events, or -1 if nobody can know.
	Missed int64
	// After is the last id that the subscriber had: its position for GapLag and
	// GapHistory, otherwise the text that the client gave.
	After string
	// Next is the position before the next event that the subscriber gets.
	Next Position
	// Policy is the key's, for GapLag.
	Policy Policy
}

// GapReason tells why a gap is there.
type GapReason uint8

const (
	// GapHistory: the position that the client gave is older than the history kept.
	GapHistory GapReason = iota + 1
	// GapEpoch: the id belongs to another life of the key.
	GapEpoch
	// GapUnknown: nobody knows the id that the client gave.
	GapUnknown
	// GapLag: a live subscriber was too slow, and the ring lapped it.
	GapLag
)

// GapReasons returns all reasons, for metrics.
func GapReasons() []GapReason { return []GapReason{GapHistory, GapEpoch, GapUnknown, GapLag} }

// String returns the reason as it stands in gap events and metrics.
func (r GapReason) String() string {
	return nameOf(r, "", "history", "epoch", "unknown", "lag")
}

// Item is what Next returns: an event or a gap.
type Item struct {
	Event *Event
	Gap   *Gap
	Key   int // the key's index in what Subscribe was given

	// For Unread: what the subscriber and its cursor had before the event.
	turn    int32
	skipped uint32
	last    uint32
}

// Next returns what the subscriber has to send next, and false if that is
// nothing for now. With gaps false it stops, returning false, where a gap would
// be next: so that a caller can end a batch there. A gap returned is told once;
// an event may be taken back by Unread. The keys take turns, so that a busy one
// does not starve the others.
//
// After Close it goes on to the newest event of that moment if the reason is a
// graceful one, and returns false at once otherwise. Owner only.
func (s *Subscriber) Next(gaps bool) (it Item, ok bool) {
	if r := Reason(s.reason.Load()); r != 0 {
		if !r.Graceful() {
			return Item{}, false
		}
		if !s.limited {
			s.limited, s.heldBy = true, 0
			for i := range s.cursors {
				s.cursors[i].limit = s.cursors[i].key.tail()
			}
		}
	}
	for range s.cursors {
		switch it, found := s.read(int(s.turn), gaps); found {
		case foundItem:
			s.pass()
			return it, true
		case foundGap:
			return it, it.Gap != nil
		}
		s.pass()
	}
	return Item{}, false
}

// found tells what read has found.
type found uint8

const (
	foundNothing found = iota
	foundItem
	foundGap // an Item without a Gap if gaps was false
)

// read takes what comes next from cursor i, or from another cursor that has to
// be read before it (see Subscriber.copy).
func (s *Subscriber) read(i int, gaps bool) (Item, found) {
	c, last := &s.cursors[i], s.last
	for {
		if c.gap != nil {
			if !gaps {
				return Item{}, foundGap
			}
			it := Item{Gap: c.gap, Key: i}
			c.gap = nil
			return it, foundGap
		}
		at := c.at()
		if s.limited && at > c.limit {
			return Item{}, foundNothing
		}
		ev, lapped := c.key.read(at)
		switch {
		case ev != nil:
			if ev.all != 0 && (s.last != 0 || len(s.cursors) > 1) {
				what, j := s.copy(ev.all, i)
				if what == skipCopy {
					c.skipped++
					continue
				}
				if what == otherBefore {
					i, c = j, &s.cursors[j]
					continue
				}
			}
			it := Item{Event: ev, Key: i, turn: s.turn, skipped: c.skipped, last: last}
			c.next, c.skipped = at+1, 0
			return it, foundItem
		case !lapped:
			return Item{}, foundNothing
		case !gaps:
			return Item{}, foundGap
		default:
			s.lapped(c)
		}
	}
}

// pass gives the turn to the next cursor.
func (s *Subscriber) pass() {
	if s.turn++; int(s.turn) == len(s.cursors) {
		s.turn = 0
	}
}

// lapped moves the cursor on to where its key's policy says, and notes the gap.
// What follows a limit was never the subscriber's, and is not missed.
func (s *Subscriber) lapped(c *cursor) {
	policy := c.key.opts.Load().Slow
	at := c.at()
	next := c.key.firstFrom(at)
	if policy == Latest {
		next = s.newestFrom(c, next)
	}
	if s.limited {
		next = min(next, c.limit+1)
	}
	if next <= at {
		return // what was evicted is readable after all: another look
	}
	c.next, c.skipped = next, 0
	c.noteGap(Gap{Reason: GapLag, Missed: int64(next - at), Policy: policy, After: Position{c.key.epoch, at - 1}.String()})
}

// newest returns the sequence of the newest event that the subscriber is to get.
func (c *cursor) newest(limited bool) uint64 {
	if limited {
		return c.limit
	}
	return c.key.tail()
}

// Unread takes items back, the last ones that Next returned, in their order:
// Next will return them again. Only events can be taken back, and none from
// before the last Settle or Release. Owner only.
func (s *Subscriber) Unread(items []Item) {
	if len(items) == 0 {
		return
	}
	for i := len(items) - 1; i >= 0; i-- {
		it := &items[i]
		s.cursors[it.Key].next = it.Event.seq - uint64(it.skipped)
		s.last, s.turn = it.last, it.turn
	}
	for i := range s.cursors { // of broadcasts that may be among the items, see I11
		s.cursors[i].skipped = 0
	}
}

// Settle says that all that Next has returned is sent, or will be before
// anything else. Release does it, too. Owner only.
func (s *Subscriber) Settle() {
	if len(s.cursors) == 1 && s.last == 0 {
		return
	}
	for i := range s.cursors {
		c := &s.cursors[i]
		c.next, c.skipped = c.at(), 0
	}
}

// Conflate skips to the newest event of each key whose policy is Latest, and
// returns how many events were skipped. With several keys it stops before a
// broadcast that the client does not have. For a sink whose connection could take
// no more for a while, and that has settled what Next returned. Owner only.
func (s *Subscriber) Conflate() (skipped uint64) {
	for i := range s.cursors {
		c := &s.cursors[i]
		if c.key.opts.Load().Slow != Latest || c.gap != nil {
			continue
		}
		at := c.at()
		if newest := s.newestFrom(c, at); newest > at {
			skipped += newest - at
			c.next, c.skipped = newest, 0
		}
	}
	return skipped
}

// KeyName returns the name of the key with that index in what Subscribe was given.
func (s *Subscriber) KeyName(i int) string { return s.cursors[i].key.name }

// Lag returns how many events are waiting. Owner only.
func (s *Subscriber) Lag() (events uint64) {
	for i := range s.cursors {
		c := &s.cursors[i]
		if newest, at := c.newest(s.limited), c.at(); newest >= at {
			events += newest - at + 1
		}
	}
	return events
}

// Release gives the subscriber up. It returns false if there may be news: then
// the caller still is the owner, and looks again. Never release a subscriber
// that is closing: its owner ends it. Owner only.
func (s *Subscriber) Release() bool {
	s.Settle()
	if s.state.CompareAndSwap(stateBusy, stateIdle) {
		return true
	}
	s.state.Store(stateBusy) // from again; nobody else leaves again
	return false
}

// Notify makes the owner look for news; without an owner, the caller becomes it
// and calls Ready.
func (s *Subscriber) Notify() {
	for {
		switch s.state.Load() {
		case stateAgain:
			return
		case stateBusy:
			if s.state.CompareAndSwap(stateBusy, stateAgain) {
				return
			}
		default:
			if s.state.CompareAndSwap(stateIdle, stateBusy) {
				racePoint()
				s.sink.Ready()
				return
			}
		}
	}
}

// Reason tells why a subscriber ended.
type Reason uint32

const (
	// ReasonClosed: the publisher closed the key or all keys.
	ReasonClosed Reason = iota + 1
	// ReasonDrain: the server is being shut down.
	ReasonDrain
	// ReasonGone: the client has gone away.
	ReasonGone
	// ReasonStalled: the connection took no byte for too long.
	ReasonStalled
	// ReasonLagged: the ring lapped it, and its key's policy is Disconnect.
	ReasonLagged
	// ReasonError: the sink could not go on.
	ReasonError
	// NumReasons is one more than the last reason, for arrays.
	NumReasons
)

// Reasons returns all reasons, for metrics.
func Reasons() []Reason {
	rs := make([]Reason, 0, NumReasons-1)
	for r := ReasonClosed; r < NumReasons; r++ {
		rs = append(rs, r)
	}
	return rs
}

// String returns the reason as it stands in metrics and logs.
func (r Reason) String() string {
	return nameOf(r, "", "closed", "drain", "gone", "stalled", "lagged", "error")
}

// Graceful reports whether pending events are still delivered.
func (r Reason) Graceful() bool { return r == ReasonClosed || r == ReasonDrain }

// Close ends the subscriber: it leaves its keys at once, so that no count
// includes it, and its owner finds out by Closing. Of several reasons the first
// counts, but a reason that is not graceful replaces one that is; what is no
// reason counts as ReasonError. Close reports whether it was the first.
func (s *Subscriber) Close(r Reason) bool {
	if r == 0 || r >= NumReasons {
		r = ReasonError
	}
	for {
		old := Reason(s.reason.Load())
		if old != 0 && (!old.Graceful() || r.Graceful()) {
			return false
		}
		if !s.reason.CompareAndSwap(uint32(old), uint32(r)) {
			continue
		}
		s.leaveAll()
		s.Notify()
		return old == 0
	}
}

// Closing returns the reason of Close, 0 while open.
func (s *Subscriber) Closing() Reason { return Reason(s.reason.Load()) }

func (s *Subscriber) leaveAll() {
	for i := range s.joined.Load() {
		if moved := s.cursors[i].key.leave(&s.cursors[i]); moved != nil {
			moved.Notify()
		}
	}
}
