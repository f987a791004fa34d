package engine

import "time"

// LogOptions make an engine follow an external log, see Options.Log.
type LogOptions struct {
	// Partitions is the number of logs. Each orders its entries by a sequence of its own. Default 1.
	Partitions int
	// PartitionOf returns the log that has the events of a key. nil: 0 for all.
	PartitionOf func(key string) int
}

// LogEntry is an event of the log.
type LogEntry struct {
	Partition int
	Seq       uint64 // in the log; ascending
	At        int64  // Unix nanoseconds
	Key       string
	All       bool // an event of all keys, in partition 0; Key is ""
	Frame     Frame
}

// Apply puts an event of the log into the ring of its key and wakes the subscribers. An entry that is not above the last
// one of its partition is ignored. One goroutine at a time may call Apply, Advance and SetEpoch for a partition.
func (e *Engine) Apply(entry LogEntry) error { panic("soon") }

// Advance says that the log has no more events up to seq.
func (e *Engine) Advance(partition int, seq uint64) { panic("soon") }

// SetEpoch begins an epoch after seq: from now on sequences count from seq+1, which may be below earlier ones. Positions
// of earlier epochs get a gap with reason epoch. notice goes to the subscribers of all keys of the partition.
func (e *Engine) SetEpoch(partition int, epoch, seq uint64, notice Frame) { panic("soon") }

// Applied returns the newest position of a partition that has been applied.
func (e *Engine) Applied(partition int) Position { panic("soon") }

// Missing is a range of the log that a subscriber wants and the rings do not hold.
type Missing struct {
	Partition int
	Key       string
	All       bool // the events of all keys
	// After and Through bound the sequences in the log: After < seq <= Through. All are of the current epoch.
	After, Through uint64
	// Newest, unless it is 0, asks only for the newest so many of them; Since, unless it is zero, for those stored since then.
	Newest int
	Since  time.Time
}

// NewLogEvent makes an event of an entry that the rings do not hold, for Subscriber.Fill. Several subscribers may share it.
func (e *Engine) NewLogEvent(entry LogEntry) *Event { panic("soon") }

// Missing returns the ranges that the subscriber needs from the log before Next may be called, usually none. Call Fill
// for each of them. Owner only.
func (s *Subscriber) Missing() []Missing { panic("soon") }

// Fill gives the subscriber the events of Missing()[i], in ascending order, or, with ok false, makes it report a gap in
// their place. Owner only, before the first call of Next.
func (s *Subscriber) Fill(i int, events []*Event, ok bool) { panic("soon") }

// Rewind asks for past events when a subscriber begins without an id: the newest so many of each key, those since a time,
// or all that are kept. The zero value asks for none.
type Rewind struct {
	Events   int
	Since    time.Time
	Earliest bool
}

// SubscribeFrom is Subscribe with a Rewind, which counts if lastID is empty.
func (e *Engine) SubscribeFrom(s *Subscriber, keys []string, lastID string, rewind Rewind, sink Sink) (Resumed, error) {
	panic("soon")
}
