// Package engine fans events out: one publisher's frame in, the cursors of tens
// of thousands of subscribers out. It knows keys, sequences and bytes, and
// nothing of HTTP, JSON or the syntax of frames.
//
// A key is what others call a topic or a channel: a ring of its newest events, and
// the list of its subscribers. It is made by the first publish or subscribe.
//
//	e := engine.New(engine.Options{})
//	defer e.Close()
//	p, err := e.Publish("news", engine.Frame{Bytes: frame, IDAt: -1})
//
// A Subscriber follows one key or several. Its Sink is told when there is news; who
// was told, and nobody else, asks Next for events until there are none, and then
// releases the subscriber:
//
//	s := new(engine.Subscriber)
//	_, err := e.Subscribe(s, []string{"news"}, lastEventID, sink)
//	for {
//		it, ok := s.Next(true)
//		switch {
//		case ok:
//			send(it) // an event, or a gap: what the subscriber does not get
//		case s.Closing() != 0:
//			return
//		case s.Release():
//			<-ready // the sink's Ready has been called
//		}
//	}
//
// The examples are whole programs. A subscriber that comes back with the id of the
// last event it had, or with what Positions gave, gets what followed, or a gap that
// counts what is lost. Several keys, limits, slow subscribers, broadcasts and the
// last value for new subscribers: see KeyOptions, Policy, Engine.PublishAll.
//
// A publish neither waits for a subscriber nor takes a lock. Each subscriber reads
// at its own pace from the ring that it shares with all others, and learns how
// many events it has missed if the ring laps it. How that works, and why it is
// right, stands in invariants.go.
//
// # Caveats
//
// Publish copies Frame.Bytes; the caller may reuse them at once. The same holds
// for the names of keys, which may be borrowed memory.
//
// Event.Bytes is shared by all subscribers and must not be modified. It stays
// valid for as long as the Event is referenced, also when the ring has moved on;
// the memory is freed by the garbage collector and never pooled, since nobody
// counts the readers. Events of one PublishAll share their bytes, unless each
// has its own id.
//
// HistoryBytes and MaxHistoryBytes count frames. Each event costs 56 bytes and
// the unused rest of its allocation besides, each slot of a ring 8, and an
// evicted event's stub 64 until the key is empty or its slot is reused.
//
// A subscriber of several keys gets each broadcast once, in the order of their
// numbers, also over resumes. Lags and gaps are counted per key: a broadcast lost
// in one key may come by another.
//
// Close of an Engine stops the wakers: nobody is notified any more.
package engine
