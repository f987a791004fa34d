package cluster

import (
	"context"
	"errors"
	"time"

	"fanfare/engine"
)

// Op says what a message of the log is.
type Op uint8

const (
	// OpEvent is an event of one key.
	OpEvent Op = iota
	// OpBroadcast is an event of all keys (PublishAll). It is in partition 0.
	OpBroadcast
	// OpEpoch begins an epoch: ids of earlier epochs of the partition mean nothing any more, see epoch.go.
	OpEpoch
	// OpHole stands for entries that the log has lost, up to Entry.Seq: it was edited or damaged. Append never stores one.
	OpHole
	// OpInvalid is an entry that this node cannot read, see Decode. Append never stores one.
	OpInvalid
)

// Message is what a node appends to the log.
type Message struct {
	Op    Op     // OpEvent, OpBroadcast or OpEpoch
	Key   string // of OpEvent
	Frame engine.Frame
	// Epoch is an epoch of Partition, with OpEpoch only. Begun is 0 if it begins here. Otherwise the entry repeats what an
	// earlier one has said, so that retention does not remove it: the epoch began at the sequence Begun.
	Epoch, Begun uint64
	Partition    int
	// ID identifies the message: the log stores only one of several messages of a partition with the same ID within its
	// duplicate window. "" means that the message has none.
	ID string
	// After makes Append store the message only if the last entry of the partition is After-1 (compare and set), with
	// OpEpoch only. 0 means no condition.
	After uint64
	// AfterEpoch makes Append store the message only if the newest OpEpoch entry of the partition has this sequence, with
	// OpEpoch only. So an entry can be repeated while others append. 0 means no condition. A Log whose Retention says
	// KeepsEpoch need not support it.
	AfterEpoch uint64
}

// Result says what became of a Message.
type Result struct {
	// Seq is its place in its partition, from 1.
	Seq uint64
	// Epoch is the partition's epoch that Seq belongs to. Node.Publish sets it, Log.Append does not.
	Epoch uint64
	// Duplicate says that a message with the same ID was stored before, at Seq.
	Duplicate bool
	// Queued says that the message is neither stored nor lost yet: it waits in this process for the broker (away: queue).
	Queued bool
	// Err is nil if the message is stored. ErrUnknown: perhaps it is. Otherwise it is not.
	Err error
}

// Errors of Append and Node.Publish.
var (
	// ErrUnknown: no answer came in time, so the message may be stored or not. To repeat it with the same ID is safe.
	ErrUnknown = errors.New("the log has not confirmed the event in time (publishTimeout): it may be stored or not; repeat the request with the same Idempotency-Key")
	// ErrAway: the broker cannot be reached, and nothing was sent.
	ErrAway = errors.New("the log cannot be reached: the event is not stored; repeat the request")
	// ErrTooLarge: the broker takes no message of this size.
	ErrTooLarge = errors.New("the event is larger than the log's largest message (NATS: max_payload): send less, or raise that limit")
	// ErrFull: the log or its disk is full.
	ErrFull = errors.New("the log is full: the event is not stored")
	// ErrConflict: After or AfterEpoch did not match.
	ErrConflict = errors.New("the log has other entries than the condition says")
)

// Entry is a message that the log has stored.
type Entry struct {
	Op        Op
	Partition int
	Seq       uint64 // from 1, without holes, in each partition
	At        int64  // when it was stored, in Unix nanoseconds
	Key       string
	Frame     engine.Frame // valid during the call that gets the Entry
	Epoch     uint64       // of OpEpoch
	EpochSeq  uint64       // of OpEpoch: where the epoch began: Seq, unless the entry only repeats it
	Err       error        // of OpInvalid: why the entry cannot be read
}

// State is the state of one partition of a log.
type State struct {
	First, Last uint64 // the oldest and the newest entry that is kept; Last is 0 if there never was one, First is Last+1 if none is kept
	// Created identifies this creation of the log: one that was deleted and made anew has another.
	Created string
	// Unsynced says that entries which the log had confirmed may be lost, because the machine lost power (or the like)
	// before they were on disk, or because the log was restored from a backup. The next OpEpoch ends it.
	Unsynced bool
	// Epoch and EpochSeq are those that Decode returns for the newest OpEpoch entry, and EpochEntry is its sequence; zeros if
	// there is none. EpochEntry is 0 if Retention says KeepsEpoch.
	Epoch, EpochSeq, EpochEntry uint64
}

// Retention says what a log keeps of each partition.
type Retention struct {
	Age   time.Duration // of the oldest entry; 0: no bound
	Bytes int64         // of all entries; 0: no bound
	// KeepsEpoch says that State has the epoch although retention has removed its entry.
	KeepsEpoch bool
}

// Query asks for older entries of one key, or the broadcasts with All, in one partition.
type Query struct {
	Partition int
	Key       string
	All       bool
	// After and Through bound the sequences: After < Seq <= Through.
	After, Through uint64
	// Newest, unless it is 0, asks only for the newest so many of them; Since, unless it is zero, for those stored since then.
	// Then Fetch returns ErrTooOld only for the bounds, after the newest entries within them; at least one, if it has found one.
	Newest int
	Since  time.Time
	// Exact, with Newest or Since, counts what the log has lost of the range by retention or damage: then Fetch returns an
	// engine.LostError with the newest position of it, and hands over all entries above.
	Exact bool
	// Oldest, unless it is 0, asks only for the oldest so many. Fetch hands over fewer, but at least one, if Bytes says so: that
	// is not an error. It is not used with Newest or Since.
	Oldest int
	// Max bounds the entries that are returned, Scan the entries of any key that the broker looks at, Bytes the frames' bytes.
	Max, Scan int
	Bytes     int64
}

// Last reports whether the newest entries are asked for: what retention has removed is not missing then, except with Exact.
func (q *Query) Last() bool { return q.Newest > 0 || !q.Since.IsZero() }

// Trim drops the oldest of the entries that were found, which ascend, until the others are within Newest, Max and Bytes. cut says
// that it has dropped entries that Newest asks for.
func (q *Query) Trim(found []Entry) (kept []Entry, cut bool) {
	if q.Newest > 0 {
		found = found[max(len(found)-q.Newest, 0):]
	}
	from := 0
	if q.Max > 0 {
		from = max(len(found)-q.Max, 0)
	}
	left := q.Bytes
	for i := len(found) - 1; i >= from && q.Bytes > 0; i-- {
		if left -= int64(len(found[i].Frame.Bytes)); left < 0 && i < len(found)-1 {
			from = i + 1
		}
	}
	return found[from:], from > 0
}

// ErrTooOld is returned by Log.Fetch for a Query over its bounds, and for entries that retention has removed. What it has handed
// over before is good if Query.Last or Query.Oldest says so.
var ErrTooOld = errors.New("the log no longer has all of these entries, or there are too many in between")

// Lost returns the engine.LostError for entries up to a sequence. The reason is ErrTooOld, or wraps it.
func Lost(through uint64, reason error) error {
	return &engine.LostError{Through: through, Err: reason}
}

// Log is an ordered, durable log in one or more partitions. All methods may be called concurrently. PartitionOf says
// which partition a key's events are in.
type Log interface {
	// Partitions is their number, which never changes.
	Partitions() int
	// Append stores the messages in their order and sets results[i] for messages[i]. It returns when all results are
	// known, or when ctx is done; then those without an answer are ErrUnknown. A message that failed does not stop the
	// later ones. It uses the frames only until it returns.
	Append(ctx context.Context, messages []Message, results []Result)
	// Read calls handle for every entry after sequence after, in their order, without leaving one out, until ctx is done,
	// handle returns an error, or the log cannot be read; then it returns the error. The caller reads on with another call.
	// Entries that are lost for good are reported by one OpHole. idle is called at least once a second while there is
	// nothing to read, with the newest sequence that the broker has.
	//
	// Read ends with an error when the connection was interrupted, or the broker may have restarted, even if it could go
	// on: the log may have gone back meanwhile, and the caller finds out before it reads on.
	Read(ctx context.Context, partition int, after uint64, handle func(*Entry) error, idle func(last uint64)) error
	// State returns the state of a partition as its leader knows it.
	State(ctx context.Context, partition int) (State, error)
	// SeqAt returns the sequence of the first entry that was stored at t or later; Last+1 if there is none.
	SeqAt(ctx context.Context, partition int, t time.Time) (uint64, error)
	// Fetch calls handle for the entries of q in ascending order. Errors: ErrTooOld.
	Fetch(ctx context.Context, q Query, handle func(*Entry) error) error
	// Retention returns what the log keeps. It never changes.
	Retention() Retention
	// Connected reports whether the broker can be reached now.
	Connected() bool
	// MaxBytes is the largest frame that the log takes, in bytes.
	MaxBytes() int
	Close()
}

// Bus carries small messages between nodes. They may be lost, and come in the sender's order if they do.
type Bus interface {
	// Send sends data to the node called to, or to all nodes, including this one, if to is "".
	Send(to string, data []byte) error
	// Receive makes handle get what is sent to the node called name and to all. handle must not block. Call it once.
	Receive(name string, handle func(data []byte)) error
}
