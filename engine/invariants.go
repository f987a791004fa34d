package engine

// This file explains how the engine works: what always holds, the steps of each operation, why no wake-up is lost, and
// which designs were rejected. Other files cite the invariants by number.
//
//	publishers ──CAS──> slots of the key's ring <──load── subscribers (cursors)
//	     └─ schedule ─> segments ──queue──> wakers ─ Notify ─> Sink.Ready ┘
//
// # Invariants
//
// I1. Only the CAS on a ring slot publishes an event. Before the CAS the event belongs to its publisher. After it
// nobody writes to the event, except to Event.released. A reader synchronizes with the publisher by loading the slot.
// Sequences have no holes: s is published only after s-1 was found in its slot.
//
// I2. A ring's tail is at most one less than the sequence of its newest event. Whoever finds an event at tail+1
// advances the tail itself. So a publisher that stalls between its two CASes blocks nobody.
//
// I3. A used slot is never nil again, and never holds a pointer that it held before: eviction replaces the event by a
// new tombstone with the same sequence. So a publisher that stalled before its CAS, for however long, succeeds only if
// nothing has happened to the slot. There is no ABA problem.
//
// I4. Nothing is published in a ring after a resize marker: the tail never passes the marker, and only the tail leads
// to the slots after it. So all who help with a resize copy the same sequences, and it does not matter whose new ring
// wins. Only eviction may still change a slot of the old ring, see I6.
//
// I5. A key is retired under its mutex, without subscribers, by a CAS on the slot of its next event, when it keeps no
// event. A publish that came first has taken the slot; a publish that comes later finds the retire marker and looks the
// key up again. A join that came first is counted, because it takes the mutex; a join that comes later finds retired
// set and looks the key up again. The key that replaces a retired key has another epoch. Epochs count up from 61 random
// bits, so that no two engines, in this process or elsewhere, issue the same one. A position of another epoch is a gap
// with reason epoch, whatever its sequence.
//
// I6. The publisher of an event adds it to the byte counts of the key and the engine, once. Whoever sets Event.released
// subtracts it, so that this happens at most once. Both counts are exact when no operation is in progress. An event can
// be subtracted before it is added, so for a moment a count can be too small, even negative. If an event is evicted
// after a resize has copied it to the next ring, it stays readable there, uncounted, until the next eviction, which
// removes released events first. That can leave a hole: a kept event with evicted events after it. So a reader must
// never assume that all events after a kept event are kept.
//
// I7. A subscriber joins first and looks at the ring afterwards. A publisher publishes first and looks at the segments
// afterwards. So at least one of them sees the other.
//
// I8. A subscriber's state word says whether it has an owner. Only the owner reads cursors, and only the owner sets the
// word back to idle. Whoever has news publishes it first and looks at the state afterwards. An owner that gives up sets
// the word to idle by a CAS, which fails if news came since it last looked.
//
// I9. A waker clears a segment's queued flag before it scans the segment. So a publisher that finds the flag set has
// published before the scan.
//
// I10. Every ring holds broadcasts (events of PublishAll) in ascending order of their numbers, because one PublishAll
// ends before the next begins.
//
// I11. A cursor passes a copy of a broadcast only if the client has that broadcast, or if the ring has lost the copy.
// broadcast.go has the complete text and the argument.
//
// I12. A subscriber of a key that never had an event gets neither a loss nor a needless gap when it comes back, although
// the key was retired as soon as its last subscriber had left. retire.go has the complete text and the argument.
//
// The following hold for an engine that follows a log. A position is one within a partition, and "internal" in the sense of
// generation: it ascends over all epochs.
//
// I13. When the watermark of a partition is w, every event up to w has been put into its ring. One goroutine at a time
// applies the events of a partition, in order: it puts the event into the ring, stores the watermark, and then wakes. A
// reader loads the watermark first and looks at the rings afterwards. So among the events up to w that its cursors have
// ahead, the one with the smallest position is next, and none can appear before it. merge.go reads in this way. The
// positions in a ring ascend for the same reason.
//
// I14. Every event that left a ring, or was never put into it, has a position up to the key's floor. The floor is raised
// before the event is gone. floor.go has the complete text and the argument.
//
// I15. A subscriber has one position for each partition (readPosition.pos). It has received every event of its keys, and
// every broadcast, up to there, and none after it, or a gap or a missing range accounts for the event. So a client may
// come back with it to any engine that follows the log.
//
// I16. The position of a subscriber that has left its keys does not pass the watermark at which it was closed. An event
// after that may be in another key of the same name, because the first one was retired. Close stores the limit, then the
// reason, then leaves. A reader loads the watermark, then the reason. If the event is up to the watermark and went to
// another key, the reason was there before, and the limit before that. See Subscriber.look.
//
// I17. No position is used twice: each epoch begins epochGap after the watermark of the one before, and a client cannot
// be further ahead of the watermark than maxAhead, which is less. SetEpoch stores the generation, publishes the notice,
// and then raises the watermark. A subscriber that resumes looks at the generation before and after, and starts again if
// it has changed.
//
// I18. What the log has lost of a missing range is at its beginning: one position divides the range into a gap and the events
// that arrive. missing.go has the complete text and the argument.
//
// # Pipeline
//
//	publish:  r = key.ring; s = r.tail+1; cur = slot(s)
//	          cur is the event s:        CAS(r.tail, s-1, s), retry          (I2)
//	          cur is a resize marker:    finish the resize, retry            (I4)
//	          cur is the retire marker:  look the key up again, retry        (I5)
//	          the ring is full and may grow: resize, retry
//	          set the event's position; CAS(slot, cur, event), or retry      (I1)
//	          CAS(r.tail, s-1, s); count bytes; evict what exceeds a limit   (I6)
//	          schedule the first segment                                     (I7)
//	read s:   ev = slot(s); if it is a resize marker at s or later: finish the resize, retry
//	          ev is nil or older than s: not published yet; but if tail >= s, load the slot
//	          again: if it has changed, retry; if it has not, s is gone
//	          ev.seq == s: the event, or a tombstone: s is gone
//	          ev.seq > s: lapped
//	resize:   CAS(slot(tail+1), cur, marker); new ring; copy the events of the old
//	          ring by sequence; CAS(key.ring, old, new)                      (I4)
//	evict:    o = r.oldest; CAS(slot(o), event, tombstone); count out        (I3, I6)
//	          CAS(r.oldest, o, o+1); repeat while a limit is exceeded
//	retire:   under key.mu, without subscribers, nothing kept:
//	          remember the name (I12);
//	          CAS(slot(tail+1), cur, retire marker); delete from the map     (I5)
//	leave:    the last subscriber of a key without events retires it:
//	          CAS(key.ring, nil, retired ring); delete from the map          (I5)
//	schedule: queued false -> true: push on the waker's stack; if it was empty,
//	          signal the waker
//	waker:    take the whole stack; for each segment: queued = false         (I9)
//	          a first segment schedules the others; Notify each subscriber
//	notify:   idle -> busy: become the owner, call Sink.Ready
//	          busy -> pending: the owner looks again                         (I8)
//	owner:    send until Next returns nothing; Release: busy -> idle, or, if
//	          the state was pending: pending -> busy, and look once more     (I8)
//
//	apply:    look the position up; ignore it if it is not above the watermark
//	          publish as above; before each CAS that drops an event: raise the floor (I14)
//	          store the watermark; schedule the first segment                (I13)
//	merge:    load the watermark, then the reason; look at the heads of all cursors
//	          the smallest position up to the watermark is the next event    (I13, I15)
//	resume:   join; load the watermark; search the first event after the position;
//	          load the floor: at or below the position: exact;
//	          otherwise the log has what is between the two, or its newest part and a gap (I14, I18)
//
// # Lost wake-ups
//
// Three handovers lead from an event to its subscriber. In each of them both sides write one word and then read the
// other side's word. Go's atomics are sequentially consistent, so at least one side sees the other:
//
//   - join and publish (I7). See key.extend for a first segment that is replaced while its waker scans it, and
//     key.leave for a cursor that changes its place.
//   - segment and queue (I9). See segment.schedule.
//   - subscriber and owner (I8). See the states of Subscriber.
//
// Close works the same way: it sets the reason, then leaves the keys that were joined so far. Subscribe counts the keys
// that it has joined, then looks at the reason.
//
// # Rejected designs
//
//   - A seqlock over plain memory (version, copy, version): a data race in Go's memory model, whatever the hardware
//     does.
//   - The map's Compute on each publish: it allocates and locks a bucket. It is used only when keys come and go.
//   - One map for all keys: an insert that resizes a map of a million keys stalls for about 340 ms. With 64 shards it
//     is 7 ms.
//   - nil in the slots of evicted events: ABA, see I3.
//   - A goroutine per segment: wakers serve all keys, and an idle key has none.
//   - Publishers that notify subscribers themselves: the cost of the call would grow with the number of subscribers.
//   - A channel per subscriber: a send for each subscriber and event, and a bound on lag that is memory per connection
//     instead of one ring for all.
