package cluster

import (
	"context"
	"time"

	"fanfare/engine"
)

// Witnesses
//
// A log without an OpEpoch entry may be in an epoch all the same: retention has removed the entry, or an operator has purged
// the log. What is removed cannot be read any more, but a node has read it. A witness is what such a node says:
//
//	the log that was created as Created is in the epoch Epoch, which began at Begun, and I have read it up to Read
//
// If the log still has every entry after Read, and none of them is an OpEpoch entry, the log is still in that epoch. So its
// entry is appended again, on the condition that the log has not changed since it was looked at. If any entry after Read was
// removed, it may have begun an epoch: then the witness proves nothing.
//
// A node is its own witness. One that starts asks the others, and reads what it wrote down itself (Options.Memory). A node
// never goes on after entries that it did not read, before it has seen that the log's epoch is still the same: see checkHole.
// So what it says of Read is true for those as well.
//
// Only another node can have begun an epoch in entries that this node did not read. So a node that has an epoch, and finds
// no other node, goes on in its epoch although such entries were removed. It would be wrong only if another node had joined,
// seen the log go back, begun an epoch and left, all while this one was cut off, and all of that was removed.

// witness is what a node knows of the epoch of a partition.
type witness struct {
	Epoch   uint64 `json:"epoch"` // 0: nothing
	Begun   uint64 `json:"begun"`
	Read    uint64 `json:"read"`
	Created string `json:"created"`
}

// proves reports whether a log without an OpEpoch entry is in the witness's epoch. known is what is known to be stored.
func (w *witness) proves(state State, known engine.Position) bool {
	switch {
	case w.Epoch == 0 || w.Created != state.Created || state.Unsynced:
		return false
	case state.Last < w.Read || w.Read+1 < state.First: // the log has gone back, or entries after Read were removed
		return false
	}
	return w.Epoch > known.Epoch || w.Epoch == known.Epoch && state.Last >= known.Seq
}

// witness returns a witness that proves in which epoch a log without an OpEpoch entry is. alone says that there are no other
// nodes.
func (p *partition) witness(state State, known engine.Position, alone bool) (w witness, ok bool) {
	own := p.testify()
	if alone {
		own.Read = max(own.Read, max(state.First, 1)-1)
	}
	p.mu.Lock()
	heard, epoch := p.heard, p.epoch
	p.mu.Unlock()
	for _, w := range []witness{own, heard} {
		if w.Epoch >= epoch && w.proves(state, known) {
			return w, true
		}
	}
	return witness{}, false
}

// testify returns what this node knows.
func (p *partition) testify() witness {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch == 0 || p.suspect {
		return witness{}
	}
	return witness{Epoch: p.epoch, Begun: p.epochSeq, Read: p.applied, Created: p.created}
}

// witnesses returns what this node knows of each partition.
func (n *Node) witnesses() []witness {
	all := make([]witness, len(n.partitions))
	for i, p := range n.partitions {
		all[i] = p.testify()
	}
	return all
}

// hear keeps the newest witness of others.
func (p *partition) hear(w witness) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.Epoch > p.heard.Epoch || w.Epoch == p.heard.Epoch && w.Read > p.heard.Read {
		p.heard = w
	}
}

// checkHole fails if the entries that this node cannot read may have begun an epoch.
func (p *partition) checkHole() error {
	ctx, cancel := context.WithTimeout(p.n.ctx, stateTimeout)
	defer cancel()
	state, err := p.n.o.Log.State(ctx, p.index)
	if err != nil {
		return err
	}
	if state.Epoch != p.epoch { // only this goroutine changes it
		return errChanged
	}
	return nil
}

// alone reports whether no other node is known.
func (f *fleet) alone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.members) == 0
}

// askWitnesses asks all nodes what they know, and waits for a short time until enough returns true. It is for a node that has
// just started, so it does not know how many others there are.
func (f *fleet) askWitnesses(ctx context.Context, enough func() bool) {
	if f.n.o.Bus == nil || f.send("", busMessage{Kind: kindWho}) != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, learnTimeout)
	defer cancel()
	for ctx.Err() == nil && !enough() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
