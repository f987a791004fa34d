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
// Its methods are of two kinds. Notify, Close and Closing may be called by
// anyone at any time. Next, Unread, Conflate, Positions and Release belong to
// the owner: the caller of Subscribe at first, then whoever Ready was called
// on, until Release returns true.
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

	turn    int32      // the cursor that Next looks at first; owner only
	seen    broadcasts // owner only
	limited bool       // the cursors' limits are set; owner only
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
	gap   *Gap   // to be told before anything else; owner only
	pos   int32  // the place in the key's segments, -1 if not there; under key.mu
}

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
	return [...]string{"", "history", "epoch", "unknown", "lag"}[r]
}

// Item is what Next returns: an event or a gap.
type Item struct {
	Event *Event
	Gap   *Gap
	Key   int // the key's index in what Subscribe was given

	seen broadcasts // the subscriber's before the event, for Unread
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
			s.limited = true
			for i := range s.cursors {
				s.cursors[i].limit = s.cursors[i].key.tail()
			}
		}
	}
	for range s.cursors {
		i := int(s.turn)
		c := &s.cursors[i]
		for {
			if c.gap != nil {
				if !gaps {
					return Item{}, false
				}
				it, c.gap = Item{Gap: c.gap, Key: i}, nil
				return it, true
			}
			if s.limited && c.next > c.limit {
				break
			}
			ev, lapped := c.key.read(c.next)
			if ev != nil {
				c.next++
				it = Item{Event: ev, Key: i, seen: s.seen}
				if ev.all != 0 && !s.seen.isNew(ev.all) {
					continue // came by another key of this subscriber
				}
				s.pass()
				return it, true
			}
			if !lapped {
				break
			}
			if !gaps {
				return Item{}, false
			}
			c.lapped(s.limited)
		}
		s.pass()
	}
	return Item{}, false
}

// pass gives the turn to the next cursor.
func (s *Subscriber) pass() {
	if s.turn++; int(s.turn) == len(s.cursors) {
		s.turn = 0
	}
}

// lapped moves the cursor on to where its key's policy says, and notes the gap.
// What follows a limit was never the subscriber's, and is not missed.
func (c *cursor) lapped(limited bool) {
	policy := c.key.opts.Load().Slow
	next := c.key.firstFrom(c.next)
	if policy == Latest {
		next = max(next, c.newest(limited))
	}
	if limited {
		next = min(next, c.limit+1)
	}
	if next <= c.next {
		return // what was evicted is readable after all: another look
	}
	c.gap = &Gap{
		Key: c.key.name, Reason: GapLag, Missed: int64(next - c.next), Policy: policy,
		After: Position{c.key.epoch, c.next - 1}.String(),
		Next:  Position{c.key.epoch, next - 1},
	}
	c.next = next
}

// newest returns the sequence of the newest event that the subscriber is to get.
func (c *cursor) newest(limited bool) uint64 {
	if limited {
		return c.limit
	}
	return c.key.tail()
}

// Unread takes items back, the last ones that Next returned, in their order:
// Next will return them again. Only events can be taken back. Owner only.
func (s *Subscriber) Unread(items []Item) {
	for i := len(items) - 1; i >= 0; i-- {
		it := &items[i]
		s.cursors[it.Key].next = it.Event.seq
		s.seen = it.seen
	}
}

// Conflate skips to the newest event of each key whose policy is Latest, and
// returns how many events were skipped. For a sink whose connection could take
// no more for a while. Owner only.
func (s *Subscriber) Conflate() (skipped uint64) {
	for i := range s.cursors {
		c := &s.cursors[i]
		if c.key.opts.Load().Slow != Latest || c.gap != nil {
			continue
		}
		if newest := c.newest(s.limited); newest > c.next {
			skipped += newest - c.next
			c.next = newest
		}
	}
	return skipped
}

// Positions appends the positions of all keys, joined by commas: the composite
// id that resumes each of them. Owner only.
func (s *Subscriber) Positions(dst []byte) []byte {
	for i := range s.cursors {
		if i > 0 {
			dst = append(dst, ',')
		}
		c := &s.cursors[i]
		if id := c.stableID(); id != nil {
			dst = append(dst, id...)
			continue
		}
		dst = c.position().Append(dst)
	}
	return dst
}

// stableID returns the id of the event before the cursor if it tells the position
// better than our own, see KeyOptions.StableIDs, and nil otherwise.
func (c *cursor) stableID() []byte {
	if c.gap != nil || c.next == 1 || !c.key.opts.Load().StableIDs {
		return nil
	}
	ev, _ := c.key.read(c.next - 1)
	if ev == nil || ev.idAt < 0 {
		return nil
	}
	id := ev.bytes[ev.idAt : int(ev.idAt)+int(ev.idLen)]
	if _, ok := ParsePosition(string(id)); !ok {
		return nil // would not be told apart among those of other keys
	}
	return id
}

// position is where a client resumes that has had all that Next returned. While
// Next has yet to return a gap, it is the place before it: the client may be gone
// before it hears of the gap, and then has to come back to it. Where the client's
// id is no position, the zero one serves, which is of an older epoch than any.
func (c *cursor) position() Position {
	if c.gap == nil {
		return Position{c.key.epoch, c.next - 1}
	}
	p, _ := ParsePosition(c.gap.After)
	return p
}

// Lag returns how many events are waiting. Owner only.
func (s *Subscriber) Lag() (events uint64) {
	for i := range s.cursors {
		c := &s.cursors[i]
		if newest := c.newest(s.limited); newest >= c.next {
			events += newest - c.next + 1
		}
	}
	return events
}

// Release gives the subscriber up. It returns false if there may be news: then
// the caller still is the owner, and looks again. Never release a subscriber
// that is closing: its owner ends it. Owner only.
func (s *Subscriber) Release() bool {
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
				window()
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
	return [...]string{"", "closed", "drain", "gone", "stalled", "lagged", "error"}[r]
}

// Graceful reports whether pending events are still delivered.
func (r Reason) Graceful() bool { return r == ReasonClosed || r == ReasonDrain }

// Close ends the subscriber: it leaves its keys at once, so that no count
// includes it, and its owner finds out by Closing. Of several reasons the first
// counts, but a reason that is not graceful replaces one that is. Close reports
// whether it was the first.
func (s *Subscriber) Close(r Reason) bool {
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
