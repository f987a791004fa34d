package cluster

import "github.com/prometheus/client_golang/prometheus"

// NewFollowing makes a Node whose engine is replaced by follow. Options.Engine may be nil.
func NewFollowing(o Options, follow follower) *Node { return newNode(o, follow) }

// Collector returns the metrics of a node.
func (n *Node) Collector() prometheus.Collector { return n.metrics }
