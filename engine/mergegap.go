package engine

// handleLapInLog moves a cursor whose event is lost to where its key's policy says, and notes the gap. It returns false
// if there is nothing to report.
//
// The local sequences of a ring have no holes, so the number of lost events is known, with two exceptions: the client came
// from an engine that is ahead, and may have some of them; or some of them may come after the end of a graceful close.
func (s *Subscriber) handleLapInLog(i int, part *readPosition) bool {
	c, k := s.cursorOf(i), s.cursorOf(i).key
	policy := k.opts.Load().Slow
	if c == &s.log.all && policy == Latest {
		policy = Skip // nobody may miss a broadcast because only the newest value of another key matters
	}
	at := c.next
	next := k.firstKeptFrom(at)
	if policy == Latest {
		next = max(next, k.seek(part.seen, k.tail())-1)
	}
	if next <= at {
		return false // the evicted event can be read after all: the caller looks again
	}
	ev, gone := k.read(next)
	if gone {
		return false // lapped again
	}
	// The gap ends before the next event. If none is kept, it ends with the newest one that was dropped, which may be above
	// the watermark that this subscriber has seen.
	missed, before := int64(next-at), max(part.seen, k.extra.Load().floor.Load())
	if ev != nil {
		before = part.p.before(ev.pos())
	}
	c.next = next
	if ev != nil && ev.pos() <= part.pos {
		return false // the client has them
	}
	if part.pos <= part.ahead || s.limitsSet && (ev == nil || ev.pos() > part.limit.Load()) {
		missed = -1
	}
	s.noteGapInLog(i, Gap{
		Reason: GapLag, Missed: missed, Policy: policy, After: part.p.position(part.pos).String(), Next: part.p.position(before),
	})
	s.lookAt(i)
	return true
}

// noteGapInLog makes the cursor report the gap before the subscriber reads on.
func (s *Subscriber) noteGapInLog(i int, g Gap) {
	c := s.cursorOf(i)
	g.Key = s.cursors[s.keyOf(i)].key.name
	if c.gap == nil {
		s.log.gaps++
	}
	c.gap = &g
}

// takeGap returns the first gap that was noted.
func (s *Subscriber) takeGap() Item {
	l := s.log
	for i := range l.heads {
		c := s.cursorOf(i)
		if c.gap == nil {
			continue
		}
		it := Item{Gap: c.gap, Key: s.keyOf(i), nextCursor: int32(i)}
		c.gap = nil
		if l.gaps--; l.gaps == 0 {
			s.passGaps()
		}
		return it
	}
	panic("engine: no cursor has the gap that was counted")
}

// passGaps moves the positions to the place before the next event, when the client has been told of every gap. So it does
// not hear of the same gap again when it comes back.
func (s *Subscriber) passGaps() {
	l := s.log
	for slot := range l.parts {
		part := &l.parts[slot]
		part.lost = false
		s.look(int32(slot))
		first := uint64(0)
		for i := range l.heads {
			if h := &l.heads[i]; int(h.part) == slot && h.pos != 0 && (first == 0 || h.pos < first) {
				first = h.pos
			}
		}
		switch {
		case first == lapped:
		case first != 0:
			part.pos = max(part.pos, part.p.before(first))
		default:
			part.pos = max(part.pos, part.seen)
		}
	}
}

// unreadInLog is Unread in log mode. The position of the client is then the one before the first of the items: it has
// everything before that one, because events come in order.
func (s *Subscriber) unreadInLog(items []Item) {
	l := s.log
	for j := len(items) - 1; j >= 0; j-- {
		it := &items[j]
		i := int(it.nextCursor)
		h := &l.heads[i]
		if it.Event.seq == 0 { // of a backlog
			l.backlogs[i].at--
		} else {
			s.cursorOf(i).next = it.Event.seq
		}
		h.pos = it.Event.pos()
		part := &l.parts[h.part]
		part.pos = part.p.before(h.pos)
		l.turn = int32(it.skipped)
	}
}

// settleInLog is Settle in log mode: it frees backlogs that are read.
func (l *logReader) settleInLog() {
	for i := range l.backlogs {
		if b := &l.backlogs[i]; b.at == len(b.events) {
			*b = backlog{}
		}
	}
}

// conflateInLog is Conflate in log mode. Broadcasts are not skipped.
func (s *Subscriber) conflateInLog() (skipped uint64) {
	l := s.log
	for i := range s.cursors {
		c := &s.cursors[i]
		if c.key.opts.Load().Slow != Latest || c.gap != nil {
			continue
		}
		slot := l.heads[i].part
		s.look(slot)
		newest := c.key.seek(l.parts[slot].seen, c.key.tail()) - 1
		if newest <= c.next {
			continue
		}
		if b := l.backlogOf(i); b != nil {
			skipped += uint64(len(b.events) - b.at)
			*b = backlog{}
		}
		skipped += newest - c.next
		c.next = newest
		s.lookAt(i)
	}
	return skipped
}

// lagInLog is Lag in log mode.
func (s *Subscriber) lagInLog() (events uint64) {
	l := s.log
	for i := range l.heads {
		c := s.cursorOf(i)
		end := c.key.tail() + 1
		if s.reason.Load() != 0 {
			end = c.key.seek(l.parts[l.heads[i].part].limit.Load(), end-1)
		}
		if end > c.next {
			events += end - c.next
		}
		if b := l.backlogOf(i); b != nil {
			events += uint64(len(b.events) - b.at)
		}
	}
	return events
}

// appendPositions appends the position of each partition, see Positions. "0-0" stands for one where the client has yet to
// be told of a gap.
func (l *logReader) appendPositions(dst []byte) []byte {
	for i := range l.parts {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch part := &l.parts[i]; {
		case part.later != nil:
			dst = part.later.Append(dst) // it says more than what this engine knows
		case part.lost:
			dst = append(dst, zeroPosition...)
		default:
			dst = part.p.position(part.pos).Append(dst)
		}
	}
	return dst
}

// SharedIDs reports whether the id in an event's bytes is the one that this subscriber should send: the bytes can be sent
// as they are. It is true for one key; in log mode for any number of keys of partition 0, because they have one position.
// Otherwise the id is what Positions returns after Next has returned the event. An id of the publisher's own (OwnID) in a
// stream of several keys is replaced by Positions in any case.
func (s *Subscriber) SharedIDs() bool {
	if s.log != nil {
		return len(s.log.parts) == 1
	}
	return len(s.cursors) == 1
}
