package stream

import (
	"sync"
	"time"

	"fanfare/engine"
)

// The kernel ends a connection on which bytes stay unacknowledged for TCP_USER_TIMEOUT,
// which is WriteTimeout: so a client that has vanished goes although the kernel takes all
// that there is to send. But the kernel counts in the same way how long the window of the
// client is too small for the next segment, also if the client reads. A client with a
// small receive buffer that reads a few kB per second was ended, although MinReadRate
// allows it.
//
// So the option is off from the first time that a stream must wait for its client: then
// WriteTimeout and MinReadRate apply by what the kernel takes. When the stream has nothing
// to wait for any more, the kernel still holds bytes for the client, and the option would
// count the time that has passed. Until the client has acknowledged all of them, the
// sweep looks whether it acknowledges any.

// lenient are the streams whose option is off.
type lenient struct {
	mu      sync.Mutex
	streams map[*Stream]progress
}

// progress is what the client of a stream has got.
type progress struct {
	acked uint64 // bytes
	since int64  // Hub.clock when the number was last seen to change
}

// lenientInterval is the time between two looks at these streams.
const lenientInterval = time.Second

// add switches the option off. Owner only.
func (l *lenient) add(st *Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.streams[st]; known {
		return
	}
	if l.streams == nil {
		l.streams = map[*Stream]progress{}
	}
	l.streams[st] = progress{since: st.hub.clock.Load()}
	st.sock.SetUserTimeout(0) // under mu, or look might just switch it on
}

// remove forgets a stream that ends.
func (l *lenient) remove(st *Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.streams, st)
}

// look switches the option on for the streams whose client has got everything, and
// returns those whose client has acknowledged nothing for a whole timeout.
func (l *lenient) look(now int64, timeout time.Duration) (dead []*Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for st, last := range l.streams {
		acked, more, ok := st.sock.Acknowledged()
		switch {
		case !ok: // it is being closed
		case !more:
			st.sock.SetUserTimeout(timeout)
			delete(l.streams, st)
		case acked != last.acked || st.blockedSince.Load() != 0: // the sweep ends those that are blocked for too long
			l.streams[st] = progress{acked, now}
		case now-last.since >= timeout.Milliseconds():
			dead = append(dead, st)
		}
	}
	return dead
}

// endUnacknowledged ends the streams whose client takes nothing of what the kernel holds.
func (h *Hub) endUnacknowledged(now int64, c *Config) {
	for _, st := range h.lenient.look(now, c.WriteTimeout) {
		st.abort(engine.ReasonStalled)
	}
}
