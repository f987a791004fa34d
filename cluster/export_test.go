package cluster

// NewFollowing makes a Node whose engine is replaced by follow. Options.Engine may be nil.
func NewFollowing(o Options, follow follower) *Node { return newNode(o, follow) }
