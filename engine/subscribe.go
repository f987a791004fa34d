package engine

import "errors"

// Resumed tells what became of the last id that a subscriber came with.
type Resumed uint8

const (
	// ResumedNone: it came without one, and gets what is published from now on,
	// with KeyOptions.SendLast behind the newest event.
	ResumedNone Resumed = iota
	// ResumedExact: it gets all that followed the id.
	ResumedExact
	// ResumedGap: for one key or more something is missing, and Next says so.
	ResumedGap
)

// ErrNoKeys is returned by Subscribe without a key.
var ErrNoKeys = errors.New("engine: a subscriber needs one key or more")

// Subscribe makes s a subscriber of the keys, which must be different from each
// other, and makes the caller its owner: it drains s by Next and then releases
// it. lastID is the last id that the client has seen, or empty: a Position, for
// several keys what Positions gave, or a publisher's own id.
//
// s must be new, must not be copied, and belongs to the engine until it is
// closed; close every subscriber that Subscribe returned without an error.
// Errors: ErrNoKeys, ErrClosed, *LimitError for maxClients and maxKeys; then s is
// in no key, but must not be used again, since a waker may still look at it.
func (e *Engine) Subscribe(s *Subscriber, keys []string, lastID string, sink Sink) (Resumed, error) {
	if len(keys) == 0 {
		return ResumedNone, ErrNoKeys
	}
	if e.closed.Load() {
		return ResumedNone, ErrClosed
	}
	s.sink = sink
	s.state.Store(stateBusy)
	s.cursors = s.one[:1]
	if len(keys) > 1 {
		s.cursors = make([]cursor, len(keys))
	}
	for i := range s.cursors {
		s.cursors[i].pos, s.cursors[i].sub = -1, s
	}
	since := e.all.Load()
	for i, name := range keys {
		if err := e.enter(&s.cursors[i], name); err != nil {
			s.leaveAll()
			return ResumedNone, err
		}
		s.joined.Add(1)
	}
	result := s.resumeAll(e, lastID, since)
	if s.Closing() != 0 {
		// CloseKey met s in its first key before it was in its last one. Either
		// it sees joined, or this sees the reason.
		s.leaveAll()
	}
	return result, nil
}

// enter joins the key of that name.
func (e *Engine) enter(c *cursor, name string) error {
	for {
		k, err := e.lookup(name)
		if err != nil {
			return err
		}
		c.key = k
		if ok, err := k.join(e, c); ok {
			return err
		}
		e.remove(k)
	}
}
