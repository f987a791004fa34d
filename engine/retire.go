package engine

// A client whose key never had an event holds the opening position (E, 0), where E is the epoch of a life that is
// retired as soon as its last subscriber has left. When the client comes back, its key has another life and another
// epoch, and nothing else is left of the life E. Nevertheless the client must not get a gap where nothing is missing,
// and must not lose an event without one.
//
// # Invariant
//
// I12. (E, 0) stands for the moment at which E was issued, whatever the key. A subscriber of key k that has (E, 0), and
// no position of k's life, gets everything that it has missed by reading k from sequence 1 on, if
//
//	a. this engine issued E, before k's epoch;
//	b. no life of k's name that had events has ended since E was issued;
//	c. no PublishAll has begun since E was issued, or another cursor has the broadcasts ahead.
//
// Otherwise it gets a gap with reason epoch. If k has lost events from its beginning on, it gets a gap that counts them.
//
// # Why it holds
//
// What can the client have missed? It had the position (E, 0), or another part of the same id, when it was connected,
// so E had been issued by then. Missed events were published later, in lives of its key's name. The lives of a name
// follow one another: a life ends before the next is in the map of keys, and epochs are issued in the order of the
// lives.
//
//   - A life that still exists is k, and the cursor reads all of it.
//   - A life that has ended with events, after E was issued, is found by b. retire adds it to Engine.retired before the
//     CAS of the retire marker, and so before k can exist; the value is the last epoch that has been issued by then.
//     An epoch that is issued between this and the CAS is not found, and need not be: the life had no events left then,
//     and an event in between would take the slot and make the CAS fail. So nothing was published to the life after E.
//   - A life that has ended without events had nothing to miss but broadcasts, which would have been published to the
//     key if it had existed. PublishAll stores Engine.broadcastEpoch before it looks for the keys. If k was in the map
//     by then, it gets the broadcast. If not, its subscriber reads broadcastEpoch after joining k, and sees at least the
//     value of that PublishAll.
//   - A cursor with a position in a life that still exists has all broadcasts since then in its ring, or will have them,
//     or finds that they are lost and reports it. A life that began while a PublishAll was in progress does not count,
//     because this PublishAll may not come to it (key.duringBroadcast). The map holds the lock of a bucket from the look
//     at Engine.broadcasting until the key is in it.
//
// For a client that has been given (E, 0) of the life of its own key, b and c report no gap where nothing is missing,
// with three exceptions. Retired names are remembered up to a limit, see retiredNames; their hashes may collide; and a
// PublishAll that begins between the join and the check is reported although it arrives.
//
// # Several keys
//
// The parts that match no key are all opening positions, or each key without a part gets a gap: which part is whose is
// not known if the client has named its keys in another order. It need not be known. At one moment, when the id was
// made, the client was connected to all these lives, none of which had an event yet that the client has seen.
//
//   - For b the newest of these epochs counts. What the client lacks was in one of these lives or in a later one. If it
//     is lost, that life ended after that moment, and so after the newest epoch was issued. An older epoch would report
//     lives that ended before the client came.
//   - For c the oldest counts. A PublishAll may have begun between the oldest and the newest epoch, and the oldest life
//     may have ended before PublishAll came to it. If it came to it, that life had an event, and b finds its end.
//
// An opening position for which a gap is pending is older than that moment, so a composite id has 0-0 in its place
// (cursor.appendPosition).
//
// # Rejected
//
//   - To keep the key, or a record of it, for HistoryTTL: whoever subscribes to new names makes as many as they like.
//   - A generation for each hash bucket of names instead of retired names: a stream that has been open for longer than
//     the next retirement in its bucket would get a gap.

// retire ends the life of a key that has no subscribers and nothing to replay. It returns false if the key is in use
// after all: a publish that came first wins the CAS on the slot, and a subscriber that came first is seen under k.mu
// (I5).
//
// The end of a life with events is recorded in Engine.retired before anyone can see it (I12).
func (k *key) retire(e *Engine) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired || k.subscribers.Load() > 0 {
		return k.retired
	}

	// A key without events.
	r := k.ring.Load()
	if r == nil {
		k.retired = k.ring.CompareAndSwap(nil, retiredRing)
		return k.retired
	}

	// A key whose events are all gone: put the marker into the slot of the next event.
	s := r.tail.Load() + 1
	cur := r.slot(s).Load()
	if cur != nil && cur.seq >= s || k.firstKept() < s {
		return false
	}
	racePoint()
	switch x := k.extra.Load(); {
	case e.log != nil:
		x.part.retired.add(e.nameHash(k.name), x.floor.Load()) // the position of the last event that the key had
	case s > 1:
		e.retired.add(e.nameHash(k.name), e.lastEpoch.Load())
	}
	racePoint()
	k.retired = r.slot(s).CompareAndSwap(cur, &Event{seq: s, kind: kindRetired})
	racePoint()
	return k.retired
}

// openingParts are the parts of an id that match no key of a subscriber.
type openingParts struct {
	all            bool // they are opening positions of this engine
	oldest, newest uint64
}

func (o *openingParts) add(e *Engine, p part) {
	o.all = o.all && p.valid && p.tag == "" && p.pos.Seq == 0 && e.issued(p.pos.Epoch)
	o.oldest, o.newest = min(o.oldest, p.pos.Epoch), max(o.newest, p.pos.Epoch)
}

// missedNothing reports whether the subscriber gets all that it has missed by reading k from the beginning (I12).
func (o *openingParts) missedNothing(e *Engine, k *key, allBroadcasts bool) bool {
	return o.all && o.newest < k.epoch && !e.retired.since(e.nameHash(k.name), o.newest) &&
		(allBroadcasts || o.oldest > e.broadcastEpoch.Load())
}
