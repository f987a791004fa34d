package engine

import (
	"cmp"
	"slices"
	"strings"
)

// Count returns the number of the key's subscribers. A subscriber of several keys counts for each of them.
func (e *Engine) Count(name string) int {
	if k, ok := e.shard(name).Load(name); ok {
		return int(k.subscribers.Load())
	}
	return 0
}

// Sinks returns the sinks of the key's subscribers. It visits each of them.
func (e *Engine) Sinks(name string) []Sink {
	k, ok := e.shard(name).Load(name)
	if !ok {
		return nil
	}
	subs := k.subscriberList()
	sinks := make([]Sink, len(subs))
	for i, s := range subs {
		sinks[i] = s.sink
	}
	return sinks
}

// CountAll returns the sum of Count over all keys. It visits every key.
func (e *Engine) CountAll() (n int) {
	for k := range e.allKeys() {
		n += int(k.subscribers.Load())
	}
	return n
}

// KeyStats are the figures of one key.
type KeyStats struct {
	Key          string `json:"key"`
	Subscribers  int    `json:"subscribers"`
	Events       uint64 `json:"events"` // published in this life of the key
	HistoryBytes int64  `json:"historyBytes"`
	Epoch        string `json:"epoch"` // of the ids that events get now
}

// Top returns the n keys with the most subscribers, ordered by number of subscribers and then by name. It visits every
// key.
func (e *Engine) Top(n int) []KeyStats {
	top, _ := e.TopOf(n, func(string) bool { return true })
	return top
}

// TopOf is Top among the keys for which match returns true. It also returns how many these are.
func (e *Engine) TopOf(n int, match func(key string) bool) (top []KeyStats, keys int64) {
	n = max(n, 0)
	order := func(a, b KeyStats) int {
		return cmp.Or(cmp.Compare(b.Subscribers, a.Subscribers), strings.Compare(a.Key, b.Key))
	}
	for k := range e.allKeys() {
		if !match(k.name) {
			continue
		}
		keys++
		top = append(top, KeyStats{
			Key: k.name, Subscribers: int(k.subscribers.Load()), Events: k.tail(),
			HistoryBytes: max(k.bytes.Load(), 0), Epoch: k.idEpoch().epochText(),
		})
		if (len(top)-64)/2 >= n { // sort and cut now and then, so that the memory depends on n and not on the number of keys
			slices.SortFunc(top, order)
			top = top[:n]
		}
	}
	slices.SortFunc(top, order)
	return top[:min(n, len(top))], keys
}

// idEpoch is a position in the epoch of the ids: the log's epoch in log mode.
func (k *key) idEpoch() Position {
	if x := k.extra.Load(); x != nil && x.part != nil {
		return Position{Epoch: x.part.current().epoch}
	}
	return Position{Epoch: k.epoch}
}

// slotBytes is the size of a ring's slot on 64-bit systems.
const slotBytes = 8

// Stats are figures of the whole engine.
type Stats struct {
	Keys         int64
	KeyBytes     int64 // of the names of the keys
	HistoryBytes int64 // of the frames that are kept
	RingBytes    int64 // of the slots of all rings, as of the last complete sweep
	// Unwanted is the number of events of the log that were not kept, because their key had OnDemand and no subscribers.
	Unwanted uint64
}

// Stats returns the current figures. It costs some loads.
func (e *Engine) Stats() Stats {
	// An event can be evicted before its publisher has counted it, see I6.
	s := Stats{
		Keys: e.keys.Load(), KeyBytes: e.keyBytes.Load(),
		HistoryBytes: max(e.historyBytes.Load(), 0), RingBytes: slotBytes * e.ringSlots.Load(),
	}
	if e.log != nil {
		s.Unwanted = e.log.unwanted.Load()
	}
	return s
}
