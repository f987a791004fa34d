package engine

// How the engine works: what always holds, the steps of each operation, and what was
// tried and rejected. Other files cite the invariants by their numbers.
//
//	publishers ──CAS──> slots of the key's ring <──load── subscribers (cursor)
//	     └─ schedule ─> segments ──queue──> wakers ─ Notify ─> Sink.Ready ┘
//
// # Invariants
//
// I1. The CAS on the ring slot publishes an event, and nothing else does. Before
// it the event is its publisher's alone; after it nobody writes to the event, but
// for Event.released. A reader synchronises by its load of the slot. Sequences
// are dense: s is published only after s-1 was found in its slot.
//
// I2. A ring's tail is at most one behind its newest event. Whoever finds an
// event at tail+1 moves tail forward itself, so that a publisher that stalls
// between its two CASes blocks nobody.
//
// I3. A slot that was used is never nil again, and never holds a pointer that it
// held before: eviction leaves a new stub with the sequence. So a publisher that
// stalled before its CAS, however long, fails unless nothing has happened to the
// slot: no ABA.
//
// I4. Nothing is published in a ring behind a move mark: tail never passes the
// mark, and the slots after it are reached by tail alone. So all who help to
// move copy the same sequences, and it does not matter whose ring wins. Only
// eviction may still change a slot of the old ring, see I6.
//
// I5. A key retires under its mutex, without subscribers, by a CAS on the slot
// of its next event, with nothing kept before it. A publish that came first has
// taken the slot; one that comes later finds the mark, and looks the key up
// again. A join that came first is counted, since it takes the mutex; one that
// comes later finds retired set, and looks the key up again. The key that takes
// its place has another epoch: epochs count up from 61 random bits, so that no
// engine, in this process or elsewhere, gives one that another gave. A position
// of any other epoch is a gap of reason epoch, whatever its number.
//
// I6. Each published event is added to the byte counts once, by its publisher,
// and taken out at most once, by the one who sets Event.released. Both sums are
// exact when nobody is at work. An event can be taken out before it is added, so
// that a sum can be too small, even negative, for that moment. An event that was
// evicted after a helper had copied it to the next ring stays readable there,
// uncounted, until the next eviction, for which released events come first; this
// can leave a hole, so that a reader must never assume that behind a kept event
// all are kept.
//
// I7. Who joins, joins first and looks at the ring after. A publisher publishes
// first and looks at the segments after. So one of them sees the other.
//
// I8. A subscriber's state word names its owner; only the owner reads cursors,
// and only the owner makes the word idle again. Who has news publishes first and
// looks at the state after; an owner that gives up makes the word idle by a CAS
// that fails if there was news since it last looked.
//
// I9. A waker clears a segment's queued flag before it scans the segment. So a
// publisher that finds the flag set has published before the scan.
//
// I10. Every ring holds broadcasts (events of PublishAll) in ascending order of
// their numbers, since one PublishAll ends before the next begins.
//
// I11. A cursor passes a copy of a broadcast only if the client has that
// broadcast, or if the ring has lost the copy: see broadcasts.go.
//
// # Pipeline
//
//	publish:  r = key.ring; s = r.tail+1; cur = slot(s)
//	          cur is s's event:       CAS(r.tail, s-1, s), again            (I2)
//	          cur is the move mark:   finish the move, again                (I4)
//	          cur is the retire mark: look the key up, again                (I5)
//	          ring full, may grow:    move, again
//	          stamp the id of s; CAS(slot, cur, event), else again          (I1)
//	          CAS(r.tail, s-1, s); count bytes; evict what is too much      (I6)
//	          schedule the first segment                                    (I7)
//	read s:   ev = slot(s); a move mark at s or later: finish the move, again
//	          nil or older: not there yet (gone, if tail has passed s: look twice)
//	          seq == s: the event, or a stub: gone; newer: lapped
//	move:     CAS(slot(tail+1), cur, mark); new ring with the events of the old
//	          one, by sequence; CAS(key.ring, old, new)                     (I4)
//	evict:    o = r.oldest; CAS(slot(o), event, stub), count out            (I3, I6)
//	          CAS(r.oldest, o, o+1); next, while there is too much
//	retire:   under key.mu, no subscribers, nothing kept:
//	          CAS(slot(tail+1), cur, retire mark); delete from the map      (I5)
//	schedule: queued false -> true: push on the waker's stack; was it empty: ring
//	waker:    take the whole stack; for each segment: queued = false        (I9)
//	          a first segment schedules the others; Notify each subscriber
//	notify:   idle -> busy: become the owner, Sink.Ready; busy -> again     (I8)
//	owner:    until Next has nothing: send; Release: busy -> idle, or, if it
//	          was again: busy, look once more                               (I8)
//
// # Lost wake-ups
//
// Three steps lead from an event to its subscriber, and in each the two sides
// write one word and then read the other's, so that under Go's sequentially
// consistent atomics one of them sees the other: join and publish (I7; see
// key.extend for a first segment that is replaced while its waker scans it, and
// key.leave for a cursor that changes its place), segment and queue (I9; see
// segment.schedule), subscriber and owner (I8; see the states of Subscriber).
// Close is one more: it sets the reason, then leaves the keys joined so far;
// Subscribe counts the keys joined, then looks at the reason.
//
// # Rejected designs
//
//   - A seqlock over plain memory (version, copy, version): a data race in Go's
//     memory model, whatever the hardware would do.
//   - The map's Compute on each publish: it allocates and locks a bucket; it is
//     used only where keys come and go.
//   - One map: an insert that resizes a million keys stalls for about 340 ms;
//     64 shards, 7 ms.
//   - nil in the slots of evicted events: ABA, see I3.
//   - A goroutine per segment: wakers serve all keys, and an idle key has none.
//   - Publishers that notify subscribers themselves: the call would cost as much
//     as the key has subscribers.
//   - A channel per subscriber: a send per subscriber and event, and a bound on
//     lag that is memory per connection instead of one ring for all.
