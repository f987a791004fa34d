package cluster

import (
	"maps"
	"slices"
	"time"

	"fanfare/engine"
)

// A node that is not heard of any more may hang, or be cut off, with its streams open, and come back. So it stays a member
// until it has said good-bye (Close), another process has started under its name, or FleetForgetAfter has passed. Three
// times count from when it was last heard of:
//
//	leadFor           others do its jobs, see leads.go
//	knownFor          it is silent: questions name it at once, and do not wait for it
//	FleetForgetAfter  it is forgotten
//
// Nodes tell each other which ones are silent, so that one that starts later names them, too.

// knownFor is how long a node that is not heard of is waited for.
const knownFor = 5 * time.Second

// member is another node.
type member struct {
	name, instance string
	heard          time.Time
	silent         bool            // it has not been heard of for knownFor
	jobs           map[string]role // see leads.go
}

// silentNode is a silent member in a message.
type silentNode struct {
	Node     string `json:"node"`
	Instance string `json:"instance"`
	Since    int64  `json:"since"` // for how many milliseconds it has not been heard of
}

// hear notes that a node is there, and what it knows.
func (f *fleet) hear(m busMessage) {
	if returned := f.hearMember(m); returned {
		f.n.log.Info("a node of the fleet is heard of again", "name", m.Node)
	}
	for i, at := range m.Known {
		if i < len(f.n.partitions) {
			f.n.partitions[i].learn(engine.Position(at))
		}
	}
	for i, w := range m.Witnesses {
		if i < len(f.n.partitions) {
			f.n.partitions[i].hear(w)
		}
	}
}

// hearMember notes that a node is there, and reports whether it was silent before.
func (f *fleet) hearMember(m busMessage) (returned bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, left := f.left[m.Instance]; left {
		return false // its good-bye has overtaken this
	}
	now := time.Now()
	other := f.members[m.Node]
	if other == nil {
		other = &member{name: m.Node}
		f.members[m.Node] = other
	}
	returned = other.silent && other.instance == m.Instance
	changed := !maps.Equal(other.jobs, m.Jobs)
	if other.instance, other.heard, other.silent, other.jobs = m.Instance, now, false, m.Jobs; changed {
		f.notifyLeads()
	}
	for _, s := range m.Silent {
		f.hearSilent(s, now)
	}
	return returned
}

// hearSilent takes over a node that another one names as silent, unless this node knows better. The caller holds mu.
func (f *fleet) hearSilent(s silentNode, now time.Time) {
	_, left := f.left[s.Instance]
	forget := f.n.o.FleetForgetAfter.Milliseconds()
	if s.Node == "" || s.Node == f.n.o.Name || f.members[s.Node] != nil || left || s.Since < 0 || s.Since >= forget {
		return
	}
	heard := now.Add(-time.Duration(s.Since) * time.Millisecond)
	f.members[s.Node] = &member{name: s.Node, instance: s.Instance, heard: heard, silent: true}
}

// silentNodes returns the silent members for an announcement. The caller holds mu.
func (f *fleet) silentNodes(now time.Time) (all []silentNode) {
	for _, other := range f.members {
		if other.silent {
			all = append(all, silentNode{other.name, other.instance, now.Sub(other.heard).Milliseconds()})
		}
	}
	return all
}

// hearBye forgets a node that ends.
func (f *fleet) hearBye(m busMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left[m.Instance] = time.Now()
	if other := f.members[m.Node]; other != nil && other.instance == m.Instance {
		delete(f.members, m.Node)
		f.closeInquiries()
		f.notifyLeads()
	}
}

// checkMembers notes which nodes are silent, and forgets those that were silent for long.
func (f *fleet) checkMembers() {
	silent, forgotten := f.ageMembers()
	for _, name := range silent {
		f.n.log.Warn("a node of the fleet is silent and has not said good-bye: its streams may still be open", "name", name)
	}
	for _, name := range forgotten {
		f.n.log.Info("a node of the fleet is forgotten: it has been silent for fleetForgetAfter", "name", name)
	}
}

// ageMembers is checkMembers, and returns the nodes that are silent now, and those that are forgotten. While this node is cut
// off the silence of others says nothing.
func (f *fleet) ageMembers() (silent, forgotten []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.lastHello) > 2*announceInterval || !f.n.o.Log.Connected() {
		for _, other := range f.members {
			if !other.silent {
				other.heard = now
			}
		}
		return nil, nil
	}
	for name, other := range f.members {
		switch age := now.Sub(other.heard); {
		case age > f.n.o.FleetForgetAfter:
			delete(f.members, name)
			forgotten = append(forgotten, name)
		case age > knownFor && !other.silent:
			other.silent = true
			silent = append(silent, name)
		}
	}
	maps.DeleteFunc(f.left, func(_ string, at time.Time) bool { return now.Sub(at) > f.n.o.FleetForgetAfter })
	f.closeInquiries()
	return silent, forgotten
}

// names returns the nodes that are heard of, this one too, and those that are silent. Both are sorted.
func (f *fleet) names() (heard, silent []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	heard = []string{f.n.o.Name}
	for name, other := range f.members {
		if other.silent {
			silent = append(silent, name)
		} else {
			heard = append(heard, name)
		}
	}
	slices.Sort(heard)
	slices.Sort(silent)
	return heard, silent
}
