package transport

import (
	"math/rand/v2"
	"sync"
	"time"

	"fanfare/engine"
)

const registryShards = 16

// registry knows the streams, for the sweep and the drain. Shards keep joins
// and the sweep out of each other's way.
type registry struct {
	shards [registryShards]struct {
		mu      sync.Mutex
		streams []*stream
	}
}

func (r *registry) add(st *stream) {
	st.shard = int32(rand.N(registryShards))
	sh := &r.shards[st.shard]
	sh.mu.Lock()
	st.index = int32(len(sh.streams))
	sh.streams = append(sh.streams, st)
	sh.mu.Unlock()
}

func (r *registry) remove(st *stream) {
	sh := &r.shards[st.shard]
	sh.mu.Lock()
	last := len(sh.streams) - 1
	sh.streams[st.index] = sh.streams[last]
	sh.streams[st.index].index = st.index
	sh.streams[last] = nil
	sh.streams = sh.streams[:last]
	if c := cap(sh.streams); c > 1024 && last < c/4 {
		sh.streams = append(make([]*stream, 0, c/2), sh.streams...)
	}
	sh.mu.Unlock()
}

// collect appends the streams of a shard for which want holds.
func (r *registry) collect(dst []*stream, shard int, want func(*stream) bool) []*stream {
	sh := &r.shards[shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, st := range sh.streams {
		if want(st) {
			dst = append(dst, st)
		}
	}
	return dst
}

// minStep is the shortest time between two visits of the sweep.
const minStep = time.Millisecond

// sweep keeps the clock, sends heartbeats and ends connections that take
// nothing, until stop is closed. It visits a shard at a time and all of them
// eight times in the shorter of the two intervals, at least once a second.
func (s *Server) sweep() {
	defer s.done.Done()
	start := time.Now()
	var due []*stream
	timer := time.NewTimer(0)
	defer timer.Stop()
	visit := start
	for shard := 0; ; shard = (shard + 1) % registryShards {
		o := s.settings.Load()
		step := max(min(o.PingInterval/8, o.WriteTimeout/8, time.Second)/registryShards, minStep)
		pass := step * registryShards
		// By the clock, so that delays do not add up; but no rush after a long one.
		visit = visit.Add(step)
		if late := time.Since(visit); late > pass {
			visit = visit.Add(late)
		}
		timer.Reset(time.Until(visit))
		select {
		case <-s.stop:
			return
		case <-timer.C:
		}
		now := time.Since(start).Milliseconds() + 1 // 0 means "not blocked"
		s.clock.Store(now)
		s.sampleMask.Store(sampleMask(s.open.Load()))
		// A ping is due early enough that the next visit would be too late, even
		// if that is a few steps late itself, and spread, so that the streams that
		// one event made quiet together do not all get their pings together.
		quiet := (o.PingInterval - pass - 4*step).Milliseconds()
		spread := max((o.PingInterval / 8).Milliseconds(), 1)
		stuck := o.WriteTimeout.Milliseconds()
		due = s.streams.collect(due[:0], shard, func(st *stream) bool {
			if since := st.blockedSince.Load(); since != 0 {
				return now-since >= stuck
			}
			return now-st.lastWrite.Load() >= quiet-int64(st.gen)%spread
		})
		for i, st := range due {
			// It may have become blocked, or been served, since it was collected.
			if since := st.blockedSince.Load(); since != 0 {
				if now-since >= stuck {
					st.abort(engine.ReasonStalled)
				}
			} else {
				st.pingDue.Store(true)
				st.sub.Notify()
			}
			due[i] = nil
		}
	}
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
