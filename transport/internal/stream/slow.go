package stream

import (
	"slices"
	"sync"
	"time"

	"fanfare/engine"
)

// The limits on slow clients, beside the engine's policies: a client that takes no
// byte for Config.WriteTimeout, one that takes fewer than Config.MinReadRate, and
// the bytes of events that slow clients keep in memory.

// tooSlow reports whether the client has been behind for a whole WriteTimeout and
// has taken less than MinReadRate on average. If it was behind and fast enough,
// another measurement begins.
func (st *Stream) tooSlow(now int64, c *Config) bool {
	since := st.slowSince.Load()
	if since == 0 || now-since < c.WriteTimeout.Milliseconds() {
		return false
	}
	if st.slowBytes.Load() < int64(c.MinReadRate)*(now-since)/1000 {
		// The owner sets slowBytes to 0 before slowSince. If slowSince has changed, the
		// bytes may be those of another measurement.
		return st.slowSince.Load() == since
	}
	// If the owner has set it meanwhile, that measurement counts.
	if st.slowSince.CompareAndSwap(since, now) {
		st.slowBytes.Store(0)
	}
	return false
}

// pins knows the events that streams which wait for room have written a part of.
// Such an event stays in memory when the history has long dropped it, because the
// stream must go on with the rest of it.
type pins struct {
	mu     sync.Mutex
	events map[*engine.Event][]*Stream
	bytes  int64 // of all events in the map, also of those that the history keeps
}

// add notes that st waits in the middle of its current event. Owner only.
func (p *pins) add(st *Stream) {
	ev := st.current
	if ev == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.events == nil {
		p.events = map[*engine.Event][]*Stream{}
	}
	if _, known := p.events[ev]; !known {
		p.bytes += int64(len(ev.Bytes()))
	}
	st.pin = int32(len(p.events[ev]))
	p.events[ev] = append(p.events[ev], st)
}

// remove ends what add began. Owner only, with the same current event.
func (p *pins) remove(st *Stream) {
	ev := st.current
	if ev == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// A large event of a popular key can have all streams here: the last one takes the
	// place of st, so that nothing is searched.
	streams := p.events[ev]
	last := len(streams) - 1
	streams[st.pin] = streams[last]
	streams[st.pin].pin = st.pin
	streams[last] = nil
	if last > 0 {
		p.events[ev] = streams[:last]
		return
	}
	delete(p.events, ev)
	p.bytes -= int64(len(ev.Bytes()))
}

// over returns the streams to end so that the events that only streams keep have
// at most limit bytes: those that wait at the oldest events. kept is the number of
// these bytes before.
func (p *pins) over(limit int64) (victims []*Stream, kept int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes == 0 {
		return nil, 0
	}
	var dropped []*engine.Event
	for ev := range p.events {
		if !ev.Kept() {
			dropped = append(dropped, ev)
			kept += int64(len(ev.Bytes()))
		}
	}
	if kept <= limit {
		return nil, kept
	}
	slices.SortFunc(dropped, func(a, b *engine.Event) int { return int(a.At() - b.At()) })
	left := kept
	for _, ev := range dropped {
		if left <= limit {
			break
		}
		victims = append(victims, p.events[ev]...)
		left -= int64(len(ev.Bytes()))
	}
	return victims, kept
}

// pinInterval is the time between two looks at the bytes that slow clients keep.
const pinInterval = 100 * time.Millisecond

// limitPins ends the streams that keep more than MaxPinnedBytes in memory. The
// sweep calls it.
func (h *Hub) limitPins(c *Config) {
	victims, kept := h.pins.over(c.MaxPinnedBytes)
	h.pinned.Store(kept)
	for _, st := range victims {
		if st.sub.Closing() == 0 {
			h.metrics.Refused[LimitPinned].Inc()
			st.abort(engine.ReasonStalled)
		}
	}
}
