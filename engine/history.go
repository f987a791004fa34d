package engine

// account adds the bytes of a published event to the counts, and subtracts those of the event that it displaced.
func (k *key) account(e *Engine, ev, displaced *Event) {
	n := int64(len(ev.bytes))
	k.bytes.Add(n)
	e.historyBytes.Add(n)
	k.release(e, displaced)
}

// release subtracts the bytes of an event that left the history from the counts, once (I6).
func (k *key) release(e *Engine, ev *Event) {
	if ev == nil || ev.kind != kindEvent || !ev.released.CompareAndSwap(0, 1) {
		return
	}
	n := int64(len(ev.bytes))
	k.bytes.Add(-n)
	e.historyBytes.Add(-n)
}

// limitBytes evicts the key's oldest events while the key, or the engine through this key's fault, holds more bytes than
// allowed. newest is the size of the event that the caller has published. It is never evicted, because its subscribers
// have not been served yet. See budget.go for the engine's limit.
func (k *key) limitBytes(e *Engine, newest int) {
	if limit := k.opts.Load().HistoryBytes; k.bytes.Load() > limit {
		k.evict(e, k.protectedFrom(k.tail()), func(*Event) bool { return k.bytes.Load() > limit })
	}
	if limit := e.maxHistoryBytes.Load(); e.historyBytes.Load() > limit {
		keep := e.keepOf(int64(newest))
		k.evict(e, k.protectedFrom(k.tail()), func(*Event) bool { return e.historyBytes.Load() > limit && k.bytes.Load() > keep })
		e.requestEviction()
	}
}

// protectedFrom returns the first sequence that no limit of bytes or time evicts. It is the newest event or, with
// SendLast, the newest value, which comments and notices may follow.
func (k *key) protectedFrom(tail uint64) uint64 {
	if k.opts.Load().SendLast {
		if ev := k.newestValue(tail); ev != nil {
			return ev.seq
		}
	}
	return tail
}

// evict removes the key's oldest events before sequence end, as long as more returns true for the next one. It replaces
// an event by a tombstone with the same sequence, never by nil. A publisher that stalled before its CAS may have seen
// older contents of the slot, and must not find them again (I3).
//
// If an event was evicted from a ring after a resize had copied it to the next ring, it is still in that ring, but not
// counted any more (I6). evict removes it whatever more returns.
func (k *key) evict(e *Engine, end uint64, more func(oldest *Event) bool) {
	for {
		// Find the oldest event.
		r := k.ring.Load()
		if r == nil || r == retiredRing {
			return
		}
		o := r.oldest.Load()
		if t, n := r.tail.Load(), uint64(len(r.slots)); t >= n && o < t-n+1 {
			r.oldest.CompareAndSwap(o, t-n+1) // these were overwritten
			continue
		}
		if o >= end {
			return
		}

		// Remove it, or help whoever changes the ring.
		slot := r.slot(o)
		ev := slot.Load()
		switch {
		case ev != nil && ev.kind == kindResized:
			k.finishResize(r, ev)
		case ev == nil || ev.seq != o || ev.kind != kindEvent:
			r.oldest.CompareAndSwap(o, o+1)
		case ev.released.Load() == 0 && !more(ev):
			return
		default:
			tombstone := &Event{seq: o, kind: kindEvicted}
			if e.log != nil {
				tombstone.at = int64(ev.pos())
				k.raiseFloor(ev)
			}
			racePoint()
			if slot.CompareAndSwap(ev, tombstone) {
				racePoint()
				k.release(e, ev)
				r.oldest.CompareAndSwap(o, o+1)
			}
		}
	}
}
