package engine

import "time"

// Place is a place in the past events of a key, see Engine.Locate.
type Place struct {
	// Key is the position after which the events of the key follow, All in log mode that for the events of all keys. One
	// whose Epoch is 0 is not known.
	Key, All Position
	// Since, unless it is zero, stands for the one that is not known: the time of the event that was found by its own id.
	Since time.Time
	// Gap is why there is no such place (GapEpoch, GapUnknown), or why not all events after it are kept (GapHistory, without
	// a log only). It is 0 if neither is so.
	Gap GapReason
}

// Locate finds the place after an id among the past events of a key. It reads the id as Subscribe does for a subscriber of
// this key alone. It does not create the key.
func (e *Engine) Locate(name, id string) Place {
	if e.log != nil {
		return e.locateInLog(name, id)
	}
	k, ok := e.shard(name).Load(name)
	if !ok {
		if _, position := ParsePosition(id); position {
			return Place{Gap: GapEpoch}
		}
		return Place{Gap: GapUnknown}
	}

	// Take the part of the key if the id has several, and then look for it as cursor.resume does.
	parts := splitParts(id, 1)
	if i := partFor(parts, k); i >= 0 {
		id = parts[i].text
	}
	first, tail := k.firstKept(), k.tail()
	p, position := ParsePosition(id)
	if position && p.Epoch == k.epoch && p.Seq <= tail {
		if first > p.Seq+1 {
			return Place{Key: p, Gap: GapHistory}
		}
		return Place{Key: p}
	}
	if !position || !e.issued(p.Epoch) {
		if seq, found := k.findID(id, first, tail); found {
			return Place{Key: Position{k.epoch, seq}}
		}
	}
	if position && p.Epoch != k.epoch {
		return Place{Gap: GapEpoch}
	}
	return Place{Gap: GapUnknown}
}

// locateInLog is Locate in log mode: see placeInLog, and resumeByOwnID.
func (e *Engine) locateInLog(name, id string) (at Place) {
	l := e.log
	parts := [2]*partition{&l.partitions[l.of(name)], &l.partitions[0]}
	places := [2]*Position{&at.Key, &at.All}
	positions, own := l.parseID(id)
	if own {
		return e.locateOwnID(name, id, parts)
	}
	unmatched := false
	for _, p := range positions {
		unmatched = unmatched || !l.isCurrent(p.Epoch)
	}
	for i, part := range parts {
		g := part.current()
		for _, p := range positions {
			if p.Epoch == g.epoch && p.Epoch != 0 {
				*places[i] = p
			}
		}
		newest := max(part.applied.Load(), g.first) - g.offset
		switch p := *places[i]; {
		case p.Epoch == 0 && unmatched:
			return Place{Gap: GapEpoch}
		case p.Seq > newest && p.Seq-newest > maxAhead:
			return Place{Gap: GapUnknown}
		}
	}
	return at
}

// locateOwnID finds the first event that has the id of its publisher, in the ring of the key and in that of all keys.
func (e *Engine) locateOwnID(name, id string, parts [2]*partition) (at Place) {
	var found [2]*Event
	for i, part := range parts {
		k := e.log.all
		if i == 0 {
			var ok bool
			if k, ok = e.shard(name).Load(name); !ok {
				continue
			}
		}
		if seq, ok := k.findID(id, k.firstKept(), k.tail()); ok {
			if ev, _ := k.read(seq); ev != nil && ev.pos() >= part.current().offset { // not of an earlier epoch
				found[i] = ev
			}
		}
	}
	if parts[0] == parts[1] {
		for i, ev := range found { // one order: the first of the two is the place in both
			if other := found[1-i]; ev == nil || other != nil && other.pos() < ev.pos() {
				found[i] = other
			}
		}
	}
	switch {
	case found[0] == nil && found[1] == nil:
		return Place{Gap: GapUnknown}
	case found[0] == nil:
		at.Since = time.Unix(0, found[1].At())
	case found[1] == nil:
		at.Since = time.Unix(0, found[0].At())
	}
	if found[0] != nil {
		at.Key = parts[0].position(found[0].pos())
	}
	if found[1] != nil {
		at.All = parts[1].position(found[1].pos())
	}
	return at
}

// End returns the position of the newest event of a key, in log mode that of everything that was applied in its partition. It is
// zero if the key does not exist.
func (e *Engine) End(name string) Position {
	if e.log != nil {
		return e.Applied(e.log.of(name))
	}
	if k, ok := e.shard(name).Load(name); ok {
		return Position{k.epoch, k.tail()}
	}
	return Position{}
}
