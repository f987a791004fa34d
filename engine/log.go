package engine

import (
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"
)

// In log mode the engine does not order events itself. It follows a log of one or more partitions that is kept elsewhere,
// and several engines may follow the same one. See apply.go for what goes in, merge.go for what comes out, logresume.go
// for how a client comes back, floor.go for what the rings have lost.

// LogOptions make an engine follow an external log, see Options.Log and the section "Log mode" of the package.
type LogOptions struct {
	// Partitions is the number of logs. Each orders its entries by a sequence of its own. Default 1.
	Partitions int
	// PartitionOf returns the log that has the events of a key. nil: 0 for all.
	PartitionOf func(key string) int
	// MayBegin reports whether an epoch is one that this log can have begun, although this engine has not met it. A client with a
	// position in such an epoch, which is larger than that of this engine, comes from an engine that is ahead: it gets a gap,
	// and nothing of what this engine has kept so far. nil: none can, so the client gets a gap and all that is kept.
	MayBegin func(epoch uint64) bool
}

// ErrLog is returned by Publish and PublishAll of an engine that follows a log.
var ErrLog = errors.New("engine: this engine follows a log: append the event to the log, which every engine of the fleet reads")

// logState is what an engine has in log mode.
type logState struct {
	partitions []partition
	of         func(key string) int
	mayBegin   func(epoch uint64) bool
	// all is the internal key of the events of all keys. It is not in the map of keys. Its ring has the broadcasts, and
	// every subscriber has a cursor there and is in its segments, so one wake-up reaches everybody.
	all *key
	// unwanted counts the events of keys with OnDemand that nobody wanted.
	unwanted atomic.Uint64
}

// partition is one log.
//
// Its writer is the goroutine that calls Apply, Advance or SetEpoch: one at a time.
type partition struct {
	index int
	// applied is the watermark: every event up to this position is in its ring. Only the writer stores it, after it has
	// put the event into the ring and before it wakes subscribers (I13).
	applied atomic.Uint64
	// follows is where this engine began to follow the log, see StartAt: it never had the events up to this position.
	follows atomic.Uint64
	// generations lists the epochs, the newest last. The list is replaced as a whole, and never empty.
	generations atomic.Pointer[[]generation]
	// retired has the floors of keys that were retired: the newest position that a life of the name has had.
	retired retiredNames
}

// generation is an epoch of a partition. It is immutable.
//
// The engine counts positions so that they ascend over all epochs: the internal position of sequence s is s+offset. The
// positions of a generation begin after those of the generation before, with a gap in between, see epochGap.
type generation struct {
	epoch  uint64
	offset uint64
	first  uint64 // the internal position after which the epoch begins
}

const (
	// maxAhead is how far the position of a client may be ahead of the watermark, in events. The client may come from an
	// engine that is ahead of this one.
	maxAhead = 1 << 32
	// epochGap separates the internal positions of two epochs. It is larger than maxAhead, so that no event of an epoch
	// is at or below the position that a client had in an earlier one.
	epochGap = 1 << 33
	// keptGenerations is how many epochs can be named in the id of a subscriber that has not yet read beyond them.
	keptGenerations = 16
)

func newLogState(o LogOptions) *logState {
	l := &logState{partitions: make([]partition, max(o.Partitions, 1)), of: o.PartitionOf, mayBegin: o.MayBegin}
	if l.of == nil {
		l.of = func(string) int { return 0 }
	}
	for i := range l.partitions {
		l.partitions[i].index = i
		l.partitions[i].generations.Store(&[]generation{{}})
	}
	l.all = &key{}
	l.all.extra.Store(&keyExtra{part: &l.partitions[0]})
	l.all.ring.Store(newRing(minSlots, 0, 1)) // a key without a ring would be retired with its last subscriber
	return l
}

// allKeyOptions returns the options of the internal key of broadcasts. It keeps the newest value for the keys with
// SendLast.
func allKeyOptions(base *KeyOptions) *KeyOptions {
	o := *base
	o.MaxSubscribers, o.SendLast = math.MaxInt32, true
	return &o
}

func (l *logState) setCapacity(n int) {
	for i := range l.partitions {
		l.partitions[i].retired.setCapacity(max(n/len(l.partitions), minRetiredNames))
	}
}

// beginKey gives a new key its partition and its floor. It is called when no other key of this name exists (I14).
func (l *logState) beginKey(e *Engine, k *key) {
	p := &l.partitions[l.of(k.name)]
	x := &keyExtra{part: p}
	x.floor.Store(p.retired.of(e.nameHash(k.name)))
	k.extra.Store(x)
}

// current returns the newest generation.
func (p *partition) current() generation {
	list := *p.generations.Load()
	return list[len(list)-1]
}

// before returns the internal position before that of an event. Before the notice of a new epoch this is the end of the
// earlier epoch: a client that has not received the notice must come back with an id of that epoch.
func (p *partition) before(internal uint64) uint64 {
	for _, g := range *p.generations.Load() {
		if internal == g.first {
			return g.offset - epochGap
		}
	}
	return internal - 1
}

// position returns the position that clients see for an internal one.
func (p *partition) position(internal uint64) Position {
	list := *p.generations.Load()
	for i := len(list) - 1; i >= 0; i-- {
		g := list[i]
		if internal < g.offset {
			continue
		}
		if i+1 < len(list) { // a place between two epochs is the end of the earlier one
			internal = min(internal, list[i+1].offset-epochGap)
		}
		return Position{g.epoch, internal - g.offset}
	}
	return Position{} // the epoch is forgotten
}

// knows reports whether the epoch is one that the engine still knows.
func (l *logState) knows(epoch uint64) bool {
	for i := range l.partitions {
		for _, g := range *l.partitions[i].generations.Load() {
			if epoch != 0 && g.epoch == epoch {
				return true
			}
		}
	}
	return false
}

// parseID parses the id that a client gives: the positions of one or more partitions, joined by commas. own reports that
// it is a publisher's own id instead. Parts that are not positions are zero.
func (l *logState) parseID(id string) (positions []Position, own bool) {
	made := false
	for text := range strings.SplitSeq(id, ",") {
		p := parsePart(text)
		made = made || p.engineMade() || p.valid && l.knows(p.pos.Epoch)
		if p.tag != "" {
			p.pos = Position{} // of an engine without a log
		}
		positions = append(positions, p.pos)
	}
	if !made {
		return nil, true
	}
	return positions, false
}

// partsOf returns the partitions of the keys, ascending. Partition 0 is always one of them: it has the broadcasts.
func (l *logState) partsOf(keys []string) []int {
	parts := []int{0}
	for _, name := range keys {
		if p := l.of(name); !slices.Contains(parts, p) {
			parts = append(parts, p)
		}
	}
	slices.Sort(parts)
	return parts
}

// Applied returns the newest position of a partition that has been applied.
func (e *Engine) Applied(partition int) Position {
	p := &e.log.partitions[partition]
	return p.position(p.applied.Load())
}
