package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// Times of a claim. A node that has the name already answers within milliseconds. One that has crashed does not answer, so a node that
// takes its place waits no longer than claimTime.
const (
	claimTime  = time.Second
	claimRetry = 200 * time.Millisecond
)

// claim is how a node finds out, before it announces itself, whether another one has its name (Options.UniqueName). Two nodes of one
// name would answer questions for one another, and every count would be too low.
//
//	send the claim to all until it comes back: then the bus works in both directions
//	wait claimTime for a node of the same name that answers that the name is taken
//
// Of two nodes that claim a name at the same time, the one with the smaller instance gets it.
type claim struct {
	refused atomic.Bool   // another node has the name
	pending atomic.Bool   // this node does not take part in the fleet yet
	heard   chan struct{} // has an item when the claim has come back
	taken   chan struct{} // likewise when another node has answered
	decided chan struct{} // closed when err is known; nil if nothing is claimed
	err     error
}

func (c *claim) init(wanted bool) {
	c.heard, c.taken = make(chan struct{}, 1), make(chan struct{}, 1)
	if wanted {
		c.decided = make(chan struct{})
		c.pending.Store(true)
	}
}

// claimName claims the name of this node. It returns false if the node has not got it: then it must not announce itself.
func (f *fleet) claimName() bool {
	c := &f.claim
	if c.decided == nil {
		return true
	}
	defer close(c.decided)
	retry := time.NewTicker(claimRetry)
	defer retry.Stop()
	var deadline <-chan time.Time // nil until the claim has come back
	for {
		if deadline == nil {
			_ = f.send("", busMessage{Kind: kindClaim})
		}
		select {
		case <-retry.C:
		case <-c.heard:
			if deadline == nil {
				deadline = time.After(claimTime)
			}
		case <-c.taken:
			c.refused.Store(true)
			c.err = fmt.Errorf("nodeName %q: another node of the fleet has this name: give each node a name of its own, or stop the other one", f.n.o.Name)
			return false
		case <-deadline:
			c.pending.Store(false)
			return true
		case <-f.n.ctx.Done():
			c.err = errClosed
			return false
		}
	}
}

// hearClaim gets a claim of another process with the name of this node.
func (f *fleet) hearClaim(m busMessage) {
	switch {
	case f.n.ctx.Err() != nil:
		return // this node ends
	case f.claim.pending.Load() && f.claim.refused.Load():
		return
	case f.claim.pending.Load() && f.instance > m.Instance:
		// This node does not get the name. The other one may not have heard its claim: it may just have joined the bus.
		signal(f.claim.taken)
		return
	}
	_ = f.send(m.Node, busMessage{Kind: kindTaken, ID: m.Instance})
	f.n.limited.Log(f.n.log, slog.LevelWarn, "claim", "another process wants to start with the name of this node: it is refused", "nodeName", m.Node)
}

// waitClaim returns when the name is claimed, or why it cannot be.
func (f *fleet) waitClaim(ctx context.Context) error {
	if f.claim.decided == nil {
		return nil
	}
	select {
	case <-f.claim.decided:
		return f.claim.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
