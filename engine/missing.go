package engine

import (
	"errors"
	"fmt"
	"time"
)

// # Invariant
//
// I18. Of a missing range, the events up to missingRange.lost are lost: the subscriber reports one gap from the beginning of the
// range up to there, and none of them arrives. It gets every event that is above.
//
// # Why it holds
//
//   - I14 says that the ring has everything above the range, and the log what is in it, unless the log has lost it. What a log loses,
//     it loses from the oldest end of a key's events, or Fill is told of the newest loss: everything above it was there when it was read.
//     So one position divides a range, and one gap in front of the events accounts for all that is lost.
//   - Fill refuses events at or below that position, and then all of the range is lost. So no gap ends above an event that follows it.
//   - The gap is reported before anything is read (startReading). Then the position of the client is the one before the first event
//     of any of its keys (passGaps). It is not above a lost event of a range whose gap is not reported yet, because no position moves
//     while a gap is pending. So I15 holds: up to the position the client has every event, or a gap accounts for it.
//   - Broadcasts count as events of the first key. A gap of this key from the same position accounts for those of its range, in the
//     same partition.

// Missing is a range of the log that a subscriber wants and the rings do not hold.
type Missing struct {
	Partition int
	Key       string
	All       bool // the events of all keys
	// Epoch is the epoch of the sequences. If the log has gone back and this engine does not know yet, the log may have other
	// events at these sequences: fill nothing then.
	Epoch uint64
	// After and Through bound the sequences in the log: After < seq <= Through.
	After, Through uint64
	// Newest, unless it is 0, asks only for the newest so many of them; Since, unless it is zero, for those stored since then.
	// What the log has removed is not missing then.
	Newest int
	Since  time.Time
	// Oldest, unless it is 0, asks only for the oldest so many, or fewer, but for one if there is one. No subscriber does.
	Oldest int
}

// errNotFilled is for the ranges that nobody has filled.
var errNotFilled = errors.New("engine: a missing range was not filled")

// missingRange is a Missing whose Fill has not been called yet.
type missingRange struct {
	Missing
	head           int    // the cursor
	after, through uint64 // internal positions
	lost           uint64 // events up to here are lost, from after (none) to through (all); set by Fill
	last           bool   // only the newest value of it, see KeyOptions.SendLast
	filled         bool
}

// Missing returns the ranges that the subscriber needs from the log before Next may be called, usually none. Call Fill
// for each of them. Next reports a gap for those that are not filled. Owner only.
func (s *Subscriber) Missing() []Missing {
	if s.log == nil || len(s.log.missing) == 0 {
		return nil
	}
	list := make([]Missing, len(s.log.missing))
	for i := range list {
		list[i] = s.log.missing[i].Missing
	}
	return list
}

// LostError says that the log does not have all events of a Missing: those up to the sequence Through may be lost. It has all
// that come after.
type LostError struct {
	Through uint64
	Err     error // the reason; may be nil
}

func (e *LostError) Error() string {
	return fmt.Sprintf("events up to sequence %d are lost: %v", e.Through, e.Err)
}

// Unwrap returns the reason.
func (e *LostError) Unwrap() error { return e.Err }

// Fill gives the subscriber the events of Missing()[i], in ascending order. The error says what is lost of them:
//
//   - nil: nothing.
//   - A LostError: what is up to its position. The subscriber reports one gap up to there, and then gets the events after it.
//     There is no gap if the position is not above Missing.After.
//   - Another error: everything. The events are not used.
//
// Everything is lost, too, if an event is not in the range, or another epoch has begun. The subscriber keeps the slice, and does
// not change it. Owner only, before the first call of Next.
func (s *Subscriber) Fill(i int, events []*Event, err error) {
	l := s.log
	m := &l.missing[i]
	if m.filled {
		return
	}
	m.filled = true
	part := &l.parts[l.heads[m.head].part]
	m.lost = m.lostBy(err)
	valid := m.lost < m.through && part.p.current() == part.generation
	last := m.lost
	for _, ev := range events {
		pos := ev.pos()
		valid = valid && pos > last && pos <= m.through
		last = pos
	}
	if !valid {
		m.lost, events = m.through, nil
	}
	if m.last {
		if events = newestValueOf(events); len(events) > 0 {
			m.lost = m.after // a newest value is all that was wanted
		}
	}
	if len(events) == 0 {
		return
	}
	if l.backlogs == nil {
		l.backlogs = make([]backlog, len(l.heads))
	}
	l.backlogs[m.head] = backlog{events: events}
	part.pos = min(part.pos, events[0].pos()-1)
}

// lostBy returns the internal position up to which the events are lost, from after to through.
func (m *missingRange) lostBy(err error) uint64 {
	var lost *LostError
	switch {
	case err == nil:
		return m.after
	case !errors.As(err, &lost) || lost.Through >= m.Through:
		return m.through
	}
	return m.after + max(lost.Through, m.After) - m.After
}

// reportLost notes a gap for each range of which something is lost. If the same is lost of the first key and of the broadcasts, which
// count as its events, one gap says so.
func (s *Subscriber) reportLost() {
	l := s.log
	first := -1 // the range of the first key
	for i := range l.missing {
		if m := &l.missing[i]; m.head == 0 && m.lost > m.after {
			first = i
		}
	}
	for i := range l.missing {
		m := &l.missing[i]
		if m.lost <= m.after {
			continue
		}
		slot := l.heads[m.head].part
		if m.head == len(s.cursors) && first >= 0 && l.heads[0].part == slot {
			if f := &l.missing[first]; f.after <= m.after && m.lost <= f.lost {
				continue
			}
		}
		part := &l.parts[slot]
		s.noteGapInLog(m.head, Gap{
			Reason: GapHistory, Missed: -1, After: part.p.position(m.after).String(), Next: part.p.position(m.lost),
		})
	}
}

// newestValueOf returns the newest event that is a value, as newestValue does, or none.
func newestValueOf(events []*Event) []*Event {
	for i := len(events) - 1; i >= 0; i-- {
		if events[i].class&classMask == classValue {
			return events[i : i+1]
		}
	}
	return nil
}
