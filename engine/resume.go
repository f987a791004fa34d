package engine

// resume sets the cursor behind the last id that the client has seen. It is
// called after join, so that an event published meanwhile is either found here
// or announced (I7).
//
// Where an id cannot be found, all that is kept is sent, behind a gap: for an
// id of another epoch, or one that history has lost, none of it has been seen;
// for any other id nobody knows, and a repetition is better than a loss.
func (c *cursor) resume(after string) (exact bool) {
	k := c.key
	first, tail := k.firstKept(), k.tail()
	p, position := ParsePosition(after)
	if position && p.Epoch == k.epoch && p.Seq <= tail {
		c.next = k.firstFrom(p.Seq + 1)
		if c.next == p.Seq+1 {
			return true
		}
		c.noteGap(Gap{Reason: GapHistory, Missed: int64(c.next - p.Seq - 1), After: after})
		return false
	}
	if seq, found := k.find(after, first, tail); found {
		c.next = seq + 1
		return true
	}
	c.next = first
	reason := GapUnknown
	if position && p.Epoch != k.epoch {
		reason = GapEpoch
	}
	c.noteGap(Gap{Reason: reason, Missed: -1, After: after})
	return false
}

// hasOwn reports whether the key keeps an event with the publisher's own id.
func (c *cursor) hasOwn(id string) bool {
	_, found := c.key.find(id, c.key.firstKept(), c.key.tail())
	return found
}

// noteGap has the cursor report the gap before what it reads next.
func (c *cursor) noteGap(g Gap) {
	g.Key, g.Next = c.key.name, Position{c.key.epoch, c.next - 1}
	c.gap = &g
}

// begin sets the cursor of a new subscriber: behind the newest event, with
// KeyOptions.SendLast in front of the newest value, if that is kept. From there on
// it reads as any other: what is published meanwhile comes behind the value, or
// laps it as it laps slow subscribers.
//
// fresh is false if the client resumes its other keys: then their id says which
// broadcasts it has.
func (c *cursor) begin(fresh bool) {
	tail := c.key.tail()
	c.next = tail + 1
	if !c.key.opts.Load().SendLast {
		return
	}
	if ev := c.key.newestValue(tail); ev != nil {
		c.next = ev.seq
		if fresh && ev.all != 0 && len(c.sub.cursors) > 1 {
			c.sub.expect(ev.all)
		}
	}
}

// newestValue returns the newest event kept, from tail backwards, that is a value:
// one that a client dispatches and that is not the server's own; nil if there is
// none. Costs a look at each event behind it.
func (k *key) newestValue(tail uint64) *Event {
	return k.newestKept(tail, func(ev *Event) bool { return ev.class == classValue })
}

// newestKept returns the newest event kept, from seq backwards, that want asks
// for; nil if there is none.
func (k *key) newestKept(seq uint64, want func(*Event) bool) *Event {
	for first := k.firstKept(); seq >= first && seq > 0; seq-- {
		if ev, _ := k.read(seq); ev != nil && want(ev) {
			return ev
		}
	}
	return nil
}

// find returns the first kept event with the publisher's own id. With an id
// that several events share, the first of them is right: what follows it may be
// sent twice, and nothing is skipped. Costs a comparison per kept event.
func (k *key) find(id string, first, tail uint64) (seq uint64, found bool) {
	for seq = first; seq <= tail; seq++ {
		ev, _ := k.read(seq)
		if ev != nil && ev.idAt >= 0 && int(ev.idLen) == len(id) &&
			string(ev.bytes[ev.idAt:int(ev.idAt)+len(id)]) == id {
			return seq, true
		}
	}
	return 0, false
}

// lastBroadcast returns the number of the last broadcast kept before the
// cursor, 0 if there is none. Costs a look at each event kept before it.
func (c *cursor) lastBroadcast() uint32 {
	if ev := c.key.newestKept(c.next-1, func(ev *Event) bool { return ev.all != 0 }); ev != nil {
		return ev.all
	}
	return 0
}
