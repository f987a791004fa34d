package engine

import (
	"math"
	"time"
)

// sweepParts is how many sweeps make a whole pass over the keys.
const sweepParts = 8

// sweep expires history and retires keys until the engine is closed.
func (e *Engine) sweep() {
	tick := time.NewTicker(e.sweepInterval)
	defer tick.Stop()
	part := 0
	var slots int64 // of the keys that this pass has met
	var rest time.Time
	for {
		select {
		case <-e.stop:
			return
		case <-e.pressure:
		case <-tick.C:
			now := time.Now().UnixNano()
			for i := part; i < shardCount; i += sweepParts {
				e.shards[i].Range(func(_ string, k *key) bool {
					k.sweep(e, now)
					if r := k.ring.Load(); r != nil {
						slots += int64(len(r.slots))
					}
					return true
				})
			}
			if part = (part + 1) % sweepParts; part == 0 {
				e.ringSlots.Store(slots)
				slots = 0
			}
		}
		rest = e.relieve(rest)
	}
}

// relieve frees the byte budget: it shortens the time for which all keys keep
// history, by half each round and to nothing at last, until the budget holds. It
// does nothing before rest, and returns the next rest.
//
// The newest event of each key stays, so that many keys can exceed the budget
// for good. Then every publish asks for relief that cannot be had: the rest
// keeps that to a tenth of one core.
func (e *Engine) relieve(rest time.Time) time.Time {
	start := time.Now()
	if !e.overBudget() || start.Before(rest) {
		return rest
	}
	const rounds = 20
	for round := range rounds {
		for k := range e.everyKey() {
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

// pressed asks for relieve.
func (e *Engine) pressed() {
	select {
	case e.pressure <- struct{}{}:
	default:
	}
}

// sweep expires what is older than the key's TTL, and retires the key if it has
// not been used for as long.
func (k *key) sweep(e *Engine, now int64) {
	cutoff := now - int64(k.opts.Load().HistoryTTL)
	if k.expire(e, cutoff, false) && k.subscribers.Load() == 0 && k.idleSince.Load() < cutoff && k.retire() {
		e.remove(k)
	}
}
