package engine

import (
	"math/bits"
	"time"
)

// The keys share Options.MaxHistoryBytes fairly: no key loses history to keys that hold more than it does.
//
// The newest event of each key stays. What a key holds beyond it is its excess. The share is the largest excess that
// every key may have. It is chosen so that all excesses, cut to the share, fit into what the newest events leave of the
// limit, or into half of the limit if they leave less (max-min fairness, or water-filling). So many keys with one large
// event each cannot take the history of all others away, and the total is at most the larger of the limit and the newest
// events plus half of the limit.
//
//   - The sweep computes the share in one pass over the keys, and cuts the keys that have more in a second one. It aims at
//     a sixteenth less than the limit, so that it is not needed again after a few events.
//   - A publisher that finds the engine over its limit evicts events of its own key, and only while the key's excess is
//     larger than the share. This takes two loads, no lock, and one eviction for each event of the same size. If its key
//     has less, others have more, and the sweep will cut them. Until then the total exceeds the limit.
//   - If the total exceeds all that by an eighth of the limit, publishers are faster than the sweep. Then each publisher
//     evicts its own key's history, whatever its share, until the sweep has caught up. This bounds memory.
//
// Rejected: to evict by age, from all keys alike. It took several passes, and the key of the publisher was emptied
// first. To sample some keys at each publish and evict from the largest: with a million keys, of which few are large, a
// sample rarely has one.

// budget is what the last pass has found. It is replaced as a whole.
type budget struct {
	share int64 // the excess that each key may have
	most  int64 // the total from which on shares do not count
}

// newBudget returns the budget before the first pass. One key alone has more than this share when it reaches the limit.
func newBudget(limit int64) *budget { return &budget{share: limit / 2, most: limit + limit/8} }

// keepOf returns how many bytes a key may hold whose newest event has this size, while the engine is over its limit.
func (e *Engine) keepOf(newest int64) int64 {
	b := e.budget.Load()
	if e.historyBytes.Load() > b.most {
		return 0
	}
	return newest + b.share
}

// enforceBudget brings the keys to their shares, if the engine is over its limit. If a publisher has requested it, it
// also computes the share again from time to time, because publishers keep within the limit by a share that may be old.
// It does nothing before the time notBefore, and returns the next notBefore.
//
// The newest events of many keys can exceed the budget permanently, and then every publish requests an eviction that is
// not possible. notBefore limits this work to a tenth of one core.
func (e *Engine) enforceBudget(requested bool, notBefore time.Time) time.Time {
	start := time.Now()
	// Above most, the share does not count for publishers. New keys bring the total there if the last pass has not seen their
	// newest events, so another pass must not wait: each needs an eighth of the limit in new bytes, which pays for it.
	stale := e.historyBytes.Load() > e.budget.Load().most
	if start.Before(notBefore) && !stale || !e.overBudget() && (!requested || start.Sub(e.lastBudget) < e.sweepInterval) {
		return notBefore
	}
	e.lastBudget = start

	// Compute the share.
	limit := e.maxHistoryBytes.Load()
	var newest int64
	var sizes excesses
	for k := range e.allRings() {
		n := k.newestBytes()
		newest += n
		sizes.add(k.bytes.Load() - n)
	}
	room := max(limit-newest, limit/2)
	b := &budget{share: sizes.share(room - room/16), most: newest + room + limit/8}
	e.budget.Store(b)

	// Cut the keys that have more.
	for k := range e.allRings() {
		if n := k.newestBytes(); k.bytes.Load()-n > b.share {
			k.evict(e, k.protectedFrom(k.tail()), func(*Event) bool { return k.bytes.Load()-n > b.share })
		}
	}
	if !e.overBudget() {
		return time.Time{}
	}
	now := time.Now()
	return now.Add(max(10*now.Sub(start), e.sweepInterval))
}

func (e *Engine) overBudget() bool { return e.historyBytes.Load() > e.maxHistoryBytes.Load() }

// requestEviction asks the sweep to enforce the byte budget.
func (e *Engine) requestEviction() {
	select {
	case e.evictionRequest <- struct{}{}:
	default:
	}
}

// newestBytes returns the size of the events that no limit of bytes evicts.
func (k *key) newestBytes() (n int64) {
	tail := k.tail()
	for seq := k.protectedFrom(tail); seq <= tail; seq++ {
		if ev, _ := k.read(seq); ev != nil {
			n += int64(len(ev.bytes))
		}
	}
	return n
}

// excesses counts the excesses of keys by size, in classes of 8 for each power of two.
type excesses struct {
	count [64 * 8]int64
	sum   [64 * 8]int64
}

func (x *excesses) add(n int64) {
	if n <= 0 {
		return
	}
	class := int(n)
	if b := bits.Len64(uint64(n)); b > 4 { // the leading bit and three bits after it
		class = (b-4)*8 + int(n>>(b-4))
	}
	x.count[class]++
	x.sum[class] += n
}

// share returns the largest excess, up to room, so that the excesses that are cut to it have at most room together.
func (x *excesses) share(room int64) int64 {
	all := room
	var keys int64 // with an excess of this class or a larger one
	for _, n := range x.count {
		keys += n
	}
	for class, n := range x.count {
		if n == 0 {
			continue
		}
		// Keys of this class and of larger ones get the share, if the largest of this class does not fit.
		if mean := x.sum[class] / n; mean > room/keys {
			return room / keys
		}
		room -= x.sum[class]
		keys -= n
	}
	return all
}
