package cluster

import (
	"hash/fnv"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/engine"
)

// LogOptions returns the options of an engine that follows a log of so many partitions.
func LogOptions(partitions int) *engine.LogOptions {
	partitions = max(partitions, 1)
	return &engine.LogOptions{
		Partitions:  partitions,
		PartitionOf: func(key string) int { return PartitionOf(key, partitions) },
		MayBegin:    MayBegin,
	}
}

// PartitionOf returns the partition, of n, that has the events of a key. It is the same on all nodes and in all versions.
func PartitionOf(key string, n int) int {
	if n <= 1 {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}

// partitionOf returns the partition of an event or a broadcast.
func (n *Node) partitionOf(m *Message) *partition {
	if m.Op != OpEvent {
		return n.partitions[0]
	}
	return n.partitions[PartitionOf(m.Key, len(n.partitions))]
}

// partition follows one partition of the log. Its reader (run, in reader.go) is the only goroutine that changes epoch,
// epochSeq, applied and last, and the only one that calls the engine's Apply, Advance and SetEpoch for it.
type partition struct {
	n     *Node
	index int

	settled chan struct{} // closed by the reader when the node has read back what it should
	active  atomic.Bool   // the log has called handle or idle since the watchdog looked last

	mu       sync.Mutex
	epoch    uint64 // 0 before the first session
	epochSeq uint64 // where the epoch began
	// epochEntry is the newest entry that says so, as far as this node knows, and epochAt about when it was stored; zeros if
	// they are not known.
	epochEntry uint64
	epochAt    time.Time
	created    string // State.Created of the epoch. Only the reader changes it.
	repetition repetition
	heard      witness // of another node, or of this one before it was restarted
	applied    uint64  // the newest sequence that the engine has applied
	// known is the newest place that is known to be stored: by an acknowledgement, by reading, or because another node
	// has announced it. The log has gone back if it no longer has it.
	known    engine.Position
	suspect  bool          // an answer of the log contradicts known: the reader must look at the state
	stop     func(error)   // ends the current Read
	waiters  []*waiter     // of waitApplied
	agreed   bool          // a session has compared the log's state with what is known, and has not ended
	sessions chan struct{} // closed and replaced when agreed becomes true

	meeting meeting // see Meet
	ends    ends    // see CatchUp

	// newestSeqs has the newest sequence of the keys of each hash: no key with this hash has an event after it. The reader
	// raises it before the engine gets the event.
	newestSeqs [newestSize]atomic.Uint64
	newestAll  atomic.Uint64 // the same for broadcasts

	// The remaining fields belong to the reader.

	newest      mark   // the newest applied entry
	unsyncedFor uint64 // the epoch that this node has begun because of State.Unsynced
	target      uint64 // the partition is settled when it has applied this sequence
	unrepeated  int64  // bytes of the entries that were read since the epoch's entry
	jumps       int    // how often the log has left entries out at the same place
	reading     bool   // a Read has called handle or idle since it began
}

func newPartition(n *Node, index int) *partition {
	return &partition{
		n: n, index: index, settled: make(chan struct{}), sessions: make(chan struct{}), stop: func(error) {},
		ends: ends{turn: make(chan struct{}, 1)},
	}
}

const newestSize = 4096

// touch notes that an entry concerns a key, or all keys.
func (p *partition) touch(e *engine.LogEntry) {
	if e.All {
		p.newestAll.Store(e.Seq)
	} else {
		p.newestSeqs[maphash.String(keySeed, e.Key)%newestSize].Store(e.Seq)
	}
}

// newestOf returns a sequence after which the key, or all, had no events. What this node did not read may be anything.
func (p *partition) newestOf(key string, all bool) uint64 {
	if all {
		return p.newestAll.Load()
	}
	return p.newestSeqs[maphash.String(keySeed, key)%newestSize].Load()
}

var keySeed = maphash.MakeSeed()

// waiter waits until a place has been applied.
type waiter struct {
	at   engine.Position
	done chan struct{}
}

// reached reports whether the partition has applied the place, or has left its epoch. The caller holds mu.
func (p *partition) reached(at engine.Position) bool {
	return p.epoch > at.Epoch || p.epoch == at.Epoch && p.applied >= at.Seq
}

// position returns the newest place that is known to be stored.
func (p *partition) position() engine.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known
}

// current returns the epoch, and where it began.
func (p *partition) current() (epoch, epochSeq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch, p.epochSeq
}

// appliedIn returns the watermark, or 0 if the epoch is another one.
func (p *partition) appliedIn(epoch uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch != epoch {
		return 0
	}
	return p.applied
}

// behind returns how many entries are known to be stored and are not applied.
func (p *partition) behind() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known.Epoch != p.epoch {
		return p.known.Seq // of an epoch that this node has not met yet
	}
	return p.known.Seq - min(p.known.Seq, p.applied)
}

// learn raises known to a place that is stored.
func (p *partition) learn(at engine.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.learnLocked(at)
}

func (p *partition) learnLocked(at engine.Position) {
	if at.Epoch > p.known.Epoch || at.Epoch == p.known.Epoch && at.Seq > p.known.Seq {
		p.known = at
	}
}

// setApplied stores the watermark and wakes who waits for it.
func (p *partition) setApplied(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied = seq
	p.learnLocked(engine.Position{Epoch: p.epoch, Seq: seq})
	p.wakeLocked()
}

// setEpoch begins to follow an epoch after seq.
func (p *partition) setEpoch(epoch, epochSeq, seq uint64) {
	p.newestAll.Store(seq)
	for i := range p.newestSeqs {
		p.newestSeqs[i].Store(seq)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch, p.epochSeq, p.applied = epoch, epochSeq, seq
	p.epochEntry, p.epochAt = 0, time.Time{}
	p.suspect = false
	p.learnLocked(engine.Position{Epoch: epoch, Seq: seq})
	p.wakeLocked()
}

func (p *partition) wakeLocked() {
	if len(p.waiters) == 0 { // fast path
		return
	}
	left := p.waiters[:0]
	for _, w := range p.waiters {
		if p.reached(w.at) {
			close(w.done)
		} else {
			left = append(left, w)
		}
	}
	clear(p.waiters[len(left):])
	p.waiters = left
}

// waitApplied returns a channel that is closed when the place has been applied, or its epoch has ended. Call cancel when
// you no longer wait.
func (p *partition) waitApplied(at engine.Position) (done <-chan struct{}, cancel func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &waiter{at: at, done: make(chan struct{})}
	if p.reached(at) {
		close(w.done)
		return w.done, func() {}
	}
	p.waiters = append(p.waiters, w)
	return w.done, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, other := range p.waiters {
			if other == w {
				p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
				return
			}
		}
	}
}
