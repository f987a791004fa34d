package engine

import "time"

// sweepParts is how many sweeps make a whole pass over the keys.
const sweepParts = 8

// sweep expires history and retires keys until the engine is closed.
func (e *Engine) sweep() {
	tick := time.NewTicker(e.sweepInterval)
	defer tick.Stop()
	for part := 0; ; part = (part + 1) % sweepParts {
		select {
		case <-e.stop:
			return
		case <-e.pressure:
			e.relieve()
		case <-tick.C:
			now := time.Now().UnixNano()
			for i := part; i < shardCount; i += sweepParts {
				e.shards[i].Range(func(_ string, k *key) bool {
					k.sweep(e, now)
					return true
				})
			}
		}
	}
}

// relieve frees the byte budget: it shortens the time for which all keys keep
// history, by half each round, until the budget holds.
func (e *Engine) relieve() {
	now := time.Now().UnixNano()
	for divisor := int64(1); divisor < 1<<20 && e.historyBytes.Load() > e.maxHistoryBytes.Load(); divisor *= 2 {
		for k := range e.everyKey() {
			k.expire(e, now-int64(k.opts.Load().HistoryTTL)/divisor, true)
		}
	}
}

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
