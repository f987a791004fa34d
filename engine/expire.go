package engine

import (
	"time"
)

// sweepParts is the number of sweeps that make one complete pass over the keys.
const sweepParts = 8

// sweep runs until the engine is closed. At each interval it visits a part of the keys, and expires history and retires
// keys there. It enforces the byte budget then, and whenever a publisher requests it.
func (e *Engine) sweep() {
	tick := time.NewTicker(e.sweepInterval)
	defer tick.Stop()
	part := 0
	var slots int64 // of the keys visited so far in this pass
	var notBefore time.Time
	for {
		requested := false
		select {
		case <-e.stop:
			return
		case <-e.evictionRequest:
			requested = true
		case <-tick.C:
			// Visit one part of the shards.
			now := time.Now().UnixNano()
			for i := part; i < shardCount; i += sweepParts {
				e.shards[i].Range(func(_ string, k *key) bool {
					k.expireOrRetire(e, now)
					if r := k.ring.Load(); r != nil {
						slots += int64(len(r.slots))
					}
					return true
				})
			}
			if e.log != nil && part == 0 {
				all := e.log.all
				all.expire(e, now-int64(all.opts.Load().HistoryTTL), true)
				slots += int64(len(all.ring.Load().slots))
			}
			// At the end of a pass, store the size of all rings.
			if part = (part + 1) % sweepParts; part == 0 {
				e.ringSlots.Store(slots)
				slots = 0
			}
		}
		notBefore = e.enforceBudget(requested, notBefore)
	}
}

// expireOrRetire removes events that are older than the key's TTL, and retires the key if it has not been used for as
// long.
func (k *key) expireOrRetire(e *Engine, now int64) {
	o := k.opts.Load()
	cutoff := now - int64(o.HistoryTTL)
	empty := k.expire(e, cutoff, false)
	if o.OnDemand && e.log != nil && !empty {
		// Nobody has wanted it for long: forget what it keeps. The log has it. The tail is loaded first, so that a subscriber that comes
		// meanwhile finds everything that comes after it.
		tail := k.tail()
		if k.subscribers.Load() == 0 && k.idleSince.Load() < cutoff {
			k.evict(e, tail+1, func(*Event) bool { return true })
			empty = k.firstKept() > k.tail()
		}
	}
	if empty && k.subscribers.Load() == 0 && k.idleSince.Load() < cutoff && k.retire(e) {
		e.remove(k)
	}
}

// expire removes events that are older than cutoff. It also removes events that the key's current options do not allow,
// because the options may have changed. It removes the newest event only if that is older than cutoff, and not with
// keepNewest or SendLast. It reports whether nothing is left.
func (k *key) expire(e *Engine, cutoff int64, keepNewest bool) (empty bool) {
	// Evict.
	tail := k.tail()
	o := k.opts.Load()
	end := tail + 1
	if keepNewest || o.SendLast {
		end = k.protectedFrom(tail)
	}
	keep := uint64(o.slots())
	k.evict(e, end, func(oldest *Event) bool {
		return oldest.at < cutoff || tail >= keep && oldest.seq <= tail-keep ||
			oldest.seq < tail && k.bytes.Load() > o.HistoryBytes
	})

	// Look at what is left.
	r := k.ring.Load()
	if r == nil || r == retiredRing {
		return true
	}
	first := k.firstKept()
	if first < tail || first == tail && !o.SendLast {
		return false
	}

	// Nothing, or only the value that SendLast keeps: shrink the ring, which frees its slots and the tombstones in
	// them.
	if s := tail + 1; len(r.slots) > minSlots {
		if cur := r.slot(s).Load(); cur == nil || cur.seq < s {
			k.resize(e, r, s, cur, minSlots)
			k.dropIDs()
		}
	}
	return first > tail
}
