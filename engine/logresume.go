package engine

import (
	"math"
	"slices"
)

// startReading is called by the first Next.
func (s *Subscriber) startReading() {
	l := s.log
	l.started = true
	for i := range l.missing {
		s.Fill(i, nil, errNotFilled)
	}
	s.reportLost()
	l.missing = nil
	// Look at the rings before anything is taken from a backlog: events of other keys come in between.
	for slot := range l.parts {
		s.look(int32(slot))
	}
}

// resumeInLog sets the cursors, which have joined their keys, to the place after the id that the client gave.
//
// If an epoch begins meanwhile, it starts again: then the id is of an earlier epoch.
func (s *Subscriber) resumeInLog(e *Engine, id string, rewind Rewind) Resumed {
	l := s.log
	for {
		l.missing, l.gaps = nil, 0
		for i := range l.heads {
			s.cursorOf(i).gap = nil
		}
		for i := range l.parts {
			part := &l.parts[i]
			part.generation = part.p.current()
			part.ahead, part.lost, part.later = 0, false, nil
		}
		result := s.placeInLog(id, rewind)
		racePoint()
		same := true
		for i := range l.parts {
			same = same && l.parts[i].generation == l.parts[i].p.current()
		}
		if same {
			return result
		}
	}
}

// placeInLog does the work of resumeInLog.
func (s *Subscriber) placeInLog(id string, rewind Rewind) Resumed {
	// Without an id: begin at the watermark.
	l := s.log
	if id == "" {
		for slot := range l.parts {
			s.startFreshInLog(int32(slot))
		}
		s.sendLastInLog()
		if rewind != (Rewind{}) {
			s.rewindInLog(rewind)
		}
		return ResumedNone
	}

	// A publisher's own id: search for it.
	positions, own := l.log.parseID(id)
	if own {
		return s.resumeByOwnID(id)
	}

	// Positions: each belongs to the partition whose epoch it has. One that belongs to none may be of an earlier epoch of
	// any partition. If there is none like that, the client did not follow the partitions without a position. One of a later
	// epoch belongs to the partition in whose place it is: the client comes from an engine that has begun it.
	unmatched := slices.ContainsFunc(positions, func(p Position) bool { return !l.log.isCurrent(p.Epoch) })
	result := ResumedExact
	for slot := range l.parts {
		part := &l.parts[slot]
		j := slices.IndexFunc(positions, func(p Position) bool { return p.Epoch == part.generation.epoch && p.Epoch != 0 })
		switch {
		case j >= 0:
			if !s.resumeAtSeq(int32(slot), positions[j].Seq, id) {
				result = ResumedGap
			}
		case unmatched && len(positions) == len(l.parts) && l.log.isLater(positions[slot].Epoch, part):
			s.startBeforeEpoch(int32(slot), positions[slot], id)
			result = ResumedGap
		case unmatched:
			s.loseInLog(int32(slot), GapEpoch, id)
			result = ResumedGap
		default:
			s.startFreshInLog(int32(slot))
		}
	}
	return result
}

// isCurrent reports whether a partition has this epoch now.
func (l *logState) isCurrent(epoch uint64) bool {
	for i := range l.partitions {
		if epoch != 0 && l.partitions[i].current().epoch == epoch {
			return true
		}
	}
	return false
}

// isLater reports whether a client may have this epoch from an engine that is ahead of this one.
func (l *logState) isLater(epoch uint64, part *readPosition) bool {
	return epoch > part.generation.epoch && l.mayBegin != nil && l.mayBegin(epoch) && !l.isCurrent(epoch)
}

// watermark returns the watermark of the partition, or the beginning of its epoch if the engine is about to begin it.
func (part *readPosition) watermark() uint64 {
	return max(part.p.applied.Load(), part.generation.first)
}

// startFreshInLog sets the cursors of a partition to the watermark.
func (s *Subscriber) startFreshInLog(slot int32) {
	part := &s.log.parts[slot]
	part.pos = part.watermark()
	if part.pos > part.p.applied.Load() {
		part.ahead = part.pos // the notice of the epoch may not be in the rings yet
	}
	s.placeHeads(slot)
}

// startBeforeEpoch sets the cursors of a partition to the watermark, after a gap, for a client that has a position in an epoch
// which this engine has yet to begin: it is behind the engine from which the client comes, so what it keeps is old to the client.
// If the epoch is nobody's, the gap says what is true as well.
func (s *Subscriber) startBeforeEpoch(slot int32, at Position, id string) {
	part := &s.log.parts[slot]
	s.startFreshInLog(slot)
	part.later = &at
	noted := false
	for i := range s.log.heads {
		if s.log.heads[i].part == slot && !(i == len(s.cursors) && noted) {
			s.noteGapInLog(i, Gap{Reason: GapEpoch, Missed: -1, After: id, Next: part.p.position(part.pos)})
			noted = true
		}
	}
}

// meetEpoch moves the position of a client that came with one of a later epoch to that position, once the epoch has begun. Everything
// up to there, in this epoch and in earlier ones, the client has.
func (part *readPosition) meetEpoch() {
	g := part.p.current()
	if g.epoch < part.later.Epoch {
		return
	}
	if g.epoch == part.later.Epoch && part.later.Seq <= maxAhead {
		part.pos = max(part.pos, g.offset+part.later.Seq)
		part.ahead = part.pos
	}
	part.later = nil
}

// resumeAtSeq sets the cursors of a partition to a place in its present epoch. It returns false if there is a gap.
func (s *Subscriber) resumeAtSeq(slot int32, seq uint64, id string) bool {
	part := &s.log.parts[slot]
	g, w := part.generation, part.watermark()
	if newest := w - g.offset; seq > newest && seq-newest > maxAhead {
		s.loseInLog(slot, GapUnknown, id)
		return false
	}
	part.pos = g.offset + seq
	if part.pos > w {
		part.ahead = part.pos
	}
	s.placeHeads(slot)
	return true
}

// placeHeads sets the cursors of a partition to the first event after its position.
func (s *Subscriber) placeHeads(slot int32) {
	for i := range s.log.heads {
		if s.log.heads[i].part == slot {
			s.resumeAt(i, s.log.parts[slot].pos)
		}
	}
}

// resumeAt sets a cursor to the first event after an internal position of the present epoch. What the ring has lost
// between the two becomes a missing range. See floor.go for the argument.
func (s *Subscriber) resumeAt(i int, pos uint64) {
	part, c := &s.log.parts[s.log.heads[i].part], s.cursorOf(i)
	kept := c.key.keptAfter(part, pos)
	if kept.at > 1 && kept.next == kept.at {
		if before, known := c.key.posAt(kept.at - 1); known && before <= pos {
			c.next = kept.at // the event before it is at or before pos, and sequences have no holes
			return
		}
	}
	if pos >= kept.floor {
		c.next = kept.at
		return
	}
	c.next = kept.next
	if kept.before > pos {
		s.miss(i, pos, kept.before, Missing{})
	}
}

// miss notes a missing range of a cursor, between internal positions of the present epoch.
func (s *Subscriber) miss(i int, after, through uint64, m Missing) {
	l := s.log
	part := &l.parts[l.heads[i].part]
	m.Partition, m.Epoch = part.p.index, part.generation.epoch
	m.After, m.Through = after-part.generation.offset, through-part.generation.offset
	if m.All = i == len(s.cursors); !m.All {
		m.Key = s.cursors[i].key.name
	}
	l.missing = append(l.missing, missingRange{Missing: m, head: i, after: after, through: through})
}

// loseInLog sets the cursors of a partition to everything that is kept of the present epoch, after a gap for each key.
func (s *Subscriber) loseInLog(slot int32, reason GapReason, id string) {
	l := s.log
	part := &l.parts[slot]
	part.pos, part.lost = part.generation.first, true
	told := uint64(math.MaxUint64) // how far the gaps of all keys reach
	for i := range l.heads {
		if l.heads[i].part != slot {
			continue
		}
		c := s.cursorOf(i)
		kept := c.key.keptAfter(part, part.pos)
		c.next = kept.next
		if i == len(s.cursors) && kept.floor <= told && told != math.MaxUint64 {
			continue // the gap of each key says it, and no broadcast after one of them is lost
		}
		s.noteGapInLog(i, Gap{Reason: reason, Missed: -1, After: id, Next: part.p.position(kept.before)})
		told = min(told, kept.before)
	}
}

// resumeByOwnID sets the cursors to the place after the event with this id of its publisher. In one partition this is the
// place for all keys. If several events have the id, the first one is right: events after it may be sent twice, but none
// is skipped.
func (s *Subscriber) resumeByOwnID(id string) Resumed {
	l := s.log
	result := ResumedExact
	for slot := range l.parts {
		part := &l.parts[slot]
		found := uint64(0)
		for i := range l.heads {
			if int(l.heads[i].part) != slot {
				continue
			}
			k := s.cursorOf(i).key
			if seq, ok := k.findID(id, k.firstKept(), k.tail()); ok {
				if pos, known := k.posAt(seq); known && (found == 0 || pos < found) {
					found = pos
				}
			}
		}
		switch {
		case found == 0:
			s.loseInLog(int32(slot), GapUnknown, id)
			result = ResumedGap
		case found < part.generation.offset:
			s.loseInLog(int32(slot), GapEpoch, id)
			result = ResumedGap
		default:
			s.resumeAtSeq(int32(slot), found-part.generation.offset, id)
		}
	}
	return result
}
