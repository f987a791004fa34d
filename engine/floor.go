package engine

import "sync/atomic"

// # Invariant
//
// I14. If an event of a key was applied, or would have been, and the key's ring does not have it, then its position is at
// most the floor of the key. The floor is the largest of three positions: the newest event that the ring has dropped
// (keyExtra.floor); the beginning of the epoch; and the place where the engine began to follow the log.
//
// # Why it holds
//
//   - An event leaves a ring by a CAS: by overwriting, by eviction, by a resize marker in its slot, or by a resize that does
//     not copy it. In each case the floor is raised before the CAS. If the CAS fails, the floor is too high, which costs a
//     needless look into the log.
//   - When a key is retired, it keeps no event, so its floor is at least its newest event. The floor goes to
//     partition.retired before the CAS of the retire marker. An event that is published in between takes the slot and
//     makes the CAS fail. The next key of this name begins with that floor: it is read under the lock of the map, when the
//     first key is no longer there, and so after the marker.
//   - An event for whose key there is no room goes to partition.retired under the same lock (noteLost).
//   - The notice of an epoch is at the beginning of the epoch, and never above a floor.
//
// # Resuming
//
// A cursor joins, searches the first event after position p, and then loads the floor. If p is at or above the floor, all
// events that were dropped until then are at or before p. So the ring had every later event when the floor was loaded,
// and the search has found the first one. What is dropped afterwards is a lap. If p is below the floor, the events between
// p and the first one that is kept may be lost: they become a missing range. The upper end is the position before the
// event that is kept. If none is kept, it is the watermark, which was loaded before, or the floor if that is higher; the
// tail, which is the same before and after, shows that nothing was published meanwhile.
//
// If the event before the found one is kept, or its tombstone, and is at or before p, then nothing is lost, whatever the
// floor: the sequences in a ring have no holes, and tombstones keep the position.
//
// # Rejected
//
// A floor for each hash bucket of names instead of retired names. With a million keys and 4096 buckets, 244 keys share
// a bucket. A client that comes back to a retired key would have a missing range as soon as one of them was retired after
// it had left, and each of those costs the broker a fetch.

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
