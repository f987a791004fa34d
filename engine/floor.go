package engine

import "sync/atomic"

// raiseFloor is called before the event is dropped from the key's ring. It does nothing unless the engine follows a log.
func (k *key) raiseFloor(ev *Event) {
	x := k.extra.Load()
	if x == nil || x.part == nil || ev == nil || ev.kind != kindEvent {
		return
	}
	raise(&x.floor, ev.pos())
}

// floorIn returns the floor of a key: no event of the key above it has left the ring, or was never there.
func (k *key) floorIn(part *readPosition) uint64 {
	return max(k.extra.Load().floor.Load(), part.p.follows.Load(), part.generation.first)
}

// keptEvents is what a ring keeps after a position.
type keptEvents struct {
	at     uint64 // the first sequence after the position, kept or not
	next   uint64 // the first one that is kept, or the sequence of the next event
	before uint64 // the position before the event next. What was lost from at on is not above it.
	floor  uint64 // as of after the other fields: everything that was lost until then is not above it
	tail   uint64
}

// keptAfter looks for the events after an internal position. The watermark is loaded first and the floor last.
func (k *key) keptAfter(part *readPosition, pos uint64) (kept keptEvents) {
	for {
		w, tail := part.watermark(), k.tail()
		racePoint()
		kept = keptEvents{at: k.seek(pos, tail), tail: tail}
		kept.next = k.firstKeptFrom(kept.at)
		racePoint()
		kept.floor = k.floorIn(part)
		ev, gone := k.read(kept.next)
		switch {
		case ev != nil:
			kept.before = ev.pos() - 1
			return kept
		case !gone && k.tail() == tail:
			kept.before = max(w, kept.floor)
			return kept
		}
	}
}

// noteLost records that an event is in no ring, because there is no room for its key. It returns true, and records
// nothing, if the key exists after all. Otherwise the next key of this name has the floor, because both happen under the
// lock of the map.
func (e *Engine) noteLost(p *partition, name string, pos uint64) (exists bool) {
	e.shard(name).Compute(name, func(old *key, loaded bool) (*key, bool) {
		if exists = loaded; !loaded {
			p.retired.add(e.nameHash(name), pos)
		}
		return old, !loaded
	})
	return exists
}

// raise makes v at least n.
func raise(v *atomic.Uint64, n uint64) {
	for {
		old := v.Load()
		if old >= n || v.CompareAndSwap(old, n) {
			return
		}
	}
}

// posAt returns the position of the event at sequence seq, which has been published. It is known as long as the ring has
// the event or its tombstone.
func (k *key) posAt(seq uint64) (pos uint64, known bool) {
	for {
		r := k.ring.Load()
		if r == nil || r == retiredRing {
			return 0, false
		}
		ev := r.slot(seq).Load()
		switch {
		case ev != nil && ev.kind == kindResized && ev.seq >= seq:
			k.finishResize(r, ev)
			continue
		case ev == nil || ev.seq != seq:
			return 0, false
		case ev.kind == kindEvent:
			return ev.pos(), true
		case ev.kind == kindEvicted:
			return uint64(ev.at), true
		}
		return 0, false
	}
}

// seek returns the first sequence up to tail whose event has a position above pos, or tail+1. The positions in a ring
// ascend, and those that are not known any more are at its beginning.
func (k *key) seek(pos, tail uint64) uint64 {
	first, end := uint64(1), tail+1
	if r := k.ring.Load(); r == nil || r == retiredRing {
		return end
	} else if n := uint64(len(r.slots)); tail > n {
		first = tail - n + 1
	}
	for first < end {
		middle := first + (end-first)/2
		if p, known := k.posAt(middle); known && p > pos {
			end = middle
		} else {
			first = middle + 1
		}
	}
	return end
}
