package engine

import "errors"

// Resumed says what Subscribe did with the last id of a client.
type Resumed uint8

const (
	// ResumedNone: the client had no id. The subscriber gets what is published from now on, and with
	// KeyOptions.SendLast first the newest value.
	ResumedNone Resumed = iota
	// ResumedExact: the subscriber gets everything that followed the id.
	ResumedExact
	// ResumedGap: events of one or more keys are missing, and Next reports a gap for each of these keys.
	ResumedGap
)

// ErrNoKeys is returned by Subscribe without keys.
var ErrNoKeys = errors.New("engine: a subscriber needs at least one key")

// Subscribe makes s a subscriber of the keys, which must be distinct, and makes the caller its owner. The caller calls
// Next until it returns nothing, and then Release. lastID is the last id that the client has received, or empty: a
// Position, what Positions returned for several keys, or a publisher's own id.
//
// s must be new and must not be copied. It belongs to the engine until it is closed. Close every subscriber for which
// Subscribe returned no error.
//
// Errors: ErrNoKeys, ErrClosed, *LimitError for maxClients and maxKeys. After an error s is in no key, but do not use
// it again: a waker may still look at it.
func (e *Engine) Subscribe(s *Subscriber, keys []string, lastID string, sink Sink) (Resumed, error) {
	return e.SubscribeFrom(s, keys, lastID, Rewind{}, sink)
}

// SubscribeFrom is Subscribe with a Rewind, which counts if lastID is empty.
func (e *Engine) SubscribeFrom(s *Subscriber, keys []string, lastID string, rewind Rewind, sink Sink) (Resumed, error) {
	if len(keys) == 0 {
		return ResumedNone, ErrNoKeys
	}
	if e.closed.Load() {
		return ResumedNone, ErrClosed
	}

	// Prepare the cursors. The state is busy: the caller is the owner.
	s.sink = sink
	s.state.Store(stateBusy)
	s.cursors = s.one[:1]
	if len(keys) > 1 {
		s.cursors = make([]cursor, len(keys))
	}
	for i := range s.cursors {
		s.cursors[i].index, s.cursors[i].sub = -1, s
	}

	if e.log != nil {
		s.log = newLogReader(e, s, keys)
	}

	// Join the keys, then look at their rings (I7).
	since := e.lastBroadcast.Load()
	for i, name := range keys {
		if err := e.joinKey(&s.cursors[i], name); err != nil {
			s.leaveAll()
			return ResumedNone, err
		}
		s.joined.Add(1)
	}
	var result Resumed
	if e.log != nil {
		if _, err := e.log.all.join(e, &s.log.all); err != nil {
			s.leaveAll()
			return ResumedNone, err
		}
		s.joined.Add(1)
		result = s.resumeInLog(e, lastID, rewind)
	} else {
		result = s.resumeAll(e, lastID, since, rewind)
	}

	// CloseKey may have found s in its first key before s was in its last key. Either Close sees the final value of
	// joined, or this sees the reason.
	if s.Closing() != 0 {
		s.leaveAll()
	}
	return result, nil
}

// joinKey adds the cursor to the key with that name.
func (e *Engine) joinKey(c *cursor, name string) error {
	for {
		k, err := e.lookup(name, forSubscriber)
		if err != nil {
			return err
		}
		c.key = k
		if ok, err := k.join(e, c); ok {
			return err
		}
		e.remove(k) // it was retired
	}
}
