package cluster

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"fanfare/engine"
)

// What a node knows of the log may be behind it: another node has published since the last entry that was read, and its next
// announcement has not come. So what must come after everything that was published before asks the log how far it is, and
// then waits until the node has applied this.

// CatchUp waits until this node has applied everything that the log had when it was called, in every partition. It tries
// again while the log does not answer, until ctx is done; then it returns ctx.Err().
func (n *Node) CatchUp(ctx context.Context) error {
	ends, err := n.logEnds(ctx)
	if err != nil {
		return err
	}
	return n.waitApplied(ctx, ends)
}

var errNotConnected = errors.New("the log cannot be reached")

// CatchUpWith is CatchUp for what one key can receive: its own events and those to all keys. It waits at most FleetTimeout, and not at
// all while the log cannot be reached.
func (n *Node) CatchUpWith(ctx context.Context, key string) error {
	if !n.o.Log.Connected() {
		return errNotConnected
	}
	ctx, cancel := context.WithTimeout(ctx, n.o.FleetTimeout)
	defer cancel()
	for _, i := range n.partitionsOf([]string{key}) {
		p := n.partitions[i]
		at, err := p.logEnd(ctx)
		if err != nil {
			return err
		}
		if err := p.wait(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

// Removed returns the sequence up to which the log has removed the entries of a partition, 0 if it does not answer.
func (n *Node) Removed(ctx context.Context, partition int) uint64 {
	state, err := n.o.Log.State(ctx, partition)
	if err != nil {
		return 0
	}
	return max(state.First, 1) - 1
}

// waitApplied waits until this node has applied these places, one of each partition.
func (n *Node) waitApplied(ctx context.Context, places []place) error {
	for i, at := range places[:min(len(places), len(n.partitions))] {
		if err := n.partitions[i].wait(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

// wait waits until this node has applied a place.
func (p *partition) wait(ctx context.Context, at place) error {
	done, cancel := p.waitApplied(engine.Position(at))
	defer cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// logEnds returns the newest place of each partition.
func (n *Node) logEnds(ctx context.Context) ([]place, error) {
	ends := make([]place, len(n.partitions))
	errs := make([]error, len(n.partitions))
	var wg sync.WaitGroup
	for i, p := range n.partitions {
		wg.Go(func() { ends[i], errs[i] = p.logEnd(ctx) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return ends, nil
}

// endPause is the pause before the log is asked again.
const endPause = 100 * time.Millisecond

// logEnd returns the newest place of the partition. It asks until the log answers.
func (p *partition) logEnd(ctx context.Context) (place, error) {
	for {
		at, err := p.sharedEnd(ctx)
		if err == nil || ctx.Err() != nil {
			return at, ctx.Err()
		}
		select {
		case <-time.After(endPause):
		case <-ctx.Done():
			return place{}, ctx.Err()
		}
	}
}

// ends is the log's last answer to how far a partition is. All calls that wait for an answer share the next question, so
// that any number of them asks the log one question at a time.
type ends struct {
	turn  chan struct{} // has a token while the log is being asked
	asked atomic.Uint64 // the number of the last question; written with the turn

	// The answer to it, read and written with the turn.
	at  place
	err error
}

// sharedEnd asks the log once, by a question that begins after the call: an earlier one may have missed what the caller has
// published before.
func (p *partition) sharedEnd(ctx context.Context) (place, error) {
	e := &p.ends
	next := e.asked.Load() + 1
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return place{}, ctx.Err()
	}
	defer func() { <-e.turn }()
	if e.asked.Load() < next {
		e.asked.Add(1)
		e.at, e.err = p.askEnd()
	}
	return e.at, e.err
}

// askEnd asks the log. If the log has less than is known to be stored, it has gone back. Then the end is what is known: it is
// reached at the latest when the reader begins the next epoch.
func (p *partition) askEnd() (place, error) {
	ctx, cancel := context.WithTimeout(p.n.ctx, stateTimeout) // not of the caller: others wait for the answer, too
	defer cancel()
	state, err := p.n.o.Log.State(ctx, p.index)
	if err != nil {
		return place{}, err
	}
	at := place(p.position())
	switch {
	case state.Epoch > at.Epoch:
		at = place{state.Epoch, state.Last}
	case state.Epoch == at.Epoch, state.Epoch == 0: // 0: retention has removed the epoch's entry
		at.Seq = max(at.Seq, state.Last)
	}
	return at, nil
}
