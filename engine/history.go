package engine

// account books a published event's bytes, and those of the event it displaced.
func (k *key) account(e *Engine, ev, displaced *Event) {
	n := int64(len(ev.bytes))
	k.bytes.Add(n)
	e.historyBytes.Add(n)
	k.release(e, displaced)
}

// release takes an event that left the history out of the byte counts, once (I6).
func (k *key) release(e *Engine, ev *Event) {
	if ev == nil || ev.kind != kindEvent || !ev.released.CompareAndSwap(0, 1) {
		return
	}
	n := int64(len(ev.bytes))
	k.bytes.Add(-n)
	e.historyBytes.Add(-n)
}

// limitBytes evicts the key's oldest events while the key or the whole engine
// holds more bytes than allowed. The newest event always stays: its subscribers
// have not been served yet.
func (k *key) limitBytes(e *Engine) {
	if limit := k.opts.Load().HistoryBytes; k.bytes.Load() > limit {
		k.evict(e, k.keptFrom(k.tail()), func(*Event) bool { return k.bytes.Load() > limit })
	}
	if limit := e.maxHistoryBytes.Load(); e.historyBytes.Load() > limit {
		k.evict(e, k.keptFrom(k.tail()), func(*Event) bool { return e.historyBytes.Load() > limit })
		e.pressed() // other keys hold the rest
	}
}

// keptFrom returns the first sequence that no limit of bytes or time evicts: the
// newest event's or, with SendLast, that of the newest value, which comments and
// notices may follow.
func (k *key) keptFrom(tail uint64) uint64 {
	if k.opts.Load().SendLast {
		if ev := k.newestValue(tail); ev != nil {
			return ev.seq
		}
	}
	return tail
}

// evict removes the key's oldest events, all before sequence end, as long as
// more says so of the next one. A removed event leaves a stub with its sequence
// in the slot, never nil: a publisher that stalled before its CAS may have seen
// the slot's older contents, and must not find them again (I3).
//
// An event that was evicted from a ring after a helper had copied it to the next
// one is there still, but no longer counted (I6): it goes whatever more says.
func (k *key) evict(e *Engine, end uint64, more func(oldest *Event) bool) {
	for {
		r := k.ring.Load()
		if r == nil || r == retiredRing {
			return
		}
		o := r.oldest.Load()
		if t, n := r.tail.Load(), uint64(len(r.slots)); t >= n && o < t-n+1 {
			r.oldest.CompareAndSwap(o, t-n+1) // overwritten long ago
			continue
		}
		if o >= end {
			return
		}
		slot := r.slot(o)
		ev := slot.Load()
		switch {
		case ev != nil && ev.kind == kindMoved:
			k.finishMove(r, ev)
		case ev == nil || ev.seq != o || ev.kind != kindEvent:
			r.oldest.CompareAndSwap(o, o+1)
		case ev.released.Load() == 0 && !more(ev):
			return
		default:
			racePoint()
			if slot.CompareAndSwap(ev, &Event{seq: o, kind: kindEvicted}) {
				k.release(e, ev)
				r.oldest.CompareAndSwap(o, o+1)
			}
		}
	}
}

// expire removes what is older than cutoff or more than the key's options
// allow, for these may have changed; the newest event only if it is older than
// cutoff, and neither with keepNewest nor with SendLast. It reports whether
// nothing is left.
func (k *key) expire(e *Engine, cutoff int64, keepNewest bool) (empty bool) {
	tail := k.tail()
	o := k.opts.Load()
	end := tail + 1
	if keepNewest || o.SendLast {
		end = k.keptFrom(tail)
	}
	keep := uint64(o.slots())
	k.evict(e, end, func(oldest *Event) bool {
		return oldest.at < cutoff || tail >= keep && oldest.seq <= tail-keep ||
			oldest.seq < tail && k.bytes.Load() > o.HistoryBytes
	})
	r := k.ring.Load()
	if r == nil || r == retiredRing {
		return true
	}
	first := k.firstKept()
	if first < tail || first == tail && !o.SendLast {
		return false
	}
	if s := tail + 1; len(r.slots) > minSlots {
		// Give back the slots, and the stubs in them.
		if cur := r.slot(s).Load(); cur == nil || cur.seq < s {
			k.move(e, r, s, cur, minSlots)
		}
	}
	return first > tail
}

// retire ends a key that has no subscriber and nothing to replay. It reports
// false if the key is in use after all: a publish that came first wins the CAS
// on the slot, and a subscriber that came first is seen under k.mu (I5).
func (k *key) retire() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired || k.subscribers.Load() > 0 {
		return k.retired
	}
	r := k.ring.Load()
	if r == nil {
		k.retired = k.ring.CompareAndSwap(nil, retiredRing)
		return k.retired
	}
	s := r.tail.Load() + 1
	cur := r.slot(s).Load()
	if cur != nil && cur.seq >= s || k.firstKept() < s {
		return false
	}
	racePoint()
	k.retired = r.slot(s).CompareAndSwap(cur, &Event{seq: s, kind: kindRetired})
	return k.retired
}
