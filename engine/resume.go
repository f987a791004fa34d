package engine

// resume sets the cursor behind the last id that the client has seen. It is
// called after join, so that an event published meanwhile is either found here
// or announced (I7).
//
// Where an id cannot be found, all that is kept is sent, behind a gap: for an
// id of an older epoch, or one that history has lost, none of it has been seen;
// for any other id nobody knows, and a repetition is better than a loss.
func (c *cursor) resume(after string) (exact bool) {
	k := c.key
	if after == "" {
		c.next = k.tail() + 1
		if k.opts.Load().SendLast {
			c.stepBack()
		}
		return true
	}
	first, tail := k.firstKept(), k.tail()
	p, ours := ParsePosition(after)
	if ours && p.Epoch == k.epoch && p.Seq <= tail {
		c.next = k.firstFrom(p.Seq + 1)
		if c.next == p.Seq+1 {
			return true
		}
		c.gap = &Gap{Reason: GapHistory, Missed: int64(c.next - p.Seq - 1)}
	} else if seq, found := k.find(after, first, tail); found {
		c.next = seq + 1
		return true
	} else {
		c.next = first
		c.gap = &Gap{Reason: GapUnknown, Missed: -1}
		if ours && p.Epoch < k.epoch {
			c.gap.Reason = GapEpoch
		}
	}
	c.gap.Key, c.gap.After, c.gap.Next = k.name, after, Position{k.epoch, c.next - 1}
	return false
}

// stepBack moves a new subscriber's cursor in front of the newest event, if that
// is kept. From there on it reads as any other: what is published meanwhile comes
// behind the newest event of this moment, or laps it as it laps slow subscribers.
func (c *cursor) stepBack() {
	if c.next == 1 {
		return // nothing was ever published
	}
	ev, _ := c.key.read(c.next - 1)
	if ev == nil {
		return // expired, or lapped: then newer ones follow
	}
	c.next--
	if ev.all != 0 {
		c.sub.seen.expect(ev.all)
	}
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
