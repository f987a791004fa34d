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

// meeting is what the log said last about the epoch of a partition.
type meeting struct {
	mu    sync.Mutex
	began time.Time // when the log was asked
	epoch uint64    // what it said, or 0
}

// Meet waits, for up to two seconds, until this node has met the epochs of a client's last id. Call it before a client of
// these keys subscribes. It returns at once unless the id has an epoch that is newer than this node's.
//
// A client that comes from another node can know of an epoch before this node does. If it subscribed at once, this node
// would not know its position. If the epoch does not come in time, because the broker is away, the client gets a gap, and goes on where this
// node is: see engine.LogOptions.
func (n *Node) Meet(ctx context.Context, keys []string, lastID string) {
	if lastID == "" {
		return
	}
	partitions := []int{0}
	for _, key := range keys {
		if at := PartitionOf(key, len(n.partitions)); !slices.Contains(partitions, at) {
			partitions = append(partitions, at)
		}
	}
	slices.Sort(partitions)
	parts := strings.Split(lastID, ",")
	if len(parts) != len(partitions) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	for i, part := range parts {
		p := n.partitions[partitions[i]]
		at, ok := engine.ParsePosition(part)
		if epoch, _ := p.current(); ok && at.Epoch > epoch && MayBegin(at.Epoch) { // slow path
			p.meet(ctx, at.Epoch)
		}
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
		if newest := p.newestEpoch(ctx, time.Now()); newest != 0 {
			if p.mu.Lock(); p.epoch < newest {
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

// newestEpoch returns the epoch that the log has, or 0 if it does not answer. All calls that wait for an answer share the
// next one, so that any number of clients makes one question at a time.
func (p *partition) newestEpoch(ctx context.Context, arrived time.Time) uint64 {
	p.meeting.mu.Lock()
	defer p.meeting.mu.Unlock()
	if ctx.Err() == nil && p.meeting.began.Before(arrived) {
		p.meeting.began, p.meeting.epoch = time.Now(), 0
		if state, err := p.n.o.Log.State(ctx, p.index); err == nil {
			p.meeting.epoch = state.Epoch
		}
	}
	return p.meeting.epoch
}
