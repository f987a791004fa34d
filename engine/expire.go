package engine

import (
	"math"
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
		select {
		case <-e.stop:
			return
		case <-e.evictionRequest:
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
			// At the end of a pass, store the size of all rings.
			if part = (part + 1) % sweepParts; part == 0 {
				e.ringSlots.Store(slots)
				slots = 0
			}
		}
		notBefore = e.enforceBudget(notBefore)
	}
}

// enforceBudget evicts history until the engine is within its byte budget. In each round it halves the time for which
// all keys keep history, down to zero in the last round. It does nothing before the time notBefore, and returns the
// next notBefore.
//
// The newest event of each key stays. So many keys can exceed the budget permanently, and then every publish requests
// an eviction that is not possible. notBefore limits this work to a tenth of one core.
func (e *Engine) enforceBudget(notBefore time.Time) time.Time {
	start := time.Now()
	if !e.overBudget() || start.Before(notBefore) {
		return notBefore
	}
	const rounds = 20
	for round := range rounds {
		for k := range e.allKeys() {
			cutoff := start.UnixNano() - int64(k.opts.Load().HistoryTTL)>>round
			if round == rounds-1 {
				cutoff = math.MaxInt64
			}
			k.expire(e, cutoff, true)
		}
		if !e.overBudget() {
			return time.Time{}
		}
	}
	now := time.Now()
	return now.Add(max(10*now.Sub(start), e.sweepInterval))
}

func (e *Engine) overBudget() bool { return e.historyBytes.Load() > e.maxHistoryBytes.Load() }

// requestEviction asks the sweep to enforce the byte budget.
func (e *Engine) requestEviction() {
	select {
	case e.evictionRequest <- struct{}{}:
	default:
	}
}

// expireOrRetire removes events that are older than the key's TTL, and retires the key if it has not been used for as
// long.
func (k *key) expireOrRetire(e *Engine, now int64) {
	cutoff := now - int64(k.opts.Load().HistoryTTL)
	if k.expire(e, cutoff, false) && k.subscribers.Load() == 0 && k.idleSince.Load() < cutoff && k.retire(e) {
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
		}
	}
	return first > tail
}
