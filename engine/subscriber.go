package engine

import "sync/atomic"

// Sink is notified when a subscriber has something to do.
type Sink interface {
	// Ready makes its receiver the subscriber's owner: from this call until Release returns true, only the receiver may
	// call the methods of Subscriber that are marked "owner only". Ready runs on a waker, or in a call of Notify, or of
	// Close of this or another subscriber. It must not block and must not call Close; start another goroutine for that.
	Ready()
}

// Subscriber follows one or more keys. Start it with Engine.Subscribe.
//
// It has two kinds of methods. Notify, Close, Closing and KeyName may be called by anyone at any time. Next, Unread,
// Settle, Conflate, Positions, Missing, Fill, SharedIDs, Lag and Release belong to the owner. The first owner is the caller of Subscribe; when it
// has released the subscriber, the next owner is whoever Ready is called on, until Release returns true.
type Subscriber struct {
	state  atomic.Uint32 // idle, busy, pending
	reason atomic.Uint32 // Reason; 0 while open
	sink   Sink
	log    *logReader // nil unless the engine follows a log; set before the first join

	cursors []cursor
	one     [1]cursor // the memory of cursors in the usual case of one key
	// joined is how many of the cursors have joined their keys. Others may look only at these: CloseKey can find the
	// subscriber in its first key while Subscribe is still joining the next one.
	joined atomic.Int32

	// The remaining fields belong to the owner.

	nextCursor    int32  // the cursor that Next reads first
	lastBroadcast uint32 // the last broadcast that the client has, see I11; 0 if none
	// What cursorWithEarlier has found: the cursor, counted from 1, with broadcast earlierNumber at sequence
	// earlierSeq.
	earlierCursor int32
	earlierSeq    uint64
	earlierNumber uint32
	limitsSet     bool // the cursors' limits are set
	rewound       bool // rewindBefore has lowered lastBroadcast
}

// The states of a subscriber. Whoever changes the state from idle becomes the owner, and only the owner changes it
// back:
//
//	idle    -> busy     somebody has news: becomes the owner, calls Ready
//	busy    -> pending  somebody has news while the owner works
//	pending -> busy     the owner, in Release: looks again
//	busy    -> idle     the owner, in Release: found nothing more
//
// No wake-up is lost (I8). The publisher stores its event, then loads the state. If it finds or makes the state
// pending, the owner's later CAS from busy to idle fails, and the owner reads the ring again, after the publisher's
// store. If the publisher finds the state idle, it becomes the owner.
const (
	stateIdle uint32 = iota
	stateBusy
	statePending
)

// Notify makes the owner look for news. If there is no owner, the caller becomes the owner and calls Ready.
func (s *Subscriber) Notify() {
	for {
		switch s.state.Load() {
		case statePending:
			return
		case stateBusy:
			if s.state.CompareAndSwap(stateBusy, statePending) {
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

// Release ends the ownership. If there may be news, it returns false: the caller is still the owner, and looks again.
// Never release a subscriber that is closing: its owner ends it. Owner only.
func (s *Subscriber) Release() bool {
	s.Settle()
	if s.state.CompareAndSwap(stateBusy, stateIdle) {
		return true
	}
	s.state.Store(stateBusy) // from pending, which nobody else changes
	return false
}

// KeyName returns the name of the key with this index in the keys that Subscribe was given.
func (s *Subscriber) KeyName(i int) string { return s.cursors[i].key.name }

// Reason says why a subscriber ended.
type Reason uint32

const (
	// ReasonClosed: the publisher closed the key or all keys.
	ReasonClosed Reason = iota + 1
	// ReasonDrain: the server is shutting down.
	ReasonDrain
	// ReasonAge: the subscriber has been subscribed for as long as it may; it should subscribe anew.
	ReasonAge
	// ReasonExpired: the permission to subscribe has expired.
	ReasonExpired
	// ReasonDisconnected: somebody has ended the streams of the subscriber's user.
	ReasonDisconnected
	// ReasonGone: the client has disconnected.
	ReasonGone
	// ReasonStalled: the connection accepted no byte for too long.
	ReasonStalled
	// ReasonLagged: the ring lapped the subscriber, and its key's policy is Disconnect.
	ReasonLagged
	// ReasonError: the sink could not continue.
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

// String returns the name of the reason that metrics and logs use.
func (r Reason) String() string {
	return nameOf(r, "", "closed", "drain", "age", "expired", "disconnected", "gone", "stalled", "lagged", "error")
}

// Graceful reports whether pending events are still delivered.
func (r Reason) Graceful() bool { return r >= ReasonClosed && r <= ReasonDisconnected }

// Close ends the subscriber. The subscriber leaves its keys at once, so that no count includes it, and its owner learns
// of it by Closing. If Close is called several times, the first reason counts, except that a reason that is not
// graceful replaces a graceful one. An invalid reason counts as ReasonError. Close reports whether this was the first
// call.
func (s *Subscriber) Close(r Reason) bool {
	if r == 0 || r >= NumReasons {
		r = ReasonError
	}
	if s.log != nil {
		s.log.setLimits()
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

// Closing returns the reason of Close, or 0 while the subscriber is open.
func (s *Subscriber) Closing() Reason { return Reason(s.reason.Load()) }

// leaveAll removes the cursors from the keys that they have joined.
func (s *Subscriber) leaveAll() {
	joined := int(s.joined.Load())
	if l := s.log; l != nil && joined > len(s.cursors) {
		joined--
		if moved := l.all.key.leave(&l.all); moved != nil {
			moved.Notify()
		}
	}
	for i := range joined {
		if moved := s.cursors[i].key.leave(&s.cursors[i]); moved != nil {
			moved.Notify()
		}
	}
}
