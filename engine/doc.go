// Package engine delivers every event that is published to a key to all subscribers of that key, of which there may be
// tens of thousands. It works with keys, sequence numbers and bytes, and knows nothing about HTTP, JSON or the syntax
// of a frame.
//
// # Usage
//
// An Engine needs no configuration:
//
//	e := engine.New(engine.Options{})
//	defer e.Close()
//	p, err := e.Publish("news", engine.Frame{Bytes: frame, IDAt: -1})
//
// A Subscriber follows one or more keys. When it has something to do, the engine calls Ready on the subscriber's Sink.
// The receiver of that call is the subscriber's owner: it calls Next until there is nothing left, and then releases the
// subscriber.
//
//	s := new(engine.Subscriber)
//	_, err := e.Subscribe(s, []string{"news"}, lastEventID, sink) // the caller is the first owner
//	for {
//		it, ok := s.Next(true)
//		switch {
//		case ok:
//			send(it) // an event, or a gap that says what the subscriber misses
//		case s.Closing() != 0:
//			return
//		case s.Release():
//			<-ready // until the sink's Ready is called
//		}
//	}
//
// The examples below are complete programs. KeyOptions has the limits of a key, Policy says what happens to slow
// subscribers, and Engine.PublishAll publishes to every key.
//
// A client that reconnects passes the id of the last event that it received, or what Positions returned. The subscriber
// then gets the events after it, or a gap that counts the lost ones.
//
// A publish does not wait for subscribers and takes no lock. All subscribers of a key read from one ring, each at its
// own pace. invariants.go explains how this works and why it is correct.
//
// # Terms
//
//   - A key is what other systems call a topic or a channel: a ring of recent events and a list of subscribers. The
//     first publish or subscribe creates it. When nobody has used it for HistoryTTL, it is retired. A key that never had
//     an event is retired when its last subscriber leaves.
//
//   - A life is the time between a key's creation and its retirement. Every life has its own epoch, a number. An event
//     has a sequence, which counts from 1 in each life. Epoch and sequence together are a Position.
//
//   - A segment is a group of up to 256 subscribers of one key, which are woken together. A waker is a goroutine that
//     wakes segments.
//
//   - A cursor is a subscriber's place in one key.
//
//   - A lap: the ring overwrites or evicts events that a slow subscriber has not read. The subscriber finds out when it
//     reads, and gets a gap.
//
//   - Conflation: a subscriber skips to the newest event because only the newest value matters, see Latest.
//
//   - A broadcast is an event of PublishAll. Every key's ring has a copy of it. A subscriber of several keys gets one
//     copy.
//
//   - The value of a key is its newest event that is neither silent nor a notice, see Frame. SendLast sends it to new
//     subscribers.
//
//   - An engine in log mode (Options.Log) does not order events itself. It follows a log of one or more partitions, which
//     other engines follow too. A Position is then a place in the log.
//
//   - The watermark of a partition is the newest position that was applied. The floor of a key is the newest position that
//     its ring no longer has. A missing range is what a subscriber wants and only the log still has.
//
// # Log mode
//
// Publish returns ErrLog. Whoever reads the log calls SetEpoch and then Apply for each event of a partition, in order:
//
//	e := engine.New(engine.Options{Log: &engine.LogOptions{}})
//	e.SetEpoch(0, epoch, epochSeq, engine.Frame{}) // from NewEpoch, kept in the log
//	e.StartAt(0, seq)                              // optional: do not begin at the epoch's first entry
//	err := e.Apply(engine.LogEntry{Seq: seq, At: stored, Key: "news", Frame: frame})
//
// A subscriber of any number of keys has one position for each partition that its keys are in, and for partition 0, which
// has the broadcasts. With one partition the id in each event's bytes is right for every subscriber, see
// Subscriber.SharedIDs. After Subscribe, call Missing, and Fill for each range, before the first Next. A LostError says that the
// log has only the newest part of a range.
//
// A broadcast is kept once, and not in the ring of each key. It counts as an event of the subscriber's first key: Item.Key
// is 0, and a gap of broadcasts names that key. Its limits are those of Options.Key. The policy Latest does not skip it.
//
// Gaps are reported when they are found, before pending events of other keys. A client that comes back soon after may still
// get events that a gap has counted, because the log has them.
//
// # Caveats
//
// Publish copies Frame.Bytes, and the caller may reuse them at once. The same holds for the names of keys, which may be
// borrowed memory.
//
// All subscribers share Event.Bytes: do not modify them. They stay valid as long as the Event is referenced, even after
// the ring has dropped it. The garbage collector frees this memory; it is never pooled, because nobody counts the
// readers. The events of one PublishAll share their bytes, unless each event has its own id.
//
// HistoryBytes and MaxHistoryBytes count the bytes of frames only. In addition, an event costs 56 bytes and the unused
// rest of its allocation, and a slot of a ring costs 8. The tombstone of an evicted event costs 64 until the key is
// empty or its slot is reused.
//
// A subscriber of several keys gets each broadcast once, in the order of their numbers, and this holds across resumes.
// Lag and gaps are counted per key: a broadcast that is lost in one key may still arrive by another.
//
// Close of an Engine stops the wakers. Subscribers are not notified after that.
//
// # Files
//
//	engine      engine.go, options.go, stats.go, publish.go
//	keys        keymap.go (the map of keys), key.go, segment.go (a key's subscribers)
//	wake-ups    waker.go, flush.go (KeyOptions.FlushInterval)
//	storage     event.go, position.go, draft.go (an event before it is published), alloc.go, ring.go
//	            history.go (byte limits, eviction), budget.go (fair shares of the engine's limit), expire.go (age limits), retire.go, retired.go (names of retired keys)
//	cursors     subscriber.go (owner, life cycle), cursor.go (Next, Unread, Conflate), gap.go
//	            subscribe.go, resume.go, idindex.go (publishers' ids), compositeid.go (the id of several keys)
//	broadcasts  broadcast.go (which copy of a broadcast is sent)
//	log mode    log.go (partitions, epochs, ids), apply.go (events of the log), merge.go (Next), mergegap.go (laps, Unread, Conflate)
//	            logresume.go (resuming), missing.go (what only the log has), floor.go (what the rings have lost)
//	past events rewind.go (new subscribers), kept.go (listing), both with and without a log
//	tests       racepoint.go, racepoint_race.go (where builds with the race detector yield), setup_test.go
package engine
