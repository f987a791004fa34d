package cluster

import (
	"context"
	"errors"
	"hash/fnv"
	"time"
)

const (
	// leadFor is how long a node that is not heard of any more goes on to lead.
	leadFor = 3 * time.Second
	// leadAfter is how long a node announces that it would lead before it leads: the others have heard of it by then, and it
	// has heard of them.
	leadAfter = 300 * time.Millisecond
	// takeTimeout is how long TakeOver waits for the leader's answer. The leader stores what it has taken first.
	takeTimeout = 15 * time.Second
)

// role is what a node announces about a job.
type role string

const (
	roleWould  role = "would"  // it leads if no other node does
	roleHolds  role = "holds"  // it leads
	roleYields role = "yields" // it leads until another node takes over: it is about to end
)

// job is what this node does with a name of Leads. It is guarded by fleet.mu.
type job struct {
	since time.Time // when the others had got the first announcement; zero before
	cut   bool      // this node was cut off, and may not have heard of another leader yet
	role  role
	ended bool        // HandOver was called: this node does not lead again
	taker chan string // gets the node that takes over, in HandOver; otherwise nil
	given chan []byte // gets what the leader says at its end, in TakeOver; otherwise nil
}

// Leads reports whether this node is the one that does what name says, such as passing on messages that every node
// receives. Each name has a leader of its own among the nodes that have called Leads with this name, so several jobs are
// spread over the fleet. It is cheap enough for every message.
//
// The leader stays the leader until it hands over or is lost, also when other nodes join. It is not a lock:
//
//   - a leader that calls HandOver, or Close, is followed at once;
//   - one that was killed, within 3 to 4 seconds, and until then none leads;
//   - in a fleet that starts, somebody leads half a second after the first call;
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
	own := f.jobs[name]
	if own == nil {
		f.jobs[name] = &job{role: roleWould}
		n.spawn(func() { f.announce(""); _ = f.send("", busMessage{Kind: kindWho}) }) // do not wait for the next announcement
		return false
	}
	now := time.Now()
	if now.Sub(f.lastHello) > leadFor {
		own.cutOff()
	}
	if own.since.IsZero() || n.ctx.Err() != nil {
		own.drop()
		return false
	}
	for _, other := range f.members {
		if now.Sub(other.heard) > leadFor {
			continue
		}
		switch holds := other.jobs[name].holds(); {
		case own.role.holds() && (!holds || rank(name, other.name) < rank(name, n.o.Name)):
		case holds, other.jobs[name] == roleWould && rank(name, other.name) > rank(name, n.o.Name):
			own.drop()
			return false
		}
	}
	if own.role.holds() {
		return true
	}
	if own.ended || now.Sub(own.since) < leadAfter {
		return false
	}
	own.role = roleHolds
	n.spawn(func() { f.announce("") })
	return true
}

func (r role) holds() bool { return r == roleHolds || r == roleYields }

// drop ends the lead of a node that another one has replaced.
func (j *job) drop() {
	if j.role = roleWould; j.ended {
		j.role = ""
	}
}

// cutOff ends the lead of a node that does not hear its own announcements. It leads again only after it has heard the others.
func (j *job) cutOff() {
	if !j.since.IsZero() {
		j.since, j.cut = time.Time{}, true
	}
	j.drop()
}

// Succeeds reports whether the leader is about to end and this node is to follow it. The caller prepares, and calls TakeOver.
func (n *Node) Succeeds(name string) bool {
	f := &n.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	if own := f.jobs[name]; own == nil || own.role != roleWould || own.since.IsZero() {
		return false
	}
	return f.yielding(name) != ""
}

// yielding returns the leader that this node is to follow, or "". The caller holds mu.
func (f *fleet) yielding(name string) (leader string) {
	for _, other := range f.members {
		switch {
		case time.Since(other.heard) > leadFor:
		case other.jobs[name] == roleYields:
			leader = other.name
		case other.jobs[name] == roleHolds, other.jobs[name] == roleWould && rank(name, other.name) > rank(name, f.n.o.Name):
			return ""
		}
	}
	return leader
}

// errNobodyYields is returned by TakeOver if the leader does not give its lead away any more.
var errNobodyYields = errors.New("cluster: no leader gives its lead to this node")

// TakeOver asks the leader that is about to end to stop, and returns what it said about its end, see HandOver. This node leads then.
func (n *Node) TakeOver(ctx context.Context, name string) ([]byte, error) {
	f := &n.fleet
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	given := make(chan []byte, 1)
	f.mu.Lock()
	leader, own := f.yielding(name), f.jobs[name]
	if leader == "" || own == nil || own.ended {
		f.mu.Unlock()
		return nil, errNobodyYields
	}
	own.given = given
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		own.given = nil
		f.mu.Unlock()
	}()
	if err := f.send(leader, busMessage{Kind: kindTake, Job: name}); err != nil {
		return nil, err
	}
	for {
		changed := n.LeadsChanged()
		f.mu.Lock()
		other := f.members[leader]
		gone := other == nil || time.Since(other.heard) > leadFor || other.jobs[name] != roleYields
		f.mu.Unlock()
		if gone { // its answer may come a little later than its announcement
			select {
			case data := <-given:
				return data, nil
			case <-time.After(announceInterval):
				return nil, errNobodyYields
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		select {
		case data := <-given:
			return data, nil
		case <-changed:
		case <-time.After(announceInterval):
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-n.ctx.Done():
			return nil, errClosed
		}
	}
}

// HandOver gives the lead away, if this node has it. It waits until another node is ready to take over, or ctx is done, or there is
// no other node for it. Then it calls stop, which ends the job and returns what its successor needs to know, and tells that node.
// After HandOver this node does not lead any more.
func (n *Node) HandOver(ctx context.Context, name string, stop func() []byte) {
	f := &n.fleet
	f.mu.Lock()
	own := f.jobs[name]
	if n.o.Bus == nil || own == nil {
		f.mu.Unlock()
		stop()
		return
	}
	own.ended = true
	taker := make(chan string, 1)
	own.taker = taker
	if own.role.holds() {
		own.role = roleYields
	} else {
		own.role = ""
	}
	f.mu.Unlock()
	f.announce("")

	// Wait for the next leader.
	to := ""
	for waiting := true; waiting; {
		changed := n.LeadsChanged()
		f.mu.Lock()
		waiting = own.role == roleYields && f.hasCandidate(name)
		f.mu.Unlock()
		select {
		case to = <-taker:
			waiting = false
			continue
		default:
		}
		if !waiting {
			break
		}
		select {
		case to = <-taker:
			waiting = false
		case <-changed:
		case <-time.After(announceInterval):
		case <-ctx.Done():
			waiting = false
		case <-n.ctx.Done():
			waiting = false
		}
	}

	// Stop, and then let it lead.
	data := stop()
	f.mu.Lock()
	own.role, own.taker = "", nil
	f.mu.Unlock()
	if to != "" {
		_ = f.send(to, busMessage{Kind: kindGiven, Job: name, Data: data}) // otherwise the other one notices that this one does not lead
	}
	f.announce("")
}

// hasCandidate reports whether another node would do the job. The caller holds mu.
func (f *fleet) hasCandidate(name string) bool {
	for _, other := range f.members {
		if other.jobs[name] != "" && time.Since(other.heard) <= leadFor {
			return true
		}
	}
	return false
}

// hearTake gets the message of a node that is ready to take over from this one.
func (f *fleet) hearTake(m busMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if own := f.jobs[m.Job]; own != nil && own.taker != nil {
		select {
		case own.taker <- m.Node:
		default: // another one was first
		}
	}
}

// hearGiven gets the message of a leader that has stopped: from now on this node leads.
func (f *fleet) hearGiven(m busMessage) {
	f.mu.Lock()
	own := f.jobs[m.Job]
	if own == nil || own.given == nil || own.ended {
		f.mu.Unlock()
		return
	}
	own.role = roleHolds
	if other := f.members[m.Node]; other != nil {
		delete(other.jobs, m.Job)
	}
	select {
	case own.given <- m.Data:
	default:
	}
	f.mu.Unlock()
	f.n.spawn(func() { f.announce("") })
}

// LeadsChanged returns a channel that is closed when another node has announced something else about its jobs, or has left.
func (n *Node) LeadsChanged() <-chan struct{} {
	n.fleet.mu.Lock()
	defer n.fleet.mu.Unlock()
	return n.fleet.leadsChanged
}

// notifyLeads wakes those who wait for LeadsChanged. The caller holds mu.
func (f *fleet) notifyLeads() {
	close(f.leadsChanged)
	f.leadsChanged = make(chan struct{})
}

// Led reports whether some node is known to lead.
func (n *Node) Led(name string) bool {
	f := &n.fleet
	if n.o.Bus == nil {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if own := f.jobs[name]; own != nil && own.role.holds() {
		return true
	}
	for _, other := range f.members {
		if other.jobs[name].holds() && time.Since(other.heard) <= leadFor {
			return true
		}
	}
	return false
}

// rank orders the nodes for a name (rendezvous hashing), which spreads the names over the nodes.
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
