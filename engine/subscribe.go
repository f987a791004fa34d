package engine

import (
	"errors"
	"strings"
)

// Resumed tells what became of the last id that a subscriber came with.
type Resumed uint8

const (
	// ResumedNone: it came without one, and gets what is published from now on.
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
// Errors: ErrNoKeys, *LimitError for maxClients and maxKeys; then s is unused.
func (e *Engine) Subscribe(s *Subscriber, keys []string, lastID string, sink Sink) (Resumed, error) {
	if len(keys) == 0 {
		return ResumedNone, ErrNoKeys
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
	after := splitPositions(lastID, len(keys))
	result := ResumedNone
	if lastID != "" {
		result = ResumedExact
	}
	for i, name := range keys {
		c := &s.cursors[i]
		if err := e.enter(c, name); err != nil {
			s.cursors = s.cursors[:i]
			s.leaveAll()
			return ResumedNone, err
		}
		if !c.resume(after[i%len(after)]) {
			result = ResumedGap
		}
	}
	if len(keys) > 1 && lastID != "" {
		for i := range s.cursors {
			s.cursors[i].seeBroadcasts()
		}
	}
	if s.Closing() != 0 {
		// CloseKey met s in its first key before it was in its last one.
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

// splitPositions returns the id of each of n keys: the parts of a composite id,
// or else the id itself for all.
func splitPositions(id string, n int) []string {
	if n > 1 {
		parts := strings.Split(id, ",")
		valid := len(parts) == n
		for _, p := range parts {
			_, ok := ParsePosition(p)
			valid = valid && ok
		}
		if valid {
			return parts
		}
	}
	return []string{id}
}

// seeBroadcasts notes the last PublishAll before the cursor: the client has had
// it, perhaps by this key, while another key's cursor still stands before it.
func (c *cursor) seeBroadcasts() {
	first := c.key.firstKept()
	for seq := c.next - 1; seq >= first && seq > 0; seq-- {
		ev, _ := c.key.read(seq)
		if ev == nil || ev.all == 0 {
			continue
		}
		if c.sub.seenAll == 0 || int32(ev.all-c.sub.seenAll) > 0 {
			c.sub.seenAll = ev.all
		}
		return
	}
}
