package sequence

import (
	"cmp"
	"slices"
)

// Published is what a run has published, and what it should have: a subscriber is held against it at the end.
type Published struct {
	Last   []int64  `json:"last"`             // the newest sequence that was sent, of each key
	Failed []Failed `json:"failed,omitempty"` // what the server has not taken of it
	Unsent Unsent   `json:"unsent,omitzero"`

	byKey map[int][]Failed // Failed, in rising order
}

// Failed is a publish request that the server has refused, or left without an answer.
type Failed struct {
	Key  int   `json:"key"`
	From int64 `json:"from"` // the sequences in it
	To   int64 `json:"to"`
	Due  int64 `json:"due"` // microseconds, monotonic
}

// Unsent is the part of an open loop's schedule that was never sent, because the server held the publisher up. Slot i is of key i
// modulo the keys, and due at Start + i*Apart.
type Unsent struct {
	From  int64   `json:"from"` // slots
	To    int64   `json:"to"`   // behind the last one
	Start int64   `json:"start"`
	Apart float64 `json:"apart"` // microseconds
	Batch int     `json:"batch"` // events in a slot
}

// Events is how many were never sent.
func (u Unsent) Events() int64 { return max(0, u.To-u.From) * int64(u.Batch) }

// Due is when a slot was to be sent.
func (u Unsent) Due(slot int64) int64 { return u.Start + int64(float64(slot)*u.Apart) }

// Index makes the requests that failed searchable, for methods that several goroutines may then use.
func (p *Published) Index() {
	p.byKey = map[int][]Failed{}
	for _, f := range p.Failed {
		p.byKey[f.Key] = append(p.byKey[f.Key], f)
	}
	for _, all := range p.byKey {
		slices.SortFunc(all, func(a, b Failed) int { return cmp.Compare(a.From, b.From) })
	}
}

// Taken is how many of a key's sequences from one to another the server has taken; failed is called for each other one.
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
