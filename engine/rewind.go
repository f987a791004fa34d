package engine

import (
	"math"
	"time"
)

// Rewind asks for past events when a subscriber begins without an id: the newest so many of each key, those since a time,
// or all that are kept. The zero value asks for none. Events of any kind count.
//
// Without a log a broadcast counts as an event of each key. With a log broadcasts count as one more key, and what the
// rings do not hold of the present epoch is in Missing.
type Rewind struct {
	Events   int
	Since    time.Time
	Earliest bool
}

// place returns the sequence where a cursor begins, from first to tail+1.
func (r Rewind) place(k *key, first, tail uint64) uint64 {
	switch {
	case r.Earliest:
		return first
	case !r.Since.IsZero():
		return k.firstSince(r.Since.UnixNano(), first, tail)
	}
	n := uint64(max(r.Events, 0))
	return max(first, tail+1-min(n, tail))
}

// firstSince returns the first sequence from first to tail whose event was published at the time or later, or tail+1. What
// is not kept counts as earlier.
func (k *key) firstSince(at int64, first, tail uint64) uint64 {
	end := tail + 1
	for first < end {
		middle := first + (end-first)/2
		if ev, _ := k.read(middle); ev != nil && ev.at >= at {
			end = middle
		} else {
			first = middle + 1
		}
	}
	return end
}

// rewindAll rewinds a new subscriber of an engine without a log. A subscriber of several keys gets the broadcasts that are
// ahead of its cursors then, each once (I11).
func (s *Subscriber) rewindAll(r Rewind) {
	var earliest uint32
	for i := range s.cursors {
		c := &s.cursors[i]
		tail := c.key.tail()
		c.next = min(c.next, r.place(c.key, c.key.firstKept(), tail))
		if len(s.cursors) == 1 {
			return
		}
		if _, n := c.firstBroadcast(c.next, tail, 0); n != 0 && (earliest == 0 || after(earliest, n)) {
			earliest = n
		}
	}
	if earliest == 0 {
		return
	}
	if before := predecessor(earliest); after(s.lastBroadcast, before) {
		s.lastBroadcast = before
	}
}

// rewindInLog rewinds a new subscriber in log mode.
func (s *Subscriber) rewindInLog(r Rewind) {
	l := s.log
	for i := range l.heads {
		part, c := &l.parts[l.heads[i].part], s.cursorOf(i)
		first := part.generation.first
		kept := c.key.keptAfter(part, first)
		next, before := r.place(c.key, kept.next, kept.tail), kept.before
		if next > kept.next {
			if ev, _ := c.key.read(next); ev != nil {
				before = ev.pos() - 1
			}
		}
		if next < c.next {
			c.next = next
			part.pos = min(part.pos, before)
		}

		// Ask for what the ring has lost of it.
		m := Missing{Since: r.Since}
		if r.Earliest {
			m.Newest = math.MaxInt // of what the log has
		}
		wanted := next == kept.next
		if !r.Earliest && r.Since.IsZero() {
			m.Newest = r.Events - int(kept.tail+1-next)
			wanted = wanted && m.Newest > 0
		}
		if wanted && kept.floor > first && before > first {
			s.dropMissing(i)
			s.miss(i, first, before, m)
		}
	}
}

// dropMissing removes a missing range of a cursor, because a larger one replaces it.
func (s *Subscriber) dropMissing(i int) {
	list := s.log.missing[:0]
	for _, m := range s.log.missing {
		if m.head != i {
			list = append(list, m)
		}
	}
	s.log.missing = list
}

// sendLastScan is how many of the newest events of a key are fetched to find its newest value. The others may be comments.
const sendLastScan = 8

// sendLastInLog sets the cursors of a new subscriber before the newest value of each key with SendLast. This is the newer
// one of the key's own newest value and the newest broadcast. If the rings have neither, but the key has lost events, its newest value is
// missing.
func (s *Subscriber) sendLastInLog() {
	l := s.log
	all := &l.all
	for i := range s.cursors {
		c := &s.cursors[i]
		if !c.key.opts.Load().SendLast {
			continue
		}
		slot := l.heads[i].part
		ev := c.key.newestValue(c.key.tail())
		if b := all.key.newestValue(all.key.tail()); b != nil && (ev == nil || newer(b, ev, slot == 0)) {
			c, ev, slot = all, b, 0
		}
		if part := &l.parts[slot]; ev == nil {
			kept := c.key.keptAfter(part, part.generation.first)
			if kept.floor > part.generation.first && kept.before > part.generation.first && kept.next > kept.tail {
				s.miss(i, part.generation.first, kept.before, Missing{Newest: sendLastScan})
				l.missing[len(l.missing)-1].last = true
			}
			continue
		}
		if ev.seq >= c.next {
			continue
		}
		c.next = ev.seq
		l.parts[slot].pos = min(l.parts[slot].pos, ev.pos()-1)
	}
}

// newer reports whether a is newer than b: by position within a partition, otherwise by time.
func newer(a, b *Event, samePartition bool) bool {
	if samePartition {
		return a.pos() > b.pos()
	}
	return a.at > b.at
}
