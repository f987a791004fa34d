package transport

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"fanfare/cluster"
	"fanfare/engine"
	"fanfare/internal/test/eventually"
	"fanfare/internal/test/memlog"
)

// fleet is several servers in this process on one log in memory.
type fleet struct {
	t      testing.TB
	broker *memlog.Broker
	nodes  []*fleetNode
}

// fleetNode is one of them.
type fleetNode struct {
	*rig
	node *cluster.Node
	log  *countedLog
	bus  *memlog.Bus
}

// countedLog counts the appends of a node.
type countedLog struct {
	*memlog.Log
	appends atomic.Int64
}

func (l *countedLog) Append(ctx context.Context, messages []cluster.Message, results []cluster.Result) {
	l.appends.Add(1)
	l.Log.Append(ctx, messages, results)
}

// fleetOptions are what startFleet makes a fleet of.
type fleetOptions struct {
	rigOptions
	via        string // default viaFast
	nodes      int    // default 2
	partitions int    // default 1
	broker     *memlog.Broker
	node       func(*cluster.Options) // changes those of each node
	unsettled  bool                   // do not wait for the nodes
}

// startFleet starts servers that end with the test.
func startFleet(t testing.TB, o fleetOptions) *fleet {
	t.Helper()
	checkLeaks(t)
	f := &fleet{t: t, broker: o.broker}
	if f.broker == nil {
		f.broker = memlog.New(max(o.partitions, 1))
	}
	if o.nodes == 0 {
		o.nodes = 2
	}
	for range o.nodes {
		f.add(o)
	}
	if !o.unsettled {
		f.waitFleet()
	}
	return f
}

// add starts one more server.
func (f *fleet) add(o fleetOptions) *fleetNode {
	f.t.Helper()
	n := &fleetNode{log: &countedLog{Log: f.broker.Log()}, bus: f.broker.Bus()}
	partitions := n.log.Partitions()
	o.Engine.Log = cluster.LogOptions(partitions)
	name := fmt.Sprintf("node-%d", len(f.nodes)+1)
	o.backplane = func(eng *engine.Engine) *cluster.Node {
		options := cluster.Options{Name: name, Engine: eng, Log: n.log, Bus: n.bus, Logger: slog.New(slog.DiscardHandler), FleetTimeout: eventually.Patience / 2}
		if o.node != nil {
			o.node(&options)
		}
		node, err := cluster.NewNode(options)
		if err != nil {
			f.t.Fatal(err)
		}
		n.node = node
		return node
	}
	if o.via == "" {
		o.via = viaFast
	}
	n.rig = startRig(f.t, o.via, o.rigOptions)
	f.nodes = append(f.nodes, n)
	return n
}

// waitFleet waits until all nodes have read the log and know each other.
func (f *fleet) waitFleet() {
	f.t.Helper()
	for _, n := range f.nodes {
		if err := n.node.Settled(f.t.Context()); err != nil {
			f.t.Fatal(err)
		}
		eventually.Equal(f.t, "nodes that "+n.node.Status().Name+" knows", len(f.nodes), func() int { return len(n.node.Status().Nodes) })
	}
}

// waitApplied waits until all nodes have applied what is in the log.
func (f *fleet) waitApplied() {
	f.t.Helper()
	for _, n := range f.nodes {
		for p := range n.log.Partitions() {
			eventually.True(f.t, "a node applies the log", func() bool { return n.eng.Applied(p).Seq >= f.broker.Last(p) })
		}
	}
}

// short makes nodes wait for less time, for tests in which they wait in vain.
func short(o *cluster.Options) { o.PublishTimeout, o.FleetTimeout = 2*time.Second, 2*time.Second }
