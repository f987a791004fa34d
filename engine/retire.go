package engine

// retire ends the life of a key that has no subscribers and nothing to replay. It returns false if the key is in use
// after all: a publish that came first wins the CAS on the slot, and a subscriber that came first is seen under k.mu
// (I5).
func (k *key) retire() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired || k.subscribers.Load() > 0 {
		return k.retired
	}

	// A key without events.
	r := k.ring.Load()
	if r == nil {
		k.retired = k.ring.CompareAndSwap(nil, retiredRing)
		return k.retired
	}

	// A key whose events are all gone: put the marker into the slot of the next event.
	s := r.tail.Load() + 1
	cur := r.slot(s).Load()
	if cur != nil && cur.seq >= s || k.firstKept() < s {
		return false
	}
	racePoint()
	k.retired = r.slot(s).CompareAndSwap(cur, &Event{seq: s, kind: kindRetired})
	return k.retired
}
