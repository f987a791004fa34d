package cluster

import "github.com/prometheus/client_golang/prometheus"

// NewFollowing makes a Node whose engine is replaced by follow. Options.Engine may be nil.
func NewFollowing(o Options, follow follower) *Node { return newNode(o, follow) }

// Collector returns the metrics of a node.
func (n *Node) Collector() prometheus.Collector { return n.metrics }

// Positions returns the newest sequence of every partition that the node knows to be stored.
func (n *Node) Positions() []uint64 {
	all := make([]uint64, len(n.partitions))
	for i, p := range n.partitions {
		all[i] = p.position().Seq
	}
	return all
}
