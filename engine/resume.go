package engine

import (
	"math"
	"slices"
)

// resumeAll sets the cursors, which have joined their keys, to the place after the id that the client gave. since is
// the last broadcast that began before the subscriber joined.
func (s *Subscriber) resumeAll(e *Engine, id string, since uint32, rewind Rewind) Resumed {
	// Without an id: begin at the newest events.
	if id == "" {
		if len(s.cursors) > 1 {
			s.lastBroadcast = since
		}
		for i := range s.cursors {
			s.cursors[i].startFresh(true)
		}
		if rewind != (Rewind{}) {
			s.rewindAll(rewind)
		}
		return ResumedNone
	}

	// Parse the id, and take the last broadcast that the client has from it.
	parts := splitParts(id, len(s.cursors))
	for _, p := range parts {
		if p.tag == broadcastTag && e.issued(p.pos.Epoch) && p.pos.Seq <= uint64(^uint32(0)) &&
			!after(uint32(p.pos.Seq), e.lastBroadcast.Load()) {
			s.lastBroadcast = uint32(p.pos.Seq)
		}
	}

	// Set the cursors that have a part, and those of all keys if the id is a publisher's own.
	result := ResumedExact
	anyPart := false
	allBroadcasts := false // a cursor has all broadcasts ahead that the client does not have
	for i := range s.cursors {
		c := &s.cursors[i]
		j := partFor(parts, c.key)
		text := id
		if j >= 0 {
			text, anyPart = parts[j].text, true
		} else if parts != nil {
			continue
		}
		if !c.resume(e, text) {
			result = ResumedGap
			continue
		}
		allBroadcasts = allBroadcasts || j >= 0 && parts[j].pos.Epoch == c.key.epoch && !c.key.duringBroadcast
		if len(parts) <= 1 && len(s.cursors) > 1 && since != 0 {
			// The id of a stream of one key, and a publisher's own id, do not contain the last broadcast. It is the
			// last one before the place that the id names.
			if n := c.broadcastBefore(); after(n, s.lastBroadcast) {
				s.lastBroadcast = n
			}
		}
	}
	if parts == nil {
		return result
	}

	// Set the others: by a publisher's own id that looks like a position, or by what the parts of other keys show.
	own := !anyPart && !e.holdsOwnPosition(id)
	for i := range s.cursors {
		c := &s.cursors[i]
		switch {
		case partFor(parts, c.key) >= 0:
		case own && c.hasID(id):
			c.resume(e, id)
		case !s.resumeWithoutPart(e, parts, i, allBroadcasts):
			result = ResumedGap
		}
	}
	return result
}

// partFor returns the index of the part that is the position of k, or -1.
func partFor(parts []part, k *key) int {
	return slices.IndexFunc(parts, func(p part) bool { return p.matches(k) })
}

// resumeWithoutPart sets cursor i, for which a composite id has no part. If every part matches one of the other keys,
// the client had not subscribed to this key, and the cursor begins as for a new subscriber. A part that matches no key
// may belong to another life of this key: then the client gets a gap, and everything that is kept, unless all of these
// parts show that the client has missed nothing (I12).
func (s *Subscriber) resumeWithoutPart(e *Engine, parts []part, i int, allBroadcasts bool) (exact bool) {
	c := &s.cursors[i]
	if i < len(parts) && parts[i].valid && !parts[i].engineMade() {
		return c.resume(e, parts[i].text) // a publisher's own id in the place of this key
	}

	// Choose the part that may be this key's: preferably the one in its place.
	unmatched := part{}
	opening := openingParts{all: true, oldest: math.MaxUint64}
	for j, p := range parts {
		if !s.matchesNone(p) {
			continue
		}
		opening.add(e, p)
		if unmatched.text == "" || j == i {
			unmatched = p
		}
	}
	if unmatched.text == "" {
		c.startFresh(false)
		return true
	}
	if opening.missedNothing(e, c.key, allBroadcasts) {
		return c.resumeAfter(0, unmatched.text)
	}
	c.next = c.key.firstKept()
	reason := GapUnknown
	if unmatched.valid {
		reason = GapEpoch
	}
	c.noteGap(Gap{Reason: reason, Missed: -1, After: unmatched.text})
	return false
}

// matchesNone reports whether the part matches none of the subscriber's keys.
func (s *Subscriber) matchesNone(p part) bool {
	for i := range s.cursors {
		if p.matches(s.cursors[i].key) {
			return false
		}
	}
	return p.tag != broadcastTag
}

// resume sets the cursor to the place after the last id that the client has received. It is called after join, so that
// an event that is published meanwhile is either found here or announced (I7).
//
// If the id cannot be found, the cursor sends a gap and then everything that is kept. If the id is of another epoch, or
// history has lost it, the client has not seen any of these events. Any other id is unknown, and then repeating events
// is better than losing them.
func (c *cursor) resume(e *Engine, after string) (exact bool) {
	k := c.key
	first, tail := k.firstKept(), k.tail()
	p, position := ParsePosition(after)

	// A position in this life of the key.
	if position && p.Epoch == k.epoch && p.Seq <= tail {
		return c.resumeAfter(p.Seq, after)
	}

	// The publisher's own id of an event that is kept. No event has a position of this engine as its own id.
	if !position || !e.issued(p.Epoch) {
		if seq, found := k.findID(after, first, tail); found {
			c.next = seq + 1
			return true
		}
	}

	// Neither: send everything that is kept.
	c.next = first
	reason := GapUnknown
	if position && p.Epoch != k.epoch {
		reason = GapEpoch
	}
	c.noteGap(Gap{Reason: reason, Missed: -1, After: after})
	return false
}

// resumeAfter sets the cursor to the place after sequence seq, which after is the text of. If events after it are lost,
// it notes a gap.
func (c *cursor) resumeAfter(seq uint64, after string) (exact bool) {
	c.next = c.key.firstKeptFrom(seq + 1)
	if c.next == seq+1 {
		return true
	}
	c.noteGap(Gap{Reason: GapHistory, Missed: int64(c.next - seq - 1), After: after})
	return false
}

// startFresh sets the cursor of a new subscriber: after the newest event or, with KeyOptions.SendLast, before the
// newest value, if that is kept. From there on it reads like any other cursor: what is published meanwhile comes after
// the value, or laps it like any slow subscriber.
//
// noID is false if the client resumes its other keys. Then their id says which broadcasts it has.
func (c *cursor) startFresh(noID bool) {
	tail := c.key.tail()
	c.next = tail + 1
	if !c.key.opts.Load().SendLast {
		return
	}
	if ev := c.key.newestValue(tail); ev != nil {
		c.next = ev.seq
		if noID && ev.broadcast != 0 && len(c.sub.cursors) > 1 {
			c.sub.rewindBefore(ev.broadcast)
		}
	}
}

// hasID reports whether the key keeps an event with this id of its publisher.
func (c *cursor) hasID(id string) bool {
	_, found := c.key.findID(id, c.key.firstKept(), c.key.tail())
	return found
}

// findID returns the first kept event that has this id of its publisher. If several events have the same id, the first
// one is right: the events after it may be sent twice, but none is skipped. It costs a comparison for each kept event,
// see idIndex for a long history.
func (k *key) findID(id string, first, tail uint64) (seq uint64, found bool) {
	match := func(s uint64) bool {
		if ev, _ := k.read(s); ev != nil && ev.idAt >= 0 && string(ev.IDBytes()) == id {
			seq, found = s, true
		}
		return found
	}
	r := k.ring.Load()
	if r == nil || tail-first < indexFrom || first > tail || len(r.slots) < indexFrom {
		for s := first; s <= tail && !match(s); s++ {
		}
		return seq, found
	}
	k.idIndex().search(k, len(r.slots), id, first, tail, match)
	return seq, found
}

// newestValue returns the newest kept event up to sequence tail that is a value: clients dispatch it, and it is not a
// notice. It returns nil if there is none. It looks at each event after that one.
func (k *key) newestValue(tail uint64) *Event {
	return k.newestMatching(tail, func(ev *Event) bool { return ev.class&classMask == classValue })
}

// newestMatching returns the newest kept event up to sequence seq for which match returns true, or nil.
func (k *key) newestMatching(seq uint64, match func(*Event) bool) *Event {
	for first := k.firstKept(); seq >= first && seq > 0; seq-- {
		if ev, _ := k.read(seq); ev != nil && match(ev) {
			return ev
		}
	}
	return nil
}

// broadcastBefore returns the number of the last broadcast that is kept before the cursor, or 0. It looks at each kept
// event before the cursor, up to that one.
func (c *cursor) broadcastBefore() uint32 {
	if ev := c.key.newestMatching(c.next-1, func(ev *Event) bool { return ev.broadcast != 0 }); ev != nil {
		return ev.broadcast
	}
	return 0
}
