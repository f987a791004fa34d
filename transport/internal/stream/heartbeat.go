package stream

import (
	"cmp"
	"time"

	"fanfare/engine"
)

// minStep is the shortest time between two visits of the sweep.
const minStep = time.Millisecond

// sweep keeps the clock, sends heartbeats and ends connections that take
// nothing, until stop is closed. It visits a shard at a time and all of them
// eight times in the shorter of the two intervals, at least once a second.
func (h *Hub) sweep() {
	defer h.done.Done()
	start := time.Now()
	var due []*Stream
	timer := time.NewTimer(0)
	defer timer.Stop()
	visit, looked, lenient := start, start, start
	for shard := 0; ; shard = (shard + 1) % registryShards {
		c := h.config.Load()
		step := max(min(c.PingInterval/8, c.WriteTimeout/8, time.Second, cmp.Or(c.MaxLife/8, time.Second))/registryShards, minStep)
		pass := step * registryShards
		// By the clock, so that delays do not add up; but no rush after a long one.
		visit = visit.Add(step)
		if late := time.Since(visit); late > pass {
			visit = visit.Add(late)
		}
		timer.Reset(time.Until(visit))
		select {
		case <-h.stop:
			return
		case <-timer.C:
		}
		if time.Since(looked) >= pinInterval {
			looked = time.Now()
			h.limitPins(c)
		}
		now := time.Since(start).Milliseconds() + 1 // 0 means "not blocked"
		h.clock.Store(now)
		if time.Since(lenient) >= lenientInterval {
			lenient = time.Now()
			h.endUnacknowledged(now, c)
		}
		wall := time.Now() // grants expire by the wall clock
		h.sampleMask.Store(sampleMask(h.open.Load()))
		// A ping is due early enough that the next visit would be too late, even
		// if that is a few steps late itself. Pings are spread, so that streams
		// which one event made quiet together do not all get theirs together.
		quiet := (c.PingInterval - pass - 4*step).Milliseconds()
		spread := max((c.PingInterval / 8).Milliseconds(), 1)
		stuck := c.WriteTimeout.Milliseconds()
		due = h.registry.collect(due[:0], shard, func(st *Stream) bool {
			if st.tooSlow(now, c) || st.tooOld(now, c) || st.expired(wall) {
				return true
			}
			if since := st.blockedSince.Load(); since != 0 {
				return now-since >= stuck
			}
			return now-st.lastWrite.Load() >= quiet-int64(st.gen)%spread
		})
		for i, st := range due {
			// It may have become blocked, or been served, since it was collected.
			if st.tooSlow(now, c) {
				// Its goroutine may need longer than a pass to end: count it once.
				if r := st.sub.Closing(); r == 0 || r.Graceful() {
					h.metrics.Refused[LimitRate].Inc()
				}
				st.abort(engine.ReasonStalled)
			} else if st.expired(wall) {
				st.sub.Close(engine.ReasonExpired)
			} else if st.tooOld(now, c) {
				st.sub.Close(engine.ReasonAge)
			} else if since := st.blockedSince.Load(); since != 0 {
				if now-since >= stuck {
					st.abort(engine.ReasonStalled)
				}
			} else {
				st.due.Or(duePing)
				st.sub.Notify()
			}
			due[i] = nil
		}
	}
}

// expired reports whether the grant of the stream has expired, and it is open.
func (st *Stream) expired(now time.Time) bool {
	return st.details.expired(now) && st.sub.Closing() == 0
}

// tooOld reports whether the stream has lasted for Config.MaxLife, give or take a
// tenth: streams that were opened together do not end together.
func (st *Stream) tooOld(now int64, c *Config) bool {
	life := c.MaxLife.Milliseconds()
	if life == 0 || st.sub.Closing() != 0 {
		return false
	}
	spread := life/5 + 1
	return now-st.opened >= life-spread/2+int64(st.gen)*2_654_435_761%spread
}

// sampleMask makes about 64 measurements of each event's deliveries, whatever
// the number of streams: one in a power of two.
func sampleMask(streams int64) uint64 {
	mask := uint64(0)
	for streams > 128 {
		mask = mask<<1 | 1
		streams >>= 1
	}
	return mask
}
