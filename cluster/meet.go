package cluster

import (
	"context"
	"strings"
	"sync"
	"time"

	"fanfare/engine"
)

// How long Meet waits for the reader to meet an epoch on its own, and in all.
const (
	meetPatience = 200 * time.Millisecond
	meetTimeout  = 2 * time.Second
)

// meeting is what the log said last about the epoch of a partition.
type meeting struct {
	mu    sync.Mutex
	began time.Time // when the log was asked
	epoch uint64    // what it said
	err   error
}

// Meet waits, for up to two seconds, until this node has met the epochs of a client's last id. Call it before the client
// subscribes. It returns at once unless the id has an epoch that may be newer than this node's.
//
// A client that comes from another node can know of an epoch before this node does. If it subscribed at once, this node
// would not know its position, and would send it, after a gap, events of the last epoch that it already has.
func (n *Node) Meet(ctx context.Context, lastID string) {
	if lastID == "" {
		return
	}
	arrived := time.Now()
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	for part := range strings.SplitSeq(lastID, ",") {
		at, ok := engine.ParsePosition(part)
		if !ok || !n.mayBeNewer(at.Epoch) {
			continue // fast path
		}
		for _, p := range n.partitions {
			if p.begins(ctx, at.Epoch, arrived) {
				p.meet(ctx, at.Epoch)
			}
		}
	}
}

// begins reports whether the partition has the epoch. While the broker is away it waits.
func (p *partition) begins(ctx context.Context, epoch uint64, arrived time.Time) bool {
	for {
		newest, err := p.newestEpoch(ctx, arrived)
		if err == nil || p.position().Epoch == epoch { // another node has announced it
			return newest == epoch || err != nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(meetPatience):
			arrived = time.Now()
		}
	}
}

// mayBeNewer reports whether an epoch is none of this node's, and newer than one of them.
func (n *Node) mayBeNewer(epoch uint64) bool {
	newer := false
	for _, p := range n.partitions {
		current, _ := p.current()
		if current == epoch {
			return false
		}
		newer = newer || epoch > current
	}
	return newer && epoch>>epochBit == 1
}

// newestEpoch returns the epoch that the log has. All calls that wait for an answer share the next one, so that any number
// of clients with old ids makes one question at a time.
func (p *partition) newestEpoch(ctx context.Context, arrived time.Time) (uint64, error) {
	p.meeting.mu.Lock()
	defer p.meeting.mu.Unlock()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if p.meeting.began.Before(arrived) {
		p.meeting.began = time.Now()
		var state State
		state, p.meeting.err = p.n.o.Log.State(ctx, p.index)
		p.meeting.epoch = state.Epoch
	}
	return p.meeting.epoch, p.meeting.err
}

// meet waits until the reader is in the epoch. A reader that waits for sequences which the log has no more must look at the
// state first.
func (p *partition) meet(ctx context.Context, epoch uint64) {
	done, cancel := p.waitApplied(engine.Position{Epoch: epoch})
	defer cancel()
	timer := time.NewTimer(meetPatience)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-timer.C:
			p.mu.Lock()
			p.stop(errChanged)
			p.mu.Unlock()
		}
	}
}
