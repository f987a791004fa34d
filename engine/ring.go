package engine

import "sync/atomic"

// minSlots is the size of a key's first ring: 64 bytes of slots, for the many
// keys that see an event now and then.
const minSlots = 8

// ring is one ring buffer of a key. Slots hold events at seq&mask. See the
// package comment for the protocol and its invariants.
type ring struct {
	slots []atomic.Pointer[Event]
	mask  uint64

	// tail is the sequence of the newest event, or one behind it for the
	// moment between a publisher's CAS on the slot and its CAS on tail. Storing
	// it publishes nothing: readers synchronise on the slots.
	tail atomic.Uint64
	// oldest is a lower bound of the oldest sequence kept. Only eviction moves
	// it; overwriting is visible in the slots themselves.
	oldest atomic.Uint64
}

func newRing(size int, tail, oldest uint64) *ring {
	r := &ring{slots: make([]atomic.Pointer[Event], size), mask: uint64(size - 1)}
	r.tail.Store(tail)
	r.oldest.Store(oldest)
	return r
}

// retiredRing stands for the ring of a key that was retired before its first
// event.
var retiredRing = &ring{}

func (r *ring) slot(seq uint64) *atomic.Pointer[Event] { return &r.slots[seq&r.mask] }

// publish puts d into the key's ring as its next event. It reports false if
// the key has been retired: then the caller looks the key up again.
//
// Lock-free: a failed CAS means that another publisher's succeeded, and a
// publisher that stalls between its two CASes is helped (I2).
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
		t := r.tail.Load()
		s := t + 1
		slot := r.slot(s)
		cur := slot.Load()
		racePoint()
		if cur != nil && cur.seq >= s {
			if cur.seq > s {
				continue // t was stale: others have gone round the ring
			}
			switch cur.kind {
			case kindMoved:
				k.finishMove(r, cur)
			case kindRetired:
				return false
			default:
				r.tail.CompareAndSwap(t, s) // help the publisher of s
			}
			continue
		}
		if r.wantsGrowth(s, cur, k.opts.Load().slots()) {
			k.move(e, r, s, cur, 2*len(r.slots))
			continue
		}
		d.stamp(Position{Epoch: k.epoch, Seq: s})
		racePoint()
		if !slot.CompareAndSwap(cur, d.ev) { // publishes the event (I1)
			continue
		}
		racePoint()
		r.tail.CompareAndSwap(t, s)
		k.account(e, d.ev, cur)
		k.limitBytes(e)
		return true
	}
}

// wantsGrowth reports whether the event s would take the last free slot of a
// ring that may be larger. Growing one slot early leaves a slot for the mark
// that ends this ring, so that growing displaces no event.
func (r *ring) wantsGrowth(s uint64, cur *Event, limit int) bool {
	if len(r.slots) >= limit || s < uint64(len(r.slots))-1 {
		return false
	}
	next := r.slot(s + 1).Load()
	return cur != nil && cur.kind == kindEvent || next != nil && next.kind == kindEvent
}

// move ends ring r at sequence s, whose slot holds cur, and gives the key a
// ring of the given size. If another publisher takes s first, nothing happens.
func (k *key) move(e *Engine, r *ring, s uint64, cur *Event, size int) {
	mark := &Event{seq: s, at: int64(size), kind: kindMoved}
	if r.slot(s).CompareAndSwap(cur, mark) {
		k.release(e, cur) // displaced only if the key's limit was raised meanwhile
		racePoint()
		k.finishMove(r, mark)
	}
}

// finishMove replaces r, which mark ended, by a ring that has the events of r.
// Anyone who meets the mark may do it: all helpers copy the same slots, since
// nothing is published in r behind the mark (I4), and the first CAS wins.
func (k *key) finishMove(r *ring, mark *Event) {
	if k.ring.Load() != r {
		return
	}
	size, s := int(mark.at), mark.seq
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
	racePoint()
	k.ring.CompareAndSwap(r, n)
}

// read returns what is at sequence s for a reader: the event, or nil and
// whether s is gone (lapped or evicted) rather than not there yet.
func (k *key) read(s uint64) (ev *Event, lapped bool) {
	for {
		r := k.ring.Load()
		if r == nil || r == retiredRing {
			return nil, false
		}
		slot := r.slot(s)
		ev := slot.Load()
		if ev != nil && ev.kind == kindMoved && ev.seq >= s {
			k.finishMove(r, ev)
			continue
		}
		if ev == nil || ev.seq < s {
			if s > r.tail.Load() {
				return nil, false
			}
			// Published since the slot was loaded, or gone in a move. Once tail
			// has reached s, a second look at the slot decides.
			if now := slot.Load(); now != ev {
				continue
			}
			return nil, true
		}
		switch {
		case ev.seq > s:
			return nil, ev.kind != kindRetired
		case ev.kind == kindEvent:
			return ev, false
		default:
			return nil, ev.kind == kindEvicted
		}
	}
}

// tail returns the sequence of the newest event, 0 before the first.
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
		case next.seq > t+1: // t is stale: others have gone round the ring
		case next.kind == kindMoved:
			k.finishMove(r, next)
		case next.kind == kindRetired:
			return t
		default:
			r.tail.CompareAndSwap(t, t+1)
		}
	}
}

// firstKept returns the oldest sequence that can still be read, or tail+1.
func (k *key) firstKept() uint64 { return k.firstFrom(1) }

// firstFrom returns the first sequence from s on that can still be read, or
// tail+1. Between s and there nothing can be; below s something may: eviction
// in a ring that is being replaced can leave a hole in the new one.
func (k *key) firstFrom(s uint64) uint64 {
	// The tail first: a ring that comes later keeps all of it that is kept.
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
