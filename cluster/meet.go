package cluster

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"fanfare/engine"
)

// How often Meet looks at the log's state, and how long it waits in all.
const (
	meetInterval = 200 * time.Millisecond
	meetTimeout  = 2 * time.Second
)

// clockSkew is how far the clock of the node that began an epoch may be ahead of the one here.
const clockSkew = time.Minute

// meeting is what the log said last about a partition.
type meeting struct {
	mu    sync.Mutex
	began time.Time // when the log was asked
	state State
	ok    bool // it has answered
}

// noPlace stands for a position that is no place in the log, see engine.Subscriber.Positions.
const noPlace = "0-0"

// Meet checks a client's last id against the log, for up to two seconds, and returns the id with which the client should subscribe. Call
// it before a client of these keys subscribes. It returns at once unless the id is beyond what this node knows of the log.
//
// A client that comes from another node can know of an epoch before this node does. If it subscribed at once, this node
// would not know its position. If the epoch does not come in time, because the broker is away, the client gets a gap, and goes on
// where this node is: see engine.LogOptions.
//
// A position in the node's epoch can also be beyond the end of the log, because the log has gone back, or the position was made up.
// Usually a node notices, and begins another epoch. If no node does, because none ran when it went back, new events come under sequences
// that the client has passed, and would be withheld from it in silence. So the returned id has no place in this partition: the
// client gets a gap, and all that is kept.
func (n *Node) Meet(ctx context.Context, keys []string, lastID string) string {
	if lastID == "" {
		return ""
	}
	partitions := n.partitionsOf(keys)
	parts := strings.Split(lastID, ",")
	if len(parts) != len(partitions) {
		return lastID
	}
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	beyond := false
	for i, part := range parts {
		p := n.partitions[partitions[i]]
		at, ok := engine.ParsePosition(part)
		if !ok || !MayBegin(at.Epoch) {
			continue
		}
		if epoch, _ := p.current(); at.Epoch > epoch { // slow path
			p.meet(ctx, at.Epoch)
		}
		if p.endsBefore(ctx, at) {
			parts[i], beyond = noPlace, true
		}
	}
	if !beyond {
		return lastID
	}
	return strings.Join(parts, ",")
}

// partitionsOf returns the partitions of the keys, ascending. Partition 0 is always one of them: it has the events to all keys.
func (n *Node) partitionsOf(keys []string) []int {
	partitions := []int{0}
	for _, key := range keys {
		if at := PartitionOf(key, len(n.partitions)); !slices.Contains(partitions, at) {
			partitions = append(partitions, at)
		}
	}
	slices.Sort(partitions)
	return partitions
}

// endsBefore reports whether the log is known to end before a position of the present epoch.
func (p *partition) endsBefore(ctx context.Context, at engine.Position) bool {
	if known := p.position(); at.Epoch != known.Epoch || at.Seq <= known.Seq || !p.n.o.Log.Connected() { // fast path
		return false
	}
	state, ok := p.askState(ctx, time.Now())
	if !ok || state.Epoch != at.Epoch {
		return false
	}
	p.learn(engine.Position{Epoch: state.Epoch, Seq: state.Last})
	if at.Seq <= state.Last {
		return false
	}
	done, cancel := p.waitApplied(at)
	defer cancel()
	select {
	case <-done:
		return false
	case <-ctx.Done():
		return true
	}
}

// MayBegin reports whether an epoch can have begun: newEpoch has made it, and not in the future. See engine.LogOptions.
func MayBegin(epoch uint64) bool {
	return epoch>>epochBit == 1 && beganAt(epoch).Before(time.Now().Add(clockSkew))
}

// meet waits until the reader is in the epoch, or in a newer one. A reader that waits for sequences which the log has no
// more must look at the state first.
func (p *partition) meet(ctx context.Context, epoch uint64) {
	done, cancel := p.waitApplied(engine.Position{Epoch: epoch})
	defer cancel()
	ticker := time.NewTicker(meetInterval)
	defer ticker.Stop()
	for {
		if state, ok := p.askState(ctx, time.Now()); ok {
			if p.mu.Lock(); p.epoch < state.Epoch {
				p.stop(errChanged)
			}
			p.mu.Unlock()
		}
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// askState returns the log's state. All calls that wait for an answer share the next one, so that any number of clients makes one
// question at a time.
func (p *partition) askState(ctx context.Context, arrived time.Time) (state State, ok bool) {
	m := &p.meeting
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() == nil && !m.began.After(arrived) {
		m.began = time.Now()
		state, err := p.n.o.Log.State(ctx, p.index)
		m.state, m.ok = state, err == nil
	}
	return m.state, m.ok
}
