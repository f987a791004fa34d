package engine

import "sync/atomic"

// logReader is what a Subscriber has in log mode. All of it belongs to the subscriber's owner.
//
// The subscriber reads its keys and the internal key of broadcasts in merged order: within a partition, by position. So
// one position for each partition says exactly what it has received, however many keys it has.
type logReader struct {
	log   *logState
	all   cursor         // of the internal key
	heads []head         // of the cursors, and the last one of all
	parts []readPosition // ascending by partition; the first is partition 0
	turn  int32          // which of parts Next reads first
	gaps  int32          // how many cursors have a gap to report

	backlogs []backlog // as heads; nil if no cursor has one
	missing  []missingRange
	started  bool // Next has been called

	oneHead [2]head // the memory of heads for one key
	onePart [1]readPosition
}

// head says what a cursor reads next, as of the watermark readPosition.seen.
type head struct {
	// pos is the internal position of the next event. 0: there is none up to the watermark; lapped: it is lost.
	pos  uint64
	part int32 // the index in parts
}

// lapped is less than every internal position of an event.
const lapped = 1

// readPosition is a subscriber's place in one partition.
type readPosition struct {
	p          *partition
	generation generation // the epoch in which the subscriber began
	// pos is the position of the client: it has received every event of its keys up to here, or a gap for it.
	pos uint64
	// seen is the watermark that was loaded before the heads were looked at. Next returns nothing above it.
	seen uint64
	// limit is where a graceful close ends. Whoever closes the subscriber sets it, see setLimits.
	limit atomic.Uint64
	// ahead is the position with which the client came, if that was above the watermark.
	ahead uint64
	// lost says that the client came with an id that is no place in this partition, and has yet to be told.
	lost bool
	// later is the position with which the client came, if that is of an epoch that this engine has yet to begin, until the client
	// gets an event.
	later *Position
}

// backlog are events that were fetched from the log. They come before what the cursor finds in its ring.
type backlog struct {
	events []*Event // shared by several subscribers
	at     int      // the next one
}

// newLogReader returns the reader of a subscriber that has its cursors, but has not joined the keys.
func newLogReader(e *Engine, s *Subscriber, keys []string) *logReader {
	l := &logReader{log: e.log, all: cursor{key: e.log.all, sub: s, index: -1}}
	parts := 1
	l.heads, l.parts = l.oneHead[:], l.onePart[:1]
	if len(keys) > 1 {
		l.heads = make([]head, len(keys)+1)
	}
	if len(e.log.partitions) > 1 {
		list := e.log.partsOf(keys)
		parts = len(list)
		l.parts = make([]readPosition, parts)
		for i, p := range list {
			l.parts[i].p = &e.log.partitions[p]
			for j, name := range keys {
				if e.log.of(name) == p {
					l.heads[j].part = int32(i)
				}
			}
		}
		return l
	}
	l.parts[0].p = &e.log.partitions[0]
	return l
}

// cursorOf returns the cursor of heads[i].
func (s *Subscriber) cursorOf(i int) *cursor {
	if i == len(s.cursors) {
		return &s.log.all
	}
	return &s.cursors[i]
}

// keyOf returns the key that an Item or a Gap of heads[i] names. Broadcasts count as events of the first key.
func (s *Subscriber) keyOf(i int) int {
	if i == len(s.cursors) {
		return 0
	}
	return i
}

// nextInLog is Next in log mode.
//
// Order: the watermark is loaded before the heads are looked at, and the writer of the partition raises it only when all
// events up to it are in their rings (I13). So among the heads up to the watermark the smallest position is the next
// event, and nothing smaller can appear later.
func (s *Subscriber) nextInLog(gaps bool) (Item, bool) {
	l := s.log
	if !l.started {
		s.startReading()
	}
	if r := Reason(s.reason.Load()); r != 0 {
		if !r.Graceful() {
			return Item{}, false
		}
		s.limitsSet = true
	}
	for {
		// A gap that was noted comes first.
		if l.gaps > 0 {
			if !gaps {
				return Item{}, false
			}
			return s.takeGap(), true
		}

		// Read the partitions in turn.
		found := foundNothing
		for range l.parts {
			turn := l.turn
			if l.turn++; int(l.turn) == len(l.parts) {
				l.turn = 0
			}
			var it Item
			if it, found = s.readPart(turn, gaps); found == foundItem {
				it.skipped = uint32(turn)
				return it, true
			}
			if found == foundGap {
				break
			}
		}
		if found != foundGap || !gaps {
			return Item{}, false
		}
	}
}

// readPart reads the next event of one partition. With foundGap a gap comes first; it is noted if gaps is true.
func (s *Subscriber) readPart(slot int32, gaps bool) (Item, readResult) {
	l := s.log
	part := &l.parts[slot]
	for {
		// Find the smallest position.
		first := -1
		for i := range l.heads {
			h := &l.heads[i]
			if h.part == slot && h.pos != 0 && (first < 0 || h.pos < l.heads[first].pos) {
				first = i
			}
		}
		if first >= 0 {
			if it, found := s.take(first, part, gaps); found != foundNothing {
				return it, found
			}
			continue
		}

		// There is nothing up to the watermark: look at the next one.
		if !s.look(slot) {
			part.pos = max(part.pos, part.seen)
			return Item{}, foundNothing
		}
	}
}

// setLimits is called before the subscriber gets a reason to end, and so before it leaves its keys. After that, a key may
// be retired, and events may go to another key of the same name, which the cursor does not read.
func (l *logReader) setLimits() {
	for i := range l.parts {
		l.parts[i].limit.CompareAndSwap(0, max(l.parts[i].p.applied.Load(), 1))
	}
}

// look loads the watermark of a partition, and then looks at the heads. It returns false if the watermark is still the
// same.
//
// The reason is loaded after the watermark. If an event up to the watermark went to another key because the subscriber had
// left this one, then the subscriber had a reason before, and a limit before that, which is below the event.
func (s *Subscriber) look(slot int32) bool {
	part := &s.log.parts[slot]
	w := part.p.applied.Load()
	racePoint()
	if s.reason.Load() != 0 {
		w = min(w, part.limit.Load())
	}
	if w <= part.seen {
		return false
	}
	part.seen = w
	if part.later != nil {
		part.meetEpoch()
	}
	racePoint()
	for i := range s.log.heads {
		if s.log.heads[i].part == slot {
			s.lookAt(i)
		}
	}
	return true
}

// lookAt sets the head of a cursor. It passes events that the client has.
func (s *Subscriber) lookAt(i int) {
	l := s.log
	h := &l.heads[i]
	part := &l.parts[h.part]
	if l.backlogs != nil {
		if b := &l.backlogs[i]; b.at < len(b.events) {
			if h.pos = b.events[b.at].pos(); h.pos > part.seen {
				h.pos = 0
			}
			return
		}
	}
	c := s.cursorOf(i)
	for {
		ev, gone := c.key.read(c.next)
		switch {
		case gone:
			h.pos = lapped
		case ev == nil || ev.pos() > part.seen:
			h.pos = 0
		case ev.pos() <= part.pos:
			c.next++
			continue
		default:
			h.pos = ev.pos()
		}
		return
	}
}

// take returns the event of heads[i], which is the next one.
func (s *Subscriber) take(i int, part *readPosition, gaps bool) (Item, readResult) {
	l := s.log
	c := s.cursorOf(i)
	var ev *Event
	if b := l.backlogOf(i); b != nil {
		ev = b.events[b.at]
		b.at++
	} else {
		var gone bool
		if ev, gone = c.key.read(c.next); ev == nil {
			if gone && !gaps {
				return Item{}, foundGap
			}
			if gone && s.handleLapInLog(i, part) {
				return Item{}, foundGap
			}
			s.lookAt(i)
			return Item{}, foundNothing
		}
		if pos := ev.pos(); pos != l.heads[i].pos || pos <= part.pos { // it can be read after all; or it is a copy, see applyToAll
			s.lookAt(i)
			return Item{}, foundNothing
		}
		c.next++
	}
	part.pos = ev.pos()
	if part.later != nil {
		part.later = nil // it has something of this epoch now, which may have gone another way
	}
	s.lookAt(i)
	return Item{Event: ev, Key: s.keyOf(i), nextCursor: int32(i)}, foundItem
}

func (l *logReader) backlogOf(i int) *backlog {
	if l.backlogs == nil || l.backlogs[i].at >= len(l.backlogs[i].events) {
		return nil
	}
	return &l.backlogs[i]
}
