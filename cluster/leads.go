package cluster

import (
	"hash/fnv"
	"time"
)

const (
	// leadFor is how long a node that is not heard of any more goes on to lead.
	leadFor = 3 * time.Second
	// leadAfter is how long a node announces that it would lead before it leads: the others have heard of it by then, and it
	// has heard of them.
	leadAfter = 2 * announceInterval
)

// Leads reports whether this node is the one that does what name says, such as passing on messages that every node
// receives. Each name has a leader of its own among the nodes that have called Leads with this name, so several jobs are
// spread over the fleet. It is cheap enough for every message.
//
// It is not a lock. In a fleet that does not change exactly one node leads. At a change there is a short time with none,
// or with two:
//
//   - a leader that ends by Close hands over at once; one that was killed, within 3 to 4 seconds, and until then none leads;
//   - a node that joins may take over after 2 to 3 seconds, with milliseconds of none or of two;
//   - a node that is cut off from the broker stops within 3 seconds, and another one begins within 4. Both lead if the
//     network is slow in between, or if it divides the brokers: what the node without a quorum publishes is not stored.
//
// What must happen exactly once needs the ID of a message: let every node publish it, and the log stores one.
func (n *Node) Leads(name string) bool {
	f := &n.fleet
	if n.o.Bus == nil {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	since, asked := f.ownLeads[name]
	if !asked {
		f.ownLeads[name] = time.Time{} // the next announcement has it
		return false
	}
	now := time.Now()
	if since.IsZero() || now.Sub(since) < leadAfter || now.Sub(f.lastHello) > leadFor {
		return false
	}
	own := rank(name, n.o.Name)
	for _, other := range f.members {
		since, would := other.leads[name]
		if would && now.Sub(other.heard) <= leadFor && now.Sub(since) >= leadAfter && rank(name, other.name) > own {
			return false
		}
	}
	return n.ctx.Err() == nil
}

// rank orders the nodes for a name (rendezvous hashing): a node that comes or goes moves only its own names.
func rank(name, node string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(node))
	x := h.Sum64() // FNV spreads the last bytes badly: mix them
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
