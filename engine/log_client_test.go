package engine

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// logClient moves between engines.
type logClient struct {
	t    *testing.T
	h    *logHammer
	rng  *rand.Rand
	keys []string
	id   string

	e       *Engine
	s       *Subscriber
	ready   chanSink
	parts   []int
	begin   []Position // of the session, by part
	events  [][]string // received in this session, by part
	last    []uint64   // the internal position of the last one, by part
	gaps    []logGap
	lostAll bool // the broadcasts begin after a gap of which only a key is told
}

// logGap says that events of a key, or the broadcasts, with sequences after to through are not delivered.
type logGap struct {
	all           bool
	key           string
	part          int
	epoch, to     uint64
	throughEpoch  uint64
	through       uint64
	missed        int64
	countsExactly bool
}

// connect begins a session at one of the engines.
func (c *logClient) connect() {
	c.e = c.h.engines[c.rng.IntN(len(c.h.engines))]
	c.rng.Shuffle(len(c.keys), func(i, j int) { c.keys[i], c.keys[j] = c.keys[j], c.keys[i] })
	c.s, c.ready, c.gaps = new(Subscriber), make(chanSink, 1), nil
	c.lostAll = false
	result, err := c.e.Subscribe(c.s, c.keys, c.id, c.ready)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.h.resumes.Add(1)
	if result == ResumedExact && positions(c.s) != c.id {
		c.t.Errorf("the position is %s after resuming at %s", positions(c.s), c.id)
	}
	if result == ResumedNone {
		c.id = positions(c.s)
	}
	for i, m := range c.s.Missing() {
		c.h.fetches.Add(1)
		events, ok := c.h.log.fetch(c.e, m)
		switch {
		case !ok || c.rng.IntN(10) == 0:
			c.h.refused.Add(1)
			c.s.Fill(i, events, errors.New("refused"))
		case c.rng.IntN(3) == 0: // retention has removed the beginning
			lost := m.After + uint64(c.rng.IntN(int(m.Through-m.After)+1))
			events = slices.DeleteFunc(events, func(ev *Event) bool { return c.e.PositionInLog(m.Partition, ev).Seq <= lost })
			if len(events) > 0 && lost > m.After {
				c.h.parts.Add(1)
			}
			c.s.Fill(i, events, &LostError{Through: lost})
		default:
			c.s.Fill(i, events, nil)
		}
	}
	c.shareGaps()
	c.parts = c.e.log.partsOf(c.keys)
	c.events, c.last = make([][]string, len(c.parts)), make([]uint64, len(c.parts))
	if result == ResumedGap { // the session begins after the gaps
		c.h.epochs.Add(1)
		for c.s.log.gaps > 0 {
			it, ok := c.s.Next(true)
			if !ok || it.Gap == nil {
				c.t.Errorf("no gap after %s", c.id)
				break
			}
			if it.Gap.Reason == GapUnknown {
				c.t.Errorf("%+v", it.Gap)
			}
			c.arrived(it, "")
			if all := &c.s.log.all; it.Gap.Reason == GapEpoch && c.s.log.heads[it.nextCursor].part == 0 { // broadcasts have no gap of their own
				p := c.s.log.parts[0].p
				through := p.position(max(all.key.extra.Load().floor.Load(), p.current().first))
				if pos, known := all.key.posAt(all.next); known {
					through = p.position(pos - 1)
				}
				c.lostAll = true
				c.gaps = append(c.gaps, logGap{all: true, throughEpoch: through.Epoch, through: through.Seq})
			}
		}
		c.id = positions(c.s)
	}
	c.begin = parsePositions(c.id)
}

// shareGaps notes the gap of the broadcasts that the one of the first key will account for.
func (c *logClient) shareGaps() {
	l := c.s.log
	for _, all := range l.missing {
		for _, first := range l.missing {
			if all.head != len(c.s.cursors) || first.head != 0 || l.heads[0].part != 0 || all.lost <= all.after ||
				first.after > all.after || first.lost < all.lost {
				continue
			}
			c.h.shared.Add(1)
			p := l.parts[0].p
			from, through := p.position(all.after), p.position(all.lost)
			c.gaps = append(c.gaps, logGap{all: true, epoch: from.Epoch, to: from.Seq, throughEpoch: through.Epoch, through: through.Seq})
		}
	}
}

func parsePositions(id string) (list []Position) {
	for text := range strings.SplitSeq(id, ",") {
		p, _ := ParsePosition(text)
		list = append(list, p)
	}
	return list
}

// arrived records an item that the client has received completely.
func (c *logClient) arrived(it Item, id string) (ended bool) {
	i := int(it.nextCursor)
	part := int(c.s.log.heads[i].part)
	if g := it.Gap; g != nil {
		after, _ := ParsePosition(g.After)
		if g.Reason == GapEpoch {
			after = Position{} // nothing before it is promised
		}
		if g.Reason == GapLag {
			c.h.lags.Add(1)
			if g.Policy == Disconnect {
				return true
			}
		}
		c.gaps = append(c.gaps, logGap{
			all: i == len(c.s.cursors), key: g.Key, part: part, epoch: after.Epoch, to: after.Seq,
			throughEpoch: g.Next.Epoch, through: g.Next.Seq, missed: g.Missed, countsExactly: g.Reason == GapLag && g.Missed >= 0,
		})
		c.id = id
		return false
	}
	c.id = id
	if pos := it.Event.pos(); pos <= c.last[part] { // notices too, of which there are copies
		c.t.Errorf("%q came after position %d", it.Event.Bytes(), c.last[part])
	} else {
		c.last[part] = pos
	}
	if it.Event.Notice() {
		return false
	}
	c.h.received.Add(1)
	c.events[part] = append(c.events[part], string(it.Event.Bytes()))
	return false
}

// step handles some pending events as a stream does. It returns false if nothing is pending, and ended if the stream ends.
func (c *logClient) step() (more, ended bool) {
	it, ok := c.s.Next(true)
	if !ok {
		c.id = positions(c.s) // as a heartbeat does
		return false, false
	}
	if it.Gap != nil {
		return true, c.arrived(it, positions(c.s))
	}
	items, ids := []Item{it}, []string{positions(c.s)}
	for n := c.rng.IntN(8); n > 0; n-- {
		if it, ok = c.s.Next(false); !ok {
			break
		}
		if c.rng.IntN(6) == 0 { // it does not fit
			c.s.Unread([]Item{it})
			break
		}
		items, ids = append(items, it), append(ids, positions(c.s))
	}
	taken := len(items)
	if c.rng.IntN(3) == 0 {
		taken = c.rng.IntN(len(items) + 1)
		c.h.unread.Add(1)
	}
	c.s.Unread(items[taken:])
	for i := range taken {
		c.arrived(items[i], ids[i])
	}
	if c.rng.IntN(4) == 0 {
		c.s.Settle()
	}
	if taken < len(items) && c.rng.IntN(4) == 0 {
		c.conflate()
	}
	return true, false
}

// conflate skips to the newest events of keys with the policy Latest, and records them as a gap.
func (c *logClient) conflate() {
	c.s.Settle()
	next := make([]uint64, len(c.s.cursors))
	for i := range next {
		next[i] = c.s.cursors[i].next
	}
	if n := c.s.Conflate(); n == 0 {
		return
	}
	c.h.conflated.Add(1)
	for i := range next {
		if c.s.cursors[i].next == next[i] {
			continue
		}
		part := &c.s.log.parts[c.s.log.heads[i].part]
		from := part.p.position(part.pos)
		// The events before the one that the cursor has reached, or that was lost meanwhile.
		through := part.p.position(part.seen)
		if pos, known := c.s.cursors[i].key.posAt(c.s.cursors[i].next); known {
			through = part.p.position(pos - 1)
		}
		c.gaps = append(c.gaps, logGap{
			key: c.s.KeyName(i), part: int(c.s.log.heads[i].part), epoch: from.Epoch, to: from.Seq,
			throughEpoch: through.Epoch, through: through.Seq,
		})
	}
}

// session reads for some steps, and then checks what came.
func (c *logClient) session(steps int, deadline <-chan time.Time) {
	c.connect()
	ended := false
	for range steps {
		var more bool
		if more, ended = c.step(); ended {
			break
		}
		if !more && c.s.Release() {
			select {
			case <-c.ready:
			case <-deadline:
				// Take the ownership back; if a waker had it, it is on its way.
				if !c.s.state.CompareAndSwap(stateIdle, stateBusy) {
					<-c.ready
				}
				steps = 0
			}
		}
		if steps == 0 {
			break
		}
	}
	if !ended && c.rng.IntN(2) == 0 { // gracefully: everything that was applied before arrives
		var applied []Position
		for _, p := range c.parts {
			applied = append(applied, c.e.Applied(p))
		}
		c.s.Close(ReasonClosed)
		more := true
		for more && !ended {
			more, ended = c.step()
		}
		for i, p := range parsePositions(c.id) {
			if !ended && p.Epoch == applied[i].Epoch && p.Seq < applied[i].Seq {
				c.t.Errorf("closed at %v of %v", p, applied[i])
			}
		}
	} else {
		c.s.Close(ReasonGone)
	}
	c.check()
}

// check reconciles a session: each event of the client's keys between the first and the last position came once and in
// order, or a gap accounts for it.
func (c *logClient) check() {
	c.h.log.mu.Lock()
	defer c.h.log.mu.Unlock()
	c.checkCounts()
	end := parsePositions(c.id)
	if len(end) != len(c.begin) || len(end) != len(c.parts) {
		c.t.Errorf("id %q of %d partitions, began with %v", c.id, len(c.parts), c.begin)
		return
	}
	for i, p := range c.parts {
		var want []string
		eras := c.h.log.parts[p]
		n := slices.IndexFunc(eras, func(era *testEra) bool { return era.epoch == c.begin[i].Epoch })
		if n < 0 {
			c.t.Errorf("began with the unknown epoch of %v", c.begin[i])
			return
		}
		seq := c.begin[i].Seq
		received := c.events[i]
		for ; ; n++ {
			if n == len(eras) {
				c.t.Errorf("ended with the unknown epoch of %v, began with %v", end[i], c.begin[i])
				return
			}
			era := eras[n]
			last := end[i].Seq
			if end[i].Epoch != era.epoch {
				last = era.ends[c.e]
			}
			for seq++; seq <= last; seq++ {
				key := era.entries[seq-era.first-1].key
				if key != "" && !slices.Contains(c.keys, key) {
					continue
				}
				f := logFrame(key, p, era.epoch, seq)
				text := string(f.Bytes[:4]) + Position{era.epoch, seq}.String() + string(f.Bytes[4:])
				if len(received) > 0 && received[0] == text {
					received = received[1:]
					continue
				}
				if !c.accounted(i, key, era.epoch, seq) {
					want = append(want, text)
				}
			}
			if end[i].Epoch == era.epoch {
				break
			}
			seq = eras[n+1].first
		}
		if len(received) > 0 || len(want) > 0 {
			c.t.Errorf("client of %v, partition %d, from %v to %v:\nlost %.300q\nnot expected %.300q\ngaps %+v", c.keys, p, c.begin[i], end[i], want, received, c.gaps)
		}
	}
}

// checkCounts compares the number of missed events of each lag gap with the log.
func (c *logClient) checkCounts() {
	for i, g := range c.gaps {
		if !g.countsExactly || g.all && c.lostAll || g.epoch != g.throughEpoch {
			continue
		}
		for _, earlier := range c.gaps[:i] { // of the same key, which had no event since
			if earlier.all == g.all && (g.all || earlier.key == g.key) && earlier.throughEpoch == g.epoch {
				g.to = max(g.to, earlier.through)
			}
		}
		for _, era := range c.h.log.parts[c.parts[g.part]] {
			if era.epoch != g.epoch {
				continue
			}
			n := int64(0)
			for _, x := range era.entries[g.to-era.first : g.through-era.first] {
				if g.all && x.key == "" || !g.all && x.key == g.key {
					n++
				}
			}
			// In partitions other than 0 each key has a copy of the notice of an epoch, which may count too.
			if extra := g.missed - n; extra != 0 && (extra != 1 || c.parts[g.part] == 0) {
				c.t.Errorf("client of %v: %d events are missing, but the gap is %+v", c.keys, n, g)
			}
		}
	}
}

// accounted reports whether a gap covers the event.
func (c *logClient) accounted(part int, key string, epoch, seq uint64) bool {
	eraOf := func(epoch uint64) int {
		return slices.IndexFunc(c.h.log.parts[c.parts[part]], func(era *testEra) bool { return era.epoch == epoch })
	}
	n := eraOf(epoch)
	for i := range c.gaps {
		g := &c.gaps[i]
		if g.part != part || g.all != (key == "") || !g.all && g.key != key {
			continue
		}
		from, to := eraOf(g.epoch), eraOf(g.throughEpoch)
		if (n > from || n == from && seq > g.to) && (n < to || n == to && seq <= g.through) {
			return true
		}
	}
	return false
}
