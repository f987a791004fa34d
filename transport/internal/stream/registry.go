package stream

import (
	"math/rand/v2"
	"sync"
	"time"

	"fanfare/engine"
)

const registryShards = 16

// registry knows the open streams, for the sweep and the drain. It is sharded so
// that streams which open do not wait for the sweep.
type registry struct {
	shards [registryShards]struct {
		mu      sync.Mutex
		streams []*Stream
	}
}

func (r *registry) add(st *Stream) {
	st.shard = uint8(rand.N(registryShards))
	sh := &r.shards[st.shard]
	sh.mu.Lock()
	st.index = int32(len(sh.streams))
	sh.streams = append(sh.streams, st)
	sh.mu.Unlock()
}

func (r *registry) remove(st *Stream) {
	sh := &r.shards[st.shard]
	sh.mu.Lock()
	last := len(sh.streams) - 1
	sh.streams[st.index] = sh.streams[last]
	sh.streams[st.index].index = st.index
	sh.streams[last] = nil
	sh.streams = sh.streams[:last]
	if c := cap(sh.streams); c > 1024 && last < c/4 {
		sh.streams = append(make([]*Stream, 0, c/2), sh.streams...)
	}
	sh.mu.Unlock()
}

// collect appends the streams of a shard for which want holds.
func (r *registry) collect(dst []*Stream, shard int, want func(*Stream) bool) []*Stream {
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

// all returns the streams for which want holds.
func (r *registry) all(want func(*Stream) bool) (all []*Stream) {
	for shard := range registryShards {
		all = r.collect(all, shard, want)
	}
	return all
}

// State is what is known of an open stream, for tests and diagnosis.
type State struct {
	ID      uint32        // unique among the open streams
	Quiet   time.Duration // since the last write
	Blocked time.Duration // for how long the client has taken nothing; 0: it is not waited for
	Closing engine.Reason // 0 while open
}

// States returns the states of the open streams. Times have the precision of
// Hub.clock.
func (h *Hub) States() []State {
	now := h.clock.Load()
	var states []State
	for _, st := range h.registry.all(func(*Stream) bool { return true }) {
		s := State{ID: st.gen, Quiet: time.Duration(now-st.lastWrite.Load()) * time.Millisecond, Closing: st.sub.Closing()}
		if since := st.blockedSince.Load(); since != 0 {
			s.Blocked = max(time.Duration(now-since)*time.Millisecond, 1)
		}
		states = append(states, s)
	}
	return states
}
