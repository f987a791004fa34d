package sequence

import (
	"cmp"
	"slices"
)

// Published is what a run has published, and what it should have published. At the end, each subscriber is compared with it.
type Published struct {
	Last   []int64  `json:"last"`             // the newest sequence that was sent, by key
	Failed []Failed `json:"failed,omitempty"` // the requests that the server has not accepted
	Unsent Unsent   `json:"unsent,omitzero"`

	byKey map[int][]Failed // Failed, in ascending order
}

// Failed is a publish request that the server refused or did not answer.
type Failed struct {
	Key  int   `json:"key"`
	From int64 `json:"from"` // the sequences in it
	To   int64 `json:"to"`
	Due  int64 `json:"due"` // microseconds, monotonic
}

// Unsent is the part of an open loop's schedule that was never sent, because the server blocked the publisher. Slot i is for key
// i modulo Keys, and due at Start + i*Apart. Each publish connection has its own lane: the slots of its keys, in order.
type Unsent struct {
	Next  []int64 `json:"next"` // the first slot that was not sent, by lane
	To    int64   `json:"to"`   // the number of slots in the schedule
	Keys  int     `json:"keys"`
	Start int64   `json:"start"`
	Apart float64 `json:"apart"` // microseconds
	Batch int     `json:"batch"` // events in a slot
}

// NewUnsent returns a schedule of which nothing was sent. It has at most as many lanes as keys.
func NewUnsent(lanes, keys int) Unsent {
	u := Unsent{Next: make([]int64, lanes), Keys: keys}
	for i := range u.Next {
		u.Next[i] = int64(i)
	}
	return u
}

// Lane is the lane of a slot.
func (u *Unsent) Lane(slot int64) int { return int(slot%int64(u.Keys)) % len(u.Next) }

// After is the next slot in the same lane.
func (u *Unsent) After(slot int64) int64 {
	keys, lanes := int64(u.Keys), int64(len(u.Next))
	if slot%keys+lanes < keys {
		return slot + lanes
	}
	return (slot/keys+1)*keys + slot%keys%lanes
}

// slots is how many slots a lane has before a slot.
func (u *Unsent) slots(lane int, before int64) int64 {
	keys, lanes, first := int64(u.Keys), int64(len(u.Next)), int64(lane)
	in := func(n int64) int64 { return max(0, (n-first+lanes-1)/lanes) } // slots among the first n keys
	return before/keys*in(keys) + in(before%keys)
}

// Events is how many events were never sent.
func (u *Unsent) Events() (n int64) {
	for lane, next := range u.Next {
		n += max(0, u.slots(lane, u.To)-u.slots(lane, next))
	}
	return n * int64(u.Batch)
}

// Due is when a slot was to be sent.
func (u *Unsent) Due(slot int64) int64 { return u.Start + int64(float64(slot)*u.Apart) }

// First is a slot before which all slots were sent.
func (u *Unsent) First() int64 {
	if len(u.Next) == 0 {
		return u.To
	}
	return slices.Min(u.Next)
}

// Index prepares the failed requests for Taken. After it, several goroutines may use the methods.
func (p *Published) Index() {
	p.byKey = map[int][]Failed{}
	for _, f := range p.Failed {
		p.byKey[f.Key] = append(p.byKey[f.Key], f)
	}
	for _, all := range p.byKey {
		slices.SortFunc(all, func(a, b Failed) int { return cmp.Compare(a.From, b.From) })
	}
}

// Taken is how many of a key's sequences in a range the server has accepted. It calls failed for each of the others.
func (p *Published) Taken(key int, from, to int64, failed func(due int64)) (taken int64) {
	taken = to - from + 1
	all := p.byKey[key]
	i, _ := slices.BinarySearchFunc(all, from, func(f Failed, from int64) int { return cmp.Compare(f.To, from) })
	for _, f := range all[i:] {
		if f.From > to {
			break
		}
		for range min(f.To, to) - max(f.From, from) + 1 {
			taken--
			failed(f.Due)
		}
	}
	return taken
}
