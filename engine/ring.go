package engine

import "sync/atomic"

// minSlots is the size of a key's first ring: 64 bytes of slots, for the many keys that have an event only now and
// then.
const minSlots = 8

// ring is a ring buffer of a key's events. The slot of sequence s is slots[s&mask]. invariants.go describes the
// protocol.
type ring struct {
	slots []atomic.Pointer[Event]
	mask  uint64

	// tail is the sequence of the newest event, or one less for the moment between a publisher's CAS on the slot and
	// its CAS on tail. Storing tail publishes nothing: readers synchronize on the slots.
	tail atomic.Uint64
	// oldest is a lower bound of the oldest sequence that is kept. Only eviction advances it. Overwriting is visible in
	// the slots themselves.
	oldest atomic.Uint64
}

func newRing(size int, tail, oldest uint64) *ring {
	r := &ring{slots: make([]atomic.Pointer[Event], size), mask: uint64(size - 1)}
	r.tail.Store(tail)
	r.oldest.Store(oldest)
	return r
}

// retiredRing is the ring of a key that was retired before its first event.
var retiredRing = &ring{}

func (r *ring) slot(seq uint64) *atomic.Pointer[Event] { return &r.slots[seq&r.mask] }

// publish puts d into the key's ring as its next event. It returns false if the key has been retired; then the caller
// looks the key up again.
//
// It is lock-free. A failed CAS means that another publisher's CAS succeeded, and others help a publisher that stalls
// between its two CASes (I2).
func (k *key) publish(e *Engine, d *draft) bool {
	for {
		r := k.ring.Load()
		switch r {
		case nil:
			k.ring.CompareAndSwap(nil, newRing(minSlots, 0, 1))
			continue
		case retiredRing:
			return false
		}

		// Look at the slot of the next event.
		t := r.tail.Load()
		s := t + 1
		slot := r.slot(s)
		cur := slot.Load()
		racePoint()

		// It is taken: help whoever took it, and retry.
		if cur != nil && cur.seq >= s {
			if cur.seq > s {
				continue // t was stale: the ring has wrapped around since
			}
			switch cur.kind {
			case kindResized:
				k.finishResize(r, cur)
			case kindRetired:
				return false
			default:
				r.tail.CompareAndSwap(t, s) // help the publisher of s
			}
			continue
		}

		// It is the last free slot: replace the ring by a larger one, and retry.
		if r.shouldGrow(s, cur, k.opts.Load().slots()) {
			k.resize(e, r, s, cur, 2*len(r.slots))
			continue
		}

		// It is free: publish, advance the tail, and keep within the limits.
		d.setPosition(Position{Epoch: k.epoch, Seq: s})
		if e.log != nil {
			k.raiseFloor(cur)
		}
		racePoint()
		if !slot.CompareAndSwap(cur, d.ev) { // publishes the event (I1)
			continue
		}
		racePoint()
		r.tail.CompareAndSwap(t, s)
		k.account(e, d.ev, cur)
		k.limitBytes(e, len(d.ev.bytes))
		return true
	}
}

// shouldGrow reports whether event s would take the last free slot of a ring that may grow. The ring grows one slot
// early: the last slot is left for the resize marker, so that growing displaces no event.
func (r *ring) shouldGrow(s uint64, cur *Event, limit int) bool {
	if len(r.slots) >= limit || s < uint64(len(r.slots))-1 {
		return false
	}
	next := r.slot(s + 1).Load()
	return cur != nil && cur.kind == kindEvent || next != nil && next.kind == kindEvent
}

// resize ends ring r at sequence s, whose slot holds cur, and gives the key a ring with size slots. If another
// publisher takes s first, nothing happens.
func (k *key) resize(e *Engine, r *ring, s uint64, cur *Event, size int) {
	marker := &Event{seq: s, at: int64(size), kind: kindResized}
	k.raiseFloor(cur)
	if r.slot(s).CompareAndSwap(cur, marker) {
		k.release(e, cur) // cur is an event only if the key's limit was raised meanwhile
		racePoint()
		k.finishResize(r, marker)
	}
}

// finishResize replaces r, which ends at marker, by a ring with the events of r. Anyone who meets the marker may do it.
// All helpers copy the same slots, because nothing is published in r after the marker (I4), and the first CAS wins.
func (k *key) finishResize(r *ring, marker *Event) {
	if k.ring.Load() != r {
		return
	}

	// Copy the newest events that fit.
	size, s := int(marker.at), marker.seq
	n := newRing(size, s-1, r.oldest.Load())
	first := uint64(1)
	if keep := uint64(min(size, len(r.slots)-1)); s > keep {
		first = s - keep
	}
	for seq := first; seq < s; seq++ {
		if ev := r.slot(seq).Load(); ev != nil && ev.seq == seq {
			n.slot(seq).Store(ev)
		}
	}
	if first > 1 {
		k.raiseFloor(r.slot(first - 1).Load()) // the newest event that is not copied, if the slot still has it
	}
	racePoint()
	k.ring.CompareAndSwap(r, n)
}

// read returns the event at sequence s. If there is none, lapped says whether s is gone (lapped or evicted) or not
// published yet.
func (k *key) read(s uint64) (ev *Event, lapped bool) {
	for {
		r := k.ring.Load()
		if r == nil || r == retiredRing {
			return nil, false
		}
		slot := r.slot(s)
		ev := slot.Load()
		if ev != nil && ev.kind == kindResized && ev.seq >= s {
			k.finishResize(r, ev)
			continue
		}
		if ev == nil || ev.seq < s {
			if s > r.tail.Load() {
				return nil, false
			}
			// Published since the slot was loaded, or lost in a resize. The tail has reached s, so a second look at the
			// slot decides.
			if now := slot.Load(); now != ev {
				continue
			}
			return nil, true
		}
		switch {
		case ev.seq > s:
			return nil, true
		case ev.kind == kindEvent:
			return ev, false
		default:
			return nil, ev.kind == kindEvicted
		}
	}
}

// tail returns the sequence of the newest event, or 0 before the first.
func (k *key) tail() uint64 {
	for {
		r := k.ring.Load()
		if r == nil || r == retiredRing {
			return 0
		}
		t := r.tail.Load()
		racePoint()
		next := r.slot(t + 1).Load()
		switch {
		case next == nil || next.seq <= t:
			return t
		case next.seq > t+1: // t is stale: the ring has wrapped around since
		case next.kind == kindResized:
			k.finishResize(r, next)
		case next.kind == kindRetired:
			return t
		default:
			r.tail.CompareAndSwap(t, t+1)
		}
	}
}

// firstKept returns the oldest sequence that can still be read, or tail+1.
func (k *key) firstKept() uint64 { return k.firstKeptFrom(1) }

// firstKeptFrom returns the first sequence from s on that can still be read, or tail+1. No sequence between s and the
// result can be read. A sequence below s may be readable: eviction in a ring that is being replaced can leave a hole in
// the new one.
func (k *key) firstKeptFrom(s uint64) uint64 {
	// Load the tail first: a ring that is loaded later has everything up to that tail that is kept.
	tail := k.tail()
	racePoint()
	r := k.ring.Load()
	if r == nil || r == retiredRing {
		return s
	}
	first := max(s, r.oldest.Load())
	if n := uint64(len(r.slots)); tail >= n {
		first = max(first, tail-n+1)
	}
	for first <= tail {
		if ev, lapped := k.read(first); ev != nil || !lapped {
			break
		}
		first++
	}
	return first
}
